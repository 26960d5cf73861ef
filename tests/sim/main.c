/* sim --seed N, or sim --seeds N [--from SEED]: runs worlds and says how they went. */
#include "tests/sim/run.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MAX = 64, TWICE_MAX = 64 };

struct totals {
    uint64_t seeds, failed, commands, keyed, restarts, faults[SIM_FAULTS], disk_faults[HF_SIM_FAULTS];
};

static void add(struct totals *totals, const struct sim_result *result)
{
    totals->seeds++;
    totals->failed += result->failed;
    totals->commands += result->commands;
    totals->keyed += result->keyed;
    totals->restarts += result->restarts;
    for (unsigned i = 0; i < SIM_FAULTS; i++)
        totals->faults[i] += result->faults[i];
    for (unsigned i = 0; i < HF_SIM_FAULTS; i++)
        totals->disk_faults[i] += result->disk_faults[i];
}

static void say_seed(const struct sim_result *result)
{
    printf("seed: %" PRIu64 ", hash: %016" PRIx64 ", steps: %" PRIu64 ", commands: %" PRIu64 ", records: %" PRIu64 ", restarts: %" PRIu64
           ", virtual: %.3f s\n",
           result->seed, result->hash, result->steps, result->commands, result->records, result->restarts,
           (double)result->virtual_ns / 1e9);
    if (result->failed)
        printf("seed %" PRIu64 " failed: %s\nreplay: make sim SEED=%" PRIu64 " TRACE=1\n", result->seed, result->failure, result->seed);
}

static void say_totals(const struct totals *totals)
{
    const char *between = "";
    printf("seeds: %" PRIu64 ", failed: %" PRIu64 ", commands: %" PRIu64 ", repeats by key: %" PRIu64 ", restarts: %" PRIu64 ", faults: {",
           totals->seeds, totals->failed, totals->commands, totals->keyed, totals->restarts);
    for (unsigned i = 0; i < SIM_FAULTS; i++, between = ", ")
        printf("%s%s: %" PRIu64, between, sim_fault_name(i), totals->faults[i]);
    for (unsigned i = 0; i < HF_SIM_FAULTS; i++)
        printf(", %s: %" PRIu64, hf_sim_fault_name(i), totals->disk_faults[i]);
    const char *branches = getenv("SIM_BRANCHES");
    printf("}, branches: %s\n", branches ? branches : "not measured");
}

/* Runs every `stride`-th seed from `next` on, in a child that sends each result; the child may die of one. */
struct worker {
    uint64_t next, end, stride;
    int results; /* -1: none runs */
    pid_t child;
};

_Noreturn static void work(const struct worker *worker, int to)
{
    struct sim_result result;
    for (uint64_t seed = worker->next; seed < worker->end; seed += worker->stride) {
        sim_run(seed, false, &result);
        if (write(to, &result, sizeof result) != sizeof result)
            exit(1);
    }
    exit(0);
}

static void start_worker(struct worker *worker)
{
    int ends[2];
    worker->results = -1;
    if (worker->next >= worker->end)
        return;
    fflush(stdout);
    if (pipe(ends) != 0 || (worker->child = fork()) < 0) {
        perror("sim: no process for a worker");
        exit(1);
    }
    if (worker->child == 0) {
        close(ends[0]);
        work(worker, ends[1]);
    }
    close(ends[1]);
    worker->results = ends[0];
}

/* The worker ended, perhaps of the seed that it had not reported; the next one goes on behind it. */
static void worker_ended(struct worker *worker, struct totals *totals)
{
    int status;
    close(worker->results);
    while (waitpid(worker->child, &status, 0) < 0 && errno == EINTR)
        ;
    if (worker->next < worker->end) {
        printf("seed %" PRIu64 " failed: it ended the simulator (wait status %#x)\nreplay: make sim SEED=%" PRIu64 " TRACE=1\n",
               worker->next, (unsigned)status, worker->next);
        totals->seeds++;
        totals->failed++;
        worker->next += worker->stride;
    }
    start_worker(worker);
}

static void hear(struct worker *worker, struct totals *totals)
{
    struct sim_result result;
    if (read(worker->results, &result, sizeof result) != sizeof result) {
        worker_ended(worker, totals);
        return;
    }
    add(totals, &result);
    worker->next += worker->stride;
    if (result.failed)
        say_seed(&result);
}

static int run_many(uint64_t from, uint64_t count, uint64_t jobs)
{
    struct worker workers[JOBS_MAX];
    struct totals totals = {0};
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    for (uint64_t i = 0; i < jobs; i++) {
        workers[i] = (struct worker){.next = from + i, .end = from + count, .stride = jobs};
        start_worker(&workers[i]);
    }
    for (;;) {
        struct pollfd polls[JOBS_MAX];
        unsigned running = 0;
        for (uint64_t i = 0; i < jobs; i++) {
            polls[i] = (struct pollfd){.fd = workers[i].results, .events = POLLIN};
            running += workers[i].results >= 0;
        }
        if (running == 0)
            break;
        if (poll(polls, jobs, -1) < 0)
            continue;
        for (uint64_t i = 0; i < jobs; i++)
            if (polls[i].revents != 0)
                hear(&workers[i], &totals);
    }
    say_totals(&totals);
    return totals.failed == 0 ? 0 : 1;
}

/* The same seed twice, with others between, gives the same trace. */
static int run_twice(uint64_t from, uint64_t count)
{
    struct sim_result result;
    uint64_t hashes[TWICE_MAX] = {0};
    int differing = 0;
    for (unsigned round = 0; round < 2; round++)
        for (uint64_t i = 0; i < count; i++) {
            uint64_t at = round == 0 ? i : count - 1 - i;
            sim_run(from + at, false, &result);
            if (round == 1 && hashes[at] != result.hash)
                differing += printf("seed %" PRIu64 " gave two traces: %016" PRIx64 " and %016" PRIx64 "\n", from + at, hashes[at],
                                    result.hash) > 0;
            hashes[at] = result.hash;
        }
    printf("seeds run twice: %" PRIu64 ", differing: %d\n", count, differing);
    return differing == 0 ? 0 : 1;
}

static int run_one(uint64_t seed, bool tracing)
{
    struct sim_result result;
    struct totals totals = {0};
    setvbuf(stdout, NULL, tracing ? _IOLBF : _IOFBF, 1 << 16);
    sim_run(seed, tracing, &result);
    say_seed(&result);
    add(&totals, &result);
    say_totals(&totals);
    return result.failed ? 1 : 0;
}

static bool number(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 0);
    return errno == 0 && end != text && *end == 0;
}

static int usage(void)
{
    fputs("usage: sim [--trace] --seed N | sim --seeds N [--from SEED] [--jobs N] | sim --twice N [--from SEED]\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t seed = 0, seeds = 0, from = 0, jobs = 1, twice = 0, random;
    bool tracing = false, one = false, from_given = false;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--trace") == 0)
            tracing = true;
        else if (strcmp(argv[i], "--seed") == 0 && more && number(argv[++i], &seed))
            one = true;
        else if (strcmp(argv[i], "--from") == 0 && more && number(argv[++i], &from))
            from_given = true;
        else if (strcmp(argv[i], "--jobs") == 0 && more && number(argv[++i], &jobs))
            continue;
        else if (strcmp(argv[i], "--twice") == 0 && more && number(argv[++i], &twice))
            continue;
        else if (strcmp(argv[i], "--seeds") != 0 || !more || !number(argv[++i], &seeds))
            return usage();
    }
    /* Worlds come and go: what one gave back the next one takes, without the kernel clearing it each time. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    if (one)
        return run_one(seed, tracing);
    if ((seeds == 0 && twice == 0) || jobs == 0 || jobs > JOBS_MAX || twice > TWICE_MAX)
        return usage();
    if (!from_given && getrandom(&random, sizeof random, 0) == sizeof random)
        from = random >> 20;
    return twice != 0 ? run_twice(from, twice) : run_many(from, seeds, jobs);
}

/* sim SEED, or sim --seeds N [--from SEED]: runs worlds and says how they went. */
#include "tests/sim/run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

struct totals {
    uint64_t seeds, failed, commands, restarts, faults[SIM_FAULTS], disk_faults[HF_SIM_FAULTS];
};

static void add(struct totals *totals, const struct sim_result *result)
{
    totals->seeds++;
    totals->failed += result->failed;
    totals->commands += result->commands;
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
    printf("seeds: %" PRIu64 ", failed: %" PRIu64 ", commands: %" PRIu64 ", restarts: %" PRIu64 ", faults: {", totals->seeds,
           totals->failed, totals->commands, totals->restarts);
    for (unsigned i = 0; i < SIM_FAULTS; i++, between = ", ")
        printf("%s%s: %" PRIu64, between, sim_fault_name(i), totals->faults[i]);
    for (unsigned i = 0; i < HF_SIM_FAULTS; i++)
        printf(", %s: %" PRIu64, hf_sim_fault_name(i), totals->disk_faults[i]);
    const char *branches = getenv("SIM_BRANCHES");
    printf("}, branches: %s\n", branches ? branches : "not measured");
}

/* A child runs seeds from `from` and sends each result; it may die of one. Returns how many came. */
static uint64_t run_child(uint64_t from, uint64_t count, struct totals *totals)
{
    int ends[2];
    uint64_t done = 0;
    struct sim_result result;
    if (pipe(ends) != 0)
        return 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        for (uint64_t i = 0; i < count; i++) {
            sim_run(from + i, false, &result);
            if (write(ends[1], &result, sizeof result) != sizeof result)
                exit(1);
        }
        exit(0);
    }
    close(ends[1]);
    while (read(ends[0], &result, sizeof result) == sizeof result) {
        add(totals, &result);
        if (result.failed)
            say_seed(&result);
        done++;
    }
    close(ends[0]);
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (done < count) {
        printf("seed %" PRIu64 " failed: it ended the process (status %x)\nreplay: make sim SEED=%" PRIu64 " TRACE=1\n", from + done,
               (unsigned)status, from + done);
        totals->seeds++;
        totals->failed++;
        done++;
    }
    return done;
}

static int run_many(uint64_t from, uint64_t count)
{
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    struct totals totals = {0};
    for (uint64_t done = 0; done < count;)
        done += run_child(from + done, count - done, &totals);
    say_totals(&totals);
    return totals.failed == 0 ? 0 : 1;
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
    fputs("usage: sim [--trace] --seed N | sim --seeds N [--from SEED]\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t seed = 0, seeds = 0, from = 0, random;
    bool tracing = false, one = false, from_given = false;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--trace") == 0)
            tracing = true;
        else if (strcmp(argv[i], "--seed") == 0 && more && number(argv[++i], &seed))
            one = true;
        else if (strcmp(argv[i], "--from") == 0 && more && number(argv[++i], &from))
            from_given = true;
        else if (strcmp(argv[i], "--seeds") != 0 || !more || !number(argv[++i], &seeds))
            return usage();
    }
    if (one)
        return run_one(seed, tracing);
    if (seeds == 0)
        return usage();
    if (!from_given && getrandom(&random, sizeof random, 0) == sizeof random)
        from = random >> 20;
    return run_many(from, seeds);
}

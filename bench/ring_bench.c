/*
 * What crosses threads, in figures: the SPSC ring against DPDK's rte_ring and Concurrency Kit's ck_ring, the partition word against a
 * pthread mutex, and a claim in the log buffer.
 *
 * One JSON object a line on stdout per case and peer; what was left out, and why, on stderr. Runs of a case and its peers alternate, value
 * and ratio are medians, spread is (largest - smallest) / median of the case's own runs, so a figure taken on a busy machine shows as such.
 * The two ends of a ring run on CPU 0 and 1, each on one of its own if the machine has two. All elements are 8 bytes. ck_ring
 * has no call for a batch, so its batch of 32 is 32 calls.
 */
#include "ring/log_buffer.h"
#include "ring/spsc.h"
#include "ring/word.h"

#ifdef HF_BENCH_DPDK
#include <rte_ring.h>
#endif
#ifdef HF_BENCH_CK
#include <ck_ring.h>
#endif

#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RING_CAPACITY = 4096, BATCH = 32, RUNS_MAX = 101, PEERS_MAX = 4, WORDS = 256 };

typedef void lane_loop(void *ring, uint64_t total);
typedef uint64_t lane_sum(void *ring, uint64_t total);

struct lane {
    const char *name;
    void *(*make)(void);
    lane_loop *produce;
    lane_sum *consume; /* returns the sum of what it got */
};

struct result {
    const char *name;
    double values[RUNS_MAX];
};

static unsigned long runs = 5;
static uint64_t scale = 4; /* 1 when quick */
static bool pinned;

static double now_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void *memory_make(size_t alignment, size_t bytes)
{
    void *memory = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (memory == NULL) {
        fprintf(stderr, "ring_bench: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    memset(memory, 0, bytes);
    return memory;
}

/* Neither side may spin for ever: another process may hold the CPU of the one it waits for. */
static inline void back_off(uint32_t *tries)
{
    if (++*tries % 1024 == 0)
        sched_yield();
    else
        hf_cpu_pause();
}

/* Every lane below fills, moves and sums the same way; batch is a constant in each. */

static void *holdfast_make(void)
{
    void *memory = memory_make(HF_CACHE_PAD_BYTES, hf_spsc_bytes(RING_CAPACITY, sizeof(uint64_t)));
    return hf_spsc_init(memory, RING_CAPACITY, sizeof(uint64_t), 0);
}

static inline __attribute__((always_inline)) void holdfast_produce(void *ring, uint64_t total, const uint32_t batch)
{
    uint64_t objects[BATCH];
    uint32_t tries = 0;
    for (uint64_t next = 0; next < total;) {
        for (uint32_t i = 0; i < batch; i++)
            objects[i] = next + i;
        for (uint32_t at = 0; at < batch;) {
            uint32_t put = hf_spsc_put(ring, objects + at, batch - at, sizeof(objects[0]));
            at += put;
            if (put == 0)
                back_off(&tries);
        }
        next += batch;
    }
}

static inline __attribute__((always_inline)) uint64_t holdfast_consume(void *ring, uint64_t total, const uint32_t batch)
{
    uint64_t objects[BATCH], sum = 0;
    uint32_t tries = 0;
    for (uint64_t next = 0; next < total;) {
        uint32_t got = hf_spsc_get(ring, objects, batch, sizeof(objects[0]));
        for (uint32_t i = 0; i < got; i++)
            sum += objects[i];
        next += got;
        if (got == 0)
            back_off(&tries);
    }
    return sum;
}

static void holdfast_produce_1(void *ring, uint64_t total)
{
    holdfast_produce(ring, total, 1);
}

static uint64_t holdfast_consume_1(void *ring, uint64_t total)
{
    return holdfast_consume(ring, total, 1);
}

static void holdfast_produce_32(void *ring, uint64_t total)
{
    holdfast_produce(ring, total, BATCH);
}

static uint64_t holdfast_consume_32(void *ring, uint64_t total)
{
    return holdfast_consume(ring, total, BATCH);
}

static void holdfast_produce_in_place(void *ring, uint64_t total)
{
    uint32_t tries = 0;
    for (uint64_t next = 0; next < total;) {
        void *span = NULL;
        uint32_t count = hf_spsc_reserve(ring, BATCH, &span);
        for (uint32_t i = 0; i < count; i++)
            ((uint64_t *)span)[i] = next + i;
        if (count != 0)
            hf_spsc_commit(ring, count);
        else
            back_off(&tries);
        next += count;
    }
}

static uint64_t holdfast_consume_in_place(void *ring, uint64_t total)
{
    uint64_t sum = 0;
    uint32_t tries = 0;
    for (uint64_t next = 0; next < total;) {
        void *span = NULL;
        uint32_t count = hf_spsc_peek(ring, BATCH, &span);
        for (uint32_t i = 0; i < count; i++)
            sum += ((const uint64_t *)span)[i];
        if (count != 0)
            hf_spsc_release(ring, count);
        else
            back_off(&tries);
        next += count;
    }
    return sum;
}

#ifdef HF_BENCH_DPDK
static void *dpdk_make(void)
{
    ssize_t bytes = rte_ring_get_memsize(RING_CAPACITY);
    struct rte_ring *ring = memory_make(HF_CACHE_PAD_BYTES, (size_t)bytes);
    if (rte_ring_init(ring, "bench", RING_CAPACITY, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
        fprintf(stderr, "ring_bench: rte_ring_init failed\n");
        exit(1);
    }
    return ring;
}

static inline __attribute__((always_inline)) void dpdk_produce(void *ring, uint64_t total, const uint32_t batch)
{
    void *objects[BATCH];
    uint32_t tries = 0;
    for (uint64_t next = 0; next < total;) {
        for (uint32_t i = 0; i < batch; i++)
            objects[i] = (void *)(uintptr_t)(next + i);
        for (uint32_t at = 0; at < batch;) {
            uint32_t put = rte_ring_sp_enqueue_burst(ring, objects + at, batch - at, NULL);
            at += put;
            if (put == 0)
                back_off(&tries);
        }
        next += batch;
    }
}

static inline __attribute__((always_inline)) uint64_t dpdk_consume(void *ring, uint64_t total, const uint32_t batch)
{
    void *objects[BATCH];
    uint64_t sum = 0;
    uint32_t tries = 0;
    for (uint64_t next = 0; next < total;) {
        uint32_t got = rte_ring_sc_dequeue_burst(ring, objects, batch, NULL);
        for (uint32_t i = 0; i < got; i++)
            sum += (uintptr_t)objects[i];
        next += got;
        if (got == 0)
            back_off(&tries);
    }
    return sum;
}

static void dpdk_produce_1(void *ring, uint64_t total)
{
    dpdk_produce(ring, total, 1);
}

static uint64_t dpdk_consume_1(void *ring, uint64_t total)
{
    return dpdk_consume(ring, total, 1);
}

static void dpdk_produce_32(void *ring, uint64_t total)
{
    dpdk_produce(ring, total, BATCH);
}

static uint64_t dpdk_consume_32(void *ring, uint64_t total)
{
    return dpdk_consume(ring, total, BATCH);
}
#endif

#ifdef HF_BENCH_CK
struct ck_lane {
    struct ck_ring ring;
    struct ck_ring_buffer buffer[RING_CAPACITY];
};

static void *ck_make(void)
{
    struct ck_lane *lane = memory_make(HF_CACHE_PAD_BYTES, sizeof(*lane));
    ck_ring_init(&lane->ring, RING_CAPACITY);
    return lane;
}

static void ck_produce(void *context, uint64_t total)
{
    struct ck_lane *lane = context;
    uint32_t tries = 0;
    for (uint64_t next = 0; next < total; next++)
        while (!ck_ring_enqueue_spsc(&lane->ring, lane->buffer, (void *)(uintptr_t)next))
            back_off(&tries);
}

static uint64_t ck_consume(void *context, uint64_t total)
{
    struct ck_lane *lane = context;
    uint64_t sum = 0;
    uint32_t tries = 0;
    for (uint64_t next = 0; next < total;) {
        void *object;
        if (ck_ring_dequeue_spsc(&lane->ring, lane->buffer, &object)) {
            sum += (uintptr_t)object;
            next++;
        } else {
            back_off(&tries);
        }
    }
    return sum;
}
#endif

/* Whether CPU 0 and 1 are both this process's to use. */
static bool two_cpus_allowed(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_ISSET(0, &set) && CPU_ISSET(1, &set);
}

static void pin(size_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (pinned)
        pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

struct transfer {
    const struct lane *lane;
    void *ring;
    uint64_t total;
    struct hf_atomic_u32 *ready;
};

static void meet(struct hf_atomic_u32 *ready)
{
    hf_add_release_u32(ready, 1);
    while (hf_load_acquire_u32(ready) != 2)
        sched_yield();
}

static void *transfer_produce(void *context)
{
    struct transfer *transfer = context;
    pin(0);
    meet(transfer->ready);
    transfer->lane->produce(transfer->ring, transfer->total);
    return NULL;
}

/* Million elements per second, from the meeting of both ends to the last element's arrival. */
static double lane_run(const struct lane *lane, uint64_t total)
{
    struct hf_atomic_u32 ready = {0};
    struct transfer transfer = {.lane = lane, .ring = lane->make(), .total = total, .ready = &ready};
    pthread_t producer;
    if (pthread_create(&producer, NULL, transfer_produce, &transfer) != 0) {
        fprintf(stderr, "ring_bench: cannot start a thread\n");
        exit(1);
    }
    pin(1);
    meet(&ready);
    double start = now_seconds();
    uint64_t sum = lane->consume(transfer.ring, total);
    double seconds = now_seconds() - start;
    pthread_join(producer, NULL);
    free(transfer.ring);
    if (sum != total * (total - 1) / 2) {
        fprintf(stderr, "ring_bench: %s lost or changed elements\n", lane->name);
        exit(1);
    }
    return (double)total / seconds / 1e6;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, double *spread)
{
    double sorted[RUNS_MAX];
    memcpy(sorted, values, runs * sizeof(sorted[0]));
    qsort(sorted, runs, sizeof(sorted[0]), compare_doubles);
    double middle = runs % 2 ? sorted[runs / 2] : (sorted[runs / 2 - 1] + sorted[runs / 2]) / 2;
    if (spread != NULL)
        *spread = (sorted[runs - 1] - sorted[0]) / middle;
    return middle;
}

/* The ratio is ours to the peer's, run by run: both sides of a pair saw the same machine. */
static void report(const char *name, const char *unit, const struct result *own, const struct result *peer)
{
    double spread;
    double value = median(own->values, &spread);
    printf("{\"case\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",", name, value, unit);
    if (peer != NULL) {
        double ratios[RUNS_MAX] = {0};
        for (unsigned long run = 0; run < runs; run++)
            ratios[run] = own->values[run] / peer->values[run];
        printf("\"against\":\"%s\",\"against_value\":%.3f,\"ratio\":%.3f,", peer->name, median(peer->values, NULL), median(ratios, NULL));
    } else {
        printf("\"against\":null,\"ratio\":null,");
    }
    printf("\"runs\":%lu,\"spread\":%.3f}\n", runs, spread);
    fflush(stdout);
}

static void bench_lanes(const char *name, const struct lane *lanes, uint32_t count, uint64_t total)
{
    struct result results[PEERS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        results[i].name = lanes[i].name;
        lane_run(&lanes[i], total / 8);
    }
    for (unsigned long run = 0; run < runs; run++)
        for (uint32_t i = 0; i < count; i++)
            results[i].values[run] = lane_run(&lanes[i], total);
    if (count == 1)
        report(name, "M elements/s", &results[0], NULL);
    for (uint32_t i = 1; i < count; i++)
        report(name, "M elements/s", &results[0], &results[i]);
}

static void bench_spsc(void)
{
    static const struct lane batch_1[] = {
        {"holdfast", holdfast_make, holdfast_produce_1, holdfast_consume_1},
#ifdef HF_BENCH_DPDK
        {"rte_ring", dpdk_make, dpdk_produce_1, dpdk_consume_1},
#endif
#ifdef HF_BENCH_CK
        {"ck_ring", ck_make, ck_produce, ck_consume},
#endif
    };
    static const struct lane batch_32[] = {
        {"holdfast", holdfast_make, holdfast_produce_32, holdfast_consume_32},
#ifdef HF_BENCH_DPDK
        {"rte_ring", dpdk_make, dpdk_produce_32, dpdk_consume_32},
#endif
#ifdef HF_BENCH_CK
        {"ck_ring", ck_make, ck_produce, ck_consume},
#endif
    };
    static const struct lane in_place[] = {
        {"holdfast in place", holdfast_make, holdfast_produce_in_place, holdfast_consume_in_place},
        {"holdfast by copy", holdfast_make, holdfast_produce_32, holdfast_consume_32},
    };
    bench_lanes("spsc/batch-1", batch_1, sizeof(batch_1) / sizeof(batch_1[0]), scale * 2000000);
    bench_lanes("spsc/batch-32", batch_32, sizeof(batch_32) / sizeof(batch_32[0]), scale * 8000000);
    bench_lanes("spsc/batch-32-in-place", in_place, 2, scale * 8000000);
#ifndef HF_BENCH_DPDK
    fprintf(stderr, "ring_bench: built without libdpdk: no figure against rte_ring\n");
#endif
#ifndef HF_BENCH_CK
    fprintf(stderr, "ring_bench: built without Concurrency Kit: no figure against ck_ring\n");
#endif
}

static double word_own_run(struct hf_word *words, struct hf_word_taker *taker, uint64_t rounds)
{
    double start = now_seconds();
    for (uint64_t n = 0; n < rounds; n++) {
        struct hf_word *word = &words[n & 15];
        if (hf_word_try(word, taker))
            hf_word_release(word, taker);
    }
    return (now_seconds() - start) / (double)rounds * 1e9;
}

static double mutex_own_run(pthread_mutex_t *mutexes, uint64_t rounds)
{
    double start = now_seconds();
    for (uint64_t n = 0; n < rounds; n++) {
        pthread_mutex_t *mutex = &mutexes[n & 15];
        if (pthread_mutex_trylock(mutex) == 0)
            pthread_mutex_unlock(mutex);
    }
    return (now_seconds() - start) / (double)rounds * 1e9;
}

/* Three words of 256 in ascending order, drawn by a linear congruential generator; whoever misses one lets go and draws again. */
static double word_three_run(struct hf_word *words, struct hf_word_taker *taker, uint64_t rounds)
{
    uint64_t random = taker->shard * UINT64_C(0x9e3779b97f4a7c15) + 1;
    double start = now_seconds();
    for (uint64_t n = 0; n < rounds; n++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint32_t at = (uint32_t)(random >> 40) % (WORDS - 128);
        const uint32_t picks[3] = {at, at + 1 + (uint32_t)(random >> 58), at + 65 + (uint32_t)(random >> 52) % 63};
        uint32_t held = 0;
        while (held < 3 && hf_word_take(&words[picks[held]], taker, 1000))
            held++;
        while (held-- > 0)
            hf_word_release(&words[picks[held]], taker);
    }
    return (now_seconds() - start) / (double)rounds * 1e9;
}

struct rival {
    struct hf_word *words;
    struct hf_word_taker *taker;
    struct hf_atomic_u32 *ready;
    uint64_t rounds;
};

static void *word_rival(void *context)
{
    struct rival *rival = context;
    pin(0);
    meet(rival->ready);
    word_three_run(rival->words, rival->taker, rival->rounds);
    return NULL;
}

static double word_three_contended_run(struct hf_word *words, struct hf_word_taker takers[2], uint64_t rounds)
{
    struct hf_atomic_u32 ready = {0};
    struct rival rival = {.words = words, .taker = &takers[0], .ready = &ready, .rounds = rounds};
    pthread_t thread;
    if (pthread_create(&thread, NULL, word_rival, &rival) != 0) {
        fprintf(stderr, "ring_bench: cannot start a thread\n");
        exit(1);
    }
    meet(&ready);
    double ns = word_three_run(words, &takers[1], rounds);
    pthread_join(thread, NULL);
    return ns;
}

static void bench_word(void)
{
    static struct hf_word words[WORDS];
    static struct hf_word_taker takers[2];
    static pthread_mutex_t mutexes[16];
    static struct result own, mutex, three, contended;
    for (uint32_t i = 0; i < WORDS; i++)
        hf_word_init(&words[i], i % 2, 0, 0, 0);
    for (uint32_t i = 0; i < 16; i++)
        pthread_mutex_init(&mutexes[i], NULL);
    hf_word_taker_init(&takers[0], 0, 64);
    hf_word_taker_init(&takers[1], 1, 64);
    mutex.name = "pthread_mutex";
    pin(1);
    for (unsigned long run = 0; run < runs; run++) {
        own.values[run] = word_own_run(words, &takers[1], scale * 2000000);
        mutex.values[run] = mutex_own_run(mutexes, scale * 2000000);
        three.values[run] = word_three_run(words, &takers[1], scale * 1000000);
        contended.values[run] = word_three_contended_run(words, takers, scale * 1000000);
    }
    report("word/own", "ns", &own, &mutex);
    report("word/three-random", "ns", &three, NULL);
    report("word/three-random-two-threads", "ns", &contended, NULL);
}

/* Every claim of `bytes` with its look at the room and its commit; blocks are drained and released as they fill. */
static double claim_run(struct hf_log_buffer *buffer, uint32_t bytes, uint64_t rounds)
{
    double start = now_seconds();
    for (uint64_t n = 0; n < rounds; n++) {
        while (!hf_log_buffer_has_room(buffer, 0)) {
            struct hf_log_block block;
            hf_log_buffer_close(buffer, false);
            while (hf_log_buffer_next(buffer, &block))
                hf_log_buffer_release(buffer, block.next_position);
        }
        struct hf_log_claim claim = hf_log_buffer_claim(buffer, bytes);
        hf_log_buffer_commit(buffer, &claim);
    }
    return (now_seconds() - start) / (double)rounds * 1e9;
}

static void bench_claim(void)
{
    struct hf_log_buffer_options options = {.size_bytes = 8 << 20,
                                            .block_max_bytes = 1 << 20,
                                            .header_bytes = 128,
                                            .shards = 2,
                                            .batch_bytes_max = 64 << 10,
                                            .batch_claims_max = 4,
                                            .start_position = 0,
                                            .start_sequence = 0};
    void *memory = memory_make(HF_LOG_BUFFER_ALIGN, hf_log_buffer_memory_bytes(&options));
    struct hf_log_buffer *buffer = hf_log_buffer_init(memory, &options);
    static struct result small, large;
    pin(1);
    claim_run(buffer, 128, 100000);
    for (unsigned long run = 0; run < runs; run++) {
        small.values[run] = claim_run(buffer, 128, scale * 1000000);
        large.values[run] = claim_run(buffer, 4096, scale * 500000);
    }
    report("log/claim-128", "ns", &small, NULL);
    report("log/claim-4096", "ns", &large, NULL);
    free(memory);
}

static int usage(void)
{
    fprintf(stderr, "usage: ring_bench [--runs N] [--quick]\n  --runs N  runs per case, 1 to %d (5; 3 when quick)\n", RUNS_MAX);
    fprintf(stderr, "  --quick   a quarter of the work per run\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"runs", required_argument, NULL, 'r'}, {"quick", no_argument, NULL, 'q'}, {0}};
    unsigned long runs_wanted = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'q') {
            scale = 1;
            runs = 3;
        } else if (option == 'r') {
            runs_wanted = strtoul(optarg, NULL, 10);
            if (runs_wanted == 0 || runs_wanted > RUNS_MAX)
                return usage();
        } else {
            return usage();
        }
    }
    if (optind != argc)
        return usage();
    if (runs_wanted != 0)
        runs = runs_wanted;
    pinned = two_cpus_allowed();
    if (!pinned)
        fprintf(stderr, "ring_bench: CPU 0 and 1 are not both there to use: threads run where the kernel puts them\n");
    bench_spsc();
    bench_word();
    bench_claim();
    return 0;
}

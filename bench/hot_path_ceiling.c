/*
 * The ceiling of the hot path: what an order costs in memory traffic alone, before it means anything. The denominator of step/1m-skus.
 *
 * Per order: find its cell, see that its id is new, take stock, write the order, hang it into a timer bucket, copy its 64 bytes to a log,
 * CRC-32C them, write an answer. Sixty-four orders a batch, all addresses prefetched first; one core, no transport, no disk. The work, the
 * sizes and the layouts are those of the figure quoted in docs; a figure of another layout would be another ceiling.
 *
 * hot_path_ceiling [--skus-log2 N] [--orders N]; one JSON line on stdout. Pin it: taskset -c 1 hot_path_ceiling
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <nmmintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { BATCH = 64, WHEEL_BUCKETS = 1 << 16, LOG_BYTES = 64 << 20, BUCKET_SHIFT = 10, SKUS_LOG2_MAX = 26, ORDERS_MAX = 1 << 28 };

struct cell {
    uint64_t sku; /* 0: empty */
    int64_t available;
    int64_t reserved;
    uint64_t unused[5];
};

struct order {
    uint64_t id[2];
    uint64_t ref; /* 0: empty */
    uint32_t sku;
    uint32_t quantity;
    uint64_t due;
    uint32_t next;
    uint32_t prev;
    uint8_t held;
    uint8_t unused[15];
};

struct command {
    uint64_t id[2];
    uint64_t sku;
    uint32_t quantity;
    uint16_t opcode;
    uint16_t flags;
    uint64_t customer;
    uint8_t unused[24];
};

struct answer {
    uint64_t ref;
    uint32_t result;
    uint32_t sequence;
    uint64_t unused[2];
};

_Static_assert(sizeof(struct cell) == 64 && sizeof(struct order) == 64 && sizeof(struct command) == 64, "one cache line each");

struct tables {
    struct cell *cells;
    uint64_t cell_mask;
    struct order *orders;
    uint64_t order_mask;
    uint32_t *wheel;
    char *log;
    size_t log_at;
    uint64_t granted;
    uint64_t skus;
};

struct batch {
    struct command in[BATCH];
    struct answer out[BATCH];
    uint64_t cell_slot[BATCH];
    uint64_t order_slot[BATCH];
};

/* Marsaglia, "Xorshift RNGs" (2003), the 64-bit triple 13, 7, 17. */
static inline __attribute__((always_inline)) uint64_t draw(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static inline __attribute__((always_inline)) uint64_t spread(uint64_t key)
{
    key *= UINT64_C(0x9E3779B97F4A7C15);
    return key ^ (key >> 29);
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Zeroed and touched, so that no page fault falls into the timed part. */
static void *touched_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        fprintf(stderr, "hot_path_ceiling: %zu bytes of memory: %s\n", bytes, strerror(errno));
        exit(1);
    }
    madvise(p, bytes, MADV_HUGEPAGE);
    return memset(p, 0, bytes);
}

static uint64_t power_of_two_from(uint64_t least)
{
    uint64_t p = 1;

    while (p < least)
        p <<= 1;
    return p;
}

/* By value: a struct whose address never leaves run() can live in registers. */
static struct tables tables_filled(uint64_t skus, uint64_t orders)
{
    uint64_t order_slots = power_of_two_from(2 * orders);
    struct tables t = {.cell_mask = 2 * skus - 1, .order_mask = order_slots - 1, .skus = skus};

    t.cells = touched_pages(2 * skus * sizeof *t.cells);
    t.orders = touched_pages(order_slots * sizeof *t.orders);
    t.wheel = touched_pages(WHEEL_BUCKETS * sizeof *t.wheel);
    t.log = touched_pages(LOG_BYTES);
    for (uint64_t sku = 1; sku <= skus; sku++) {
        uint64_t slot = spread(sku) & t.cell_mask;

        while (t.cells[slot].sku)
            slot = (slot + 1) & t.cell_mask;
        t.cells[slot].sku = sku;
        t.cells[slot].available = 1 << 30;
    }
    return t;
}

static inline __attribute__((always_inline)) void batch_draw(struct batch *b, const struct tables *t, uint64_t done, uint64_t *rng)
{
    for (unsigned k = 0; k < BATCH; k++) {
        uint64_t id = draw(rng);

        b->in[k] = (struct command){.id = {id, done + k}, .sku = 1 + (draw(rng) & (t->skus - 1)), .quantity = 1, .opcode = 1};
    }
}

static inline __attribute__((always_inline)) void batch_prefetch(struct batch *b, const struct tables *t)
{
    for (unsigned k = 0; k < BATCH; k++) {
        b->cell_slot[k] = spread(b->in[k].sku) & t->cell_mask;
        b->order_slot[k] = spread(b->in[k].id[0] ^ b->in[k].id[1]) & t->order_mask;
        __builtin_prefetch(&t->cells[b->cell_slot[k]], 1);
        __builtin_prefetch(&t->orders[b->order_slot[k]], 1);
    }
}

/* The slot of this id, or the empty one where it belongs. */
static inline __attribute__((always_inline)) uint64_t order_find(const struct tables *t, const struct command *c, uint64_t slot)
{
    for (;; slot = (slot + 1) & t->order_mask) {
        const struct order *o = &t->orders[slot];

        if (!o->ref || (o->id[0] == c->id[0] && o->id[1] == c->id[1]))
            return slot;
    }
}

static inline __attribute__((always_inline)) bool cell_take(struct tables *t, const struct command *c, uint64_t slot)
{
    while (t->cells[slot].sku != c->sku)
        slot = (slot + 1) & t->cell_mask;

    struct cell *cell = &t->cells[slot];

    if (cell->available < c->quantity)
        return false;
    cell->available -= c->quantity;
    cell->reserved += c->quantity;
    t->granted++;
    return true;
}

static inline __attribute__((always_inline)) void place(struct tables *t, struct batch *b, unsigned k, uint64_t done)
{
    const struct command *c = &b->in[k];
    uint64_t slot = order_find(t, c, b->order_slot[k]), ref = done + k + 1, due = done >> BUCKET_SHIFT;
    uint32_t *bucket = &t->wheel[due & (WHEEL_BUCKETS - 1)];

    if (t->orders[slot].ref)
        return;

    bool held = cell_take(t, c, b->cell_slot[k]);

    t->orders[slot] = (struct order){.id = {c->id[0], c->id[1]},
                                     .ref = ref,
                                     .sku = (uint32_t)c->sku,
                                     .quantity = c->quantity,
                                     .due = due,
                                     .next = *bucket,
                                     .held = held};
    *bucket = (uint32_t)slot;
    memcpy(t->log + t->log_at, c, sizeof *c);
    t->log_at += sizeof *c;
    b->out[k] = (struct answer){.ref = ref, .result = held, .sequence = k};
}

/* In place over what the batch logged: a running CRC-32C, eight bytes an instruction. */
static inline __attribute__((always_inline)) uint32_t log_check(const char *from, const char *to, uint32_t crc)
{
    for (; from < to; from += 8) {
        uint64_t word;

        memcpy(&word, from, sizeof word);
        crc = (uint32_t)_mm_crc32_u64(crc, word);
    }
    return crc;
}

static void run(uint64_t skus, uint64_t orders)
{
    struct tables t = tables_filled(skus, orders);
    struct batch b = {0};
    uint64_t rng = UINT64_C(88172645463325252), done = 0;
    uint32_t crc = 0;
    double start = now_s();

    for (; done < orders; done += BATCH) {
        size_t logged_from = t.log_at;

        batch_draw(&b, &t, done, &rng);
        batch_prefetch(&b, &t);
        for (unsigned k = 0; k < BATCH; k++)
            place(&t, &b, k, done);
        crc = log_check(t.log + logged_from, t.log + t.log_at, crc);
        if (t.log_at + sizeof b.in > LOG_BYTES)
            t.log_at = 0;
    }

    double took_s = now_s() - start;

    printf("{\"case\":\"ceiling\",\"skus\":%" PRIu64 ",\"ns_per_order\":%.1f,\"orders_per_s\":%.0f,\"orders\":%" PRIu64
           ",\"granted\":%" PRIu64 ",\"check\":%" PRIu32 "}\n",
           skus, took_s / (double)done * 1e9, (double)done / took_s, done, t.granted, crc ^ b.out[0].sequence);
}

static uint64_t number(const char *text, const char *option, uint64_t least, uint64_t most)
{
    char *end;

    errno = 0;

    uint64_t value = strtoull(text, &end, 10);

    if (errno || end == text || *end || *text == '-' || value < least || value > most) {
        fprintf(stderr, "hot_path_ceiling: --%s wants %" PRIu64 " to %" PRIu64 ", not '%s'\n", option, least, most, text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"skus-log2", required_argument, NULL, 's'}, {"orders", required_argument, NULL, 'o'}, {NULL, 0, NULL, 0}};
    uint64_t skus_log2 = 20, orders = 14000000;

    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 's')
            skus_log2 = number(optarg, "skus-log2", 1, SKUS_LOG2_MAX);
        else if (c == 'o')
            orders = number(optarg, "orders", BATCH, ORDERS_MAX);
        else
            return 2;
    }
    if (optind < argc) {
        fprintf(stderr, "usage: hot_path_ceiling [--skus-log2 N] [--orders N]\n");
        return 2;
    }
    run(UINT64_C(1) << skus_log2, orders);
    return 0;
}

/* Reserving, sizing and counting the tables. */
#include "engine/engine_p.h"

#include <stdlib.h>
#include <sys/mman.h>

_Static_assert((2 << 20) % sizeof(struct hf_order) == 0 && (2 << 20) % sizeof(struct hf_line_row) == 0, "a huge page holds whole rows");

enum { PAGE = 4096, HUGE_PARTITIONS_MAX = 512 };
#define HUGE_PAGE  (2ull << 20)
#define MEMORY_MAX (1ull << 46)
#define ROWS_MAX   ((1ull << 31) - 2)
#define SPARE_MAX  (32ull << 30) /* each of its pages that moves costs up to two mappings */

/* One table of a partition: where its parts stand in struct hf_partition, what a row takes, and how partitions use it: all alike, some far
 * more than others (orders lie where their first SKU does), or so little that memory comes with the first touch. */
struct table_form {
    const char *name;
    unsigned table; /* whose count bounds it */
    uint32_t row_bytes;
    size_t pool_at, index_at, timers_at;
    size_t link_at;
    enum { EVEN, UNEVEN, RARE } use;
};

#define NO_PART  SIZE_MAX
#define AT(part) offsetof(struct hf_partition, part)

static const struct table_form forms[] = {
    {"skus", HF_TABLE_SKUS, sizeof(struct hf_sku_row), AT(skus), AT(sku_index), NO_PART, 0, EVEN},
    {"cells", HF_TABLE_CELLS, sizeof(struct hf_cell), AT(cells), AT(cell_index), NO_PART, 0, EVEN},
    {"orders", HF_TABLE_ORDERS, sizeof(struct hf_order), AT(orders), AT(order_index), AT(order_timers), offsetof(struct hf_order, timer),
     UNEVEN},
    {"order_sides", HF_TABLE_ORDERS, sizeof(struct hf_order_side), AT(sides), NO_PART, NO_PART, 0, RARE},
    {"lines", HF_TABLE_LINES, sizeof(struct hf_line_row), AT(lines), NO_PART, NO_PART, 0, UNEVEN},
    {"command_ids", HF_TABLE_COMMAND_IDS, sizeof(struct hf_remembered), AT(remembered), AT(remembered_index), AT(remembered_timers),
     offsetof(struct hf_remembered, timer), EVEN},
    {"limits", HF_TABLE_LIMITS, sizeof(struct hf_limit), AT(limits), AT(limit_index), AT(limit_timers), offsetof(struct hf_limit, timer),
     RARE},
    {"request_keys", HF_TABLE_REQUEST_KEYS, sizeof(struct hf_key_row), AT(keys), AT(key_index), AT(key_timers),
     offsetof(struct hf_key_row, timer), RARE},
};
enum { FORMS = sizeof forms / sizeof forms[0] };

static uint64_t rows_max_of(const struct hf_engine_options *options, unsigned table)
{
    const uint64_t rows[HF_TABLE_COUNT] = {
        [HF_TABLE_SKUS] = options->skus_max,
        [HF_TABLE_CELLS] = options->cells_max,
        [HF_TABLE_ORDERS] = options->orders_max,
        [HF_TABLE_LINES] = options->lines_max,
        [HF_TABLE_LIMITS] = options->limits_max,
        [HF_TABLE_LOCATIONS] = HF_LOCATIONS_MAX,
        [HF_TABLE_COMMAND_IDS] = options->command_ids_max,
        [HF_TABLE_REQUEST_KEYS] = options->request_keys_max,
    };
    return rows[table];
}

/* Rows of an even share with a quarter to spare. */
static uint64_t share_of(const struct hf_engine_options *options, unsigned table)
{
    uint64_t rows = rows_max_of(options, table), share = rows / options->partitions;
    share += share / 4 + 1;
    return share < rows ? share : rows;
}

static uint64_t up_to_huge_page(uint64_t bytes)
{
    return (bytes + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}

/* As much as all rows take of the tables that partitions may outgrow. */
static uint64_t spare_bytes_of(const struct hf_engine_options *options)
{
    uint64_t bytes = 0;
    for (unsigned f = 0; f < FORMS && options->prefault && options->partitions <= HUGE_PARTITIONS_MAX; f++)
        if (forms[f].use == UNEVEN)
            bytes += up_to_huge_page(rows_max_of(options, forms[f].table) * forms[f].row_bytes);
    return bytes < SPARE_MAX ? bytes : SPARE_MAX;
}

static uint32_t buckets_first_of(const struct hf_engine_options *options, unsigned table)
{
    uint32_t buckets = PAGE / sizeof(struct hf_index_bucket);
    while (options->prefault && (uint64_t)buckets * HF_BUCKET_LOAD < share_of(options, table))
        buckets *= 2;
    return buckets;
}

/* Hands out parts of the reservation; on a first pass over a NULL base it only adds up. */
struct carver {
    uint8_t *base;
    uint64_t at;
    bool prefault, failed;
    bool huge; /* huge pages for what grows beyond the first 2 MiB of an array; each costs two mappings, of which a process has 65,530 */
};

/* `bytes` of zeroed address space from a huge page boundary on (`touched` of them wanted in memory now). */
static void *carve(struct carver *carver, uint64_t bytes, uint64_t touched)
{
    uint64_t from = carver->at;
    carver->at += up_to_huge_page(bytes);
    if (!carver->base)
        return NULL;
    uint8_t *start = carver->base + from;
    if (carver->huge && bytes > 2 * HUGE_PAGE)
        (void)madvise(start + HUGE_PAGE, carver->at - from - HUGE_PAGE, MADV_HUGEPAGE);
    if (carver->prefault && touched > 0) {
        touched = up_to_huge_page(touched);
        (void)madvise(start, touched, MADV_HUGEPAGE);
        if (madvise(start, touched, MADV_POPULATE_WRITE) != 0)
            carver->failed = true;
    }
    return start;
}

/* Small parts stand side by side. */
static void *carve_small(struct carver *carver, uint64_t bytes)
{
    uint64_t from = carver->at;
    carver->at += (bytes + 127) & ~127ull;
    return carver->base ? carver->base + from : NULL;
}

static void align_carver(struct carver *carver, uint64_t to)
{
    carver->at = (carver->at + to - 1) & ~(to - 1);
}

static void carve_rows(struct carver *carver, const struct hf_engine_options *options, const struct table_form *form, struct hf_pool *pool)
{
    uint64_t rows = rows_max_of(options, form->table), touched = 0;
    bool outgrows = form->use == UNEVEN && spare_bytes_of(options) > 0;
    if (form->use != RARE)
        touched = (outgrows ? rows / options->partitions / 2 : share_of(options, form->table)) + 1;
    pool->rows = carve(carver, (rows + 1) * form->row_bytes, touched * form->row_bytes);
    pool->row_bytes = form->row_bytes;
    pool->rows_max = pool->backed = (uint32_t)rows;
    uint64_t backed = up_to_huge_page(touched * form->row_bytes) / form->row_bytes - 1;
    if (outgrows && backed < rows)
        pool->backed = (uint32_t)backed;
}

static void carve_table(struct carver *carver, const struct hf_engine_options *options, const struct table_form *form,
                        struct hf_partition *p)
{
    uint64_t rows = rows_max_of(options, form->table);
    struct hf_pool pool = {0};
    carve_rows(carver, options, form, &pool);
    pool.free = carve(carver, rows * sizeof *pool.free, 0);
    if (p)
        *(struct hf_pool *)(void *)((uint8_t *)p + form->pool_at) = pool;
    if (form->index_at != NO_PART) {
        uint32_t first = buckets_first_of(options, form->table);
        void *buckets = carve(carver, hf_index_buckets_max(rows, first) * sizeof(struct hf_index_bucket),
                              form->use == RARE ? 0 : first * sizeof(struct hf_index_bucket));
        void *overflow = carve(carver, hf_index_overflow_max(rows) * sizeof(struct hf_index_bucket), 0);
        if (p)
            hf_index_init((struct hf_index *)(void *)((uint8_t *)p + form->index_at), buckets, overflow, first);
    }
    if (form->timers_at != NO_PART && p) {
        struct hf_timers *timers = (struct hf_timers *)(void *)((uint8_t *)p + form->timers_at);
        timers->links = pool.rows + form->link_at;
        timers->stride = form->row_bytes;
        timers->kind = form->table;
    }
}

/* The timers of partition i run late by its share of a level-2 list, so that lists are dealt out at different moments. */
static void carve_wheels(struct carver *carver, struct hf_partition *p, uint32_t i, uint32_t partitions)
{
    for (unsigned f = 0; f < FORMS; f++) {
        if (forms[f].timers_at == NO_PART)
            continue;
        struct hf_wheel *wheel = carve_small(carver, sizeof *wheel);
        if (!p)
            continue;
        struct hf_timers *timers = (struct hf_timers *)(void *)((uint8_t *)p + forms[f].timers_at);
        timers->wheel = wheel;
        timers->phase_ns = (1ull << (HF_TICK_SHIFT + 16)) / partitions * i;
    }
}

static void carve_all(struct carver *carver, const struct hf_engine_options *options, struct hf_engine *engine)
{
    struct hf_partition *partitions = carve_small(carver, options->partitions * sizeof *partitions);
    struct hf_location *locations = carve_small(carver, HF_LOCATIONS_MAX * sizeof *locations);
    uint32_t *order = carve_small(carver, HF_LOCATIONS_MAX * sizeof *order);
    align_carver(carver, PAGE);
    for (uint32_t i = 0; i < options->partitions; i++)
        carve_wheels(carver, engine ? &partitions[i] : NULL, i, options->partitions);
    align_carver(carver, HUGE_PAGE);
    /* Every step looks at these: few pages for all of them. */
    if (carver->base)
        (void)madvise(carver->base, carver->at, MADV_HUGEPAGE);
    if (engine) {
        engine->partitions = partitions;
        engine->locations = locations;
        engine->location_order = order;
    }
    for (uint32_t i = 0; i < options->partitions && carver->at < MEMORY_MAX; i++)
        for (unsigned f = 0; f < FORMS; f++)
            carve_table(carver, options, &forms[f], engine ? &partitions[i] : NULL);
    uint64_t spare_bytes = spare_bytes_of(options);
    uint8_t *spare = spare_bytes > 0 ? carve(carver, spare_bytes, spare_bytes) : NULL;
    if (engine)
        engine->spare = (struct hf_spare){spare, spare_bytes};
}

struct hf_spare hf_engine_take_spare(struct hf_engine *engine)
{
    struct hf_spare spare = engine->spare;
    engine->spare = (struct hf_spare){0};
    return spare;
}

struct hf_spare hf_spare_part(struct hf_spare spare, unsigned part, unsigned parts)
{
    uint64_t bytes = spare.bytes / parts & ~(HUGE_PAGE - 1);
    return (struct hf_spare){bytes > 0 ? spare.at + part * bytes : NULL, bytes};
}

/* Memory that was touched takes the place of address space that was not: cheaper than a first touch, for which the system clears a page and
 * its host may have to find one. mremap(2); where the page was stays reserved, so that nobody else's mapping comes to lie in there. False:
 * `to` gets its memory by its first touch. */
static bool move_huge_page(uint8_t *to, uint8_t *from)
{
    if (mremap(from, HUGE_PAGE, HUGE_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to)
        return true;
    if (madvise(to, HUGE_PAGE, MADV_HUGEPAGE) == 0)
        return false;
    /* Some failures leave a hole. */
    void *fresh = mmap(to, HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    assert(fresh == to);
    (void)madvise(to, HUGE_PAGE, MADV_HUGEPAGE);
    (void)madvise(to, HUGE_PAGE, MADV_DONTDUMP);
    return false;
}

void hf_pool_outgrown(struct hf_pool *pool, struct hf_spare *spare)
{
    assert(pool->used < pool->rows_max);
    bool moved = spare->bytes >= HUGE_PAGE && move_huge_page(pool->rows + (pool->backed + 1ull) * pool->row_bytes, spare->at);
    spare->bytes = moved ? spare->bytes - HUGE_PAGE : 0;
    spare->at += moved ? HUGE_PAGE : 0;
    uint64_t backed = pool->backed + HUGE_PAGE / pool->row_bytes;
    pool->backed = (uint32_t)(backed < pool->rows_max ? backed : pool->rows_max);
}

static bool options_sound(const struct hf_engine_options *options)
{
    if (options->partitions < 1 || options->partitions > HF_PARTITIONS_MAX || (options->partitions & (options->partitions - 1)) != 0)
        return false;
    for (unsigned table = HF_TABLE_SKUS; table < HF_TABLE_LOCATIONS; table++)
        if (rows_max_of(options, table) < 1 || rows_max_of(options, table) > ROWS_MAX)
            return false;
    return options->request_keys_max <= ROWS_MAX;
}

int hf_engine_create(const struct hf_engine_options *options, struct hf_engine **out)
{
    if (!options_sound(options))
        return HF_E_USAGE;
    struct carver carver = {0};
    carve_all(&carver, options, NULL);
    if (carver.at >= MEMORY_MAX)
        return HF_E_MEMORY;
    struct hf_engine *engine = calloc(1, sizeof *engine); /* lint-ok: only at start */
    if (!engine)
        return HF_E_MEMORY;
    engine->memory_bytes = carver.at + HUGE_PAGE;
    engine->memory = mmap(NULL, engine->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (engine->memory == MAP_FAILED) {
        free(engine);
        return HF_E_MEMORY;
    }
    (void)madvise(engine->memory, engine->memory_bytes, MADV_DONTDUMP);
    uintptr_t base = ((uintptr_t)engine->memory + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    carver = (struct carver){.base = (uint8_t *)base, .prefault = options->prefault, .huge = options->partitions <= HUGE_PARTITIONS_MAX};
    carve_all(&carver, options, engine);
    if (carver.failed) {
        hf_engine_destroy(engine);
        return HF_E_MEMORY;
    }
    engine->mask = options->partitions - 1;
    engine->key[0] = options->key[0];
    engine->key[1] = options->key[1];
    engine->retention_ns = options->retention_ns;
    engine->options = *options;
    *out = engine;
    return 0;
}

void hf_engine_destroy(struct hf_engine *engine)
{
    if (!engine)
        return;
    (void)munmap(engine->memory, engine->memory_bytes);
    free(engine);
}

uint32_t hf_engine_partitions(const struct hf_engine *engine)
{
    return engine->mask + 1;
}

/* Rows in use of one form over all partitions; approximate while others step, which the thread sanitizer need not hear of. */
__attribute__((no_sanitize("thread"))) static uint64_t rows_used_of(const struct hf_engine *engine, const struct table_form *form)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i <= engine->mask; i++) {
        const struct hf_pool *pool = (const struct hf_pool *)(const void *)((const uint8_t *)&engine->partitions[i] + form->pool_at);
        rows += *(const volatile uint32_t *)&pool->used - *(const volatile uint32_t *)&pool->free_count;
    }
    return rows;
}

uint64_t hf_engine_rows(const struct hf_engine *engine, unsigned table)
{
    if (table == HF_TABLE_LOCATIONS)
        return engine->location_count;
    for (unsigned f = 0; f < FORMS; f++)
        if (forms[f].table == table)
            return rows_used_of(engine, &forms[f]);
    return 0;
}

unsigned hf_engine_sizes(const struct hf_engine *engine, const struct hf_engine_options *options, struct hf_engine_size *rows, unsigned max)
{
    if (engine)
        options = &engine->options;
    unsigned count = 0;
    for (unsigned f = 0; f < FORMS && count < max; f++) {
        const struct table_form *form = &forms[f];
        /* A bucket for every third row, and the slot in the list of free ones. */
        uint32_t row = form->row_bytes + (uint32_t)sizeof(uint32_t);
        if (form->index_at != NO_PART)
            row += (uint32_t)(sizeof(struct hf_index_bucket) + HF_BUCKET_LOAD - 1) / HF_BUCKET_LOAD;
        uint64_t most = rows_max_of(options, form->table);
        rows[count] = (struct hf_engine_size){.table = form->name, .rows_max = most, .row_bytes = row, .bytes_max = most * row};
        if (engine)
            rows[count].rows_used = rows_used_of(engine, form);
        count++;
    }
    uint32_t location = sizeof(struct hf_location) + sizeof(uint32_t);
    if (count < max)
        rows[count++] = (struct hf_engine_size){"locations", HF_LOCATIONS_MAX, location, (uint64_t)HF_LOCATIONS_MAX * location,
                                                engine ? engine->location_count : 0};
    return count;
}

uint64_t hf_engine_last_time_ns(const struct hf_engine *engine)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i <= engine->mask; i++)
        last = hf_later(last, engine->partitions[i].last_ns);
    return last;
}

uint64_t hf_engine_mark_ms(const struct hf_engine *engine, uint32_t partition)
{
    return engine->partitions[partition].mark_ms;
}

/* The index: finds everything, forgets everything, and does not decay. */
#include "tests/engine/kit.h"

#include <sys/mman.h>

struct table {
    struct hf_index index;
    uint32_t *hash; /* by slot; 0 where free */
    uint32_t rows_max;
    uint64_t random;
    void *buckets, *overflow;
    size_t buckets_bytes, overflow_bytes;
};

static void *zeroed(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(at != MAP_FAILED);
    return at;
}

static struct table table_new(uint32_t rows_max)
{
    struct table table = {.rows_max = rows_max, .random = 42};
    table.buckets_bytes = hf_index_buckets_max(rows_max, 4) * sizeof(struct hf_index_bucket);
    table.overflow_bytes = hf_index_overflow_max(rows_max) * sizeof(struct hf_index_bucket);
    table.buckets = zeroed(table.buckets_bytes);
    table.overflow = zeroed(table.overflow_bytes);
    table.hash = calloc(rows_max + 1u, sizeof *table.hash);
    hf_index_init(&table.index, table.buckets, table.overflow, 4);
    return table;
}

static void table_free(struct table *table)
{
    munmap(table->buckets, table->buckets_bytes);
    munmap(table->overflow, table->overflow_bytes);
    free(table->hash);
}

static uint32_t draw(struct table *table)
{
    table->random = table->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(table->random >> 32) | 1;
}

static bool has(const struct table *table, uint32_t hash, uint32_t slot)
{
    struct hf_index_cursor cursor;
    for (uint32_t at = hf_index_first(&table->index, hash, &cursor); at != 0; at = hf_index_next(&table->index, &cursor))
        if (at == slot)
            return true;
    return false;
}

static void everything_inserted_is_found_and_nothing_else(void **state)
{
    (void)state;
    struct table table = table_new(50000);
    for (uint32_t slot = 1; slot <= table.rows_max; slot++)
        hf_index_insert(&table.index, table.hash[slot] = draw(&table), slot);
    for (uint32_t slot = 1; slot <= table.rows_max; slot++)
        assert_true(has(&table, table.hash[slot], slot));
    struct hf_index_cursor cursor;
    unsigned found = 0;
    for (int i = 0; i < 100000; i++)
        found += hf_index_first(&table.index, draw(&table) & ~1u, &cursor) != 0;
    assert_int_equal(found, 0);
    table_free(&table);
}

static void equal_hashes_are_told_apart_by_slot(void **state)
{
    (void)state;
    struct table table = table_new(1000);
    for (uint32_t slot = 1; slot <= 1000; slot++)
        hf_index_insert(&table.index, 77, slot);
    for (uint32_t slot = 1; slot <= 1000; slot += 2)
        hf_index_erase(&table.index, 77, slot);
    for (uint32_t slot = 1; slot <= 1000; slot++)
        assert_int_equal(has(&table, 77, slot), slot % 2 == 0);
    for (uint32_t slot = 2; slot <= 1000; slot += 2)
        hf_index_erase(&table.index, 77, slot);
    assert_int_equal(table.index.rows, 0);
    assert_int_equal(hf_index_spares(&table.index)->live, 0);
    table_free(&table);
}

static void millions_of_inserts_and_erases_leave_no_trace(void **state)
{
    (void)state;
    struct table table = table_new(20000);
    uint32_t live = 0, chain = 0, overflow = 0;
    for (int i = 0; i < 4000000; i++) {
        uint32_t slot = 1 + draw(&table) % table.rows_max;
        if (table.hash[slot] == 0) {
            hf_index_insert(&table.index, table.hash[slot] = draw(&table), slot);
            live++;
        } else {
            hf_index_erase(&table.index, table.hash[slot], slot);
            table.hash[slot] = 0;
            live--;
        }
        if (i == 400000) {
            chain = hf_index_chain_max(&table.index);
            overflow = hf_index_spares(&table.index)->used;
        }
    }
    assert_int_equal(table.index.rows, live);
    assert_true(hf_index_chain_max(&table.index) <= chain + 1 && chain <= 4);
    assert_true(hf_index_spares(&table.index)->used <= overflow + overflow / 2 + 8);
    for (uint32_t slot = 1; slot <= table.rows_max; slot++)
        if (table.hash[slot] != 0)
            assert_true(has(&table, table.hash[slot], slot));
    table_free(&table);
}

static void adversarial_ids_do_not_meet_under_a_key(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(1, 20000);
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 1, 1000000);
    struct hf_sku sku = kit_sku(1);
    /* ids that differ in few bits, as a client might choose them */
    for (uint64_t i = 0; i < 15000; i++)
        assert_int_equal(kit_place(kit, hf_id_make(hf_route(&sku), kit->now_ns / KIT_MS + i % 3, i << 20), 1, 1, 100000), HF_OK);
    assert_true(hf_index_chain_max(&kit->engine->partitions[0].order_index) <= 4);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_inserted_is_found_and_nothing_else),
        cmocka_unit_test(equal_hashes_are_told_apart_by_slot),
        cmocka_unit_test(millions_of_inserts_and_erases_leave_no_trace),
        cmocka_unit_test(adversarial_ids_do_not_meet_under_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

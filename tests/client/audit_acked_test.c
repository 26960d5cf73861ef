#include "client/audit.h"

#include "wire/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/client/audit_records.h"

static struct shadow shadow;
static struct hf_audit *audit;
static struct hf_audit_acked *acked;
static uint64_t position;
static char path[64];
static FILE *file;

static void feed(void)
{
    position += shadow_record(&shadow)->length;
    assert_int_equal(hf_audit_feed(audit, shadow_record(&shadow), sizeof shadow.bytes, position, 1), 0);
}

static void told(struct hf_id id, const char *rest)
{
    fprintf(file, "%016llx%016llx %s\n", (unsigned long long)id.high, (unsigned long long)id.low, rest);
}

static int opened(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(path, sizeof path, "%.32s/holdfast-acked-XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    file = fd < 0 ? NULL : fdopen(fd, "w");
    shadow = (struct shadow){.time_ns = 1700000000000000000ull};
    position = 0;
    audit = NULL;
    acked = NULL;
    return file ? 0 : -1;
}

static int closed(void **state)
{
    (void)state;
    hf_audit_destroy(audit);
    hf_audit_acked_destroy(acked);
    return unlink(path);
}

/* What was told is read; from here on records follow. */
static void read_told(void)
{
    char error[256];
    assert_int_equal(fclose(file), 0);
    assert_int_equal(hf_audit_acked_read(path, &acked, error, sizeof error), 0);
    assert_int_equal(hf_audit_create(SHADOW_PARTITIONS, acked, &audit), 0);
}

static struct hf_audit_acked_counts counted(void)
{
    const struct hf_audit_report *report;
    struct hf_audit_acked_counts counts;
    assert_int_equal(hf_audit_finish(audit, &report), 0);
    hf_audit_acked_count(acked, &counts);
    return counts;
}

static struct hf_id id_of(unsigned number)
{
    struct hf_sku sku = shadow_sku("A");
    return hf_id_make(hf_route(&sku), shadow.time_ns / 1000000, number);
}

/* The next order made by the shadow gets id_of(number). */
static struct hf_id place_numbered(unsigned number)
{
    shadow.serial = number - 1;
    uint64_t time_ns = shadow.time_ns;
    struct hf_id id = shadow_place_one(&shadow, "A", 1, 1);
    assert_int_equal(time_ns / 1000000, shadow.time_ns / 1000000);
    feed();
    return id;
}

static void effects_with_their_records_are_neither_missing_nor_wrong(void **state)
{
    (void)state;
    told(id_of(1), "OK");
    told(id_of(1), "settle OK");
    told(id_of(1), "result OK");
    told(id_of(1), "ship OK");
    told(id_of(2), "OK");
    told(id_of(2), "extend OK");
    told(id_of(2), "extend OK");
    told(id_of(2), "cancel OK");
    read_told();
    struct hf_id first = place_numbered(1), second = place_numbered(2);
    shadow_settle(&shadow, first);
    feed();
    shadow_verb(&shadow, HF_PAYMENT_RESULT, first, HF_CONFIRMED, shadow_nothing);
    feed();
    shadow_verb(&shadow, HF_SHIP, first, HF_CLOSED, shadow_ship);
    feed();
    shadow_verb(&shadow, HF_EXTEND, second, HF_HELD, shadow_nothing);
    feed();
    feed();
    shadow_cancel(&shadow, second);
    feed();
    struct hf_audit_acked_counts counts = counted();
    assert_int_equal(counts.acked, 8);
    assert_int_equal(counts.missing, 0);
    assert_int_equal(counts.wrong, 0);
    assert_int_equal(counts.unreadable, 0);
}

static void an_effect_without_a_record_is_missing(void **state)
{
    (void)state;
    told(id_of(1), "OK");
    told(id_of(2), "OK");
    told(id_of(2), "settle OK");
    told(id_of(2), "extend OK");
    told(id_of(2), "extend OK");
    read_told();
    struct hf_id second = place_numbered(2);
    shadow_verb(&shadow, HF_EXTEND, second, HF_HELD, shadow_nothing);
    feed();
    struct hf_audit_acked_counts counts = counted();
    assert_int_equal(counts.acked, 5);
    assert_int_equal(counts.missing, 3);
    assert_int_equal(counts.wrong, 0);
    assert_int_equal(counts.note_count, 3);
}

static void a_record_that_says_otherwise_is_wrong(void **state)
{
    (void)state;
    told(id_of(1), "OK");
    told(id_of(1), "settle OK");
    read_told();
    struct hf_id first = place_numbered(1);
    shadow_verb(&shadow, HF_SETTLE, first, HF_EXPIRED, shadow_nothing);
    shadow_record(&shadow)->result = HF_STOCK_LOST;
    feed();
    struct hf_audit_acked_counts counts = counted();
    assert_int_equal(counts.acked, 2);
    assert_int_equal(counts.missing, 0);
    assert_int_equal(counts.wrong, 1);
    assert_true(counts.notes[0].wrong);
    assert_string_equal(hf_audit_verb_name(counts.notes[0].verb), "settle");
}

static void rejects_promise_nothing(void **state)
{
    (void)state;
    told(id_of(1), "SHORT");
    told(id_of(2), "BUSY");
    told(id_of(3), "settle BAD_STATE");
    read_told();
    place_numbered(1);
    struct hf_audit_acked_counts counts = counted();
    assert_int_equal(counts.acked, 0);
    assert_int_equal(counts.missing + counts.wrong + counts.unreadable, 0);
}

static void a_last_line_that_was_cut_off_is_ignored(void **state)
{
    (void)state;
    told(id_of(1), "OK");
    fprintf(file, "%016llx%016llx OK", 1ull, 2ull);
    read_told();
    place_numbered(1);
    struct hf_audit_acked_counts counts = counted();
    assert_int_equal(counts.acked, 1);
    assert_int_equal(counts.missing, 0);
    assert_int_equal(counts.unreadable, 0);
}

static void lines_of_another_form_are_counted(void **state)
{
    (void)state;
    fputs("\nhello\n", file);
    told(id_of(1), "jump OK");
    told(id_of(1), "settle OK OK");
    told(id_of(1), "ok");
    fputs("0000000000000000000000000000000g OK\n", file);
    read_told();
    struct hf_audit_acked_counts counts = counted();
    assert_int_equal(counts.acked, 0);
    assert_int_equal(counts.unreadable, 6);
}

static void an_order_told_twice_is_one_effect(void **state)
{
    (void)state;
    told(id_of(1), "OK");
    told(id_of(1), "OK");
    read_told();
    struct hf_audit_acked_counts counts = counted();
    assert_int_equal(counts.acked, 2);
    assert_int_equal(counts.missing, 1);
}

static void a_long_list_is_found_again(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 100000; i++)
        told(id_of(i), "OK");
    read_told();
    uint64_t begin_ns = shadow.time_ns;
    for (unsigned i = 1; i <= 1000; i++) {
        shadow.order_count = 0;
        shadow.time_ns = begin_ns;
        place_numbered(i * 100);
    }
    struct hf_audit_acked_counts counts = counted();
    assert_int_equal(counts.acked, 100000);
    assert_int_equal(counts.missing, 99000);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    char error[256];
    (void)state;
    assert_int_equal(fclose(file), 0);
    assert_int_equal(hf_audit_acked_read("/nonexistent/acked", &acked, error, sizeof error), HF_E_IO);
    assert_non_null(strstr(error, "/nonexistent/acked"));
}

#define ACKED_TEST(name) cmocka_unit_test_setup_teardown(name, opened, closed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ACKED_TEST(effects_with_their_records_are_neither_missing_nor_wrong),
        ACKED_TEST(an_effect_without_a_record_is_missing),
        ACKED_TEST(a_record_that_says_otherwise_is_wrong),
        ACKED_TEST(rejects_promise_nothing),
        ACKED_TEST(a_last_line_that_was_cut_off_is_ignored),
        ACKED_TEST(lines_of_another_form_are_counted),
        ACKED_TEST(an_order_told_twice_is_one_effect),
        ACKED_TEST(a_long_list_is_found_again),
        ACKED_TEST(a_file_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

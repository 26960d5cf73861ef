/* The recovery rule on a simulated disk: what is a torn tail, what is damage, what never existed. */
#include "log_help.h"

#include "persist/block_check.h"
#include "persist/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    struct help *help = calloc(1, sizeof *help);
    const struct hf_sim_options options = {.seed = 3, .depth = 3, .polls_max = 4};
    help->options = help_small();
    help->options.backend = HF_LOG_SIM;
    help->options.backend_options = hf_sim_disk_new(&options);
    *state = help;
    return 0;
}

static struct hf_sim_disk *disk_of(const struct help *help)
{
    return (struct hf_sim_disk *)(uintptr_t)help->options.backend_options;
}

static int teardown(void **state)
{
    struct help *help = *state;
    help_close(help);
    hf_sim_disk_free(disk_of(help));
    free(help);
    return 0;
}

/* `blocks` blocks of one 4 KiB each, not stopped; the last one is not sealed. */
static void write_blocks(struct help *help, unsigned blocks)
{
    help_start(help);
    for (unsigned i = 0; i < blocks; i++) {
        help_write(help, 160);
        assert_int_equal(help_settle(help), 0);
    }
    help_close(help);
}

static void assert_damaged_at(struct help *help, uint64_t position)
{
    char text[64];
    assert_int_equal(help_open(help), HF_E_DAMAGED);
    snprintf(text, sizeof text, "position %llu ", (unsigned long long)position);
    if (strstr(hf_log_error(help->log), text) == NULL)
        fail_msg("no %sin: %s", text, hf_log_error(help->log));
    help_close(help);
}

static void the_last_unsealed_block_torn_is_cut(void **state)
{
    struct help *help = *state;
    write_blocks(help, 10);
    hf_sim_disk_flip(disk_of(help), 9 * 4096 + 200, 1);
    help_start(help);
    assert_int_equal(help->seen, 9);
    assert_int_equal(help->info.torn_tail_bytes, 4096);
    assert_int_equal(help->info.end_position, 9 * 4096);
    assert_int_equal(help_write_many(help, 5, 160), 0);
    help_stop(help);
    help_start(help);
    assert_int_equal(help->seen, 14);
}

static void a_block_that_was_said_durable_is_never_cut(void **state)
{
    struct help *help = *state;
    write_blocks(help, 10);
    hf_sim_disk_flip(disk_of(help), 4 * 4096 + 200, 1);
    assert_damaged_at(help, 4 * 4096);
}

static void a_bit_flipped_in_any_header_field_of_a_sealed_block_is_damage(void **state)
{
    struct help *help = *state;
    write_blocks(help, 10);
    for (uint32_t offset = 0; offset < HF_BLOCK_HEADER_BYTES; offset++) {
        hf_sim_disk_flip(disk_of(help), 4 * 4096 + offset, 0x10);
        assert_damaged_at(help, 4 * 4096);
        hf_sim_disk_flip(disk_of(help), 4 * 4096 + offset, 0x10);
    }
    assert_int_equal(help_open(help), 0);
    assert_int_equal(help->seen, 10);
}

static void a_seal_turns_the_torn_last_block_into_damage(void **state)
{
    struct help *help = *state;
    help_start(help);
    for (unsigned i = 0; i < 10; i++) {
        help_write(help, 160);
        assert_int_equal(help_settle(help), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        help->now_ns += 6000000;
        assert_true(hf_log_drain(help->log, help->now_ns) >= 0);
        assert_int_equal(help_settle(help), 0);
    }
    struct hf_log_status status;
    hf_log_status(help->log, &status);
    assert_int_equal(status.seals, 1);
    help_close(help);
    uint64_t last = status.durable - 2 * 4096;
    hf_sim_disk_flip(disk_of(help), last + 200, 1);
    assert_damaged_at(help, last);
}

static void a_clean_end_that_is_gone_is_damage(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 10, 160), 0);
    assert_int_equal(help_settle(help), 0);
    help_stop(help);
    uint64_t end = 0;
    assert_int_equal(help_open(help), 0);
    end = help->info.end_position;
    help_close(help);
    hf_sim_disk_wipe(disk_of(help), end - 4096, 4096);
    assert_damaged_at(help, end - 4096);
}

static void a_hole_before_the_newest_beginning_is_damage(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    help_start(help);
    help_close(help);
    hf_sim_disk_wipe(disk_of(help), 4 * 4096, 4096);
    assert_damaged_at(help, 4 * 4096);
}

/* Makes the block at `position` say something else and check again. */
static void forge(struct help *help, uint64_t position, void (*change)(struct hf_block *), uint64_t to)
{
    struct hf_manifest manifest;
    struct hf_block head;
    assert_int_equal(hf_manifest_decode(hf_sim_disk_manifest(disk_of(help), 0), HF_MANIFEST_BYTES, &manifest), 0);
    uint8_t *from = hf_sim_disk_at(disk_of(help), position), *at = hf_sim_disk_at(disk_of(help), to);
    assert_non_null(from);
    assert_non_null(at);
    memmove(at, from, 4096);
    memcpy(&head, at, sizeof head);
    head.position = to;
    change(&head);
    memcpy(at, &head, sizeof head);
    head.checksum = hf_block_checksum(at, head.length, manifest.seed);
    memcpy(at, &head, sizeof head);
}

static void say_nothing_durable(struct hf_block *head)
{
    head->durable = 0;
    head->number += 1000;
}

static void be_of_an_older_term(struct hf_block *head)
{
    head->durable = head->position;
    head->term = 1;
    head->number += 1000;
}

static void say_all_durable(struct hf_block *head)
{
    head->durable = head->position;
    head->number += 1000;
}

static void be_of_a_newer_format(struct hf_block *head)
{
    head->format = HF_BLOCK_FORMAT + 1;
}

static void a_later_block_of_this_term_that_knows_nothing_durable_leaves_a_torn_tail(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    forge(help, 4 * 4096, say_nothing_durable, 9 * 4096);
    assert_int_equal(help_open(help), 0);
    assert_int_equal(help->seen, 5);
    assert_int_equal(help->info.torn_tail_bytes, 5 * 4096);
}

static void a_later_block_of_this_term_that_says_the_hole_was_durable_is_damage(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    forge(help, 4 * 4096, say_all_durable, 9 * 4096);
    assert_damaged_at(help, 5 * 4096);
}

static void a_block_further_ahead_than_one_is_ever_written_is_damage(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    help_start(help);
    for (unsigned i = 0; i < 2200; i++) {
        help_write(help, 2000);
        assert_int_equal(help_settle(help), 0);
    }
    help_close(help);
    uint64_t hole = 6 * 4096, far = hole + (8 << 20) + 4096;
    hf_sim_disk_wipe(disk_of(help), hole, hf_sim_disk_bytes(disk_of(help)) - hole);
    forge(help, 5 * 4096, say_nothing_durable, far);
    assert_damaged_at(help, hole);
}

/* However far a gap of zeros reaches: what follows it was submitted when it was durable. */
static void zeros_of_any_length_in_the_middle_of_the_newest_term_are_damage(void **state)
{
    struct help *help = *state;
    help_start(help);
    for (unsigned i = 0; i < 3200; i++) {
        help_write(help, 2000);
        assert_int_equal(help_settle(help), 0);
    }
    help_close(help);
    for (uint64_t bytes = 7 << 20; bytes <= 12 << 20; bytes += 1 << 20) {
        hf_sim_disk_wipe(disk_of(help), 8 * 4096, bytes);
        assert_damaged_at(help, 8 * 4096);
    }
}

static void blocks_of_older_terms_beyond_a_beginning_do_not_exist(void **state)
{
    struct help *help = *state;
    write_blocks(help, 10);
    hf_sim_disk_flip(disk_of(help), 9 * 4096 + 200, 1);
    help_start(help);
    assert_int_equal(help->seen, 9);
    help_close(help);
    hf_sim_disk_flip(disk_of(help), 9 * 4096 + 200, 1);
    forge(help, 8 * 4096, be_of_an_older_term, 11 * 4096);
    assert_int_equal(help_open(help), 0);
    assert_int_equal(help->seen, 9);
    assert_int_equal(help->info.end_position, 9 * 4096);
}

/* The checksum of the block at `position`: what the next one's header must name. */
static uint32_t chain_of(const struct help *help, uint64_t position)
{
    struct hf_block head;
    memcpy(&head, hf_sim_disk_at(disk_of(help), position), sizeof head);
    return head.checksum;
}

static uint32_t chain_before; /* what the forged block continues */

static void continue_in_an_older_term(struct hf_block *head)
{
    head->number++;
    head->previous = chain_before;
    head->term = 1;
}

static void a_block_of_an_older_term_that_continues_the_chain_is_not_joined(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    help_start(help);
    help_close(help);
    chain_before = chain_of(help, 4 * 4096);
    forge(help, 4 * 4096, continue_in_an_older_term, 5 * 4096);
    assert_int_equal(help_open(help), 0);
    assert_int_equal(help->seen, 5);
    assert_int_equal(help->info.end_position, 5 * 4096);
}

static void continue_with_another_number(struct hf_block *head)
{
    head->number += 2;
    head->previous = chain_before;
}

static void continue_from_another_block(struct hf_block *head)
{
    head->number++;
    head->previous = chain_before ^ 1;
}

static void a_whole_block_at_the_end_that_does_not_continue_the_chain_is_damage(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    chain_before = chain_of(help, 4 * 4096);
    forge(help, 4 * 4096, continue_with_another_number, 5 * 4096);
    assert_damaged_at(help, 5 * 4096);
    forge(help, 4 * 4096, continue_from_another_block, 5 * 4096);
    assert_damaged_at(help, 5 * 4096);
}

static void continue_from_another_place(struct hf_block *head)
{
    head->number++;
    head->previous = chain_before;
    head->position -= 4096;
}

static void a_block_that_names_another_position_is_none(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    chain_before = chain_of(help, 4 * 4096);
    forge(help, 4 * 4096, continue_from_another_place, 5 * 4096);
    assert_int_equal(help_open(help), 0);
    assert_int_equal(help->seen, 5);
    assert_int_equal(help->info.torn_tail_bytes, 4096);
}

static void be_of_another_time(struct hf_block *head)
{
    head->time_ns++;
}

static void be_of_the_time_before(struct hf_block *head)
{
    head->time_ns--;
}

static void a_sound_block_in_the_place_of_another_is_damage_where_the_manifest_knows_better(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    help_start(help);
    help_close(help);
    forge(help, 4 * 4096, be_of_another_time, 4 * 4096);
    assert_damaged_at(help, 5 * 4096);
    forge(help, 4 * 4096, be_of_the_time_before, 4 * 4096);
    help_start(help);
    help_write(help, 160);
    assert_int_equal(help_settle(help), 0);
    help_stop(help);
    assert_int_equal(help_open(help), 0);
    uint64_t end = help->info.end_position;
    help_close(help);
    forge(help, end - 4096, be_of_another_time, end - 4096);
    assert_damaged_at(help, end);
}

static void the_newer_copy_of_the_manifest_counts_whichever_it_is(void **state)
{
    struct help *help = *state;
    for (unsigned copy = 0; copy < 2; copy++) {
        uint8_t older[HF_MANIFEST_BYTES];
        help_start(help);
        help_close(help);
        memcpy(older, hf_sim_disk_manifest(disk_of(help), copy), sizeof older);
        help_start(help);
        uint64_t term = help->term;
        help_close(help);
        memcpy(hf_sim_disk_manifest(disk_of(help), copy), older, sizeof older);
        assert_int_equal(help_open(help), 0);
        assert_int_equal(help->info.term, term);
        help_close(help);
    }
}

static void a_block_of_a_newer_format_is_refused_as_newer(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    forge(help, 4 * 4096, be_of_a_newer_format, 4 * 4096);
    assert_int_equal(help_open(help), HF_E_NEWER);
}

static void a_failed_short_or_fenced_write_is_fatal_and_stays_so(void **state)
{
    struct help *help = *state;
    const enum hf_sim_fault faults[] = {HF_SIM_WRITE_ERROR, HF_SIM_WRITE_SHORT, HF_SIM_FENCED};
    for (unsigned i = 0; i < 3; i++) {
        help_start(help);
        assert_int_equal(help_write_many(help, 5, 160), 0);
        assert_int_equal(help_settle(help), 0);
        uint64_t durable = hf_log_durable(help->log);
        hf_sim_disk_plan(disk_of(help), faults[i], 1);
        help_write(help, 160);
        assert_int_equal(help_settle(help), HF_E_IO);
        assert_int_equal(hf_log_drain(help->log, help->now_ns + 1000000), HF_E_IO);
        assert_int_equal(hf_log_stop(help->log), HF_E_IO);
        assert_int_equal(hf_log_durable(help->log), durable);
        assert_true(strlen(hf_log_error(help->log)) > 20);
        help_close(help);
        hf_sim_disk_restart(disk_of(help));
    }
}

static void a_full_disk_lowers_the_watermark_in_two_steps(void **state)
{
    struct help *help = *state;
    hf_sim_disk_set_capacity(disk_of(help), 1 << 20);
    help_start(help);
    int seen = 0;
    for (unsigned i = 0; i < 1000 && hf_log_watermark(help->log) < 2; i++) {
        assert_int_equal(help_write_many(help, 1, 2048), 0);
        assert_int_equal(help_settle(help), 0);
        if (hf_log_watermark(help->log) == 1)
            seen++;
    }
    assert_true(seen > 0);
    assert_int_equal(hf_log_watermark(help->log), 2);
    assert_int_equal(help_settle(help), 0);
    help_stop(help);
}

/* The drainer may come late: what was claimed since its last turn must fit the space all the same, and a stop too. */
static void what_is_claimed_between_two_turns_of_the_drainer_fits_the_space(void **state)
{
    struct help *help = *state;
    hf_sim_disk_set_capacity(disk_of(help), 512 << 10);
    help_start(help);
    unsigned claimed = 0;
    for (; hf_log_has_room(help->log); claimed++)
        help_write(help, 1024);
    assert_true(claimed > 100);
    help_stop(help);
    help_start(help);
    assert_int_equal(help->seen, claimed);
}

/* Ends a start by a power cut in its `operations`-th step: the writings of the manifest are the first two. */
static void start_until_the_power_goes(struct help *help, uint64_t operations)
{
    int e = help_open(help);
    if (e != 0)
        fail_msg("error %d: %s", e, hf_log_error(help->log));
    hf_sim_disk_crash_after(disk_of(help), operations);
    assert_int_equal(hf_log_start(help->log, &help->buffer, &help->term), HF_E_IO);
    help_close(help);
    hf_sim_disk_restart(disk_of(help));
}

static void starts_that_are_cut_one_after_another_leave_a_copy_of_the_manifest(void **state)
{
    struct help *help = *state;
    write_blocks(help, 5);
    for (unsigned round = 0; round < 40; round++) {
        start_until_the_power_goes(help, 2);
        start_until_the_power_goes(help, 1 + round % 2);
    }
    help_start(help);
    assert_int_equal(help->seen, 5);
}

static void nothing_becomes_durable_behind_a_clean_end(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 5, 160), 0);
    assert_int_equal(hf_log_stop(help->log), 0);
    uint64_t durable = hf_log_durable(help->log);
    help_write(help, 160);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(hf_log_drain(help->log, help->now_ns += 1000000), 0);
    assert_int_equal(hf_log_durable(help->log), durable);
    help_close(help);
    help_start(help);
    assert_int_equal(help->seen, 5);
}

static void recovery_stops_at_the_position_asked_for(void **state)
{
    struct help *help = *state;
    write_blocks(help, 10);
    struct hf_log_info info;
    assert_int_equal(hf_log_open(&help->options, &help->log, &info), 0);
    assert_int_equal(hf_log_recover(help->log, NULL, NULL, NULL, 3 * 4096, &info), 0);
    assert_int_equal(info.records, 3);
    assert_int_equal(info.end_position, 10 * 4096);
}

/* One life between two power cuts: everything said durable before the cut is there after it, in order and whole. */
static void live_until_the_power_goes(struct help *help, uint64_t operations, uint64_t *durable_records)
{
    uint64_t ends[4096];
    uint64_t first = help->written;
    hf_sim_disk_crash_after(disk_of(help), operations);
    int e = hf_log_start(help->log, &help->buffer, &help->term);
    for (unsigned i = 0; e == 0 && i < 4096; i++) {
        ends[i] = help_write(help, 48 + 8 * ((i * 37) % 200));
        help->now_ns += 10000;
        e = hf_log_drain(help->log, help->now_ns);
        e = e > 0 ? 0 : e;
        while (e == 0 && !hf_log_buffer_has_room(help->buffer, 0)) {
            e = hf_log_drain(help->log, help->now_ns += 10000);
            e = e > 0 ? 0 : e;
        }
        uint64_t durable = hf_log_durable(help->log);
        for (; *durable_records < help->written && ends[*durable_records - first] <= durable; (*durable_records)++)
            ;
    }
    help_close(help);
}

static void power_cuts_at_any_operation_lose_nothing_durable(void **state)
{
    struct help *help = *state;
    uint64_t durable_records = 0;
    help->now_ns = HELP_WALL_NS;
    for (unsigned round = 0; round < 150; round++) {
        int e = help_open(help);
        if (e != 0)
            fail_msg("round %u: error %d: %s", round, e, hf_log_error(help->log));
        if (help->seen < durable_records)
            fail_msg("round %u: %u records were durable, %u came back", round, (unsigned)durable_records, (unsigned)help->seen);
        durable_records = help->seen;
        live_until_the_power_goes(help, 1 + round * round * 7 % 400, &durable_records);
        hf_sim_disk_restart(disk_of(help));
    }
    assert_true(durable_records > 500);
}

int main(void)
{
#define ON_DISK(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        ON_DISK(the_last_unsealed_block_torn_is_cut),
        ON_DISK(a_block_that_was_said_durable_is_never_cut),
        ON_DISK(a_bit_flipped_in_any_header_field_of_a_sealed_block_is_damage),
        ON_DISK(a_seal_turns_the_torn_last_block_into_damage),
        ON_DISK(a_clean_end_that_is_gone_is_damage),
        ON_DISK(a_hole_before_the_newest_beginning_is_damage),
        ON_DISK(a_later_block_of_this_term_that_knows_nothing_durable_leaves_a_torn_tail),
        ON_DISK(a_later_block_of_this_term_that_says_the_hole_was_durable_is_damage),
        ON_DISK(a_block_further_ahead_than_one_is_ever_written_is_damage),
        ON_DISK(zeros_of_any_length_in_the_middle_of_the_newest_term_are_damage),
        ON_DISK(blocks_of_older_terms_beyond_a_beginning_do_not_exist),
        ON_DISK(a_block_of_an_older_term_that_continues_the_chain_is_not_joined),
        ON_DISK(a_whole_block_at_the_end_that_does_not_continue_the_chain_is_damage),
        ON_DISK(a_block_that_names_another_position_is_none),
        ON_DISK(a_sound_block_in_the_place_of_another_is_damage_where_the_manifest_knows_better),
        ON_DISK(the_newer_copy_of_the_manifest_counts_whichever_it_is),
        ON_DISK(a_block_of_a_newer_format_is_refused_as_newer),
        ON_DISK(a_failed_short_or_fenced_write_is_fatal_and_stays_so),
        ON_DISK(a_full_disk_lowers_the_watermark_in_two_steps),
        ON_DISK(what_is_claimed_between_two_turns_of_the_drainer_fits_the_space),
        ON_DISK(starts_that_are_cut_one_after_another_leave_a_copy_of_the_manifest),
        ON_DISK(nothing_becomes_durable_behind_a_clean_end),
        ON_DISK(recovery_stops_at_the_position_asked_for),
        ON_DISK(power_cuts_at_any_operation_lose_nothing_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

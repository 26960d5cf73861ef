/* The load generator against a peer: what it offers, counts and keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/load.h"
#include "peer.h"

static const struct hf_load_options small = {.skus = 100,
                                             .lines = 1,
                                             .quantity = 1,
                                             .zipf = 1,
                                             .connections = 3,
                                             .batch = 8,
                                             .inflight = 2,
                                             .has_rate = true,
                                             .ttl_ms = 1000,
                                             .speed = 1,
                                             .orders = 1000,
                                             .seed = 1,
                                             .linger_ns = 50000};

static struct hf_load_report *run(struct hf_load_options options, struct peer *peer)
{
    struct hf_load_report *report = malloc(sizeof *report);
    options.server = peer_address(peer);
    assert_int_equal(hf_load_run(&options, report), 0);
    return report;
}

static void a_closed_loop_sends_exactly_so_many_orders_in_full_frames(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_load_report *report = run(small, peer);
    struct peer_seen seen;
    peer_seen(peer, &seen);
    assert_true(report->connected);
    assert_int_equal(report->orders, 1000);
    assert_int_equal(report->granted, 1000);
    assert_int_equal(report->unanswered, 0);
    assert_int_equal(report->errors, 0);
    assert_int_equal(report->response.count, 1000);
    assert_int_equal(report->service.count, 1000);
    assert_int_equal(seen.commands, 1000);
    assert_int_equal(seen.requests, 125);
    assert_int_equal(seen.frame_commands_max, 8);
    assert_int_equal(seen.bad_frames, 0);
    assert_int_equal(seen.repeated_ids, 0);
    assert_true(seen.in_flight_max <= 2);
    free(report);
    peer_stop(peer);
}

static uint32_t by_quantity(void *context, const struct hf_command *command, struct hf_answer *answer)
{
    static const uint16_t results[] = {HF_OK, HF_SHORT, HF_BUSY, HF_NO_SPACE, HF_DRAINING, HF_FULL, HF_UNKNOWN_SKU};
    (void)context;
    answer->result = results[hf_command_lines(command)->quantity - 1];
    return answer->length;
}

static void results_are_counted_by_what_they_mean(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.answer = by_quantity});
    struct hf_load_options options = small;
    options.quantity = 7;
    struct hf_load_report *report = run(options, peer);
    assert_true(report->granted > 50 && report->shorted > 50 && report->refused[HF_UNKNOWN_SKU] > 50);
    assert_int_equal(report->busy,
                     report->refused[HF_BUSY] + report->refused[HF_NO_SPACE] + report->refused[HF_DRAINING] + report->refused[HF_FULL]);
    assert_int_equal(report->granted + report->shorted + report->busy + report->refused[HF_UNKNOWN_SKU], 1000);
    free(report);
    peer_stop(peer);
}

static uint32_t with_intent(void *context, const struct hf_command *command, struct hf_answer *answer)
{
    uint64_t *wrong = context;
    answer->value = 7;
    if (command->opcode == HF_PAYMENT_RESULT)
        *wrong += command->arg != 7 || command->body.verb.status != HF_STATUS_CAPTURED || command->body.verb.amount <= 0;
    if (command->opcode == HF_SETTLE)
        *wrong += command->ext_bytes == 0 || command->body.verb.amount <= 0;
    return answer->length;
}

static void the_settled_share_is_captured_and_shipped_and_the_cancelled_share_cancelled(void **state)
{
    (void)state;
    uint64_t wrong = 0;
    struct peer *peer = peer_start(&(struct peer_options){.answer = with_intent, .context = &wrong, .shards = 2});
    struct hf_load_options options = small;
    options.settle_percent = 50;
    options.cancel_percent = 20;
    struct hf_load_report *report = run(options, peer);
    struct peer_seen seen;
    peer_seen(peer, &seen);
    assert_in_range(report->settle.ok, 400, 600);
    assert_int_equal(report->result.ok, report->settle.ok);
    assert_int_equal(report->ship.ok, report->settle.ok);
    assert_in_range(report->cancel.ok, 130, 270);
    assert_int_equal(report->verbs_dropped, 0);
    assert_int_equal(seen.commands, 1000 + 3 * report->settle.ok + report->cancel.ok);
    assert_int_equal(seen.bad_frames, 0);
    assert_int_equal(seen.misrouted, 0);
    peer_stop(peer);
    assert_int_equal(wrong, 0);
    free(report);
}

static void everything_answered_stands_in_the_acked_file(void **state)
{
    (void)state;
    const char *folder = getenv("TMPDIR");
    char path[512], line[128];
    unsigned places = 0, ships = 0, others = 0;
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_load_options options = small;
    snprintf(path, sizeof path, "%s/holdfast-acked-XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    options.acked_path = path;
    options.settle_percent = 100;
    struct hf_load_report *report = run(options, peer);
    FILE *file = fopen(path, "re");
    while (fgets(line, sizeof line, file)) {
        char id[64], first[32], second[32];
        int words = sscanf(line, "%63s %31s %31s", id, first, second);
        assert_int_equal(strlen(id), 32);
        assert_int_equal(strspn(id, "0123456789abcdef"), 32);
        assert_string_equal(words == 2 ? first : second, "OK");
        places += words == 2;
        ships += words == 3 && strcmp(first, "ship") == 0;
        others += words == 3 && (strcmp(first, "settle") == 0 || strcmp(first, "result") == 0);
    }
    fclose(file);
    unlink(path);
    assert_int_equal(places, 1000);
    assert_int_equal(ships, 1000);
    assert_int_equal(others, 2000);
    free(report);
    peer_stop(peer);
}

static void an_open_loop_offers_at_its_rate(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_load_options options = small;
    options.rate = 5000;
    options.orders = 500;
    struct hf_load_report *report = run(options, peer);
    assert_int_equal(report->orders, 500);
    assert_true(report->seconds >= 499.0 / 5000 - 0.001);
    assert_int_equal(report->response.count, 500);
    free(report);
    peer_stop(peer);
}

static void a_trace_is_sent_by_its_times_and_repeated_under_new_ids(void **state)
{
    (void)state;
    struct hf_trace_order orders[2] = {{.time_ms = 0, .customer = 1, .first_line = 0, .line_count = 2},
                                       {.time_ms = 20, .customer = 2, .first_line = 2, .line_count = 1}};
    struct hf_line lines[3] = {{.sku = {{1, 0}}, .location = 1, .quantity = 1},
                               {.sku = {{2, 0}}, .location = 1, .quantity = 1},
                               {.sku = {{3, 0}}, .location = 2, .quantity = 1}};
    struct hf_trace trace = {.orders = orders, .lines = lines, .order_count = 2, .line_count = 3, .length_ms = 20};
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_load_options options = small;
    struct peer_seen seen;
    options.trace = &trace;
    options.has_rate = false;
    options.orders = 6;
    struct hf_load_report *report = run(options, peer);
    peer_seen(peer, &seen);
    assert_int_equal(report->granted, 6);
    assert_int_equal(seen.commands, 6);
    assert_int_equal(seen.repeated_ids, 0);
    assert_true(report->seconds >= 0.08);
    free(report);
    peer_stop(peer);
}

static void a_connection_that_breaks_costs_no_order(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.break_after = 20, .forget_sessions = true});
    struct hf_load_report *report = run(small, peer);
    assert_int_equal(report->granted, 1000);
    assert_int_equal(report->unanswered, 0);
    assert_int_equal(report->errors, 1);
    free(report);
    peer_stop(peer);
}

static void a_silent_server_leaves_orders_unanswered_and_the_run_ends(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.mute = true});
    struct hf_load_options options = small;
    options.seconds = 0.5;
    options.orders = 0;
    struct hf_load_report *report = run(options, peer);
    assert_true(report->connected);
    assert_int_equal(report->orders, 3 * 2 * 8);
    assert_int_equal(report->unanswered, 3 * 2 * 8);
    free(report);
    peer_stop(peer);
}

static void a_server_that_falls_silent_ends_a_run_that_has_no_other_end(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.mute = true});
    struct hf_load_options options = small;
    options.patience_ns = 500000000;
    struct hf_load_report *report = run(options, peer);
    assert_true(report->connected);
    assert_true(report->silent);
    assert_int_equal(report->unanswered, 3 * 2 * 8);
    assert_non_null(strstr(report->error, "has not answered for 0.5 s"));
    free(report);
    peer_stop(peer);
}

static void orders_that_are_far_apart_are_no_silence(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_load_options options = small;
    options.patience_ns = 1000000000;
    options.rate = 0.8;
    options.orders = 3;
    struct hf_load_report *report = run(options, peer);
    assert_false(report->silent);
    assert_int_equal(report->granted, 3);
    free(report);
    peer_stop(peer);
}

static void nobody_there_is_not_connected(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.unreachable = true});
    struct hf_load_report *report = run(small, peer);
    assert_false(report->connected);
    assert_int_equal(report->orders, 0);
    assert_non_null(strstr(report->error, "cannot be reached"));
    free(report);
    peer_stop(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_loop_sends_exactly_so_many_orders_in_full_frames),
        cmocka_unit_test(results_are_counted_by_what_they_mean),
        cmocka_unit_test(the_settled_share_is_captured_and_shipped_and_the_cancelled_share_cancelled),
        cmocka_unit_test(everything_answered_stands_in_the_acked_file),
        cmocka_unit_test(an_open_loop_offers_at_its_rate),
        cmocka_unit_test(a_trace_is_sent_by_its_times_and_repeated_under_new_ids),
        cmocka_unit_test(a_connection_that_breaks_costs_no_order),
        cmocka_unit_test(a_silent_server_leaves_orders_unanswered_and_the_run_ends),
        cmocka_unit_test(a_server_that_falls_silent_ends_a_run_that_has_no_other_end),
        cmocka_unit_test(orders_that_are_far_apart_are_no_silence),
        cmocka_unit_test(nobody_there_is_not_connected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

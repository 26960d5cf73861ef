/* libholdfast against a peer that breaks, forgets, keeps silent and lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <time.h>

#include "client/client_p.h"
#include "peer.h"

static const uint64_t second_ns = 1000000000;

struct outcome {
    unsigned replies, answers, errors, refused, sent;
    int error;
    uint64_t order[64]; /* first command id's low word, by arrival */
};

static void count_reply(void *context, const struct hf_reply *reply)
{
    struct outcome *outcome = context;
    if (outcome->replies < 64)
        outcome->order[outcome->replies] = reply->commands->id.low;
    outcome->replies++;
    outcome->errors += reply->error != 0;
    outcome->error = reply->error ? reply->error : outcome->error;
    outcome->refused += reply->refused != 0;
    outcome->sent += reply->sent;
    outcome->answers += reply->error || reply->refused ? 0 : reply->count;
}

static struct hf_client *open_client(struct peer *peer, struct hf_client_options options)
{
    struct hf_client *client = NULL;
    char error[256];
    options.server = peer_address(peer);
    assert_int_equal(hf_client_create(NULL, &options, &client, error, sizeof error), 0);
    return client;
}

static struct hf_client *connected_client(struct peer *peer, struct hf_client_options options)
{
    struct hf_client *client = open_client(peer, options);
    assert_int_equal(hf_client_connect(client, 10 * second_ns, false), 0);
    return client;
}

static void add_place(struct hf_client *client, struct hf_batch *batch, const char *sku)
{
    struct hf_command *command = hf_batch_add(batch, HF_PLACE, 1, 0);
    assert_non_null(command);
    struct hf_line *line = hf_command_lines_rw(command);
    assert_true(hf_sku_from_text(sku, strlen(sku), &line->sku));
    line->location = line->quantity = 1;
    command->id = hf_client_id(client, hf_route(&line->sku));
    command->arg = 1000;
    command->body.place.channel = HF_CHANNEL_WEB;
}

static void submit_place(struct hf_client *client, const char *sku, unsigned count, struct outcome *outcome)
{
    struct hf_sku key = {{0, 0}};
    assert_true(hf_sku_from_text(sku, strlen(sku), &key));
    struct hf_batch *batch = hf_client_batch(client, hf_client_shard(client, hf_route(&key)));
    assert_non_null(batch);
    for (unsigned i = 0; i < count; i++)
        add_place(client, batch, sku);
    assert_int_equal(hf_client_submit(client, batch, 0, count_reply, outcome), 0);
}

static void poll_until(struct hf_client *client, const unsigned *value, unsigned wanted)
{
    for (int turns = 0; *value < wanted && turns < 10000; turns++)
        assert_true(hf_loop_poll(hf_client_loop(client), 5000000) >= 0);
    assert_int_equal(*value, wanted);
}

/* The peer's thread takes them in its own time. */
static void wait_for_requests(struct peer *peer, uint64_t wanted, struct peer_seen *seen)
{
    peer_seen(peer, seen);
    for (int turns = 0; seen->requests < wanted && turns < 10000; turns++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        peer_seen(peer, seen);
    }
}

static void a_batch_is_one_frame_and_every_command_has_an_answer(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct outcome outcome = {0};
    struct peer_seen seen;
    submit_place(client, "apple", 64, &outcome);
    poll_until(client, &outcome.replies, 1);
    peer_seen(peer, &seen);
    assert_int_equal(outcome.answers, 64);
    assert_int_equal(seen.requests, 1);
    assert_int_equal(seen.commands, 64);
    assert_int_equal(seen.frame_commands_max, 64);
    assert_int_equal(seen.bad_frames, 0);
    assert_int_equal(seen.repeated_ids, 0);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void batches_in_flight_never_exceed_the_credits(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.credits = 4, .mute = true});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){.frames_max = 32});
    struct outcome outcome = {0};
    struct peer_seen seen;
    for (int i = 0; i < 20; i++)
        submit_place(client, "apple", 1, &outcome);
    for (int i = 0; i < 20; i++)
        hf_loop_poll(hf_client_loop(client), 5000000);
    wait_for_requests(peer, 4, &seen);
    assert_int_equal(seen.in_flight_max, 4);
    assert_int_equal(seen.requests, 4);
    hf_client_destroy(client);
    assert_int_equal(outcome.replies, 20);
    assert_int_equal(outcome.error, HF_E_CLOSED);
    assert_int_equal(outcome.sent, 4);
    peer_stop(peer);
}

static void a_client_without_free_frames_lends_none(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){.frames_max = 2});
    struct hf_batch *first = hf_client_batch(client, 0), *second = hf_client_batch(client, 0);
    assert_non_null(second);
    assert_null(hf_client_batch(client, 0));
    hf_batch_discard(first);
    assert_ptr_equal(hf_client_batch(client, 0), first);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void a_batch_takes_no_more_than_its_frame_or_its_answer_frame(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){.frame_bytes_max = 64 + 3 * 96});
    struct hf_batch *batch = hf_client_batch(client, 0);
    for (int i = 0; i < 3; i++)
        assert_non_null(hf_batch_add(batch, HF_PLACE, 1, 0));
    assert_null(hf_batch_add(batch, HF_PLACE, 1, 0));
    hf_batch_discard(batch);
    hf_client_destroy(client);

    client = connected_client(peer, (struct hf_client_options){0});
    batch = hf_client_batch(client, 0);
    unsigned queries = 0;
    while (hf_batch_add(batch, HF_GET_ORDER, 0, 0))
        queries++;
    assert_int_equal(queries, (HF_FRAME_ANSWER_BYTES_MAX - 64) / (48 + 80 + HF_LINES_MAX * 48));
    hf_batch_discard(batch);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void an_empty_batch_is_not_submitted(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){0});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct outcome outcome = {0};
    assert_int_equal(hf_client_submit(client, hf_client_batch(client, 0), 0, count_reply, &outcome), HF_E_USAGE);
    hf_client_destroy(client);
    assert_int_equal(outcome.replies, 0);
    peer_stop(peer);
}

static void a_broken_connection_sends_again_under_the_same_numbers_when_the_session_lives(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.break_after = 5});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct outcome outcome = {0};
    struct hf_client_status status;
    struct peer_seen seen;
    for (int i = 0; i < 10; i++)
        submit_place(client, "apple", 3, &outcome);
    poll_until(client, &outcome.replies, 10);
    peer_seen(peer, &seen);
    hf_client_status(client, &status);
    assert_int_equal(outcome.answers, 30);
    assert_int_equal(outcome.errors, 0);
    assert_int_equal(seen.resumed, 1);
    assert_true(seen.repeated_numbers >= 1);
    assert_true(seen.repeated_ids >= 3);
    assert_int_equal(seen.bad_frames, 0);
    assert_int_equal(status.sessions_resumed, 1);
    assert_int_equal(status.disconnections, 1);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void a_request_that_was_lost_is_sent_again_and_so_are_those_that_overran_behind_it(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.lose_request = 4});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct outcome outcome = {0};
    struct hf_client_status status;
    for (int i = 0; i < 10; i++)
        submit_place(client, "apple", 3, &outcome);
    poll_until(client, &outcome.replies, 10);
    hf_client_status(client, &status);
    assert_int_equal(outcome.answers, 30);
    assert_int_equal(outcome.refused, 0);
    assert_int_equal(status.sessions_resumed, 1);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void a_forgotten_session_gets_the_same_commands_as_new_frames(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.break_after = 5, .forget_sessions = true});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct outcome outcome = {0};
    struct hf_client_status status;
    struct peer_seen seen;
    for (int i = 0; i < 10; i++)
        submit_place(client, "apple", 3, &outcome);
    poll_until(client, &outcome.replies, 10);
    peer_seen(peer, &seen);
    hf_client_status(client, &status);
    assert_int_equal(outcome.answers, 30);
    assert_int_equal(outcome.errors, 0);
    assert_int_equal(seen.resumed, 0);
    assert_int_equal(seen.repeated_numbers, 0);
    assert_true(seen.repeated_ids >= 3);
    assert_int_equal(status.sessions_replaced, 1);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void commands_keep_their_order_over_a_new_session(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.mute = true, .credits = 8});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){.frames_max = 32});
    struct outcome outcome = {0};
    uint64_t sent[16];
    for (int i = 0; i < 16; i++) {
        struct hf_batch *batch = hf_client_batch(client, 0);
        add_place(client, batch, "apple");
        sent[i] = ((const struct hf_command *)(const void *)(batch->frame + sizeof(struct hf_frame)))->id.low;
        hf_client_submit(client, batch, 0, count_reply, &outcome);
    }
    for (int i = 0; i < 5; i++)
        hf_loop_poll(hf_client_loop(client), 5000000);
    peer_behave(peer, &(struct peer_options){.forget_sessions = true, .credits = 8});
    peer_drop_all(peer);
    poll_until(client, &outcome.replies, 16);
    for (int i = 0; i < 16; i++)
        assert_int_equal(outcome.order[i], sent[i]);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void answers_may_come_in_another_order(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.reverse = true, .credits = 16});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct outcome outcome = {0};
    for (int i = 0; i < 48; i++)
        submit_place(client, "apple", 2, &outcome);
    poll_until(client, &outcome.replies, 48);
    assert_int_equal(outcome.answers, 96);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void a_batch_past_its_deadline_is_called_back_and_says_whether_it_was_sent(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.mute = true, .credits = 1});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){.deadline_ns = second_ns / 2});
    struct outcome outcome = {0};
    submit_place(client, "apple", 1, &outcome);
    submit_place(client, "apple", 1, &outcome);
    poll_until(client, &outcome.replies, 2);
    assert_int_equal(outcome.errors, 2);
    assert_int_equal(outcome.error, HF_E_TIMEOUT);
    assert_int_equal(outcome.sent, 1);
    hf_client_destroy(client);
    assert_int_equal(outcome.replies, 2);
    peer_stop(peer);
}

static void a_late_answer_gives_the_slot_back(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.mute = true, .credits = 1});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){.deadline_ns = 30000000, .frames_max = 2});
    struct outcome late = {0}, next = {0};
    submit_place(client, "apple", 1, &late);
    poll_until(client, &late.replies, 1);
    peer_behave(peer, &(struct peer_options){.credits = 1});
    peer_drop_all(peer);
    struct hf_batch *batch = hf_client_batch(client, 0);
    add_place(client, batch, "pear");
    hf_client_submit(client, batch, 10 * second_ns, count_reply, &next);
    poll_until(client, &next.replies, 1);
    assert_int_equal(next.answers, 1);
    assert_int_equal(late.replies, 1);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void each_shard_gets_the_commands_of_its_partitions(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.shards = 3});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct outcome outcome = {0};
    struct peer_seen seen;
    char sku[16];
    for (int i = 0; i < 30; i++) {
        snprintf(sku, sizeof sku, "sku-%d", i);
        submit_place(client, sku, 2, &outcome);
    }
    poll_until(client, &outcome.replies, 30);
    peer_seen(peer, &seen);
    assert_int_equal(seen.connections, 3);
    assert_int_equal(seen.commands, 60);
    assert_int_equal(seen.misrouted, 0);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void one_session_takes_everything_when_told_so(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.shards = 3});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){.one_session = true});
    struct outcome outcome = {0};
    struct peer_seen seen;
    char sku[16];
    for (int i = 0; i < 30; i++) {
        snprintf(sku, sizeof sku, "sku-%d", i);
        submit_place(client, sku, 1, &outcome);
    }
    poll_until(client, &outcome.replies, 30);
    peer_seen(peer, &seen);
    assert_int_equal(seen.connections, 1);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void what_a_shard_out_of_reach_would_get_goes_over_the_main_connection(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.shards = 3, .shards_unreachable = true});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct outcome outcome = {0};
    struct peer_seen seen;
    char sku[16];
    for (unsigned round = 1; round <= 2; round++) {
        for (int i = 0; i < 15; i++) {
            snprintf(sku, sizeof sku, "sku-%d", i);
            submit_place(client, sku, 1, &outcome);
        }
        poll_until(client, &outcome.replies, 15 * round);
    }
    peer_seen(peer, &seen);
    assert_int_equal(outcome.errors, 0);
    assert_int_equal(seen.connections, 1);
    assert_int_equal(seen.commands, 30);
    assert_int_equal(seen.repeated_ids, 0);
    hf_client_destroy(client);
    peer_stop(peer);
}

static void greeted_with(enum peer_greeting greeting, uint64_t patience_ns, int error, const char *sentence)
{
    struct peer *peer = peer_start(&(struct peer_options){.greeting = greeting});
    struct hf_client *client = open_client(peer, (struct hf_client_options){.connect_timeout_ns = patience_ns});
    assert_int_equal(hf_client_connect(client, 10 * second_ns, true), error);
    assert_non_null(strstr(hf_client_error(client), sentence));
    hf_client_destroy(client);
    peer_stop(peer);
}

static void what_is_no_holdfast_server_is_called_so(void **state)
{
    (void)state;
    greeted_with(PEER_GARBAGE, 10 * second_ns, HF_E_PROTOCOL, "is no Holdfast frame");
    greeted_with(PEER_BAD_CRC, 10 * second_ns, HF_E_PROTOCOL, "wrong checksum");
    greeted_with(PEER_SILENCE, second_ns / 10, HF_E_TIMEOUT, "does not answer");
    greeted_with(PEER_REFUSE_BUSY, 10 * second_ns, HF_E_CLOSED, "BUSY");
}

static void nobody_listening_is_said_at_once(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.unreachable = true});
    struct hf_client *client = open_client(peer, (struct hf_client_options){0});
    assert_int_equal(hf_client_connect(client, 10 * second_ns, true), HF_E_CLOSED);
    assert_non_null(strstr(hf_client_error(client), "cannot be reached"));
    hf_client_destroy(client);
    peer_stop(peer);
}

static void answers_that_do_not_add_up_break_the_connection_with_a_sentence(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.garbage_answers = true});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){.deadline_ns = 2 * second_ns});
    struct outcome outcome = {0};
    struct hf_client_status status;
    submit_place(client, "apple", 2, &outcome);
    poll_until(client, &outcome.replies, 1);
    hf_client_status(client, &status);
    assert_int_equal(outcome.error, HF_E_TIMEOUT);
    assert_true(status.protocol_errors >= 1);
    assert_non_null(strstr(hf_client_error(client), "does not keep to the protocol"));
    hf_client_destroy(client);
    peer_stop(peer);
}

static void a_bad_address_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "localhost",        "udx://localhost:1",   "tcp://",
                                      "tcp://:1", "tcp://localhost:", "tcp://localhost:port"};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hf_client *client = NULL;
        char error[256] = "";
        assert_int_equal(hf_client_create(NULL, &(struct hf_client_options){.server = bad[i]}, &client, error, sizeof error), HF_E_USAGE);
        assert_non_null(strstr(error, "is no address"));
        assert_null(client);
    }
}

static void ids_carry_the_engines_time_and_the_route(void **state)
{
    (void)state;
    const uint64_t engine_ms = 1000000;
    struct peer *peer = peer_start(&(struct peer_options){.engine_time_ns = engine_ms * 1000000});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct hf_id one = hf_client_id(client, 0xabcd), other = hf_client_id(client, 0xabcd);
    assert_int_equal(hf_id_route(one), 0xabcd);
    assert_true(hf_id_ms(one) >= engine_ms && hf_id_ms(one) < engine_ms + 60000);
    assert_false(hf_id_equal(one, other));
    hf_client_destroy(client);
    peer_stop(peer);
}

static uint32_t answer_cell(void *context, const struct hf_command *command, struct hf_answer *answer)
{
    struct hf_cell_item *item = (struct hf_cell_item *)(void *)(answer + 1);
    (void)context;
    if (command->opcode != HF_GET_CELL)
        return answer->length;
    *item = (struct hf_cell_item){.sku = hf_command_lines(command)->sku, .location = hf_command_lines(command)->location, .sellable = 7};
    answer->item_count = 1;
    return (uint32_t)(sizeof *answer + sizeof *item);
}

static void the_simple_call_copies_the_answer_out(void **state)
{
    (void)state;
    struct peer *peer = peer_start(&(struct peer_options){.answer = answer_cell});
    struct hf_client *client = connected_client(peer, (struct hf_client_options){0});
    struct {
        struct hf_answer answer;
        struct hf_cell_item item;
    } got;
    uint16_t refused;
    struct hf_batch *batch = hf_client_batch(client, 0);
    struct hf_command *command = hf_batch_add(batch, HF_GET_CELL, 1, 0);
    hf_command_lines_rw(command)->sku.word[0] = 5;
    hf_command_lines_rw(command)->location = 3;
    assert_int_equal(hf_client_call(client, batch, 0, &got.answer, sizeof got, &refused), 0);
    assert_int_equal(got.item.sellable, 7);
    assert_int_equal(got.item.location, 3);
    hf_client_destroy(client);
    peer_stop(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_one_frame_and_every_command_has_an_answer),
        cmocka_unit_test(batches_in_flight_never_exceed_the_credits),
        cmocka_unit_test(a_client_without_free_frames_lends_none),
        cmocka_unit_test(a_batch_takes_no_more_than_its_frame_or_its_answer_frame),
        cmocka_unit_test(an_empty_batch_is_not_submitted),
        cmocka_unit_test(a_broken_connection_sends_again_under_the_same_numbers_when_the_session_lives),
        cmocka_unit_test(a_request_that_was_lost_is_sent_again_and_so_are_those_that_overran_behind_it),
        cmocka_unit_test(a_forgotten_session_gets_the_same_commands_as_new_frames),
        cmocka_unit_test(commands_keep_their_order_over_a_new_session),
        cmocka_unit_test(answers_may_come_in_another_order),
        cmocka_unit_test(a_batch_past_its_deadline_is_called_back_and_says_whether_it_was_sent),
        cmocka_unit_test(a_late_answer_gives_the_slot_back),
        cmocka_unit_test(each_shard_gets_the_commands_of_its_partitions),
        cmocka_unit_test(one_session_takes_everything_when_told_so),
        cmocka_unit_test(what_a_shard_out_of_reach_would_get_goes_over_the_main_connection),
        cmocka_unit_test(what_is_no_holdfast_server_is_called_so),
        cmocka_unit_test(nobody_listening_is_said_at_once),
        cmocka_unit_test(answers_that_do_not_add_up_break_the_connection_with_a_sentence),
        cmocka_unit_test(a_bad_address_is_refused_with_a_sentence),
        cmocka_unit_test(ids_carry_the_engines_time_and_the_route),
        cmocka_unit_test(the_simple_call_copies_the_answer_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

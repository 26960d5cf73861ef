/* The port as clients meet it: over the loopback transport, over TCP and over a unix socket. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/net/net_harness.h"

static bool over_tcp;
static struct test_port port;
static struct test_client client, other;
static uint8_t frame[HF_FRAME_BYTES_MAX + 4096] __attribute__((aligned(8)));

static int open_port(void **state)
{
    (void)state;
    memset(&port, 0, sizeof port);
    return 0;
}

static int close_port(void **state)
{
    (void)state;
    client_close(&client);
    client_close(&other);
    port_close(&port);
    return 0;
}

static void start(uint16_t credits)
{
    port_open(&port, over_tcp);
    client_open(&client, &port);
    client_hello(&client, &port, 0, credits);
}

static void give_request(struct test_client *to, uint64_t number, unsigned count)
{
    client_give(to, &port, frame, make_request(frame, to->session, number, count));
}

static void a_request_gets_its_answer(void **state)
{
    (void)state;
    start(16);
    give_request(&client, 1, 3);
    client_expect_answer(&client, &port, 1, 3);
    assert_int_equal(port.commands, 3);
    for (int i = 0; i < 5; i++)
        port_turn(&port);
    assert_true(hf_net_quiet(port.net));
}

static void many_requests_in_flight_get_their_answers_in_order(void **state)
{
    (void)state;
    start(0);
    for (uint64_t number = 1; number <= 900; number++)
        give_request(&client, number, 1 + (unsigned)(number % 7));
    for (uint64_t number = 1; number <= 900; number++)
        client_expect_answer(&client, &port, number, 1 + (unsigned)(number % 7));
}

static void a_frame_may_come_byte_by_byte(void **state)
{
    (void)state;
    start(16);
    uint32_t bytes = make_request(frame, client.session, 1, 2);
    for (uint32_t i = 0; i < bytes; i++) {
        client_give(&client, &port, frame + i, 1);
        port_turn(&port);
    }
    client_expect_answer(&client, &port, 1, 2);
}

static void the_largest_frame_passes(void **state)
{
    (void)state;
    start(16);
    for (uint64_t number = 1; number <= 40; number++) {
        give_request(&client, number, 681);
        client_expect_answer(&client, &port, number, 681);
    }
}

/* ---- Malformed frames ---- */

static struct hf_frame *head_of(void *at)
{
    return at;
}

static struct hf_command *first_command(void)
{
    return (struct hf_command *)(void *)(frame + sizeof(struct hf_frame));
}

static void break_magic(void)
{
    head_of(frame)->magic ^= 1;
}
static void break_version(void)
{
    head_of(frame)->version = 2;
}
static void make_short(void)
{
    head_of(frame)->length = 56;
}
static void make_uneven(void)
{
    head_of(frame)->length = 100;
}
static void make_oversized(void)
{
    head_of(frame)->length = HF_FRAME_BYTES_MAX + 8;
}
static void break_crc(void)
{
    frame[70] ^= 4;
}
static void set_flags(void)
{
    head_of(frame)->flags = 1;
}
static void set_result(void)
{
    head_of(frame)->result = 1;
}
static void set_reserved(void)
{
    head_of(frame)->reserved = 0x100;
}
static void set_nonce(void)
{
    head_of(frame)->nonce = 1ull << 63;
}
static void set_tag(void)
{
    head_of(frame)->tag[15] = 1;
}
static void set_count_0(void)
{
    head_of(frame)->count = 0;
}
static void set_count_1(void)
{
    head_of(frame)->count = 1;
}
static void set_count_3(void)
{
    head_of(frame)->count = 3;
}
static void set_count_1001(void)
{
    head_of(frame)->count = HF_FRAME_COMMANDS_MAX + 1;
}
static void set_command_length_0(void)
{
    first_command()->length = 0;
}
static void set_command_length_uneven(void)
{
    first_command()->length = 97;
}
static void set_command_length_beyond(void)
{
    first_command()->length = 1 << 20;
}
static void set_admin_in_company(void)
{
    first_command()->opcode = HF_STATUS;
}
static void set_other_session(void)
{
    head_of(frame)->session ^= 1ull << 40;
}
static void make_answers_too_large(void)
{
    uint32_t bytes = make_request(frame, client.session, 1, 6);
    for (unsigned i = 0; i < 6; i++)
        ((struct hf_command *)(void *)(frame + 64 + 96 * i))->opcode = HF_GET_ORDER;
    seal_again(frame, bytes);
}

static const struct {
    const char *what;
    void (*change)(void);
    int result;
    bool sealed; /* checksum and length made right again after the change */
    bool ends;   /* the connection */
} malformed[] = {
    {"magic", break_magic, HF_BAD_FRAME, false, true},
    {"version", break_version, HF_BAD_VERSION, false, true},
    {"length 56", make_short, HF_BAD_FRAME, false, true},
    {"length 100", make_uneven, HF_BAD_FRAME, false, true},
    {"length beyond the maximum", make_oversized, HF_TOO_LARGE, false, true},
    {"checksum", break_crc, HF_BAD_CRC, false, true},
    {"flags", set_flags, HF_BAD_FRAME, true, false},
    {"result", set_result, HF_BAD_FRAME, true, false},
    {"reserved", set_reserved, HF_BAD_FRAME, true, false},
    {"nonce", set_nonce, HF_BAD_FRAME, true, false},
    {"tag", set_tag, HF_BAD_FRAME, true, false},
    {"no command", set_count_0, HF_BAD_FRAME, true, false},
    {"a command too many", set_count_1, HF_BAD_FRAME, true, false},
    {"a command too few", set_count_3, HF_BAD_FRAME, true, false},
    {"1001 commands", set_count_1001, HF_BAD_FRAME, true, false},
    {"command of length 0", set_command_length_0, HF_BAD_FRAME, true, false},
    {"command of length 97", set_command_length_uneven, HF_BAD_FRAME, true, false},
    {"command beyond its frame", set_command_length_beyond, HF_BAD_FRAME, true, false},
    {"status in company", set_admin_in_company, HF_BAD_FRAME, true, false},
    {"another session", set_other_session, HF_SESSION_EXPIRED, true, false},
    {"answers beyond a frame", make_answers_too_large, HF_TOO_LARGE, false, false},
};

static void each_malformed_frame_gets_its_code(void **state)
{
    (void)state;
    port_open(&port, over_tcp);
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        client_open(&client, &port);
        client_hello(&client, &port, 0, 16);
        uint32_t bytes = make_request(frame, client.session, 1, 2);
        malformed[i].change();
        if (malformed[i].sealed)
            seal_again(frame, bytes);
        bytes = head_of(frame)->length > bytes && !malformed[i].ends ? head_of(frame)->length : bytes;
        client_give(&client, &port, frame, bytes);
        client_expect_refused(&client, &port, malformed[i].ends ? 0 : 1, malformed[i].result);
        if (malformed[i].ends) {
            client_expect_closed(&client, &port);
        } else {
            /* The stream is in step: the same number may be sent again, and the next one too. */
            give_request(&client, 1, 1);
            client_expect_answer(&client, &port, 1, 1);
            give_request(&client, 2, 1);
            client_expect_answer(&client, &port, 2, 1);
        }
        client_close(&client);
    }
}

static void frames_that_only_the_server_sends_are_refused(void **state)
{
    (void)state;
    static const uint8_t types[] = {0, HF_WELCOME, HF_ANSWER, HF_REFUSED, 7, 255};
    start(16);
    for (size_t i = 0; i < sizeof types; i++) {
        uint32_t bytes = make_request(frame, client.session, 1, 1);
        head_of(frame)->type = types[i];
        seal_again(frame, bytes);
        client_give(&client, &port, frame, bytes);
        client_expect_refused(&client, &port, 0, HF_BAD_FRAME);
    }
    assert_int_equal(port_status(&port).bad_frame, sizeof types);
}

static void a_hello_of_another_form_is_refused(void **state)
{
    (void)state;
    port_open(&port, over_tcp);
    client_open(&client, &port);
    uint32_t bytes = make_hello(frame, 0, 4);
    frame[bytes - 1] = 1;
    seal_again(frame, bytes);
    client_give(&client, &port, frame, bytes);
    client_expect_refused(&client, &port, 0, HF_BAD_FRAME);
    make_hello(frame, 0, 4);
    memset(frame + bytes, 0, 8);
    seal_again(frame, bytes + 8);
    client_give(&client, &port, frame, bytes + 8);
    client_expect_refused(&client, &port, 0, HF_BAD_FRAME);
    client_hello(&client, &port, 0, 4);
}

static void a_request_before_hello_is_refused(void **state)
{
    (void)state;
    port_open(&port, over_tcp);
    client_open(&client, &port);
    give_request(&client, 1, 1);
    client_expect_refused(&client, &port, 1, HF_SESSION_EXPIRED);
    client_hello(&client, &port, 0, 4);
    give_request(&client, 1, 1);
    client_expect_answer(&client, &port, 1, 1);
}

static void a_place_of_257_lines_is_left_to_the_command_check(void **state)
{
    (void)state;
    start(4);
    uint32_t bytes = make_request(frame, client.session, 1, 1);
    first_command()->line_count = 65535;
    seal_again(frame, bytes);
    client_give(&client, &port, frame, bytes);
    client_expect_answer(&client, &port, 1, 1);
}

/* ---- Numbers, credits and resends ---- */

static void a_resend_of_a_waiting_request_is_dropped(void **state)
{
    (void)state;
    start(16);
    port.hold = true;
    give_request(&client, 1, 1);
    give_request(&client, 1, 1);
    client_expect_silence(&client, &port);
    assert_int_equal(port.held_count, 1);
    assert_int_equal(port_status(&port).resend_waiting, 1);
    port_answer_held(&port);
    client_expect_answer(&client, &port, 1, 1);
    client_expect_silence(&client, &port);
}

static void a_resend_of_an_answered_request_gets_the_first_answer(void **state)
{
    (void)state;
    static uint8_t first[4096], second[4096];
    struct hf_frame head;
    start(16);
    give_request(&client, 1, 2);
    assert_true(client_take(&client, &port, &head, first));
    for (int i = 0; i < 3; i++) {
        give_request(&client, 1, 2);
        assert_true(client_take(&client, &port, &head, second));
        assert_memory_equal(first, second, 2 * sizeof(struct hf_answer));
    }
    assert_int_equal(port.commands, 2);
    assert_int_equal(port_status(&port).resend_answered, 3);
}

static void a_resend_whose_answer_was_overwritten_is_served_anew(void **state)
{
    (void)state;
    port.options.answer_cache_bytes = 1 << 20;
    start(64);
    for (uint64_t number = 1; number <= 60; number++) {
        give_request(&client, number, 600);
        client_expect_answer(&client, &port, number, 600);
    }
    uint64_t before = port.commands;
    give_request(&client, 1, 600);
    client_expect_answer(&client, &port, 1, 600);
    assert_int_equal(port.commands, before + 600);
    assert_int_equal(port_status(&port).resend_lost, 1);
}

static void a_number_beyond_the_credits_is_refused(void **state)
{
    (void)state;
    start(4);
    port.hold = true;
    for (uint64_t number = 1; number <= 5; number++)
        give_request(&client, number, 1);
    client_expect_refused(&client, &port, 5, HF_CREDIT_OVERRUN);
    assert_int_equal(port.held_count, 4);
    port_answer_held(&port);
    for (uint64_t number = 1; number <= 4; number++)
        client_expect_answer(&client, &port, number, 1);
    port.hold = false;
    give_request(&client, 5, 1);
    client_expect_answer(&client, &port, 5, 1);
    assert_int_equal(port_status(&port).credit_overrun, 1);
}

static void numbers_with_a_gap_or_long_past_are_refused(void **state)
{
    (void)state;
    start(4);
    give_request(&client, 2, 1);
    client_expect_refused(&client, &port, 2, HF_CREDIT_OVERRUN);
    give_request(&client, 0, 1);
    client_expect_refused(&client, &port, 0, HF_CREDIT_OVERRUN);
    for (uint64_t number = 1; number <= 9; number++) {
        give_request(&client, number, 1);
        client_expect_answer(&client, &port, number, 1);
    }
    give_request(&client, 5, 1);
    client_expect_refused(&client, &port, 5, HF_BAD_FRAME);
}

static void a_port_without_room_refuses_with_busy_and_serves_the_same_number_later(void **state)
{
    (void)state;
    port.options.requests_max = 2;
    start(16);
    port.hold = true;
    for (uint64_t number = 1; number <= 3; number++)
        give_request(&client, number, 1);
    client_expect_refused(&client, &port, 3, HF_BUSY);
    assert_int_equal(port_status(&port).refused_busy, 1);
    assert_int_equal(port_status(&port).requests_in_flight, 2);
    port_answer_held(&port);
    port.hold = false;
    client_expect_answer(&client, &port, 1, 1);
    client_expect_answer(&client, &port, 2, 1);
    give_request(&client, 3, 1);
    client_expect_answer(&client, &port, 3, 1);
}

static void a_draining_port_refuses_new_requests_and_answers_those_it_has(void **state)
{
    (void)state;
    start(16);
    port.hold = true;
    give_request(&client, 1, 1);
    client_expect_silence(&client, &port);
    port.accept = false;
    give_request(&client, 2, 1);
    client_expect_refused(&client, &port, 2, HF_DRAINING);
    port_answer_held(&port);
    client_expect_answer(&client, &port, 1, 1);
    for (int i = 0; i < 5; i++)
        port_turn(&port);
    assert_true(hf_net_quiet(port.net));
}

/* ---- Sessions and connections ---- */

static void a_session_taken_up_again_gets_what_it_waited_for(void **state)
{
    (void)state;
    start(16);
    port.hold = true;
    give_request(&client, 1, 1);
    give_request(&client, 2, 1);
    client_expect_silence(&client, &port);
    uint64_t session = client.session;
    client_close(&client);
    for (int i = 0; i < 5; i++)
        port_turn(&port);
    port_answer(&port, port.held[0]);
    client_open(&other, &port);
    client_hello(&other, &port, session, 3);
    assert_int_equal(other.session, session);
    give_request(&other, 1, 1);
    client_expect_answer(&other, &port, 1, 1);
    port_answer(&port, port.held[1]);
    client_expect_answer(&other, &port, 2, 1);
    port.hold = false;
    give_request(&other, 3, 1);
    client_expect_answer(&other, &port, 3, 1);
}

static void a_session_taken_up_elsewhere_ends_its_old_connection(void **state)
{
    (void)state;
    start(16);
    client_open(&other, &port);
    client_hello(&other, &port, client.session, 16);
    assert_int_equal(other.session, client.session);
    client_expect_closed(&client, &port);
    give_request(&other, 1, 1);
    client_expect_answer(&other, &port, 1, 1);
}

static void an_unknown_session_gets_a_new_one(void **state)
{
    (void)state;
    start(16);
    uint64_t unknown = client.session ^ 1ull << 50;
    client_open(&other, &port);
    client_hello(&other, &port, unknown, 16);
    assert_true(other.session != unknown && other.session != client.session);
}

static void a_session_without_a_connection_expires(void **state)
{
    (void)state;
    start(16);
    client_close(&client);
    for (int i = 0; i < 5; i++)
        port_turn(&port);
    assert_int_equal(port_status(&port).sessions, 1);
    port.now_ns += 61 * 1000000000ull;
    port_turn(&port);
    assert_int_equal(port_status(&port).sessions, 0);
    client_open(&other, &port);
    client_hello(&other, &port, client.session, 16);
    assert_true(other.session != client.session);
}

static void bye_ends_session_and_connection(void **state)
{
    (void)state;
    start(16);
    uint32_t bytes = sizeof(struct hf_frame);
    make_request(frame, client.session, 0, 0);
    head_of(frame)->type = HF_BYE;
    seal_again(frame, bytes);
    client_give(&client, &port, frame, bytes);
    client_expect_closed(&client, &port);
    assert_int_equal(port_status(&port).sessions, 0);
}

static void a_full_session_table_refuses_until_a_connection_goes(void **state)
{
    (void)state;
    port.options.sessions_max = 1;
    start(16);
    client_open(&other, &port);
    client_give(&other, &port, frame, make_hello(frame, 0, 16));
    client_expect_refused(&other, &port, 0, HF_BUSY);
    client_expect_closed(&other, &port);
    client_close(&other);
    assert_int_equal(port_status(&port).refused_sessions, 1);
    client_close(&client);
    for (int i = 0; i < 5; i++)
        port_turn(&port);
    client_open(&other, &port);
    client_hello(&other, &port, 0, 16);
}

static void a_half_frame_has_a_time_limit(void **state)
{
    (void)state;
    start(16);
    make_request(frame, client.session, 1, 1);
    client_give(&client, &port, frame, 100);
    client_expect_silence(&client, &port);
    port.now_ns += 29 * 1000000000ull;
    client_expect_silence(&client, &port);
    port.now_ns += 2 * 1000000000ull;
    client_expect_closed(&client, &port);
    assert_int_equal(port_status(&port).half_frame_timeout, 1);
}

static void a_connection_that_never_says_hello_has_a_time_limit(void **state)
{
    (void)state;
    port_open(&port, over_tcp);
    client_open(&client, &port);
    client_expect_silence(&client, &port);
    port.now_ns += 1000000000ull;
    client_expect_silence(&client, &port);
    port.now_ns += 31 * 1000000000ull;
    client_expect_closed(&client, &port);
}

static void an_idle_connection_with_a_session_has_none(void **state)
{
    (void)state;
    start(16);
    port.now_ns += 3600 * 1000000000ull;
    client_expect_silence(&client, &port);
    give_request(&client, 1, 1);
    client_expect_answer(&client, &port, 1, 1);
}

static void a_slow_reader_is_given_up_and_others_are_served(void **state)
{
    (void)state;
    port.options.answer_cache_bytes = 1 << 20;
    start(1024);
    client_open(&other, &port);
    client_hello(&other, &port, 0, 16);
    uint64_t number = 1;
    for (; number <= 1000 && port_status(&port).slow_reader == 0; number++) {
        give_request(&client, number, 600);
        port_turn(&port);
    }
    assert_int_equal(port_status(&port).slow_reader, 1);
    give_request(&other, 1, 1);
    client_expect_answer(&other, &port, 1, 1);
    struct hf_frame head;
    while (client_take(&client, &port, &head, NULL))
        assert_int_equal(head.type, HF_ANSWER);
    client_close(&client);
    client_open(&client, &port);
    client_hello(&client, &port, client.session, 1);
}

static void seeded_garbage_ends_only_its_own_connection(void **state)
{
    (void)state;
    uint64_t x = 0x9e3779b97f4a7c15ull;
    start(16);
    for (unsigned round = 0; round < 60; round++) {
        client_open(&other, &port);
        if (round % 3 == 0)
            client_hello(&other, &port, 0, 4);
        uint32_t bytes = round % 2 ? make_request(frame, other.session, 1, 5) : 4000;
        for (uint32_t i = 0; i < bytes; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            if (round % 2 == 0 || x % 97 == 0)
                frame[i] = (uint8_t)(x >> 32);
        }
        client_give(&other, &port, frame, bytes);
        for (int i = 0; i < 3; i++)
            port_turn(&port);
        client_close(&other);
        give_request(&client, round + 1, 1);
        client_expect_answer(&client, &port, round + 1, 1);
    }
    for (int i = 0; i < 10; i++)
        port_turn(&port);
    assert_int_equal(port_status(&port).connections, 1);
}

static void two_hundred_connections_are_served_together(void **state)
{
    (void)state;
    enum { CLIENTS = 200, ROUNDS = 5 };
    struct test_client *clients = test_calloc(CLIENTS, sizeof *clients);
    port_open(&port, over_tcp);
    for (unsigned i = 0; i < CLIENTS; i++) {
        client_open(&clients[i], &port);
        client_hello(&clients[i], &port, 0, 8);
    }
    assert_int_equal(port_status(&port).sessions, CLIENTS);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < CLIENTS; i++)
            give_request(&clients[i], round, 1 + i % 64);
        for (unsigned i = 0; i < CLIENTS; i++)
            client_expect_answer(&clients[i], &port, round, 1 + i % 64);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    for (int i = 0; i < 400 && port_status(&port).connections > 0; i++)
        port_turn(&port);
    assert_int_equal(port_status(&port).connections, 0);
    assert_int_equal(port_status(&port).closed, CLIENTS);
    test_free(clients);
}

static void receive_gives_at_most_what_was_asked_and_keeps_the_rest(void **state)
{
    (void)state;
    start(64);
    for (uint64_t number = 1; number <= 50; number++)
        give_request(&client, number, 1);
    unsigned left = 50;
    for (int i = 0; i < 2000 && left > 0; i++) {
        struct hf_request *requests[3];
        if (over_tcp)
            hf_net_wait(port.net, 100 * 1000);
        unsigned count = hf_net_receive(port.net, port.now_ns += 1000, true, 0, requests, left % 3 + 1);
        assert_true(count <= left % 3 + 1);
        for (unsigned k = 0; k < count; k++) {
            assert_int_equal(requests[k]->number, 50 - left + 1);
            port_answer(&port, requests[k]);
            left--;
        }
    }
    assert_int_equal(left, 0);
    for (uint64_t number = 1; number <= 50; number++)
        client_expect_answer(&client, &port, number, 1);
}

/* ---- All of it together ---- */

enum { CHAOS_CREDITS = 8, CHAOS_REQUESTS = 600 };

static uint64_t chaos;

static uint64_t draw(uint64_t below)
{
    chaos ^= chaos << 13, chaos ^= chaos >> 7, chaos ^= chaos << 17;
    return (chaos >> 11) % below;
}

/* Takes the answers that have come; each must be that of its own number. `answered` holds which numbers have one. */
static uint64_t take_answers(bool *answered, uint64_t oldest)
{
    static uint8_t payload[HF_FRAME_BYTES_MAX] __attribute__((aligned(8)));
    struct hf_frame head;
    while (client_has_frame(&client)) {
        assert_true(client_take(&client, &port, &head, payload));
        assert_int_equal(head.type, HF_ANSWER);
        for (unsigned i = 0; i < head.count; i++)
            assert_int_equal(((struct hf_answer *)(void *)payload)[i].value, head.request);
        answered[head.request] = true;
    }
    while (answered[oldest])
        oldest++;
    return oldest;
}

static void answer_one_held(void)
{
    if (port.held_count == 0)
        return;
    unsigned i = (unsigned)draw(port.held_count);
    port_answer(&port, port.held[i]);
    port.held[i] = port.held[--port.held_count];
}

static void every_request_is_answered_through_resends_and_lost_connections(void **state)
{
    (void)state;
    static bool answered[CHAOS_REQUESTS + 2];
    memset(answered, 0, sizeof answered);
    chaos = 0x5eed;
    start(CHAOS_CREDITS);
    port.hold = true;
    uint64_t next = 1, oldest = 1, session = client.session;
    for (unsigned step = 0; step < 200000 && oldest <= CHAOS_REQUESTS; step++) {
        uint64_t what = draw(100);
        if (what < 40 && next <= CHAOS_REQUESTS && next < oldest + CHAOS_CREDITS) {
            give_request(&client, next++, 1 + (unsigned)draw(20));
        } else if (what < 50 && next > oldest) {
            /* What is not answered goes again, in order, as a client does that lost patience. */
            give_request(&client, oldest, 1);
        } else if (what < 80) {
            answer_one_held();
        } else if (what < 82) {
            client_close(&client);
            client_open(&client, &port);
            client_hello(&client, &port, session, 0);
            assert_int_equal(client.session, session);
            for (uint64_t number = oldest; number < next; number++)
                give_request(&client, number, 1);
        }
        port_turn(&port);
        client_look(&client);
        oldest = take_answers(answered, oldest);
    }
    assert_int_equal(oldest, CHAOS_REQUESTS + 1);
    assert_int_equal(port_status(&port).credit_overrun + port_status(&port).bad_frame, 0);
    assert_true(port_status(&port).resend_waiting > 0 && port_status(&port).resend_answered > 0);
    port_answer_held(&port);
}

#define OVER_BOTH(name) cmocka_unit_test_setup_teardown(name, open_port, close_port)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_BOTH(a_request_gets_its_answer),
        OVER_BOTH(many_requests_in_flight_get_their_answers_in_order),
        OVER_BOTH(a_frame_may_come_byte_by_byte),
        OVER_BOTH(the_largest_frame_passes),
        OVER_BOTH(each_malformed_frame_gets_its_code),
        OVER_BOTH(frames_that_only_the_server_sends_are_refused),
        OVER_BOTH(a_hello_of_another_form_is_refused),
        OVER_BOTH(a_request_before_hello_is_refused),
        OVER_BOTH(a_place_of_257_lines_is_left_to_the_command_check),
        OVER_BOTH(a_resend_of_a_waiting_request_is_dropped),
        OVER_BOTH(a_resend_of_an_answered_request_gets_the_first_answer),
        OVER_BOTH(a_resend_whose_answer_was_overwritten_is_served_anew),
        OVER_BOTH(a_number_beyond_the_credits_is_refused),
        OVER_BOTH(numbers_with_a_gap_or_long_past_are_refused),
        OVER_BOTH(a_port_without_room_refuses_with_busy_and_serves_the_same_number_later),
        OVER_BOTH(a_draining_port_refuses_new_requests_and_answers_those_it_has),
        OVER_BOTH(a_session_taken_up_again_gets_what_it_waited_for),
        OVER_BOTH(a_session_taken_up_elsewhere_ends_its_old_connection),
        OVER_BOTH(an_unknown_session_gets_a_new_one),
        OVER_BOTH(a_session_without_a_connection_expires),
        OVER_BOTH(bye_ends_session_and_connection),
        OVER_BOTH(a_full_session_table_refuses_until_a_connection_goes),
        OVER_BOTH(a_half_frame_has_a_time_limit),
        OVER_BOTH(a_connection_that_never_says_hello_has_a_time_limit),
        OVER_BOTH(an_idle_connection_with_a_session_has_none),
        OVER_BOTH(a_slow_reader_is_given_up_and_others_are_served),
        OVER_BOTH(seeded_garbage_ends_only_its_own_connection),
        OVER_BOTH(two_hundred_connections_are_served_together),
        OVER_BOTH(receive_gives_at_most_what_was_asked_and_keeps_the_rest),
        OVER_BOTH(every_request_is_answered_through_resends_and_lost_connections),
    };
    int failed = cmocka_run_group_tests_name("over the loopback transport", tests, NULL, NULL);
    over_tcp = true;
    failed += cmocka_run_group_tests_name("over tcp", tests, NULL, NULL);
    char directory[] = "/tmp/hf-net-XXXXXX", address[64];
    if (!mkdtemp(directory))
        return failed + 1;
    snprintf(address, sizeof address, "unix://%s/socket", directory);
    port_unix_address = address;
    failed += cmocka_run_group_tests_name("over a unix socket", tests, NULL, NULL);
    return failed + (rmdir(directory) != 0);
}

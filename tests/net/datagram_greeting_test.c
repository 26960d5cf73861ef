/* How clients greet a port by datagrams, and what floods of greetings and of others do to it. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/cookie.h"
#include "net/loopback.h"
#include "tests/net/datagram_kit.h"

static void an_address_is_proven_before_anything_is_kept_of_it(void **state)
{
    (void)state;
    open_port();
    open_peer(&peer, 7);
    give_hello(&peer, 0, 0, 16, HF_HELLO_DATAGRAM_BYTES_MIN);
    expect_cookie(&peer);
    assert_int_equal(port_status(&port).sessions + port_status(&port).connections, 0);
    assert_int_equal(port_status(&port).addresses_asked, 1);
    give_hello(&peer, 0, 0, 16, 1472);
    expect_welcome(&peer, 1472);
    assert_int_equal(port_status(&port).sessions, 1);
    give_request(&peer, 1, 3);
    expect_answer(&peer, 1, 3);
}

static void welcome_names_the_ports_of_the_same_carrier(void **state)
{
    (void)state;
    static const uint16_t streams[] = {1, 2}, datagrams[] = {3, 4};
    open_port();
    hf_net_set_ports(port.net, HF_CARRIER_TCP, streams, 2);
    hf_net_set_ports(port.net, HF_CARRIER_UDP, datagrams, 2);
    open_peer(&peer, 7);
    greet(&peer, 0, 0, 16, 1472);
    assert_int_equal(welcome->ports[0], 3);
    assert_int_equal(welcome->ports[1], 4);
    assert_int_equal(welcome->ports[2], 0);
}

static void nothing_is_answered_with_more_bytes_than_came(void **state)
{
    (void)state;
    open_port();
    open_peer(&peer, 7);
    for (uint32_t bytes = HF_HELLO_DATAGRAM_BYTES_MIN; bytes <= 1472; bytes += 8) {
        peer.cookie[0] = peer.cookie[1] = 0;
        give_hello(&peer, 0, 0, 16, bytes);
        expect_cookie(&peer);
        assert_true(head->length <= bytes);
        give_hello(&peer, peer.session, 0, 16, bytes);
        expect_welcome(&peer, bytes);
    }
    /* An address that was never proven, with a session that exists and with one that does not. */
    open_peer(&other, 8);
    for (unsigned known = 0; known < 2; known++) {
        other.session = known ? peer.session : peer.session ^ 1ull << 40;
        give_request(&other, 1, 1);
        take(&other);
        assert_true(head->length <= 160);
        assert_int_equal(head->type, known ? HF_COOKIE : HF_REFUSED);
    }
    /* Too short to be answered at all. */
    make_request(out, peer.session, 1, 1);
    seal_again(out, sizeof(struct hf_frame));
    give(&other, out, sizeof(struct hf_frame));
    expect_silence(&other);
}

static void a_flood_of_hellos_takes_no_room(void **state)
{
    (void)state;
    start(16);
    for (unsigned round = 0; round < 50; round++) {
        open_peer(&other, round);
        for (unsigned i = 0; i < 20; i++) {
            other.cookie[1] = round * 100 + i;
            give_hello(&other, i % 2 ? peer.session : 0, 0, 0, HF_HELLO_DATAGRAM_BYTES_MIN);
        }
        for (unsigned i = 0; i < 3; i++)
            port_turn(&port);
        close(other.fd);
        other.fd = -1;
    }
    assert_int_equal(port_status(&port).sessions, 1);
    assert_int_equal(port_status(&port).connections, 1);
    assert_int_equal(port_status(&port).addresses_asked, 1 + 50 * 20);
    give_request(&peer, 1, 1);
    expect_answer(&peer, 1, 1);
}

static void a_burst_beyond_all_receive_buffers_is_taken_in_the_next_turns(void **state)
{
    (void)state;
    start(16);
    open_peer(&other, 8);
    other.session = 77ull << 16;
    for (uint64_t number = 1; number <= 1500; number++)
        give_request(&other, number, 1);
    /* The clock stands nearly still, so that nothing is tried again by time. */
    for (unsigned turns = 0; turns < 200 && port_status(&port).datagrams_in < 2 + 1500; turns++)
        port_turn(&port);
    assert_int_equal(port_status(&port).datagrams_in, 2 + 1500);
    assert_int_equal(port_status(&port).session_expired, 1500);
}

/* A datagram's peer, and beside it a stream's. */
static void open_both(struct test_client *beside)
{
    static const char *const listen[] = {"udp://127.0.0.1:0", "loopback://net_test"};
    open_port_at(listen, 2);
    open_peer(&peer, 7);
    memset(beside, 0, sizeof *beside);
    beside->pipe = hf_loopback_connect("net_test");
    beside->open = true;
    assert_non_null(beside->pipe);
}

/* More datagrams come in each turn than a turn takes; a client of the port's other transport is served all the same. */
static void a_flood_of_datagrams_leaves_other_transports_their_turn(void **state)
{
    (void)state;
    static struct test_client beside;
    struct hf_frame frame;
    static uint8_t payload[HF_FRAME_BYTES_MAX];
    open_both(&beside);
    assert_int_equal(hf_loopback_push(beside.pipe, out, make_hello(out, 0, 4)), sizeof(struct hf_frame) + sizeof(struct hf_hello));
    unsigned turns = 0;
    memset(payload, 0, sizeof payload);
    do {
        for (unsigned i = 0; i < 600; i++)
            (void)!send(peer.fd, payload, 8, MSG_DONTWAIT);
        port_turn(&port);
        client_look(&beside);
    } while (!client_has_frame(&beside) && turns++ < 200);
    assert_true(client_has_frame(&beside));
    assert_true(client_take(&beside, &port, &frame, payload));
    assert_int_equal(frame.type, HF_WELCOME);
    client_close(&beside);
}

/* More requests come by the other transport than a turn takes, and every turn ends within its bytes: datagrams are served all the same. */
static void a_flood_by_a_stream_leaves_datagrams_their_turn(void **state)
{
    (void)state;
    static struct test_client beside;
    open_both(&beside);
    client_hello(&beside, &port, 0, 1024);
    uint64_t number = 0;
    bool served = false;
    for (unsigned turns = 0; turns < 200 && !served; turns++) {
        if (turns == 5)
            give_hello(&peer, 0, 0, 16, HF_HELLO_DATAGRAM_BYTES_MIN);
        for (unsigned i = 0; i < (turns == 0 ? 100 : 64); i++) {
            /* One is longer, so that no turn ends where one of the transport's chunks does. */
            uint32_t bytes = make_request(out, beside.session, ++number, turns + i == 0 ? 2 : 1);
            assert_int_equal(hf_loopback_push(beside.pipe, out, bytes), bytes);
        }
        port_turn(&port);
        while (hf_loopback_pull(beside.pipe, in, sizeof in) > 0)
            continue;
        served = port_status(&port).addresses_asked == 1;
    }
    assert_true(served);
    client_close(&beside);
}

static void what_the_socket_had_no_room_for_is_counted(void **state)
{
    (void)state;
    start(16);
    uint32_t bytes = make_datagram_hello(&peer, 0, 0, 16, 32768);
    for (unsigned i = 0; i < 2000; i++)
        give(&peer, out, bytes);
    for (unsigned i = 0; i < 2000; i++)
        port_turn(&port);
    port.now_ns += 1000000000;
    port_turn(&port);
    struct hf_net_status status = port_status(&port);
    assert_true(status.datagrams_overrun > 0);
    assert_int_equal(status.datagrams_in + status.datagrams_overrun, 2 + 2000);
}

static void a_cookie_serves_its_own_address_for_a_while(void **state)
{
    (void)state;
    start(16);
    open_peer(&other, 8);
    memcpy(other.cookie, peer.cookie, sizeof other.cookie);
    give_hello(&other, 0, 0, 16, 1472);
    expect_cookie(&other);
    uint64_t fresh[2] = {other.cookie[0], other.cookie[1]};
    for (unsigned bit = 0; bit < 128; bit += 5) {
        memcpy(other.cookie, fresh, sizeof fresh);
        other.cookie[bit / 64] ^= 1ull << bit % 64;
        give_hello(&other, 0, 0, 16, 1472);
        expect_cookie(&other);
    }
    memcpy(other.cookie, fresh, sizeof fresh);
    port.now_ns += (HF_COOKIE_LIFE_MS + 1000) * 1000000ull;
    give_hello(&other, 0, 0, 16, 1472);
    expect_cookie(&other);
    give_hello(&other, 0, 0, 16, 1472);
    expect_welcome(&other, 1472);
}

static void copies_of_a_hello_open_one_session(void **state)
{
    (void)state;
    start(16);
    uint64_t session = peer.session;
    for (unsigned i = 0; i < 5; i++) {
        give_hello(&peer, 0, 0, 16, 1472);
        expect_welcome(&peer, 1472);
        assert_int_equal(peer.session, session);
    }
    assert_int_equal(port_status(&port).sessions, 1);
    /* So do copies that name a session which is gone. */
    for (unsigned i = 0; i < 3; i++) {
        give_hello(&peer, session ^ 1ull << 40, 0, 16, 1472);
        expect_welcome(&peer, 1472);
        assert_int_equal(peer.session, session);
    }
    /* A session that was used is not meant by who asks for a new one. */
    give_request(&peer, 1, 1);
    expect_answer(&peer, 1, 1);
    give_hello(&peer, 0, 0, 16, 1472);
    expect_welcome(&peer, 1472);
    assert_true(peer.session != session);
    session = peer.session;
    /* Another client behind the same address has its own. */
    peer.client = 9;
    give_hello(&peer, 0, 0, 16, 1472);
    expect_welcome(&peer, 1472);
    assert_true(peer.session != session);
}

static void a_session_moves_to_a_proven_address_and_not_back_by_a_late_copy(void **state)
{
    (void)state;
    start(16);
    port.hold = true;
    give_request(&peer, 1, 1);
    expect_silence(&peer);
    uint32_t old_bytes = make_datagram_hello(&peer, peer.session, 0, 16, 1472);
    static uint8_t old[2048];
    memcpy(old, out, old_bytes);
    open_peer(&other, 7);
    other.session = peer.session;
    give_request(&other, 2, 1);
    expect_cookie(&other);
    port.now_ns += 5000000;
    other.cookie[0] = other.cookie[1] = 0;
    greet(&other, peer.session, 0, 16, 1232);
    assert_int_equal(other.session, peer.session);
    assert_int_equal(port_status(&port).addresses_changed, 1);
    port_answer_held(&port);
    expect_answer(&other, 1, 1);
    port.hold = false;
    give(&peer, old, old_bytes);
    expect_silence(&peer);
    assert_int_equal(port_status(&port).datagrams_late, 1);
    give_request(&other, 2, 1);
    expect_answer(&other, 2, 1);
}

/* The client has tried a larger size before, of which nothing came back: the path carries it one way only. */
static void a_late_hello_of_a_larger_size_does_not_make_answers_larger(void **state)
{
    (void)state;
    static uint8_t large[9000];
    open_port();
    open_peer(&peer, 7);
    give_hello(&peer, 0, 0, 16, HF_HELLO_DATAGRAM_BYTES_MIN);
    expect_cookie(&peer);
    memcpy(large, out, make_datagram_hello(&peer, 0, 0, 16, sizeof large));
    give_hello(&peer, 0, 0, 16, 1472);
    expect_welcome(&peer, 1472);
    give(&peer, large, sizeof large);
    expect_silence(&peer);
    assert_int_equal(port_status(&port).datagrams_late, 1);
    port.items = 100;
    give_request(&peer, 1, 1);
    expect_refused(&peer, 1, HF_TOO_LARGE);
    /* Who says HELLO to the session may use more from now on. */
    give_hello(&peer, peer.session, 0, 16, 8000);
    expect_welcome(&peer, 8000);
    give_request(&peer, 2, 1);
    expect_answer(&peer, 2, 1);
}

static void a_full_table_refuses_new_sessions_until_one_was_idle_for_long(void **state)
{
    (void)state;
    port.options.sessions_max = 1;
    start(16);
    open_peer(&other, 8);
    give_hello(&other, 0, 0, 16, 1472);
    expect_cookie(&other);
    give_hello(&other, 0, 0, 16, 1472);
    expect_refused(&other, 0, HF_BUSY);
    assert_int_equal(port_status(&port).refused_sessions, 1);
    port.now_ns += 61 * 1000000000ull;
    port_turn(&port);
    assert_int_equal(port_status(&port).sessions + port_status(&port).connections, 0);
    greet(&other, 0, 0, 16, 1472);
    give_request(&peer, 1, 1);
    expect_refused(&peer, 1, HF_SESSION_EXPIRED);
}

static void bye_ends_a_session_if_it_comes_from_its_address(void **state)
{
    (void)state;
    start(16);
    open_peer(&other, 8);
    make_request(out, peer.session, 0, 0);
    ((struct hf_frame *)(void *)out)->type = HF_BYE;
    seal_again(out, sizeof(struct hf_frame));
    give(&other, out, sizeof(struct hf_frame));
    expect_silence(&other);
    assert_int_equal(port_status(&port).sessions, 1);
    give(&peer, out, sizeof(struct hf_frame));
    expect_silence(&peer);
    assert_int_equal(port_status(&port).sessions + port_status(&port).connections, 0);
    /* Those that end nothing are counted too: one was another's, one is a copy. */
    give(&peer, out, sizeof(struct hf_frame));
    expect_silence(&peer);
    assert_int_equal(port_status(&port).datagrams_late, 2);
}

static void a_port_that_stopped_accepting_serves_the_sessions_it_has(void **state)
{
    (void)state;
    start(16);
    hf_net_stop_accepting(port.net);
    open_peer(&other, 8);
    give_hello(&other, 0, 0, 16, 1472);
    expect_cookie(&other);
    give_hello(&other, 0, 0, 16, 1472);
    expect_refused(&other, 0, HF_DRAINING);
    give_request(&peer, 1, 1);
    expect_answer(&peer, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_UDP(an_address_is_proven_before_anything_is_kept_of_it),
        OVER_UDP(welcome_names_the_ports_of_the_same_carrier),
        OVER_UDP(nothing_is_answered_with_more_bytes_than_came),
        OVER_UDP(a_flood_of_hellos_takes_no_room),
        OVER_UDP(a_burst_beyond_all_receive_buffers_is_taken_in_the_next_turns),
        OVER_UDP(a_flood_of_datagrams_leaves_other_transports_their_turn),
        OVER_UDP(a_flood_by_a_stream_leaves_datagrams_their_turn),
        OVER_UDP(what_the_socket_had_no_room_for_is_counted),
        OVER_UDP(a_cookie_serves_its_own_address_for_a_while),
        OVER_UDP(copies_of_a_hello_open_one_session),
        OVER_UDP(a_late_hello_of_a_larger_size_does_not_make_answers_larger),
        OVER_UDP(a_session_moves_to_a_proven_address_and_not_back_by_a_late_copy),
        OVER_UDP(a_full_table_refuses_new_sessions_until_one_was_idle_for_long),
        OVER_UDP(bye_ends_a_session_if_it_comes_from_its_address),
        OVER_UDP(a_port_that_stopped_accepting_serves_the_sessions_it_has),
    };
    return run_twice(tests, sizeof tests / sizeof tests[0]);
}

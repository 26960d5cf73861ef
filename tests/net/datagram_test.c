/* Datagrams as clients meet them, over UDP on the loopback interface: twice, the second time without a multishot receive. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/cookie.h"
#include "net/loopback.h"
#include "net/tail.h"
#include "tests/net/net_harness.h"
#include "wire/crc32c.h"

enum { PEER_BYTES = 65536, TURNS_MAX = 20000, SILENT_TURNS = 10 };

struct peer {
    int fd;
    uint64_t client, session, cookie[2];
    uint16_t credits;
};

static bool one_by_one;
static struct test_port port;
static struct peer peer, other;
static uint8_t out[PEER_BYTES] __attribute__((aligned(8))), in[PEER_BYTES] __attribute__((aligned(8)));
static const struct hf_frame *const head = (const struct hf_frame *)(const void *)in;
static const struct hf_welcome *const welcome = (const struct hf_welcome *)(const void *)(in + sizeof(struct hf_frame));

/* ---- A port and peers of it ---- */

static void open_port_at(const char *const *listen, unsigned count)
{
    port.tcp = true; /* turns wait in the kernel */
    port.accept = true;
    port.now_ns = 1000000000000ull;
    port.options.listen = listen;
    port.options.listen_count = count;
    port.options.shard_count = 1;
    port.options.partitions = 256;
    port.options.one_by_one = one_by_one;
    int error = hf_net_create(&port.options, &port.net);
    if (error)
        print_error("%s\n", hf_net_error());
    assert_int_equal(error, 0);
}

static void open_port(void)
{
    static const char *const listen[] = {"udp://127.0.0.1:0"};
    open_port_at(listen, 1);
}

static void open_peer(struct peer *it, uint64_t client)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(hf_net_port(port.net, 0)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memset(it, 0, sizeof *it);
    it->client = client;
    it->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(it->fd >= 0);
    assert_int_equal(connect(it->fd, (struct sockaddr *)&to, sizeof to), 0);
}

static int set_up(void **state)
{
    (void)state;
    memset(&port, 0, sizeof port);
    peer.fd = other.fd = -1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (peer.fd >= 0)
        close(peer.fd);
    if (other.fd >= 0)
        close(other.fd);
    if (port.net)
        hf_net_destroy(port.net);
    return 0;
}

static void give(const struct peer *it, const void *data, size_t bytes)
{
    assert_int_equal(send(it->fd, data, bytes, 0), bytes);
}

/* Whether a datagram came into in[]; its checksum is verified. */
static bool look(const struct peer *it)
{
    ssize_t bytes = recv(it->fd, in, sizeof in, 0);
    if (bytes < 0)
        return false;
    struct hf_frame plain = *head;
    plain.crc = 0;
    assert_int_equal(bytes, head->length);
    assert_int_equal(hf_crc32c(hf_crc32c(0, &plain, sizeof plain), in + sizeof plain, head->length - sizeof plain), head->crc);
    return true;
}

static void take(const struct peer *it)
{
    for (unsigned turns = 0; turns < TURNS_MAX; turns++) {
        if (look(it))
            return;
        port_turn(&port);
    }
    fail_msg("no datagram came");
}

static void expect_silence(const struct peer *it)
{
    for (unsigned turns = 0; turns < SILENT_TURNS; turns++)
        port_turn(&port);
    assert_false(look(it));
}

static uint32_t make_datagram_hello(const struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes)
{
    struct hf_frame frame = {
        .magic = HF_FRAME_MAGIC, .version = HF_FRAME_VERSION, .type = HF_HELLO, .session = session, .credits = credits};
    struct hf_hello hello = {.client = it->client, .first = first, .cookie = {it->cookie[0], it->cookie[1]}};
    memset(out, 0, bytes);
    memcpy(out, &frame, sizeof frame);
    memcpy(out + sizeof frame, &hello, sizeof hello);
    seal_again(out, bytes);
    return bytes;
}

static void give_hello(const struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes)
{
    give(it, out, make_datagram_hello(it, session, first, credits, bytes));
}

static void expect_cookie(struct peer *it)
{
    take(it);
    assert_int_equal(head->type, HF_COOKIE);
    assert_int_equal(head->length, sizeof(struct hf_frame) + sizeof(struct hf_hello));
    struct hf_hello hello;
    memcpy(&hello, in + sizeof *head, sizeof hello);
    memcpy(it->cookie, hello.cookie, sizeof it->cookie);
}

static void expect_welcome(struct peer *it, uint32_t bytes)
{
    take(it);
    assert_int_equal(head->type, HF_WELCOME);
    assert_int_equal(head->length, bytes);
    assert_int_equal(welcome->frame_bytes_max, bytes);
    assert_int_equal(welcome->answer_bytes_max, bytes);
    assert_true(welcome->resend_us >= 1000 && head->session != 0 && head->credits > 0);
    it->session = head->session;
    it->credits = head->credits;
}

static void greet(struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes)
{
    give_hello(it, session, first, credits, HF_HELLO_DATAGRAM_BYTES_MIN);
    expect_cookie(it);
    give_hello(it, session, first, credits, bytes);
    expect_welcome(it, bytes);
}

static void start(uint16_t credits)
{
    open_port();
    open_peer(&peer, 7);
    greet(&peer, 0, 0, credits, 1472);
}

static void give_request(const struct peer *it, uint64_t number, unsigned count)
{
    give(it, out, make_request(out, it->session, number, count));
}

static void expect_answer(const struct peer *it, uint64_t number, unsigned count)
{
    take(it);
    assert_int_equal(head->type, HF_ANSWER);
    assert_int_equal(head->request, number);
    assert_int_equal(head->count, count);
    assert_int_equal(head->session, it->session);
}

static void expect_refused(const struct peer *it, uint64_t number, int result)
{
    take(it);
    assert_int_equal(head->type, HF_REFUSED);
    assert_string_equal(hf_result_name(head->result), hf_result_name((unsigned)result));
    assert_int_equal(head->request, number);
}

/* ---- Greeting ---- */

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

/* ---- Requests ---- */

static void resends_get_the_first_answer_and_nothing_runs_twice(void **state)
{
    (void)state;
    static uint8_t first[4096];
    start(16);
    port.hold = true;
    give_request(&peer, 1, 2);
    give_request(&peer, 1, 2);
    expect_silence(&peer);
    assert_int_equal(port.held_count, 1);
    assert_int_equal(port_status(&port).resend_waiting, 1);
    port_answer_held(&port);
    expect_answer(&peer, 1, 2);
    memcpy(first, in, head->length);
    for (unsigned i = 0; i < 3; i++) {
        give_request(&peer, 1, 2);
        expect_answer(&peer, 1, 2);
        assert_memory_equal(first, in, head->length);
    }
    assert_int_equal(port.commands, 2);
    assert_int_equal(port_status(&port).resend_answered, 3);
}

static void requests_may_come_in_any_order_within_the_credits(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {4, 2, 1, 3, 6, 8, 5, 7};
    start(4);
    for (unsigned i = 0; i < 8; i++) {
        give_request(&peer, numbers[i], 1);
        expect_answer(&peer, numbers[i], 1);
    }
    give_request(&peer, 13, 1);
    expect_refused(&peer, 13, HF_CREDIT_OVERRUN);
    give_request(&peer, 0, 1);
    expect_refused(&peer, 0, HF_CREDIT_OVERRUN);
    give_request(&peer, 12, 1);
    expect_answer(&peer, 12, 1);
    /* The network kept these back; the client has moved on. */
    give_request(&peer, 8, 1);
    give_request(&peer, 4, 1);
    expect_silence(&peer);
    assert_int_equal(port_status(&port).datagrams_late, 2);
}

static void a_slot_that_waits_takes_no_other_number(void **state)
{
    (void)state;
    start(4);
    port.hold = true;
    give_request(&peer, 1, 1);
    give_request(&peer, 5, 1);
    expect_refused(&peer, 5, HF_CREDIT_OVERRUN);
    port_answer_held(&port);
    expect_answer(&peer, 1, 1);
    port.hold = false;
    give_request(&peer, 5, 1);
    expect_answer(&peer, 5, 1);
}

static void a_refusal_is_as_final_as_an_answer(void **state)
{
    (void)state;
    start(4);
    port.accept = false;
    give_request(&peer, 1, 1);
    expect_refused(&peer, 1, HF_DRAINING);
    port.accept = true;
    give_request(&peer, 1, 1);
    expect_refused(&peer, 1, HF_DRAINING);
    assert_int_equal(port.commands, 0);
    give_request(&peer, 5, 1);
    expect_answer(&peer, 5, 1);
}

static void an_answer_that_is_gone_is_not_made_again(void **state)
{
    (void)state;
    port.options.answer_cache_bytes = 1 << 20;
    port.items = 64;
    start(2);
    give_request(&peer, 1, 1);
    expect_answer(&peer, 1, 1);
    for (uint64_t number = 2; number < 3000; number += 2) {
        give_request(&peer, number, 1);
        expect_answer(&peer, number, 1);
    }
    uint64_t before = port.commands;
    give_request(&peer, 1, 1);
    expect_refused(&peer, 1, HF_SESSION_EXPIRED);
    assert_int_equal(port.commands, before);
    assert_int_equal(port_status(&port).resend_lost, 1);
}

static void numbers_go_on_beyond_the_last_one(void **state)
{
    (void)state;
    static const uint16_t credits[] = {1, 3, 7, 16};
    open_port();
    for (unsigned i = 0; i < sizeof credits / sizeof credits[0]; i++) {
        open_peer(&peer, 100 + i);
        greet(&peer, 0, UINT64_MAX - 20, credits[i], 1472);
        assert_int_equal(peer.credits, credits[i]);
        uint64_t number = UINT64_MAX - 20, last[64];
        for (unsigned sent = 0; sent < 64; sent++) {
            give_request(&peer, number, 1);
            expect_answer(&peer, number, 1);
            last[sent] = number;
            number = number == UINT64_MAX ? 1 : number + 1;
        }
        assert_int_equal(number, 64 - 20);
        /* The newest of each slot is known, the one before it is late. */
        uint64_t answered = port_status(&port).resend_answered, late = port_status(&port).datagrams_late;
        give_request(&peer, last[63], 1);
        expect_answer(&peer, last[63], 1);
        give_request(&peer, last[63 - credits[i]], 1);
        expect_silence(&peer);
        assert_int_equal(port_status(&port).resend_answered, answered + 1);
        assert_int_equal(port_status(&port).datagrams_late, late + 1);
        close(peer.fd);
        peer.fd = -1;
    }
}

static void sessions_that_come_round_are_others(void **state)
{
    (void)state;
    static uint64_t ids[300];
    port.options.sessions_max = 2;
    open_port();
    for (unsigned i = 0; i < 300; i++) {
        open_peer(&other, i);
        greet(&other, 0, 0, 4, 1232);
        ids[i] = other.session;
        for (unsigned k = 0; k < i; k++)
            assert_true(ids[k] != ids[i]);
        if (i > 0) {
            other.session = ids[i - 1];
            give_request(&other, 1, 1);
            expect_refused(&other, 1, HF_SESSION_EXPIRED);
        }
        make_request(out, ids[i], 0, 0);
        ((struct hf_frame *)(void *)out)->type = HF_BYE;
        seal_again(out, sizeof(struct hf_frame));
        give(&other, out, sizeof(struct hf_frame));
        expect_silence(&other);
        close(other.fd);
        other.fd = -1;
    }
}

static void credits_come_from_what_is_served_in_the_tail(void **state)
{
    (void)state;
    port.options.requests_max = 100;
    open_port();
    open_peer(&peer, 1);
    greet(&peer, 0, 0, 0, 1472);
    assert_int_equal(peer.credits, 100);
    open_peer(&other, 2);
    greet(&other, 0, 0, 0, 1472);
    assert_int_equal(other.credits, 32);
    assert_true(welcome->resend_us >= 4000);
}

/* ---- Sizes ---- */

static uint32_t make_queries(unsigned count, uint16_t opcode)
{
    uint32_t bytes = make_request(out, peer.session, 1, count);
    for (unsigned i = 0; i < count; i++)
        ((struct hf_command *)(void *)(out + sizeof(struct hf_frame) + 96 * i))->opcode = opcode;
    seal_again(out, bytes);
    return bytes;
}

static void set_number(uint64_t number, uint32_t bytes)
{
    ((struct hf_frame *)(void *)out)->request = number;
    seal_again(out, bytes);
}

static void answers_never_exceed_the_path(void **state)
{
    (void)state;
    start(16);
    /* Places are bounded beforehand: 48 + 16 bytes for each. */
    give_request(&peer, 1, (1472 - 64) / 64);
    expect_answer(&peer, 1, (1472 - 64) / 64);
    give_request(&peer, 2, (1472 - 64) / 64 + 1);
    expect_refused(&peer, 2, HF_TOO_LARGE);
    /* A query may be asked, and is answered if what there is to say is short. */
    uint32_t bytes = make_queries(3, HF_GET_ORDER);
    set_number(3, bytes);
    give(&peer, out, bytes);
    expect_answer(&peer, 3, 3);
    port.items = 30;
    set_number(4, bytes);
    give(&peer, out, bytes);
    expect_refused(&peer, 4, HF_TOO_LARGE);
    give(&peer, out, bytes);
    expect_refused(&peer, 4, HF_TOO_LARGE);
    assert_int_equal(port_status(&port).answers_too_large, 1);
    /* Beside a command that changes something its bound counts. */
    bytes = make_queries(3, HF_GET_ORDER);
    ((struct hf_command *)(void *)(out + sizeof(struct hf_frame)))->opcode = HF_PLACE;
    set_number(5, bytes);
    give(&peer, out, bytes);
    expect_refused(&peer, 5, HF_TOO_LARGE);
}

static void the_largest_datagram_passes_on_a_path_that_carries_it(void **state)
{
    (void)state;
    open_port();
    open_peer(&peer, 7);
    greet(&peer, 0, 0, 16, HF_DATAGRAM_BYTES_MAX);
    for (uint64_t number = 1; number <= 20; number++) {
        give_request(&peer, number, 680);
        expect_answer(&peer, number, 680);
    }
}

/* ---- Malformed ---- */

static struct hf_frame *sent_head(void)
{
    return (struct hf_frame *)(void *)out;
}

static void break_magic(void)
{
    sent_head()->magic ^= 1;
}
static void break_version(void)
{
    sent_head()->version = 9;
}
static void break_crc(void)
{
    out[100] ^= 1;
}
static void make_short(void)
{
    sent_head()->length -= 8;
}
static void make_long(void)
{
    sent_head()->length += 8;
}
static void make_uneven(void)
{
    sent_head()->length -= 1;
}
static void set_type_welcome(void)
{
    sent_head()->type = HF_WELCOME;
    seal_again(out, sent_head()->length);
}
static void set_type_cookie(void)
{
    sent_head()->type = HF_COOKIE;
    seal_again(out, sent_head()->length);
}

static void malformed_datagrams_are_counted_and_dropped(void **state)
{
    (void)state;
    static void (*const changes[])(void) = {break_magic, break_version, break_crc,        make_short,
                                            make_long,   make_uneven,   set_type_welcome, set_type_cookie};
    start(16);
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        uint32_t bytes = make_request(out, peer.session, 1, 1);
        changes[i]();
        give(&peer, out, bytes);
        expect_silence(&peer);
        struct hf_net_status status = port_status(&port);
        assert_int_equal(status.bad_frame + status.bad_version + status.bad_crc, i + 1);
    }
    for (uint32_t bytes = 0; bytes < sizeof(struct hf_frame); bytes += 9) {
        make_request(out, peer.session, 1, 1);
        give(&peer, out, bytes);
    }
    /* Two frames in one datagram, and a HELLO that is too short. */
    uint32_t bytes = make_request(out, peer.session, 1, 1);
    memcpy(out + bytes, out, bytes);
    give(&peer, out, 2 * bytes);
    give_hello(&peer, 0, 0, 16, HF_HELLO_DATAGRAM_BYTES_MIN - 8);
    expect_silence(&peer);
    assert_int_equal(port_status(&port).bad_frame, 6 + 8 + 2);
    give_request(&peer, 1, 1);
    expect_answer(&peer, 1, 1);
}

static void seeded_garbage_is_no_harm(void **state)
{
    (void)state;
    uint64_t x = 0x9e3779b97f4a7c15ull;
    start(16);
    for (unsigned round = 0; round < 400; round++) {
        uint32_t bytes = round % 3 == 0   ? make_request(out, peer.session, round, 3)
                         : round % 3 == 1 ? make_datagram_hello(&peer, peer.session, 0, 4, 480)
                                          : 1 + round;
        for (uint32_t i = 0; i < bytes; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            if (round % 3 == 2 || x % 61 == 0)
                out[i] = (uint8_t)(x >> 32);
        }
        if (round % 2)
            seal_again(out, bytes / 8 * 8);
        give(&peer, out, bytes);
        if (round % 16 == 0)
            port_turn(&port);
    }
    for (unsigned i = 0; i < 50; i++)
        port_turn(&port);
    while (look(&peer))
        ;
    open_peer(&other, 8);
    greet(&other, 0, 0, 4, 1472);
    give_request(&other, 1, 1);
    expect_answer(&other, 1, 1);
    assert_int_equal(port_status(&port).connections, port_status(&port).sessions);
    assert_int_equal(port_status(&port).requests_in_flight, 0);
}

/* ---- All of it together ---- */

enum { CHAOS_CREDITS = 8, CHAOS_REQUESTS = 2000 };

static uint64_t chaos;

static uint64_t draw(uint64_t below)
{
    chaos ^= chaos << 13, chaos ^= chaos >> 7, chaos ^= chaos << 17;
    return (chaos >> 11) % below;
}

/* Requests and answers are lost, doubled and held back; the client is somewhere else now and then. Its numbers pass the end of the number
 * space on the way. */
static void every_request_runs_once_through_loss_copies_and_moves(void **state)
{
    (void)state;
    static uint64_t ran[CHAOS_REQUESTS + 1];
    static bool answered[CHAOS_REQUESTS + 2];
    const uint64_t first = UINT64_MAX - CHAOS_REQUESTS / 2;
    memset(ran, 0, sizeof ran);
    memset(answered, 0, sizeof answered);
    chaos = 0x5eed;
    open_port();
    open_peer(&peer, 7);
    greet(&peer, 0, first, CHAOS_CREDITS, 1472);
    port.hold = true;
    uint64_t session = peer.session;
    unsigned next = 1, oldest = 1;
    for (unsigned step = 0; step < 400000 && oldest <= CHAOS_REQUESTS; step++) {
        uint64_t what = draw(100);
        if (what < 60) {
            unsigned serial = oldest + (unsigned)draw(CHAOS_CREDITS);
            next = serial < next ? next : serial + 1;
            bool may = serial <= CHAOS_REQUESTS && !answered[serial] && (serial <= CHAOS_CREDITS || answered[serial - CHAOS_CREDITS]);
            uint64_t number = first + (serial - 1);
            number += number < first;
            for (uint64_t copies = may ? draw(3) : 0; copies > 0; copies--)
                give_request(&peer, number, 1);
        } else if (what < 90 && port.held_count > 0) {
            unsigned i = (unsigned)draw(port.held_count);
            uint64_t number = port.held[i]->number;
            ran[number - first + (number >= first)]++;
            port_answer(&port, port.held[i]);
            port.held[i] = port.held[--port.held_count];
        } else if (what == 90) {
            close(peer.fd);
            open_peer(&peer, 7);
            port.now_ns += 2000000;
            greet(&peer, session, 0, 0, 1472);
            assert_int_equal(peer.session, session);
        }
        port_turn(&port);
        while (look(&peer)) {
            if (head->type != HF_ANSWER || draw(100) < 20)
                continue;
            uint64_t serial = head->request - first + (head->request >= first);
            assert_int_equal(((const struct hf_answer *)(const void *)(in + sizeof *head))->value, head->request);
            answered[serial] = true;
        }
        while (answered[oldest])
            oldest++;
    }
    assert_int_equal(oldest, CHAOS_REQUESTS + 1);
    for (unsigned i = 1; i <= CHAOS_REQUESTS; i++)
        assert_int_equal(ran[i], 1);
    struct hf_net_status status = port_status(&port);
    assert_int_equal(status.credit_overrun + status.bad_frame + status.resend_lost, 0);
    assert_true(status.resend_waiting > 0 && status.resend_answered > 0 && status.addresses_changed > 0);
    port_answer_held(&port);
}

/* ---- Listening ---- */

static void shards_share_a_port_that_nobody_else_may_have(void **state)
{
    (void)state;
    struct hf_net *nets[2] = {NULL, NULL}, *another = NULL;
    char address[64] = "udp://127.0.0.1:0";
    const char *const listen[] = {address};
    struct hf_net_options options = {
        .listen = listen, .listen_count = 1, .shared_port = true, .shard_count = 2, .partitions = 256, .one_by_one = one_by_one};
    for (unsigned i = 0; i < 2; i++) {
        options.shard = i;
        assert_int_equal(hf_net_create(&options, &nets[i]), 0);
        snprintf(address, sizeof address, "udp://127.0.0.1:%u", hf_net_port(nets[i], 0));
    }
    assert_int_equal(hf_net_port(nets[0], 0), hf_net_port(nets[1], 0));
    options.shard = 0;
    assert_int_equal(hf_net_create(&options, &another), HF_E_IO);
    assert_non_null(strstr(hf_net_error(), "in use"));
    hf_net_destroy(nets[0]);
    hf_net_destroy(nets[1]);
}

static void an_ipv6_address_serves_too(void **state)
{
    (void)state;
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool here = fd >= 0 && bind(fd, (struct sockaddr *)&to, sizeof to) == 0;
    static const char *const listen[] = {"udp://[::1]:0"};
    open_port();
    hf_net_destroy(port.net);
    port.net = NULL;
    port.options.listen = listen;
    int error = hf_net_create(&port.options, &port.net);
    assert_int_equal(error, here ? 0 : HF_E_IO);
    if (error)
        return;
    memset(&peer, 0, sizeof peer);
    peer.fd = fd;
    peer.client = 6;
    to.sin6_port = htons(hf_net_port(port.net, 0));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    greet(&peer, 0, 0, 16, 1448);
    give_request(&peer, 1, 2);
    expect_answer(&peer, 1, 2);
    /* IPv6 carries a few bytes more in a datagram than is spoken of. */
    give_hello(&peer, 0, 0, 16, HF_DATAGRAM_BYTES_MAX + 16);
    expect_silence(&peer);
    assert_int_equal(port_status(&port).too_large, 1);
}

/* ---- The parts ---- */

static void siphash_gives_the_published_values(void **state)
{
    (void)state;
    /* Key 00 01 .. 0f, messages of 0, 8 and 16 bytes 00 01 .. */
    const uint64_t key[2] = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};
    assert_true(hf_siphash(key, key, 0) == 0x726fdb47dd0e0e31ull);
    assert_true(hf_siphash(key, key, 1) == 0x93f5f5799a932462ull);
    assert_true(hf_siphash(key, key, 2) == 0x3f2acc7f57c29bdbull);
}

static void the_tail_is_what_one_of_a_hundred_exceeds(void **state)
{
    (void)state;
    struct hf_tail tail;
    hf_tail_init(&tail, 77);
    hf_tail_add(&tail, 1000000);
    hf_tail_settle(&tail);
    assert_int_equal(tail.p99_ns, 77);
    for (unsigned i = 0; i < 9900; i++)
        hf_tail_add(&tail, 200000);
    for (unsigned i = 0; i < 99; i++)
        hf_tail_add(&tail, 900000000);
    hf_tail_settle(&tail);
    assert_in_range(tail.p99_ns, 200000, 230000);
    for (unsigned i = 0; i < 9000; i++)
        hf_tail_add(&tail, 3000000);
    hf_tail_settle(&tail);
    assert_in_range(tail.p99_ns, 3000000, 3400000);
    for (unsigned i = 0; i < 200; i++)
        hf_tail_add(&tail, i % 2 ? 0 : UINT64_MAX);
    hf_tail_settle(&tail);
}

#define OVER_UDP(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
        OVER_UDP(resends_get_the_first_answer_and_nothing_runs_twice),
        OVER_UDP(requests_may_come_in_any_order_within_the_credits),
        OVER_UDP(a_slot_that_waits_takes_no_other_number),
        OVER_UDP(a_refusal_is_as_final_as_an_answer),
        OVER_UDP(an_answer_that_is_gone_is_not_made_again),
        OVER_UDP(numbers_go_on_beyond_the_last_one),
        OVER_UDP(sessions_that_come_round_are_others),
        OVER_UDP(credits_come_from_what_is_served_in_the_tail),
        OVER_UDP(answers_never_exceed_the_path),
        OVER_UDP(the_largest_datagram_passes_on_a_path_that_carries_it),
        OVER_UDP(malformed_datagrams_are_counted_and_dropped),
        OVER_UDP(seeded_garbage_is_no_harm),
        OVER_UDP(every_request_runs_once_through_loss_copies_and_moves),
        OVER_UDP(an_ipv6_address_serves_too),
    };
    const struct CMUnitTest parts[] = {
        cmocka_unit_test(siphash_gives_the_published_values),
        cmocka_unit_test(the_tail_is_what_one_of_a_hundred_exceeds),
        OVER_UDP(shards_share_a_port_that_nobody_else_may_have),
    };
    int failed = cmocka_run_group_tests_name("parts", parts, NULL, NULL);
    failed += cmocka_run_group_tests_name("with a multishot receive", tests, NULL, NULL);
    one_by_one = true;
    return failed + cmocka_run_group_tests_name("one by one", tests, NULL, NULL);
}

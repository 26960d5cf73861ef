/* Datagrams that are malformed, where a port listens for them, and the parts that they need. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/cookie.h"
#include "net/tail.h"
#include "tests/net/datagram_kit.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_UDP(malformed_datagrams_are_counted_and_dropped),
        OVER_UDP(seeded_garbage_is_no_harm),
        OVER_UDP(an_ipv6_address_serves_too),
    };
    const struct CMUnitTest parts[] = {
        cmocka_unit_test(siphash_gives_the_published_values),
        cmocka_unit_test(the_tail_is_what_one_of_a_hundred_exceeds),
        OVER_UDP(shards_share_a_port_that_nobody_else_may_have),
    };
    int failed = cmocka_run_group_tests_name("parts", parts, NULL, NULL);
    return failed + run_twice(tests, sizeof tests / sizeof tests[0]);
}

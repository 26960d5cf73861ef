/* The network of net/dpdk over packets made here by hand: what is answered and how, what is dropped and under which count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/dpdk/ip.h"

#define US        0x02, 0, 0, 0, 0, 1
#define THEM      0x02, 0, 0, 0, 0, 2
#define THEM_NOW  0x02, 0, 0, 0, 0, 7
#define ALL       0xff, 0xff, 0xff, 0xff, 0xff, 0xff
#define IP4_US    10, 9, 0, 2
#define IP4_THEM  10, 9, 0, 1
#define IP6_US    0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2
#define IP6_THEM  0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
#define IP6_GROUP 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2

enum { ROOM = 2048, PORT = 7000 };

struct fixture {
    struct hf_ip ip;
    uint64_t now_ns;
    uint8_t packet[ROOM];
    uint32_t bytes;
    struct hf_ip_taken taken;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const struct hf_ip_options options = {
        .mac = {US},
        .port = PORT,
        .mtu = 1500,
        .own = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, IP4_US}, 120}, {{IP6_US}, 64}},
        .own_count = 2,
        .gateways = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 9, 0, 254}},
    };
    assert_non_null(f);
    hf_ip_init(&f->ip, &options);
    f->now_ns = 1000000000u;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void add(struct fixture *f, const void *bytes, uint32_t count)
{
    assert_true(f->bytes + count <= ROOM);
    memcpy(f->packet + f->bytes, bytes, count);
    f->bytes += count;
}

#define ADD(f, ...) add(f, (const uint8_t[]){__VA_ARGS__}, (uint32_t)sizeof((const uint8_t[]){__VA_ARGS__}))

static void begin(struct fixture *f)
{
    memset(f->packet, 0xee, sizeof f->packet);
    f->bytes = 0;
}

/* One's complement sum, written apart from the one under test. */
static uint16_t sum_of(const uint8_t *at, uint32_t bytes, uint32_t sum)
{
    for (uint32_t i = 0; i < bytes; i++)
        sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
    sum = (sum >> 16) + (sum & 0xffff);
    sum += sum >> 16;
    return (uint16_t)~sum;
}

static void put(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t get(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Fills in the sums and lengths of a packet that begins with 14 bytes of Ethernet, as a sender would. */
static void finish_four(struct fixture *f)
{
    uint8_t *ip = f->packet + 14, *rest = ip + 20;
    uint32_t bytes = f->bytes - 34;
    put(ip + 2, 20 + bytes);
    put(ip + 10, 0);
    put(ip + 10, sum_of(ip, 20, 0));
    if (ip[9] == 17) {
        put(rest + 4, bytes);
        put(rest + 6, 0);
        uint32_t pseudo = 17 + bytes + get(ip + 12) + get(ip + 14) + get(ip + 16) + get(ip + 18);
        put(rest + 6, sum_of(rest, bytes, pseudo));
    } else {
        put(rest + 2, 0);
        put(rest + 2, sum_of(rest, bytes, 0));
    }
}

static uint32_t pseudo_six(const uint8_t *ip, uint32_t bytes)
{
    uint32_t pseudo = ip[6] + bytes;
    for (unsigned i = 8; i < 40; i += 2)
        pseudo += get(ip + i);
    return pseudo;
}

static void finish_six(struct fixture *f)
{
    uint8_t *ip = f->packet + 14, *rest = ip + 40, *sum = rest + (ip[6] == 17 ? 6 : 2);
    uint32_t bytes = f->bytes - 54;
    put(ip + 4, bytes);
    if (ip[6] == 17)
        put(rest + 4, bytes);
    put(sum, 0);
    put(sum, sum_of(rest, bytes, pseudo_six(ip, bytes)));
}

static enum hf_ip_verdict take(struct fixture *f)
{
    /* Memory of just that size, so that a sanitizer sees a read beyond it; answers may need a little more. */
    uint32_t room = f->bytes + 8;
    uint8_t *exact = malloc(room);
    assert_non_null(exact);
    memcpy(exact, f->packet, f->bytes);
    enum hf_ip_verdict verdict = hf_ip_take(&f->ip, f->now_ns, exact, f->bytes, room, false, &f->taken);
    assert_true(verdict == HF_IP_DROPPED || f->taken.offset + f->taken.bytes <= room);
    memcpy(f->packet, exact, room < ROOM ? room : ROOM);
    if (verdict == HF_IP_ANSWERED)
        f->bytes = f->taken.bytes;
    free(exact);
    return verdict;
}

static void expect_dropped(struct fixture *f, const uint64_t *counter)
{
    uint64_t before = *counter;
    assert_int_equal(take(f), HF_IP_DROPPED);
    assert_int_equal(*counter, before + 1);
}

static void make_udp4(struct fixture *f)
{
    begin(f);
    ADD(f, US, THEM, 8, 0, 0x45, 0, 0, 0, 0, 7, 0, 0, 64, 17, 0, 0, IP4_THEM, IP4_US, 0x9c, 0x40, PORT >> 8, PORT & 255, 0, 0, 0, 0);
    ADD(f, 'h', 'o', 'l', 'd', '!');
    finish_four(f);
}

static void make_udp6(struct fixture *f)
{
    begin(f);
    ADD(f, US, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64, IP6_THEM, IP6_US, 0x9c, 0x40, PORT >> 8, PORT & 255, 0, 0, 0, 0);
    ADD(f, 'f', 'a', 's', 't');
    finish_six(f);
}

static void make_echo4(struct fixture *f)
{
    begin(f);
    ADD(f, US, THEM, 8, 0, 0x45, 0, 0, 0, 0, 7, 0, 0, 64, 1, 0, 0, IP4_THEM, IP4_US, 8, 0, 0, 0, 1, 2, 3, 4, 'a', 'b', 'c');
    finish_four(f);
}

static void make_echo6(struct fixture *f)
{
    begin(f);
    ADD(f, US, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 64, IP6_THEM, IP6_US, 128, 0, 0, 0, 1, 2, 3, 4, 'a', 'b', 'c', 'd');
    finish_six(f);
}

static void make_arp(struct fixture *f)
{
    begin(f);
    ADD(f, ALL, THEM, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, THEM, IP4_THEM, 0, 0, 0, 0, 0, 0, IP4_US);
}

static void make_solicit(struct fixture *f)
{
    begin(f);
    ADD(f, 0x33, 0x33, 0xff, 0, 0, 2, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 255, IP6_THEM, IP6_GROUP);
    ADD(f, 135, 0, 0, 0, 0, 0, 0, 0, IP6_US, 1, 1, THEM);
    finish_six(f);
}

static void (*const makers[])(struct fixture *) = {make_udp4, make_udp6, make_echo4, make_echo6, make_arp, make_solicit};
enum { MAKERS = sizeof makers / sizeof makers[0] };

static struct hf_peer peer_four(struct fixture *f)
{
    make_udp4(f);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    return f->taken.from;
}

static void a_datagram_for_our_port_is_given_with_where_it_came_from(void **state)
{
    struct fixture *f = *state;
    struct hf_peer peer = peer_four(f);
    assert_int_equal(f->taken.bytes, 5);
    assert_memory_equal(f->packet + f->taken.offset, "hold!", 5);
    assert_memory_equal(peer.address, ((const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, IP4_THEM}), 16);
    assert_int_equal(peer.port, 40000);
    make_udp6(f);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    assert_int_equal(f->taken.bytes, 4);
    assert_memory_equal(f->taken.from.address, ((const uint8_t[]){IP6_THEM}), 16);
    assert_int_equal(f->taken.from.listener, 1);
}

static void what_is_padded_by_ethernet_is_cut_to_what_the_headers_say(void **state)
{
    struct fixture *f = *state;
    make_udp4(f);
    ADD(f, 0, 0, 0, 0, 0, 0, 0);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    assert_int_equal(f->taken.bytes, 5);
}

static void a_run_of_ports_is_ours_and_no_other(void **state)
{
    struct fixture *f = *state;
    f->ip.options.port_last = PORT + 2;
    for (uint32_t port = PORT; port <= PORT + 2; port++) {
        make_udp4(f);
        put(f->packet + 36, port);
        finish_four(f);
        assert_int_equal(take(f), HF_IP_DATAGRAM);
        assert_int_equal(f->taken.port, port);
    }
    const uint32_t others[] = {PORT - 1, PORT + 3, 1, 65535};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        make_udp4(f);
        put(f->packet + 36, others[i]);
        finish_four(f);
        expect_dropped(f, &f->ip.status.not_ours);
    }
}

static void sums_hold_for_datagrams_of_every_length(void **state)
{
    struct fixture *f = *state;
    for (uint32_t bytes = 0; bytes < 200; bytes++) {
        make_udp4(f);
        for (uint32_t i = 0; i < bytes; i++)
            ADD(f, (uint8_t)(0xff - i * 7));
        finish_four(f);
        assert_int_equal(take(f), HF_IP_DATAGRAM);
        assert_int_equal(f->taken.bytes, 5 + bytes);
        make_udp6(f);
        for (uint32_t i = 0; i < bytes; i++)
            ADD(f, (uint8_t)(0xf0 + i * 3));
        finish_six(f);
        assert_int_equal(take(f), HF_IP_DATAGRAM);
    }
}

static void an_arp_request_for_us_is_answered_to_its_sender(void **state)
{
    struct fixture *f = *state;
    make_arp(f);
    assert_int_equal(take(f), HF_IP_ANSWERED);
    const uint8_t wanted[] = {THEM, US, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, US, IP4_US, THEM, IP4_THEM};
    assert_int_equal(f->bytes, sizeof wanted);
    assert_memory_equal(f->packet, wanted, sizeof wanted);
    make_arp(f);
    f->packet[41] = 3;
    expect_dropped(f, &f->ip.status.not_ours);
    /* Somebody who says that he is another, or us. */
    make_arp(f);
    f->packet[27] = 9;
    expect_dropped(f, &f->ip.status.not_ours);
    make_arp(f);
    f->packet[31] = 2;
    expect_dropped(f, &f->ip.status.not_ours);
}

static void an_echo_request_comes_back_as_it_went(void **state)
{
    struct fixture *f = *state;
    make_echo4(f);
    uint32_t bytes = f->bytes;
    assert_int_equal(take(f), HF_IP_ANSWERED);
    assert_int_equal(f->bytes, bytes);
    assert_memory_equal(f->packet, ((const uint8_t[]){THEM, US}), 12);
    assert_memory_equal(f->packet + 26, ((const uint8_t[]){IP4_US, IP4_THEM}), 8);
    assert_int_equal(sum_of(f->packet + 14, 20, 0), 0);
    assert_int_equal(sum_of(f->packet + 34, bytes - 34, 0), 0);
    assert_int_equal(f->packet[34], 0);
    assert_memory_equal(f->packet + 38, "\1\2\3\4abc", 7);
    make_echo6(f);
    assert_int_equal(take(f), HF_IP_ANSWERED);
    assert_int_equal(f->packet[54], 129);
    assert_memory_equal(f->packet + 22, ((const uint8_t[]){IP6_US, IP6_THEM}), 32);
    assert_int_equal(sum_of(f->packet + 54, 12, pseudo_six(f->packet + 14, 12)), 0);
}

static void a_solicitation_is_answered_with_our_ethernet_address(void **state)
{
    struct fixture *f = *state;
    make_solicit(f);
    assert_int_equal(take(f), HF_IP_ANSWERED);
    const uint8_t wanted[] = {THEM, US, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255, IP6_US, IP6_THEM, 136, 0};
    assert_memory_equal(f->packet, wanted, sizeof wanted);
    assert_memory_equal(f->packet + 58, ((const uint8_t[]){0x60, 0, 0, 0, IP6_US, 2, 1, US}), 28);
    assert_int_equal(sum_of(f->packet + 54, 32, pseudo_six(f->packet + 14, 32)), 0);
    /* From beyond a router, which would have counted the hops down. */
    make_solicit(f);
    f->packet[21] = 254;
    expect_dropped(f, &f->ip.status.malformed);
    make_solicit(f);
    f->packet[79] = 0;
    finish_six(f);
    expect_dropped(f, &f->ip.status.malformed);
    make_solicit(f);
    f->packet[77] = 3;
    finish_six(f);
    expect_dropped(f, &f->ip.status.not_ours);
}

static void somebody_who_checks_whether_our_address_is_free_is_told_with_everybody(void **state)
{
    struct fixture *f = *state;
    begin(f);
    ADD(f, 0x33, 0x33, 0xff, 0, 0, 2, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 255);
    ADD(f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, IP6_GROUP, 135, 0, 0, 0, 0, 0, 0, 0, IP6_US);
    finish_six(f);
    assert_int_equal(take(f), HF_IP_ANSWERED);
    assert_memory_equal(f->packet, ((const uint8_t[]){0x33, 0x33, 0, 0, 0, 1, US}), 12);
    assert_int_equal(f->packet[58], 0x20);
}

static void wrong_sums_are_dropped_but_none_is_allowed_of_ipv4(void **state)
{
    struct fixture *f = *state;
    static const unsigned offsets[] = {46, 60, 40, 60, 0, 70};
    for (unsigned i = 0; i < MAKERS; i++) {
        if (makers[i] == make_arp)
            continue;
        makers[i](f);
        f->packet[offsets[i]] ^= 1;
        expect_dropped(f, &f->ip.status.bad_checksum);
    }
    make_udp4(f);
    f->packet[22]--; /* hops */
    expect_dropped(f, &f->ip.status.bad_checksum);
    make_udp4(f);
    put(f->packet + 40, 0);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    make_udp6(f);
    put(f->packet + 60, 0);
    expect_dropped(f, &f->ip.status.bad_checksum);
}

static void fragments_and_options_are_dropped(void **state)
{
    struct fixture *f = *state;
    static const uint8_t flags[][2] = {{0x20, 0}, {0, 1}, {0x20, 0xb9}};
    for (unsigned i = 0; i < 3; i++) {
        make_udp4(f);
        memcpy(f->packet + 20, flags[i], 2);
        finish_four(f);
        expect_dropped(f, &f->ip.status.fragments);
    }
    make_udp6(f);
    f->packet[20] = 44;
    expect_dropped(f, &f->ip.status.fragments);
    make_udp6(f);
    f->packet[20] = 0;
    expect_dropped(f, &f->ip.status.unserved);
    make_udp4(f);
    f->packet[14] = 0x46;
    expect_dropped(f, &f->ip.status.unserved);
    make_udp4(f);
    f->packet[23] = 6;
    finish_four(f);
    expect_dropped(f, &f->ip.status.unserved);
    make_echo4(f);
    f->packet[34] = 13;
    finish_four(f);
    expect_dropped(f, &f->ip.status.unserved);
}

static void lengths_that_lie_are_dropped(void **state)
{
    struct fixture *f = *state;
    make_udp4(f);
    put(f->packet + 16, f->bytes - 14 + 1);
    expect_dropped(f, &f->ip.status.malformed);
    make_udp4(f);
    put(f->packet + 16, 19);
    expect_dropped(f, &f->ip.status.malformed);
    make_udp4(f);
    f->packet[14] = 0x44;
    expect_dropped(f, &f->ip.status.malformed);
    static const uint16_t lengths[] = {0, 7, 14, 0xffff};
    for (unsigned i = 0; i < 4; i++) {
        make_udp4(f);
        put(f->packet + 38, lengths[i]);
        expect_dropped(f, &f->ip.status.malformed);
    }
    make_udp6(f);
    put(f->packet + 18, f->bytes - 54 + 1);
    expect_dropped(f, &f->ip.status.malformed);
}

static void a_packet_cut_anywhere_is_dropped(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < MAKERS; i++) {
        makers[i](f);
        uint32_t whole = f->bytes;
        for (uint32_t bytes = 0; bytes < whole; bytes++) {
            makers[i](f);
            f->bytes = bytes;
            expect_dropped(f, &f->ip.status.malformed);
        }
    }
}

static void what_is_for_others_is_dropped(void **state)
{
    struct fixture *f = *state;
    static const struct {
        unsigned at;
        uint8_t value;
    } changes[] = {
        {5, 3}, {33, 3}, {36, 0x1c}, {26, 127}, {26, 0}, {26, 230}, {29, 255}, {29, 2}, {6, 3},
    };
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        make_udp4(f);
        f->packet[changes[i].at] = changes[i].value;
        finish_four(f);
        expect_dropped(f, &f->ip.status.not_ours);
    }
    /* An echo to everybody on the link would be answered by everybody. */
    make_echo4(f);
    memset(f->packet, 0xff, 6);
    expect_dropped(f, &f->ip.status.not_ours);
    make_echo4(f);
    f->packet[33] = 255;
    finish_four(f);
    expect_dropped(f, &f->ip.status.not_ours);
}

static void a_vlan_is_only_its_own(void **state)
{
    struct fixture *f = *state;
    make_udp4(f);
    uint8_t plain[ROOM];
    uint32_t bytes = f->bytes;
    memcpy(plain, f->packet, bytes);
    for (unsigned i = 0; i < 2; i++) {
        begin(f);
        add(f, plain, 12);
        ADD(f, 0x81, 0, 0x20, 42);
        add(f, plain + 12, bytes - 12);
        if (i == 0)
            expect_dropped(f, &f->ip.status.not_ours);
        f->ip.options.vlan = 42;
    }
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    uint8_t out[HF_IP_HEAD_BYTES_MAX];
    assert_int_equal(hf_ip_head_bytes(&f->ip, &f->taken.from), 46);
    assert_true(hf_ip_head(&f->ip, f->now_ns, &f->taken.from, 0, out));
    assert_memory_equal(out + 12, ((const uint8_t[]){0x81, 0, 0, 42, 8, 0}), 6);
    make_udp4(f);
    expect_dropped(f, &f->ip.status.not_ours);
}

static void an_answer_by_ipv6_is_summed(struct fixture *f)
{
    uint8_t out[128];
    make_udp6(f);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    assert_true(hf_ip_head(&f->ip, f->now_ns, &f->taken.from, 3, out));
    memcpy(out + 62, "abc", 3);
    hf_ip_seal(&f->ip, out, false);
    assert_int_equal(sum_of(out + 54, 11, pseudo_six(out + 14, 11)), 0);
}

static void a_datagram_goes_back_the_way_one_came_and_its_sums_hold(void **state)
{
    struct fixture *f = *state;
    struct hf_peer four = peer_four(f);
    uint8_t out[128];
    for (unsigned bytes = 0; bytes < 8; bytes++) {
        assert_true(hf_ip_head(&f->ip, f->now_ns, &four, bytes, out));
        memset(out + 42, 0x5a, bytes);
        hf_ip_seal(&f->ip, out, false);
        assert_memory_equal(out, ((const uint8_t[]){THEM, US, 8, 0}), 14);
        assert_int_equal(get(out + 34), PORT);
        assert_int_equal(get(out + 36), 40000);
        assert_int_equal(sum_of(out + 14, 20, 0), 0);
        uint32_t pseudo = 17 + 8 + bytes + get(out + 26) + get(out + 28) + get(out + 30) + get(out + 32);
        assert_int_equal(sum_of(out + 34, 8 + bytes, pseudo), 0);
    }
    an_answer_by_ipv6_is_summed(f);
    assert_false(hf_ip_head(&f->ip, f->now_ns, &four, 1500 - 28 + 1, out));
    assert_int_equal(f->ip.status.too_long, 1);
}

static void a_link_of_memory_leaves_the_sum_of_udp_out_where_ipv4_allows_it(void **state)
{
    struct fixture *f = *state;
    struct hf_peer four = peer_four(f);
    uint8_t out[128];
    f->ip.options.unsummed = true;
    assert_true(hf_ip_head(&f->ip, f->now_ns, &four, 3, out));
    memcpy(out + 42, "abc", 3);
    hf_ip_seal(&f->ip, out, false);
    assert_int_equal(sum_of(out + 14, 20, 0), 0);
    assert_int_equal(get(out + 40), 0);
    an_answer_by_ipv6_is_summed(f);
}

static void a_neighbour_is_asked_for_at_most_once_a_second_until_it_answers(void **state)
{
    struct fixture *f = *state;
    struct hf_peer four = peer_four(f);
    uint8_t out[HF_IP_ASK_BYTES_MAX];
    assert_true(hf_ip_head(&f->ip, f->now_ns, &four, 0, out));
    assert_int_equal(hf_ip_ask(&f->ip, out), 42);
    assert_memory_equal(out, ((const uint8_t[]){ALL, US, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, US, IP4_US, 0, 0, 0, 0, 0, 0, IP4_THEM}), 42);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(hf_ip_head(&f->ip, f->now_ns, &four, 0, out));
        assert_int_equal(hf_ip_ask(&f->ip, out), 0);
    }
    f->now_ns += 1000000000u;
    assert_true(hf_ip_head(&f->ip, f->now_ns, &four, 0, out));
    assert_int_equal(hf_ip_ask(&f->ip, out), 42);
    begin(f);
    ADD(f, US, THEM, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, THEM, IP4_THEM, US, IP4_US);
    assert_int_equal(take(f), HF_IP_DROPPED);
    assert_int_equal(f->ip.status.neighbours_confirmed, 1);
    f->now_ns += 20000000000u;
    assert_true(hf_ip_head(&f->ip, f->now_ns, &four, 0, out));
    assert_int_equal(hf_ip_ask(&f->ip, out), 0);
    /* What is only heard does not move it. */
    make_udp4(f);
    f->packet[11] = 7;
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    assert_true(hf_ip_head(&f->ip, f->now_ns, &four, 0, out));
    assert_int_equal(out[5], 2);
}

/* From here on the neighbour of IPv4 is known by its answer at THEM. */
static struct hf_peer confirm_four(struct fixture *f)
{
    struct hf_peer four = peer_four(f);
    uint8_t out[HF_IP_ASK_BYTES_MAX];
    assert_true(hf_ip_head(&f->ip, f->now_ns, &four, 0, out));
    assert_int_equal(hf_ip_ask(&f->ip, out), 42);
    begin(f);
    ADD(f, US, THEM, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, THEM, IP4_THEM, US, IP4_US);
    assert_int_equal(take(f), HF_IP_DROPPED);
    assert_int_equal(f->ip.status.neighbours_confirmed, 1);
    return four;
}

static void arp_from_elsewhere(struct fixture *f, uint8_t kind)
{
    begin(f);
    ADD(f, US, THEM_NOW, 8, 6, 0, 1, 8, 0, 6, 4, 0, kind, THEM_NOW, IP4_THEM, US, IP4_US);
}

/* Where a datagram to the peer goes now, and whether that makes us ask for him. */
static void expect_next(struct fixture *f, const struct hf_peer *peer, uint8_t last_of_mac, bool asks)
{
    uint8_t out[HF_IP_ASK_BYTES_MAX];
    assert_true(hf_ip_head(&f->ip, f->now_ns, peer, 0, out));
    assert_int_equal(out[5], last_of_mac);
    assert_int_equal(hf_ip_ask(&f->ip, out) > 0, asks);
}

static void who_asks_from_elsewhere_is_answered_there_but_moves_only_by_his_own_answer(void **state)
{
    struct fixture *f = *state;
    struct hf_peer four = confirm_four(f);
    f->now_ns += 2000000000u;
    expect_next(f, &four, 2, false);
    arp_from_elsewhere(f, 1);
    assert_int_equal(take(f), HF_IP_ANSWERED);
    assert_int_equal(f->packet[5], 7);
    assert_int_equal(f->ip.status.neighbours_confirmed, 1);
    expect_next(f, &four, 2, true);
    expect_next(f, &four, 2, false);
    arp_from_elsewhere(f, 2);
    assert_int_equal(take(f), HF_IP_DROPPED);
    assert_int_equal(f->ip.status.neighbours_confirmed, 2);
    expect_next(f, &four, 7, false);
    /* An answer more says nothing. */
    begin(f);
    ADD(f, US, THEM, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, THEM, IP4_THEM, US, IP4_US);
    expect_dropped(f, &f->ip.status.not_ours);
    expect_next(f, &four, 7, false);
}

static void a_solicitation_from_elsewhere_has_its_sender_asked_for_and_does_not_move_him(void **state)
{
    struct fixture *f = *state;
    make_udp6(f);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    struct hf_peer six = f->taken.from;
    expect_next(f, &six, 2, true);
    begin(f);
    ADD(f, US, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 255, IP6_THEM, IP6_US, 136, 0, 0, 0, 0x60, 0, 0, 0, IP6_THEM, 2, 1, THEM);
    finish_six(f);
    assert_int_equal(take(f), HF_IP_DROPPED);
    f->now_ns += 2000000000u;
    make_solicit(f);
    f->packet[11] = f->packet[85] = 7;
    finish_six(f);
    assert_int_equal(take(f), HF_IP_ANSWERED);
    assert_int_equal(f->packet[5], 7);
    expect_next(f, &six, 2, true);
    assert_int_equal(f->ip.status.neighbours_confirmed, 1);
}

static void a_client_that_comes_back_with_another_ethernet_address_is_asked_for_by_its_first_datagram(void **state)
{
    struct fixture *f = *state;
    struct hf_peer four = confirm_four(f);
    f->now_ns += 2000000000u;
    make_udp4(f);
    f->packet[11] = 7;
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    expect_next(f, &four, 2, true);
    arp_from_elsewhere(f, 2);
    assert_int_equal(take(f), HF_IP_DROPPED);
    expect_next(f, &four, 7, false);
    /* Somebody else who writes his address is told from him in the same way. */
    f->now_ns += 2000000000u;
    make_udp4(f);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    expect_next(f, &four, 7, true);
    arp_from_elsewhere(f, 2);
    assert_int_equal(take(f), HF_IP_DROPPED);
    f->now_ns += 2000000000u;
    expect_next(f, &four, 7, false);
}

static void who_no_longer_answers_is_where_he_is_heard(void **state)
{
    struct fixture *f = *state;
    struct hf_peer four = confirm_four(f);
    for (unsigned questions = 0; questions < HF_NEIGHBOUR_PATIENCE; questions++) {
        f->now_ns += 2000000000u;
        make_udp4(f);
        f->packet[11] = 7;
        assert_int_equal(take(f), HF_IP_DATAGRAM);
        expect_next(f, &four, 2, true);
    }
    make_udp4(f);
    f->packet[11] = 7;
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    expect_next(f, &four, 7, false);
}

/* Anybody can write any source address of the link on a datagram; each is somebody to ask for, and the question goes to everybody. */
static void spoofed_sources_do_not_make_it_flood_the_link_with_questions(void **state)
{
    struct fixture *f = *state;
    struct hf_peer four = peer_four(f), far = four;
    uint8_t out[HF_IP_ASK_BYTES_MAX];
    unsigned asked = 0;
    for (unsigned i = 0; i < 20000; i++) {
        four.address[15] = (uint8_t)(i % 251 + 3);
        hf_neighbour_hear(&f->ip.neighbours, four.address, (const uint8_t[]){2, 0, 0, 0, 0, 9}, f->now_ns);
        assert_true(hf_ip_head(&f->ip, f->now_ns, &four, 0, out));
        asked += hf_ip_ask(&f->ip, out) > 0;
        f->now_ns += 100000;
    }
    assert_in_range(asked, 10, 2 * HF_IP_QUESTIONS_PER_S + HF_IP_QUESTIONS_AT_ONCE + 1);
    /* The gateway is asked for whatever the others want. */
    far.address[12] = 192;
    (void)hf_ip_head(&f->ip, f->now_ns, &far, 0, out);
    assert_true(hf_ip_ask(&f->ip, out) > 0);
}

static void an_answer_that_nobody_asked_for_teaches_nothing(void **state)
{
    struct fixture *f = *state;
    begin(f);
    ADD(f, US, THEM, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, THEM, IP4_THEM, US, IP4_US);
    expect_dropped(f, &f->ip.status.not_ours);
    begin(f);
    ADD(f, US, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 255, IP6_THEM, IP6_US, 136, 0, 0, 0, 0x60, 0, 0, 0, IP6_THEM, 2, 1, THEM);
    finish_six(f);
    expect_dropped(f, &f->ip.status.not_ours);
    assert_int_equal(f->ip.status.neighbours_confirmed, 0);
}

static void an_ipv6_neighbour_is_asked_for_by_its_group_and_believed(void **state)
{
    struct fixture *f = *state;
    make_udp6(f);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    uint8_t out[HF_IP_ASK_BYTES_MAX];
    assert_true(hf_ip_head(&f->ip, f->now_ns, &f->taken.from, 0, out));
    assert_int_equal(hf_ip_ask(&f->ip, out), 86);
    assert_memory_equal(out, ((const uint8_t[]){0x33, 0x33, 0xff, 0, 0, 1, US, 0x86, 0xdd}), 14);
    assert_int_equal(sum_of(out + 54, 32, pseudo_six(out + 14, 32)), 0);
    begin(f);
    ADD(f, US, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 255, IP6_THEM, IP6_US, 136, 0, 0, 0, 0x60, 0, 0, 0, IP6_THEM, 2, 1, THEM);
    finish_six(f);
    assert_int_equal(take(f), HF_IP_DROPPED);
    assert_int_equal(f->ip.status.neighbours_confirmed, 1);
}

static void who_is_beyond_the_link_is_reached_by_the_gateway_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    uint8_t out[HF_IP_ASK_BYTES_MAX];
    struct hf_peer far = {.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}, .port = 9};
    assert_false(hf_ip_head(&f->ip, f->now_ns, &far, 0, out));
    assert_int_equal(hf_ip_ask(&f->ip, out), 42);
    assert_memory_equal(out + 38, ((const uint8_t[]){10, 9, 0, 254}), 4);
    make_udp4(f);
    memcpy(f->packet + 26, far.address + 12, 4);
    finish_four(f);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    assert_true(hf_ip_head(&f->ip, f->now_ns, &far, 0, out));
    struct hf_peer far_six = {.address = {0x20, 1}, .port = 9, .listener = 1};
    assert_false(hf_ip_head(&f->ip, f->now_ns, &far_six, 0, out));
    assert_int_equal(hf_ip_ask(&f->ip, out), 0);
    assert_int_equal(f->ip.status.no_neighbour, 2);
}

static void answers_are_held_back_beyond_their_rate(void **state)
{
    struct fixture *f = *state;
    unsigned answered = 0;
    for (unsigned i = 0; i < 5000; i++) {
        makers[2 + i % 4](f);
        answered += take(f) == HF_IP_ANSWERED;
    }
    assert_in_range(answered, 1, HF_IP_ANSWERS_PER_S);
    assert_int_equal(f->ip.status.held_back, 5000 - answered);
    f->now_ns += 100 * 1000000u;
    make_echo4(f);
    assert_int_equal(take(f), HF_IP_ANSWERED);
}

/* Each packet is counted once whatever is in it, and an answer never goes to a group but to tell everybody. */
static void packets_of_random_bytes_and_changed_ones_are_each_counted_once(void **state)
{
    struct fixture *f = *state;
    uint64_t x = 88172645463325252u;
    for (unsigned i = 0; i < 200000; i++) {
        makers[i % MAKERS](f);
        for (unsigned changes = 1 + i % 3; changes > 0; changes--) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            f->packet[x % f->bytes] = (uint8_t)(x >> 32);
        }
        if (i % 5 == 0)
            f->bytes = (uint32_t)(x >> 40) % f->bytes;
        f->now_ns += 300000;
        if (take(f) == HF_IP_ANSWERED)
            assert_memory_equal(f->packet + 6, ((const uint8_t[]){US}), 6);
    }
    const struct hf_ip_status *s = &f->ip.status;
    uint64_t sum = s->datagrams_in + s->arp_answered + s->neighbour_answered + s->echo_answered + s->not_ours + s->malformed +
                   s->bad_checksum + s->fragments + s->unserved + s->held_back;
    assert_int_equal(s->packets_in, 200000);
    assert_int_equal(sum, 200000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_datagram_for_our_port_is_given_with_where_it_came_from),
        TEST(what_is_padded_by_ethernet_is_cut_to_what_the_headers_say),
        TEST(a_run_of_ports_is_ours_and_no_other),
        TEST(sums_hold_for_datagrams_of_every_length),
        TEST(an_arp_request_for_us_is_answered_to_its_sender),
        TEST(an_echo_request_comes_back_as_it_went),
        TEST(a_solicitation_is_answered_with_our_ethernet_address),
        TEST(somebody_who_checks_whether_our_address_is_free_is_told_with_everybody),
        TEST(wrong_sums_are_dropped_but_none_is_allowed_of_ipv4),
        TEST(fragments_and_options_are_dropped),
        TEST(lengths_that_lie_are_dropped),
        TEST(a_packet_cut_anywhere_is_dropped),
        TEST(what_is_for_others_is_dropped),
        TEST(a_vlan_is_only_its_own),
        TEST(a_datagram_goes_back_the_way_one_came_and_its_sums_hold),
        TEST(a_link_of_memory_leaves_the_sum_of_udp_out_where_ipv4_allows_it),
        TEST(a_neighbour_is_asked_for_at_most_once_a_second_until_it_answers),
        TEST(who_asks_from_elsewhere_is_answered_there_but_moves_only_by_his_own_answer),
        TEST(a_solicitation_from_elsewhere_has_its_sender_asked_for_and_does_not_move_him),
        TEST(a_client_that_comes_back_with_another_ethernet_address_is_asked_for_by_its_first_datagram),
        TEST(who_no_longer_answers_is_where_he_is_heard),
        TEST(spoofed_sources_do_not_make_it_flood_the_link_with_questions),
        TEST(an_answer_that_nobody_asked_for_teaches_nothing),
        TEST(an_ipv6_neighbour_is_asked_for_by_its_group_and_believed),
        TEST(who_is_beyond_the_link_is_reached_by_the_gateway_or_not_at_all),
        TEST(answers_are_held_back_beyond_their_rate),
        TEST(packets_of_random_bytes_and_changed_ones_are_each_counted_once),
    };
    return cmocka_run_group_tests_name("net/ip", tests, NULL, NULL);
}

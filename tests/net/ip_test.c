/* The network of net/dpdk: what is answered and how, what is dropped and under which count. */
#include <string.h>

#include "tests/net/ip_kit.h"

static void (*const makers[])(struct fixture *) = {make_udp4, make_udp6, make_echo4, make_echo6, make_arp, make_solicit};
enum { MAKERS = sizeof makers / sizeof makers[0] };

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
    const struct CMUnitTest tests[] = {
        OVER_IP(a_datagram_for_our_port_is_given_with_where_it_came_from),
        OVER_IP(what_is_padded_by_ethernet_is_cut_to_what_the_headers_say),
        OVER_IP(a_run_of_ports_is_ours_and_no_other),
        OVER_IP(sums_hold_for_datagrams_of_every_length),
        OVER_IP(an_arp_request_for_us_is_answered_to_its_sender),
        OVER_IP(an_echo_request_comes_back_as_it_went),
        OVER_IP(a_solicitation_is_answered_with_our_ethernet_address),
        OVER_IP(somebody_who_checks_whether_our_address_is_free_is_told_with_everybody),
        OVER_IP(wrong_sums_are_dropped_but_none_is_allowed_of_ipv4),
        OVER_IP(fragments_and_options_are_dropped),
        OVER_IP(lengths_that_lie_are_dropped),
        OVER_IP(a_packet_cut_anywhere_is_dropped),
        OVER_IP(what_is_for_others_is_dropped),
        OVER_IP(a_vlan_is_only_its_own),
        OVER_IP(a_datagram_goes_back_the_way_one_came_and_its_sums_hold),
        OVER_IP(a_link_of_memory_leaves_the_sum_of_udp_out_where_ipv4_allows_it),
        OVER_IP(answers_are_held_back_beyond_their_rate),
        OVER_IP(packets_of_random_bytes_and_changed_ones_are_each_counted_once),
    };
    return cmocka_run_group_tests_name("net/ip", tests, NULL, NULL);
}

/* Where the network of net/dpdk sends to: neighbours that are asked for, move, lie or fall silent, and the gateway. */
#include <string.h>

#include "tests/net/ip_kit.h"

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
    (void)confirm_four(f);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_IP(a_neighbour_is_asked_for_at_most_once_a_second_until_it_answers),
        OVER_IP(who_asks_from_elsewhere_is_answered_there_but_moves_only_by_his_own_answer),
        OVER_IP(a_solicitation_from_elsewhere_has_its_sender_asked_for_and_does_not_move_him),
        OVER_IP(a_client_that_comes_back_with_another_ethernet_address_is_asked_for_by_its_first_datagram),
        OVER_IP(who_no_longer_answers_is_where_he_is_heard),
        OVER_IP(spoofed_sources_do_not_make_it_flood_the_link_with_questions),
        OVER_IP(an_answer_that_nobody_asked_for_teaches_nothing),
        OVER_IP(an_ipv6_neighbour_is_asked_for_by_its_group_and_believed),
        OVER_IP(who_is_beyond_the_link_is_reached_by_the_gateway_or_not_at_all),
    };
    return cmocka_run_group_tests_name("net/neighbours", tests, NULL, NULL);
}

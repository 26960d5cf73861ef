/* Requests by datagrams: resends, slots, numbers, sizes. */
#include <string.h>
#include <unistd.h>

#include "tests/net/datagram_kit.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        OVER_UDP(every_request_runs_once_through_loss_copies_and_moves),
    };
    return run_twice(tests, sizeof tests / sizeof tests[0]);
}

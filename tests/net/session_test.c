/* The session table at the ends of its number spaces: request numbers, which begin again at 1, and serials, which never do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "net/outbox.h"
#include "net/session.h"

enum { CREDITS_MAX = 1000 };

static struct hf_sessions table;
static struct hf_connections connections;
static struct hf_outbox outbox;

static const uint16_t credits[] = {1, 2, 3, 7, 64, 1000};
static const uint64_t firsts[] = {1, 2, 5, 1ull << 32, UINT64_MAX - 1999, UINT64_MAX - 64, UINT64_MAX - 7, UINT64_MAX - 1, UINT64_MAX};

enum { CREDITS = sizeof credits / sizeof credits[0], FIRSTS = sizeof firsts / sizeof firsts[0] };

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(hf_connections_create(&connections, 1), 0);
    assert_int_equal(hf_outbox_create(&outbox, 1 << 20, &connections), 0);
    return hf_sessions_create(&table, 2, CREDITS_MAX);
}

static int tear_down(void **state)
{
    (void)state;
    hf_sessions_destroy(&table);
    hf_outbox_destroy(&outbox);
    hf_connections_destroy(&connections);
    return 0;
}

static uint64_t after(uint64_t number)
{
    return number == UINT64_MAX ? 1 : number + 1;
}

static enum hf_admission admit(struct hf_session *session, uint64_t serial)
{
    uint64_t entry;
    return hf_session_admit(&table, session, serial, &outbox, &entry);
}

static void answer(const struct hf_session *session, uint64_t serial)
{
    struct hf_slot *slot = hf_session_slot(&table, session, serial);
    assert_int_equal(slot->number, serial);
    assert_int_equal(slot->entry, HF_SLOT_WAITING);
    hf_outbox_append(&outbox, 64, &slot->entry);
}

static void serials_count_on_where_numbers_begin_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FIRSTS; i++) {
        struct hf_session *session = hf_session_open(&table, 4, firsts[i]);
        uint64_t number = firsts[i];
        for (uint64_t serial = 1; serial <= 4000; serial++, number = after(number))
            assert_true(hf_session_serial(session, number) == serial);
        /* The number before the first one is the last of all. */
        assert_true(hf_session_serial(session, firsts[i] == 1 ? UINT64_MAX : firsts[i] - 1) == UINT64_MAX);
        hf_session_close(&table, session);
    }
}

/* Every request of a session whose serials begin at `serial`, as if all before had been answered. */
static struct hf_session *open_at(uint16_t wanted, uint64_t first, uint64_t serial, bool datagrams)
{
    struct hf_session *session = hf_session_open(&table, wanted, first);
    session->datagrams = datagrams;
    session->next = serial;
    for (uint64_t before = serial > wanted ? serial - wanted : 1; before < serial; before++) {
        struct hf_slot *slot = hf_session_slot(&table, session, before);
        slot->number = before;
        hf_outbox_append(&outbox, 64, &slot->entry);
    }
    return session;
}

/* Windows of requests, each backwards, so that the last number of the space comes after those beyond it. */
static void run_windows(struct hf_session *session, uint64_t serial, uint64_t last, bool datagrams)
{
    const uint64_t width = session->credits;
    while (serial <= last - width) {
        for (uint64_t i = 0; i < width; i++) {
            uint64_t at = datagrams ? serial + width - 1 - i : serial + i;
            assert_int_equal(admit(session, at), HF_ADMIT_NEW);
            assert_int_equal(admit(session, at), HF_ADMIT_WAITING);
            assert_int_equal(admit(session, at + width), HF_ADMIT_OVERRUN);
        }
        for (uint64_t i = 0; i < width; i++) {
            answer(session, serial + i);
            assert_int_equal(admit(session, serial + i), HF_ADMIT_ANSWERED);
            if (serial + i > width)
                assert_int_equal(admit(session, serial + i - width), HF_ADMIT_PAST);
        }
        serial += width;
        assert_true(session->next == serial);
    }
}

static void each_request_is_admitted_once_where_its_number_begins_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FIRSTS * CREDITS * 2; i++) {
        bool datagrams = i % 2;
        uint64_t first = firsts[i / 2 % FIRSTS];
        struct hf_session *session = open_at(credits[i / 2 / FIRSTS], first, 1, datagrams);
        run_windows(session, 1, 4000, datagrams);
        /* What the numbers say is what the serials say. */
        uint64_t newest = session->next - 1, number = first + (newest - 1);
        number += number < first;
        assert_int_equal(admit(session, hf_session_serial(session, number)), HF_ADMIT_ANSWERED);
        assert_int_equal(admit(session, hf_session_serial(session, after(number))), HF_ADMIT_NEW);
        assert_int_equal(admit(session, 0), HF_ADMIT_OVERRUN);
        hf_session_close(&table, session);
    }
}

static void a_session_serves_its_very_last_serials(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CREDITS * 2; i++) {
        bool datagrams = i % 2;
        uint64_t begin = UINT64_MAX - 4000;
        struct hf_session *session = open_at(credits[i / 2], 1, begin, datagrams);
        run_windows(session, begin, UINT64_MAX - CREDITS_MAX, datagrams);
        hf_session_close(&table, session);
    }
}

static void sessions_that_take_the_same_place_are_others(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (unsigned i = 0; i < 70000; i++) {
        struct hf_session *session = hf_session_open(&table, 4, 0);
        uint64_t id = session->id;
        assert_true(id != before && hf_session_find(&table, id) == session && !hf_session_find(&table, before));
        assert_int_equal(admit(session, 1), HF_ADMIT_NEW);
        hf_session_close(&table, session);
        assert_null(hf_session_find(&table, id));
        before = id;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(serials_count_on_where_numbers_begin_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_request_is_admitted_once_where_its_number_begins_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_serves_its_very_last_serials, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sessions_that_take_the_same_place_are_others, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("net/session", tests, NULL, NULL);
}

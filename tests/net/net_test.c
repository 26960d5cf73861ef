/* The port as clients meet it, once over the loopback transport and once over TCP. */
#include <stdio.h>
#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_gets_its_answer, open_port, close_port),
        cmocka_unit_test_setup_teardown(many_requests_in_flight_get_their_answers_in_order, open_port, close_port),
        cmocka_unit_test_setup_teardown(a_frame_may_come_byte_by_byte, open_port, close_port),
        cmocka_unit_test_setup_teardown(the_largest_frame_passes, open_port, close_port),
    };
    int failed = cmocka_run_group_tests_name("over the loopback transport", tests, NULL, NULL);
    over_tcp = true;
    return failed + cmocka_run_group_tests_name("over tcp", tests, NULL, NULL);
}

/* Addresses: which may be listened on, and what becomes of a port that is taken. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/net/net_harness.h"

static int create(const char *address, bool insecure, struct hf_net **out)
{
    const char *const listen[] = {address};
    struct hf_net_options options = {.listen = listen, .listen_count = 1, .insecure_listen = insecure, .shard_count = 1, .partitions = 256};
    return hf_net_create(&options, out);
}

static void addresses_that_are_none_are_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const addresses[] = {"",
                                            "127.0.0.1:1",
                                            "tcp://",
                                            "tcp://127.0.0.1",
                                            "tcp://127.0.0.1:",
                                            "tcp://127.0.0.1:x",
                                            "tcp://:7420",
                                            "tcp://[::1:7420",
                                            "http://127.0.0.1:7420",
                                            "unix://",
                                            "loopback://",
                                            "tcp://127.0.0.1:65536"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct hf_net *net = NULL;
        assert_int_equal(create(addresses[i], false, &net), HF_E_USAGE);
        assert_null(net);
        assert_non_null(strstr(hf_net_error(), "cannot listen on"));
    }
}

static void other_machines_may_reach_only_an_insecure_listener(void **state)
{
    (void)state;
    struct hf_net *net = NULL;
    assert_int_equal(create("tcp://0.0.0.0:0", false, &net), HF_E_USAGE);
    assert_non_null(strstr(hf_net_error(), "--insecure-listen"));
    assert_int_equal(create("tcp://[::]:0", false, &net), HF_E_USAGE);
    assert_int_equal(create("tcp://0.0.0.0:0", true, &net), 0);
    assert_true(hf_net_port(net, 0) != 0);
    hf_net_destroy(net);
}

static void the_ipv6_loopback_is_one_too(void **state)
{
    (void)state;
    struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool here = fd >= 0 && bind(fd, (struct sockaddr *)&own, sizeof own) == 0;
    if (fd >= 0)
        close(fd);
    struct hf_net *net = NULL;
    int error = create("tcp://[::1]:0", false, &net);
    assert_int_equal(error, here ? 0 : HF_E_IO);
    if (error)
        return;
    assert_true(hf_net_port(net, 0) != 0);
    hf_net_destroy(net);
}

static void a_port_in_use_is_given_up_after_a_while(void **state)
{
    (void)state;
    struct hf_net *first = NULL, *second = NULL;
    char address[64];
    assert_int_equal(create("tcp://127.0.0.1:0", false, &first), 0);
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", hf_net_port(first, 0));
    assert_int_equal(create(address, false, &second), HF_E_IO);
    assert_non_null(strstr(hf_net_error(), "in use"));
    hf_net_destroy(first);
    assert_int_equal(create(address, false, &second), 0);
    hf_net_destroy(second);
}

static void shards_may_share_a_port_that_nobody_else_has(void **state)
{
    (void)state;
    struct hf_net *nets[2] = {NULL, NULL};
    char address[64] = "tcp://127.0.0.1:0";
    for (int i = 0; i < 2; i++) {
        const char *const listen[] = {address};
        struct hf_net_options options = {
            .listen = listen, .listen_count = 1, .shared_port = true, .shard = (unsigned)i, .shard_count = 2, .partitions = 256};
        assert_int_equal(hf_net_create(&options, &nets[i]), 0);
        snprintf(address, sizeof address, "tcp://127.0.0.1:%u", hf_net_port(nets[i], 0));
    }
    assert_int_equal(hf_net_port(nets[0], 0), hf_net_port(nets[1], 0));
    const char *const listen[] = {address};
    struct hf_net_options another = {.listen = listen, .listen_count = 1, .shared_port = true, .shard_count = 2, .partitions = 256};
    struct hf_net *net = NULL;
    assert_int_equal(hf_net_create(&another, &net), HF_E_IO);
    assert_non_null(strstr(hf_net_error(), "in use"));
    hf_net_destroy(nets[0]);
    hf_net_destroy(nets[1]);
}

static void a_port_that_stopped_accepting_serves_whom_it_has(void **state)
{
    (void)state;
    static struct test_port port;
    static struct test_client client;
    uint8_t frame[512];
    port_open(&port, true);
    client_open(&client, &port);
    client_hello(&client, &port, 0, 4);
    uint16_t number = hf_net_port(port.net, 0);
    hf_net_stop_accepting(port.net);
    port_turn(&port);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(number), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    client_give(&client, &port, frame, make_request(frame, client.session, 1, 1));
    client_expect_answer(&client, &port, 1, 1);
    client_close(&client);
    port_close(&port);
}

static void a_watched_event_ends_a_wait(void **state)
{
    (void)state;
    for (int over_tcp = 0; over_tcp < 2; over_tcp++) {
        static struct test_port port;
        port_open(&port, over_tcp != 0);
        int event = eventfd(0, EFD_NONBLOCK);
        assert_int_equal(hf_net_watch(port.net, event), 0);
        for (uint64_t i = 1; i <= 3; i++) {
            port_turn(&port);
            assert_int_equal(write(event, &i, sizeof i), sizeof i);
            /* An hour: it returns because of the event, or the test's own time runs out. */
            hf_net_wait(port.net, 3600 * 1000000000ull);
        }
        port_close(&port);
        close(event);
    }
}

static void one_port_serves_both_transports(void **state)
{
    (void)state;
    const char *const listen[] = {"loopback://net_test", "tcp://127.0.0.1:0"};
    struct hf_net_options options = {.listen = listen, .listen_count = 2, .shard_count = 1, .partitions = 256};
    static struct test_port port;
    static struct test_client clients[2];
    uint8_t frame[512];
    memset(&port, 0, sizeof port);
    assert_int_equal(hf_net_create(&options, &port.net), 0);
    assert_int_equal(hf_net_port(port.net, 0), 0);
    port.now_ns = 1000;
    port.accept = true;
    for (unsigned i = 0; i < 2; i++) {
        port.tcp = i == 1;
        port.listener = i;
        client_open(&clients[i], &port);
        client_hello(&clients[i], &port, 0, 4);
    }
    for (unsigned i = 0; i < 2; i++) {
        port.tcp = i == 1;
        client_give(&clients[i], &port, frame, make_request(frame, clients[i].session, 1, 1));
        client_expect_answer(&clients[i], &port, 1, 1);
        client_close(&clients[i]);
    }
    port_close(&port);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_are_none_are_refused_with_a_sentence),
        cmocka_unit_test(other_machines_may_reach_only_an_insecure_listener),
        cmocka_unit_test(the_ipv6_loopback_is_one_too),
        cmocka_unit_test(a_port_in_use_is_given_up_after_a_while),
        cmocka_unit_test(shards_may_share_a_port_that_nobody_else_has),
        cmocka_unit_test(a_port_that_stopped_accepting_serves_whom_it_has),
        cmocka_unit_test(a_watched_event_ends_a_wait),
        cmocka_unit_test(one_port_serves_both_transports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

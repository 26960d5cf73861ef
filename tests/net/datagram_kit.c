#include "tests/net/datagram_kit.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/crc32c.h"

bool one_by_one;
struct test_port port;
struct peer peer, other;
uint8_t out[PEER_BYTES] __attribute__((aligned(8))), in[PEER_BYTES] __attribute__((aligned(8)));
const struct hf_frame *const head = (const struct hf_frame *)(const void *)in;
const struct hf_welcome *const welcome = (const struct hf_welcome *)(const void *)(in + sizeof(struct hf_frame));

void open_port_at(const char *const *listen, unsigned count)
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

void open_port(void)
{
    static const char *const listen[] = {"udp://127.0.0.1:0"};
    open_port_at(listen, 1);
}

void open_peer(struct peer *it, uint64_t client)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(hf_net_port(port.net, 0)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memset(it, 0, sizeof *it);
    it->client = client;
    it->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(it->fd >= 0);
    assert_int_equal(connect(it->fd, (struct sockaddr *)&to, sizeof to), 0);
}

int set_up(void **state)
{
    (void)state;
    memset(&port, 0, sizeof port);
    peer.fd = other.fd = -1;
    return 0;
}

int tear_down(void **state)
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

void give(const struct peer *it, const void *data, size_t bytes)
{
    assert_int_equal(send(it->fd, data, bytes, 0), bytes);
}

bool look(const struct peer *it)
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

void take(const struct peer *it)
{
    for (unsigned turns = 0; turns < TURNS_MAX; turns++) {
        if (look(it))
            return;
        port_turn(&port);
    }
    fail_msg("no datagram came");
}

void expect_silence(const struct peer *it)
{
    for (unsigned turns = 0; turns < SILENT_TURNS; turns++)
        port_turn(&port);
    assert_false(look(it));
}

uint32_t make_datagram_hello(const struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes)
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

void give_hello(const struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes)
{
    give(it, out, make_datagram_hello(it, session, first, credits, bytes));
}

void expect_cookie(struct peer *it)
{
    take(it);
    assert_int_equal(head->type, HF_COOKIE);
    assert_int_equal(head->length, sizeof(struct hf_frame) + sizeof(struct hf_hello));
    struct hf_hello hello;
    memcpy(&hello, in + sizeof *head, sizeof hello);
    memcpy(it->cookie, hello.cookie, sizeof it->cookie);
}

void expect_welcome(struct peer *it, uint32_t bytes)
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

void greet(struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes)
{
    give_hello(it, session, first, credits, HF_HELLO_DATAGRAM_BYTES_MIN);
    expect_cookie(it);
    give_hello(it, session, first, credits, bytes);
    expect_welcome(it, bytes);
}

void start(uint16_t credits)
{
    open_port();
    open_peer(&peer, 7);
    greet(&peer, 0, 0, credits, 1472);
}

void give_request(const struct peer *it, uint64_t number, unsigned count)
{
    give(it, out, make_request(out, it->session, number, count));
}

void expect_answer(const struct peer *it, uint64_t number, unsigned count)
{
    take(it);
    assert_int_equal(head->type, HF_ANSWER);
    assert_int_equal(head->request, number);
    assert_int_equal(head->count, count);
    assert_int_equal(head->session, it->session);
}

void expect_refused(const struct peer *it, uint64_t number, int result)
{
    take(it);
    assert_int_equal(head->type, HF_REFUSED);
    assert_string_equal(hf_result_name(head->result), hf_result_name((unsigned)result));
    assert_int_equal(head->request, number);
}

int run_twice(const struct CMUnitTest *tests, size_t count)
{
    int failed = _cmocka_run_group_tests("with a multishot receive", tests, count, NULL, NULL);
    one_by_one = true;
    return failed + _cmocka_run_group_tests("one by one", tests, count, NULL, NULL);
}

#include "tests/net/net_harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/loopback.h"
#include "wire/crc32c.h"

enum { TURNS_MAX = 20000, SILENT_TURNS = 20 };

static uint8_t scratch[HF_FRAME_BYTES_MAX] __attribute__((aligned(8)));

const char *port_unix_address;

void port_open(struct test_port *port, bool tcp)
{
    static const char *const loopback[] = {"loopback://net_test"}, *const any_port[] = {"tcp://127.0.0.1:0"};
    port->tcp = tcp;
    port->accept = true;
    port->now_ns = 1000;
    port->options.listen = !tcp ? loopback : port_unix_address ? &port_unix_address : any_port;
    port->options.listen_count = 1;
    port->options.shard_count = 1;
    port->options.partitions = 256;
    int error = hf_net_create(&port->options, &port->net);
    if (error)
        print_error("%s\n", hf_net_error());
    assert_int_equal(error, 0);
}

void port_close(struct test_port *port)
{
    hf_net_destroy(port->net);
    memset(port, 0, sizeof *port);
}

void port_answer(struct test_port *port, struct hf_request *request)
{
    uint8_t *at = request->answers;
    const uint8_t *from = request->commands;
    for (unsigned i = 0; i < request->command_count; i++) {
        const struct hf_command *command = (const struct hf_command *)(const void *)from;
        struct hf_answer *answer = (struct hf_answer *)(void *)at;
        uint32_t bytes = (uint32_t)sizeof *answer + port->items * (uint32_t)sizeof(struct hf_short_item);
        memset(at, 0, bytes);
        answer->length = bytes;
        answer->opcode = command->opcode;
        answer->position = ++port->commands;
        answer->value = request->number;
        answer->item_count = port->items;
        at += bytes;
        from += command->length;
    }
    hf_net_answer(port->net, request, (uint32_t)(at - request->answers));
}

void port_answer_held(struct test_port *port)
{
    for (unsigned i = 0; i < port->held_count; i++)
        port_answer(port, port->held[i]);
    port->held_count = 0;
}

void port_turn(struct test_port *port)
{
    struct hf_request *requests[64];
    if (port->tcp)
        hf_net_wait(port->net, 200 * 1000);
    port->now_ns += 1000;
    unsigned count = hf_net_receive(port->net, port->now_ns, port->accept, HF_DRAINING, requests, 64);
    for (unsigned i = 0; i < count; i++) {
        if (port->hold)
            port->held[port->held_count++] = requests[i];
        else
            port_answer(port, requests[i]);
    }
    hf_net_flush(port->net);
}

struct hf_net_status port_status(const struct test_port *port)
{
    struct hf_net_status status;
    hf_net_status(port->net, &status);
    return status;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof name.sun_path);
    memcpy(name.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    return fd;
}

void client_open(struct test_client *client, struct test_port *port)
{
    memset(client, 0, sizeof *client);
    client->open = true;
    if (!port->tcp) {
        client->pipe = hf_loopback_connect("net_test");
        assert_non_null(client->pipe);
        return;
    }
    const char *path = hf_net_path(port->net, port->listener);
    if (path) {
        client->fd = connect_unix(path);
        fcntl(client->fd, F_SETFL, O_NONBLOCK);
        return;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(hf_net_port(port->net, port->listener))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    const int on = 1;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
}

void client_close(struct test_client *client)
{
    if (!client->open)
        return;
    if (client->pipe)
        hf_loopback_close(client->pipe);
    else
        close(client->fd);
    client->open = false;
}

static long client_push(struct test_client *client, const void *data, size_t bytes)
{
    if (client->pipe)
        return hf_loopback_push(client->pipe, data, bytes);
    ssize_t given = send(client->fd, data, bytes, MSG_NOSIGNAL);
    return given >= 0 ? given : errno == EAGAIN ? 0 : -1;
}

void client_look(struct test_client *client)
{
    uint8_t *to = client->held + client->held_bytes;
    size_t room = sizeof client->held - client->held_bytes;
    long taken;
    if (room == 0)
        return;
    if (client->pipe) {
        taken = hf_loopback_pull(client->pipe, to, room);
    } else {
        taken = recv(client->fd, to, room, 0);
        if (taken == 0)
            taken = -1;
        else if (taken < 0 && errno == EAGAIN)
            taken = 0;
    }
    client->closed = taken < 0;
    client->held_bytes += taken > 0 ? (size_t)taken : 0;
}

bool client_has_frame(const struct test_client *client)
{
    struct hf_frame head;
    memcpy(&head, client->held, sizeof head);
    return client->held_bytes >= sizeof head && client->held_bytes >= head.length;
}

void client_give(struct test_client *client, struct test_port *port, const void *data, size_t bytes)
{
    for (unsigned turns = 0; bytes > 0 && turns < TURNS_MAX; turns++) {
        long given = client_push(client, data, bytes);
        if (given < 0)
            return;
        data = (const uint8_t *)data + given;
        bytes -= (size_t)given;
        if (bytes > 0)
            port_turn(port);
    }
    assert_int_equal(bytes, 0);
}

bool client_take(struct test_client *client, struct test_port *port, struct hf_frame *head, void *payload)
{
    for (unsigned turns = 0; turns < TURNS_MAX; turns++) {
        if (client_has_frame(client)) {
            memcpy(head, client->held, sizeof *head);
            struct hf_frame plain = *head;
            plain.crc = 0;
            uint32_t bytes = head->length - (uint32_t)sizeof plain;
            assert_int_equal(head->magic, HF_FRAME_MAGIC);
            assert_int_equal(hf_crc32c(hf_crc32c(0, &plain, sizeof plain), client->held + sizeof plain, bytes), head->crc);
            if (payload)
                memcpy(payload, client->held + sizeof plain, bytes);
            client->held_bytes -= head->length;
            memmove(client->held, client->held + head->length, client->held_bytes);
            return true;
        }
        if (client->closed)
            return false;
        port_turn(port);
        client_look(client);
    }
    fail_msg("no frame and no end came");
    return false;
}

void client_expect_closed(struct test_client *client, struct test_port *port)
{
    struct hf_frame head;
    assert_false(client_take(client, port, &head, NULL));
}

void client_expect_silence(struct test_client *client, struct test_port *port)
{
    for (int i = 0; i < SILENT_TURNS; i++) {
        port_turn(port);
        client_look(client);
    }
    assert_false(client->closed);
    assert_int_equal(client->held_bytes, 0);
}

void client_expect_refused(struct test_client *client, struct test_port *port, uint64_t request, int result)
{
    struct hf_frame head;
    assert_true(client_take(client, port, &head, NULL));
    assert_int_equal(head.type, HF_REFUSED);
    assert_string_equal(hf_result_name(head.result), hf_result_name((unsigned)result));
    assert_int_equal(head.request, request);
}

void client_expect_answer(struct test_client *client, struct test_port *port, uint64_t request, unsigned count)
{
    struct hf_frame head;
    assert_true(client_take(client, port, &head, scratch));
    assert_int_equal(head.type, HF_ANSWER);
    assert_int_equal(head.request, request);
    assert_int_equal(head.count, count);
    assert_int_equal(head.session, client->session);
}

void client_hello(struct test_client *client, struct test_port *port, uint64_t session, uint16_t credits)
{
    struct hf_frame head = {0};
    const struct hf_welcome *welcome = (const struct hf_welcome *)(const void *)scratch;
    client_give(client, port, scratch, make_hello(scratch, session, credits));
    assert_true(client_take(client, port, &head, scratch));
    assert_int_equal(head.type, HF_WELCOME);
    assert_int_equal(head.length, sizeof head + sizeof *welcome);
    assert_int_equal(welcome->partitions, 256);
    assert_true(head.session != 0);
    client->session = head.session;
}

void seal_again(void *frame, uint32_t bytes)
{
    struct hf_frame *head = frame;
    head->length = bytes;
    head->crc = 0;
    head->crc = hf_crc32c(0, frame, bytes);
}

uint32_t make_hello(void *out, uint64_t session, uint16_t credits)
{
    struct hf_frame head = {.magic = HF_FRAME_MAGIC, .version = HF_FRAME_VERSION, .type = HF_HELLO, .session = session, .credits = credits};
    struct hf_hello hello = {.client = 7};
    memcpy(out, &head, sizeof head);
    memcpy((uint8_t *)out + sizeof head, &hello, sizeof hello);
    seal_again(out, sizeof head + sizeof hello);
    return sizeof head + sizeof hello;
}

uint32_t make_request(void *out, uint64_t session, uint64_t number, unsigned count)
{
    struct hf_frame head = {.magic = HF_FRAME_MAGIC,
                            .version = HF_FRAME_VERSION,
                            .type = HF_REQUEST,
                            .session = session,
                            .request = number,
                            .count = (uint16_t)count};
    uint8_t *at = (uint8_t *)out + sizeof head;
    for (unsigned i = 0; i < count; i++) {
        struct hf_command command = {.length = 96, .opcode = HF_PLACE, .version = 1, .line_count = 1, .id = {number, i + 1}, .arg = 1000};
        struct hf_line line = {.sku = {{1, 0}}, .location = 1, .quantity = 1};
        memcpy(at, &command, sizeof command);
        memcpy(at + sizeof command, &line, sizeof line);
        at += 96;
    }
    memcpy(out, &head, sizeof head);
    uint32_t bytes = (uint32_t)(at - (uint8_t *)out);
    seal_again(out, bytes);
    return bytes;
}

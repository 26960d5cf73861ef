/* Frames and halves of frames from several clients into a whole port: sessions, credits, resends, answers that come late.
 *
 * Input: one byte of sizes, then operations. Frames are completed (magic, length, checksum, session, number) unless the operation says
 * otherwise, so that most of them get past the first look. What breaks: a frame from the port that is not well-formed, a request that is
 * handed out twice, an answer that is not the first one, counts that do not add up. */
#include "net/frame.h"
#include "net/loopback.h"
#include "net/net.h"
#include "tests/fuzz/fuzz.h"
#include "wire/command_check.h"

enum { CLIENTS = 4, OPERATIONS_MAX = 300, HELD_MAX = 64, KNOWN_MAX = 2048, RECEIVE_MAX = 16, DRAIN_TURNS_MAX = 4000 };

struct client {
    struct hf_loopback *pipe;
    uint64_t session, next;
    size_t held;
    uint8_t bytes[2 * HF_FRAME_BYTES_MAX];
};

/* What became of a request number. */
struct known {
    uint64_t session, number, digest;
    bool waiting, answered;
};

struct port {
    struct fuzz_input in;
    struct hf_net *net;
    uint64_t now_ns, serial, lost, repeats;
    bool refuse, hold;
    unsigned held_count, known_count;
    struct hf_request *held[HELD_MAX];
    struct known known[KNOWN_MAX];
    struct client clients[CLIENTS];
};

static _Alignas(8) uint8_t frame_bytes[HF_FRAME_BYTES_MAX + 64];

/* ---- The port's side ---- */

static struct known *known_find(struct port *port, uint64_t session, uint64_t number)
{
    for (unsigned i = port->known_count; i-- > 0;)
        if (port->known[i].session == session && port->known[i].number == number)
            return &port->known[i];
    return NULL;
}

static struct known *known_make(struct port *port, const struct hf_request *request)
{
    FUZZ_CHECK(port->known_count < KNOWN_MAX);
    struct known *known = &port->known[port->known_count++];
    *known = (struct known){.session = request->session, .number = request->number};
    return known;
}

/* Fills an answer to the brim, so that a sanitizer sees a request whose answers have too little room. */
static void answer(struct port *port, struct hf_request *request)
{
    uint8_t *at = request->answers;
    const uint8_t *from = request->commands;
    for (unsigned i = 0; i < request->command_count; i++) {
        const struct hf_command *command = (const struct hf_command *)(const void *)from;
        struct hf_answer *one = (struct hf_answer *)(void *)at;
        uint32_t bytes = hf_answer_bytes_max(command);
        memset(at, (int)(port->serial & 0x7f), bytes);
        *one = (struct hf_answer){.length = bytes, .opcode = command->opcode, .value = ++port->serial};
        at += bytes;
        from += command->length;
    }
    FUZZ_CHECK(from == request->commands + request->command_bytes);
    uint32_t bytes = (uint32_t)(at - request->answers);
    struct known *known = known_find(port, request->session, request->number);
    FUZZ_CHECK(known && known->waiting);
    known->waiting = false;
    known->answered = true;
    known->digest = hf_digest_bytes(1, request->answers, bytes);
    hf_net_answer(port->net, request, bytes);
}

static void take(struct port *port, struct hf_request *request)
{
    uint16_t detail;
    const uint8_t *at = request->commands;
    FUZZ_CHECK(request->command_count > 0 && request->left == request->command_count && ((uintptr_t)at & 7) == 0);
    for (unsigned i = 0; i < request->command_count; i++) {
        const struct hf_command *command = (const struct hf_command *)(const void *)at;
        (void)hf_command_check(command, (size_t)(request->commands + request->command_bytes - at), &detail);
        at += command->length;
    }
    struct known *known = known_find(port, request->session, request->number);
    FUZZ_CHECK(!known || !known->waiting);
    port->lost += known != NULL;
    known = known ? known : known_make(port, request);
    known->waiting = true;
    if (port->held_count == HELD_MAX || !port->hold)
        answer(port, request);
    else
        port->held[port->held_count++] = request;
}

static unsigned turn(struct port *port)
{
    struct hf_request *requests[RECEIVE_MAX];
    struct hf_net_status status;
    port->now_ns += 1000;
    unsigned count = hf_net_receive(port->net, port->now_ns, !port->refuse, HF_DRAINING, requests, RECEIVE_MAX);
    for (unsigned i = 0; i < count; i++)
        take(port, requests[i]);
    bool sent = hf_net_flush(port->net);
    hf_net_status(port->net, &status);
    FUZZ_CHECK(status.requests_in_flight == port->held_count && status.resend_lost == port->lost);
    return count + sent;
}

static void answer_held(struct port *port)
{
    /* In another order than they came. */
    while (port->held_count > 0) {
        unsigned at = (unsigned)(port->serial % port->held_count);
        struct hf_request *request = port->held[at];
        port->held[at] = port->held[--port->held_count];
        answer(port, request);
    }
}

/* ---- The clients' side ---- */

static void check_frame(struct port *port, struct client *client, const struct hf_frame *head, const uint8_t *payload)
{
    FUZZ_CHECK(hf_frame_check_crc(head, payload) && head->flags == 0 && head->reserved == 0 && head->nonce == 0);
    FUZZ_CHECK((head->result != 0) == (head->type == HF_REFUSED));
    if (head->type == HF_WELCOME) {
        FUZZ_CHECK(head->length == sizeof *head + sizeof(struct hf_welcome) && head->session != 0 && head->credits > 0);
        if (client->session != head->session)
            client->next = 1;
        client->session = head->session;
    } else if (head->type == HF_ANSWER) {
        const struct known *known = known_find(port, head->session, head->request);
        FUZZ_CHECK(known && known->answered && head->count > 0);
        /* One that was judged anew may still be on its way with its older answer. */
        FUZZ_CHECK(known->digest == hf_digest_bytes(1, payload, head->length - sizeof *head) || port->lost > 0);
    } else {
        FUZZ_CHECK(head->type == HF_REFUSED && head->length == sizeof *head && head->result < HF_RESULT_COUNT);
    }
}

static void close_client(struct client *client)
{
    if (client->pipe)
        hf_loopback_close(client->pipe);
    client->pipe = NULL;
    client->held = 0;
}

static void pull(struct port *port, struct client *client)
{
    if (!client->pipe)
        return;
    long came = hf_loopback_pull(client->pipe, client->bytes + client->held, sizeof client->bytes - client->held);
    if (came < 0) {
        close_client(client);
        return;
    }
    client->held += (size_t)came;
    size_t at = 0;
    struct hf_frame head;
    while (client->held - at >= sizeof head) {
        memcpy(&head, client->bytes + at, sizeof head);
        FUZZ_CHECK(hf_frame_check_head(&head) == HF_OK);
        if (client->held - at < head.length)
            break;
        check_frame(port, client, &head, client->bytes + at + sizeof head);
        at += head.length;
    }
    memmove(client->bytes, client->bytes + at, client->held - at);
    client->held -= at;
}

static void push(struct port *port, struct client *client, const uint8_t *bytes, size_t count, bool in_parts)
{
    size_t step = in_parts ? 1 + count / 3 : count;
    for (size_t at = 0; at < count && client->pipe;) {
        size_t part = count - at < step ? count - at : step;
        long taken = hf_loopback_push(client->pipe, bytes + at, part);
        if (taken <= 0)
            break;
        at += (size_t)taken;
        if (in_parts || (size_t)taken < part)
            (void)turn(port);
    }
}

static struct client *take_client(struct port *port, uint8_t operation)
{
    return &port->clients[operation >> 4 & 3];
}

static void open_client(struct port *port, uint8_t operation)
{
    struct client *client = take_client(port, operation);
    close_client(client);
    client->pipe = hf_loopback_connect("fuzz");
}

static void push_raw(struct port *port, uint8_t operation)
{
    size_t bytes = fuzz_take8(&port->in) * (operation & 0x40 ? 64u : 1u);
    bytes = bytes < port->in.left ? bytes : port->in.left;
    const uint8_t *from = fuzz_bytes(&port->in, bytes);
    push(port, take_client(port, operation), from, bytes, operation & 0x80);
}

/* Puts a frame's parts together: what is not said otherwise is as it must be. */
static void seal_and_push(struct port *port, struct client *client, struct hf_frame *frame, uint32_t bytes)
{
    uint8_t how = fuzz_take8(&port->in);
    if (how & 1)
        frame->session = port->clients[how >> 6].session ^ (how & 0x20);
    if (how & 2)
        frame->request = fuzz_take8(&port->in);
    if (how & 4)
        ((uint8_t *)frame)[fuzz_take8(&port->in) % sizeof *frame] ^= fuzz_take8(&port->in);
    hf_frame_seal(frame, bytes);
    if (how & 8)
        ((uint8_t *)frame)[fuzz_take16(&port->in) % bytes] ^= fuzz_take8(&port->in);
    push(port, client, (const uint8_t *)frame, bytes, how & 16);
}

static struct hf_frame *begin_frame(const struct client *client, uint8_t type)
{
    struct hf_frame *frame = (struct hf_frame *)(void *)frame_bytes;
    memset(frame_bytes, 0, sizeof *frame + sizeof(struct hf_hello));
    frame->type = type;
    frame->session = client->session;
    return frame;
}

static void push_hello(struct port *port, uint8_t operation)
{
    struct client *client = take_client(port, operation);
    struct hf_frame *frame = begin_frame(client, HF_HELLO);
    frame->credits = fuzz_take8(&port->in);
    if (operation & 0x40)
        frame->session = 0;
    seal_and_push(port, client, frame, sizeof *frame + sizeof(struct hf_hello));
}

static uint32_t add_commands(struct port *port, unsigned count)
{
    static const uint16_t opcodes[] = {HF_PLACE, HF_GET_ORDER, HF_GET_SKU, HF_LIST_LOCATIONS, HF_STATUS, HF_FOLLOW, HF_SETTLE, 0xffff};
    uint32_t bytes = sizeof(struct hf_frame);
    for (unsigned i = 0; i < count; i++) {
        uint8_t shape = fuzz_take8(&port->in);
        uint16_t lines = shape & 0x40 ? fuzz_take16(&port->in) % (HF_LINES_MAX + 2) : shape >> 3 & 3;
        struct hf_command command = {.opcode = opcodes[shape & 7], .version = HF_COMMAND_VERSION, .line_count = lines};
        command.length = (uint32_t)(sizeof command + lines * sizeof(struct hf_line));
        if (bytes + command.length > HF_FRAME_BYTES_MAX)
            break;
        memset(frame_bytes + bytes, shape, command.length);
        memcpy(frame_bytes + bytes, &command, sizeof command);
        if (shape & 0x80)
            frame_bytes[bytes + fuzz_take8(&port->in) % sizeof command] = fuzz_take8(&port->in);
        bytes += command.length;
    }
    return bytes;
}

static void push_request(struct port *port, uint8_t operation)
{
    struct client *client = take_client(port, operation);
    struct hf_frame *frame = begin_frame(client, HF_REQUEST);
    uint8_t shape = fuzz_take8(&port->in);
    bool resend = (operation & 0x40) != 0 && client->next > 1;
    frame->count = shape & 0x80 ? fuzz_take16(&port->in) : 1 + shape % 4;
    uint32_t bytes = add_commands(port, frame->count);
    frame->request = resend ? client->next - 1 - shape % 4 % (client->next - 1) : client->next;
    client->next += !resend;
    seal_and_push(port, client, frame, bytes);
}

static void push_other(struct port *port, uint8_t operation)
{
    struct client *client = take_client(port, operation);
    struct hf_frame *frame = begin_frame(client, fuzz_take8(&port->in) % 8);
    seal_and_push(port, client, frame, sizeof *frame);
}

/* ---- A whole input ---- */

static void pass_time(struct port *port, uint8_t operation)
{
    port->now_ns += (fuzz_take8(&port->in) + 1) * (operation & 0x80 ? 1000000000ull : 10000000ull);
}

static void switch_port(struct port *port, uint8_t operation)
{
    port->hold = (operation & 0x10) != 0;
    port->refuse = (operation & 0x60) == 0x60;
}

static void turns(struct port *port, uint8_t operation)
{
    for (unsigned i = 0; i <= operation >> 4; i++)
        (void)turn(port);
}

static void pull_all(struct port *port, uint8_t operation)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if ((operation >> 4 & 1u << i) == 0)
            pull(port, &port->clients[i]);
}

static void answer_some(struct port *port, uint8_t operation)
{
    (void)operation;
    answer_held(port);
}

static void close_one(struct port *port, uint8_t operation)
{
    close_client(take_client(port, operation));
}

static void open_port(struct port *port)
{
    static const char *const listen[] = {"loopback://fuzz"};
    uint8_t sizes = fuzz_take8(&port->in);
    struct hf_net_options options = {.listen = listen,
                                     .listen_count = 1,
                                     .shard_count = 1,
                                     .partitions = 256,
                                     .sessions_max = 1 + (sizes & 3),
                                     .credits_max = 1 + (sizes >> 2 & 7),
                                     .requests_max = sizes & 0x20 ? 2 : HELD_MAX * 2,
                                     .answer_cache_bytes = 1 << 20};
    FUZZ_CHECK(hf_net_create(&options, &port->net) == 0);
    port->now_ns = 1000000000ull;
}

/* All that is held is answered and, with clients that read, all that is unsent gets away. */
static void drain(struct port *port)
{
    unsigned left = DRAIN_TURNS_MAX;
    answer_held(port);
    port->hold = false;
    do {
        for (unsigned i = 0; i < CLIENTS; i++)
            pull(port, &port->clients[i]);
    } while ((turn(port) > 0 || !hf_net_quiet(port->net)) && --left > 0);
    FUZZ_CHECK(hf_net_quiet(port->net));
    for (unsigned i = 0; i < CLIENTS; i++)
        close_client(&port->clients[i]);
    for (unsigned i = 0; i < 2 * CLIENTS; i++)
        (void)turn(port);
    struct hf_net_status status;
    hf_net_status(port->net, &status);
    FUZZ_CHECK(status.connections == 0 && status.accepted == status.closed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const operations[])(struct port *, uint8_t) = {
        open_client, push_hello, push_request, push_request, push_other,   push_raw,     turns, pull_all,
        answer_some, close_one,  pass_time,    switch_port,  push_request, push_request, turns, pull_all};
    static struct port port;
    memset(&port, 0, offsetof(struct port, known));
    for (unsigned i = 0; i < CLIENTS; i++)
        memset(&port.clients[i], 0, offsetof(struct client, bytes));
    port.in = (struct fuzz_input){data, size};
    open_port(&port);
    for (unsigned i = 0; i < OPERATIONS_MAX && port.in.left > 0; i++) {
        uint8_t operation = fuzz_take8(&port.in);
        operations[operation & 15](&port, operation);
    }
    drain(&port);
    hf_net_destroy(port.net);
    return 0;
}

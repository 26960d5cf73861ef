/* Datagrams from several addresses into a port over UDP: cookies, sessions that move, resends, old copies, anything at all.
 *
 * Input: one byte of sizes, then operations. Frames are completed unless the operation says otherwise. What breaks: a datagram from the
 * port that is no whole frame, is larger than the path was said to carry or, before the address is proven, than what it answers; a request
 * that is handed out twice, ever; an answer that is neither the first one nor, to a query that lists something, a page of it. */
#include "net/frame.h"
#include "net/net.h"
#include "tests/fuzz/fuzz.h"
#include "wire/command_check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEERS = 4, OPERATIONS_MAX = 200, HELD_MAX = 64, KNOWN_MAX = 1024, RECEIVE_MAX = 16, TURNS_AT_END = 30, DATAGRAM_BYTES = 65536 };
enum { HELLO_BYTES = 240, OLD_MAX = 8 };

struct peer {
    int fd; /* -1: none */
    uint64_t session, next, cookie[2];
    uint32_t path_bytes;
    bool proven;        /* this address had a WELCOME */
    size_t asked_bytes; /* largest datagram that left it */
};

struct known {
    uint64_t session, number, digest;
    bool answered, sent;    /* sent: the digest is of what a peer was given */
    struct hf_answer alone; /* as it was made, to a command alone in its frame; else its length is 0 */
};

/* Sent before, to come again later. */
struct old {
    uint32_t bytes;
    uint8_t data[1024];
};

struct port {
    struct fuzz_input in;
    struct hf_net *net;
    uint64_t now_ns, serial;
    bool refuse, hold;
    unsigned held_count, known_count, old_count;
    size_t pushed_bytes; /* largest datagram of any peer */
    struct hf_request *held[HELD_MAX];
    struct peer peers[PEERS];
    struct known known[KNOWN_MAX];
    struct old old[OLD_MAX];
};

static _Alignas(8) uint8_t frame_bytes[DATAGRAM_BYTES], received[DATAGRAM_BYTES];

/* ---- The port's side ---- */

static struct known *known_find(struct port *port, uint64_t session, uint64_t number)
{
    for (unsigned i = port->known_count; i-- > 0;)
        if (port->known[i].session == session && port->known[i].number == number)
            return &port->known[i];
    return NULL;
}

/* What stands before the items of which a page holds some, and the size of one; 0: the answer comes whole or not at all. */
static uint32_t listed_bytes(uint16_t opcode, uint32_t *head_bytes)
{
    size_t before = opcode == HF_GET_ORDER ? sizeof(struct hf_order_item) : opcode == HF_GET_SKU ? sizeof(struct hf_sku_item) : 0;
    *head_bytes = (uint32_t)(sizeof(struct hf_answer) + before);
    return opcode == HF_GET_ORDER        ? sizeof(struct hf_order_line_item)
           : opcode == HF_GET_SKU        ? sizeof(struct hf_cell_item)
           : opcode == HF_LIST_LOCATIONS ? sizeof(struct hf_location_item)
                                         : 0;
}

static uint16_t item_count(const struct hf_answer *answer)
{
    uint32_t head_bytes, each = listed_bytes(answer->opcode, &head_bytes);
    if (each == 0 || answer->length < head_bytes)
        return 0;
    return (uint16_t)((head_bytes > sizeof *answer) + (answer->length - head_bytes) / each);
}

static void answer(struct port *port, struct hf_request *request)
{
    uint8_t *at = request->answers;
    const uint8_t *from = request->commands;
    for (unsigned i = 0; i < request->command_count; i++) {
        const struct hf_command *command = (const struct hf_command *)(const void *)from;
        struct hf_answer *one = (struct hf_answer *)(void *)at;
        uint32_t bytes = port->serial % 3 == 0 ? hf_answer_bytes_max(command) : (uint32_t)sizeof *one;
        memset(at, (int)(port->serial & 0x7f), bytes);
        *one = (struct hf_answer){.length = bytes, .opcode = command->opcode, .value = ++port->serial};
        one->item_count = item_count(one);
        at += bytes;
        from += command->length;
    }
    struct known *known = known_find(port, request->session, request->number);
    FUZZ_CHECK(known && !known->answered);
    known->answered = true;
    if (request->command_count == 1)
        known->alone = *(const struct hf_answer *)(const void *)request->answers;
    known->digest = hf_digest_bytes(1, request->answers, (size_t)(at - request->answers));
    hf_net_answer(port->net, request, (uint32_t)(at - request->answers));
}

static void take(struct port *port, struct hf_request *request)
{
    FUZZ_CHECK(!known_find(port, request->session, request->number) && port->known_count < KNOWN_MAX);
    port->known[port->known_count++] = (struct known){.session = request->session, .number = request->number};
    if (port->held_count == HELD_MAX || !port->hold)
        answer(port, request);
    else
        port->held[port->held_count++] = request;
}

static void turn(struct port *port)
{
    struct hf_request *requests[RECEIVE_MAX];
    struct hf_net_status status;
    port->now_ns += 1000;
    unsigned count = hf_net_receive(port->net, port->now_ns, !port->refuse, HF_DRAINING, requests, RECEIVE_MAX);
    for (unsigned i = 0; i < count; i++)
        take(port, requests[i]);
    (void)hf_net_flush(port->net);
    hf_net_status(port->net, &status);
    FUZZ_CHECK(status.requests_in_flight == port->held_count && status.resend_lost == 0);
}

/* ---- The peers' side ---- */

/* The answer with its last items left out, and MORE. */
static void check_page(const struct known *known, const struct hf_answer *page, size_t bytes)
{
    struct hf_answer made = known->alone;
    uint32_t head_bytes, each = listed_bytes(made.opcode, &head_bytes);
    FUZZ_CHECK(each > 0 && bytes < made.length && bytes >= head_bytes + each && (bytes - head_bytes) % each == 0);
    made.length = (uint32_t)bytes;
    made.flags |= HF_ANSWER_MORE;
    made.item_count = item_count(&made);
    FUZZ_CHECK(memcmp(page, &made, sizeof made) == 0);
    for (const uint8_t *at = (const uint8_t *)(page + 1); at < (const uint8_t *)page + bytes; at++)
        FUZZ_CHECK(*at == ((made.value - 1) & 0x7f));
}

static void check_answer(struct port *port, const struct hf_frame *head, size_t bytes)
{
    struct known *known = known_find(port, head->session, head->request);
    uint64_t digest = hf_digest_bytes(1, head + 1, bytes - sizeof *head);
    FUZZ_CHECK(known && known->answered);
    if (!known->sent && known->digest != digest) {
        check_page(known, (const struct hf_answer *)(const void *)(head + 1), bytes - sizeof *head);
        known->digest = digest;
    }
    known->sent = true;
    FUZZ_CHECK(known->digest == digest);
}

static void check_frame(struct port *port, struct peer *peer, const struct hf_frame *head, size_t bytes)
{
    FUZZ_CHECK(bytes >= sizeof *head && hf_frame_check_head(head) == HF_OK && head->length == bytes);
    FUZZ_CHECK(hf_frame_check_crc(head, (const uint8_t *)(head + 1)) && head->flags == 0 && head->reserved == 0 && head->nonce == 0);
    FUZZ_CHECK((head->result != 0) == (head->type == HF_REFUSED));
    FUZZ_CHECK(peer->proven || head->type == HF_WELCOME || bytes <= peer->asked_bytes);
    /* An answer that was made for a larger path comes as it was after the session moved to a smaller one. */
    FUZZ_CHECK(bytes <= peer->asked_bytes || bytes <= peer->path_bytes || (head->type == HF_ANSWER && bytes <= port->pushed_bytes));
    if (head->type == HF_COOKIE) {
        struct hf_hello hello;
        FUZZ_CHECK(bytes == sizeof *head + sizeof hello);
        memcpy(&hello, head + 1, sizeof hello);
        memcpy(peer->cookie, hello.cookie, sizeof peer->cookie);
    } else if (head->type == HF_WELCOME) {
        const struct hf_welcome *welcome = (const struct hf_welcome *)(const void *)(head + 1);
        FUZZ_CHECK(bytes >= sizeof *head + sizeof *welcome && welcome->frame_bytes_max == bytes && welcome->answer_bytes_max == bytes);
        if (peer->session != head->session)
            peer->next = 1;
        peer->session = head->session;
        peer->path_bytes = (uint32_t)bytes;
        peer->proven = true;
    } else if (head->type == HF_ANSWER) {
        check_answer(port, head, bytes);
    } else {
        FUZZ_CHECK(head->type == HF_REFUSED && bytes == sizeof *head && head->result < HF_RESULT_COUNT);
    }
}

static void pull(struct port *port, struct peer *peer)
{
    if (peer->fd < 0)
        return;
    for (ssize_t bytes; (bytes = recv(peer->fd, received, sizeof received, MSG_DONTWAIT)) >= 0;)
        check_frame(port, peer, (const struct hf_frame *)(const void *)received, (size_t)bytes);
}

static void push(struct port *port, struct peer *peer, const uint8_t *bytes, uint32_t count)
{
    if (peer->fd < 0)
        return;
    (void)!send(peer->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    peer->asked_bytes = count > peer->asked_bytes ? count : peer->asked_bytes;
    port->pushed_bytes = count > port->pushed_bytes ? count : port->pushed_bytes;
    if (count > sizeof port->old[0].data)
        return;
    struct old *old = &port->old[port->old_count++ % OLD_MAX];
    old->bytes = count;
    memcpy(old->data, bytes, count);
}

static struct peer *take_peer(struct port *port, uint8_t operation)
{
    return &port->peers[operation >> 4 & 3];
}

/* A socket anew is another address; the session may go along. */
static void open_peer(struct port *port, uint8_t operation)
{
    struct peer *peer = take_peer(port, operation);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(hf_net_port(port->net, 0)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    FUZZ_CHECK(peer->fd >= 0 && connect(peer->fd, (const struct sockaddr *)&to, sizeof to) == 0);
    peer->proven = false;
    peer->path_bytes = 0;
    peer->asked_bytes = 0;
    if (operation & 0x40)
        peer->session = 0;
}

static void seal_and_push(struct port *port, struct peer *peer, struct hf_frame *frame, uint32_t bytes)
{
    uint8_t how = fuzz_take8(&port->in);
    if (how & 1)
        frame->session = port->peers[how >> 6].session ^ (how & 0x20);
    if (how & 2)
        frame->request = fuzz_take8(&port->in);
    if (how & 4)
        ((uint8_t *)frame)[fuzz_take8(&port->in) % (sizeof *frame + 32)] ^= fuzz_take8(&port->in);
    hf_frame_seal(frame, bytes);
    if (how & 8)
        ((uint8_t *)frame)[fuzz_take16(&port->in) % bytes] ^= fuzz_take8(&port->in);
    push(port, peer, (const uint8_t *)frame, how & 16 ? bytes - fuzz_take8(&port->in) % bytes : bytes);
}

static struct hf_frame *begin_frame(const struct peer *peer, uint8_t type)
{
    struct hf_frame *frame = (struct hf_frame *)(void *)frame_bytes;
    memset(frame_bytes, 0, sizeof *frame + sizeof(struct hf_hello));
    frame->type = type;
    frame->session = peer->session;
    return frame;
}

static void push_hello(struct port *port, uint8_t operation)
{
    struct peer *peer = take_peer(port, operation);
    struct hf_frame *frame = begin_frame(peer, HF_HELLO);
    uint8_t shape = fuzz_take8(&port->in);
    struct hf_hello hello = {.client = shape & 3, .first = shape & 4 ? fuzz_take8(&port->in) : 0};
    uint32_t bytes = HELLO_BYTES + (shape >> 4) * 96u;
    if (operation & 0x80)
        memcpy(hello.cookie, peer->cookie, sizeof hello.cookie);
    if (operation & 0x40)
        frame->session = 0;
    frame->credits = shape & 8 ? fuzz_take8(&port->in) : 4;
    memset(frame + 1, 0, bytes - sizeof *frame);
    memcpy(frame + 1, &hello, sizeof hello);
    seal_and_push(port, peer, frame, bytes);
}

static uint32_t add_commands(struct port *port, unsigned count)
{
    static const uint16_t opcodes[] = {HF_PLACE, HF_GET_ORDER, HF_GET_SKU, HF_LIST_LOCATIONS, HF_STATUS, HF_FOLLOW, HF_SETTLE, 0xffff};
    uint32_t bytes = sizeof(struct hf_frame);
    for (unsigned i = 0; i < count; i++) {
        uint8_t shape = fuzz_take8(&port->in);
        uint16_t lines = shape & 0x40 ? fuzz_take8(&port->in) : shape >> 3 & 3;
        struct hf_command command = {.opcode = opcodes[shape & 7], .version = HF_COMMAND_VERSION, .line_count = lines};
        command.length = (uint32_t)(sizeof command + lines * sizeof(struct hf_line));
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
    struct peer *peer = take_peer(port, operation);
    struct hf_frame *frame = begin_frame(peer, HF_REQUEST);
    uint8_t shape = fuzz_take8(&port->in);
    frame->count = 1 + shape % 3;
    uint32_t bytes = add_commands(port, frame->count);
    frame->request = peer->next + (operation & 0x40 ? shape >> 5 : 0u) - (operation & 0x80 ? shape >> 3 & 3u : 0u);
    peer->next += (operation & 0x80) == 0;
    seal_and_push(port, peer, frame, bytes);
}

static void push_old(struct port *port, uint8_t operation)
{
    const struct old *old = &port->old[fuzz_take8(&port->in) % OLD_MAX];
    static uint8_t copy[sizeof old->data];
    uint32_t bytes = old->bytes;
    memcpy(copy, old->data, bytes);
    if (bytes > 0)
        push(port, take_peer(port, operation), copy, bytes);
}

static void push_raw(struct port *port, uint8_t operation)
{
    size_t bytes = fuzz_take8(&port->in);
    bytes = bytes < port->in.left ? bytes : port->in.left;
    push(port, take_peer(port, operation), fuzz_bytes(&port->in, bytes), (uint32_t)bytes);
}

static void push_other(struct port *port, uint8_t operation)
{
    struct peer *peer = take_peer(port, operation);
    seal_and_push(port, peer, begin_frame(peer, fuzz_take8(&port->in) % 9), sizeof(struct hf_frame) + (operation & 0x40 ? 32 : 0));
}

/* ---- A whole input ---- */

static void turn_and_pull(struct port *port, uint8_t operation)
{
    turn(port);
    for (unsigned i = 0; i < PEERS; i++)
        if ((operation >> 4 & 1u << i) == 0)
            pull(port, &port->peers[i]);
}

static void answer_held(struct port *port, uint8_t operation)
{
    while (port->held_count > 0) {
        unsigned at = (operation >> 4) % port->held_count;
        struct hf_request *request = port->held[at];
        port->held[at] = port->held[--port->held_count];
        answer(port, request);
    }
}

static void pass_time(struct port *port, uint8_t operation)
{
    port->now_ns += (fuzz_take8(&port->in) + 1) * (operation & 0x80 ? 1000000000ull : 10000000ull);
}

static void switch_port(struct port *port, uint8_t operation)
{
    port->hold = (operation & 0x10) != 0;
    port->refuse = (operation & 0x60) == 0x60;
}

static void open_port(struct port *port)
{
    static const char *const listen[] = {"udp://127.0.0.1:0"};
    uint8_t sizes = fuzz_take8(&port->in);
    struct hf_net_options options = {.listen = listen,
                                     .listen_count = 1,
                                     .shard_count = 1,
                                     .partitions = 256,
                                     .one_by_one = (sizes & 0x40) != 0,
                                     .sessions_max = 1 + (sizes & 3),
                                     .credits_max = 1 + (sizes >> 2 & 7),
                                     .requests_max = sizes & 0x20 ? 2 : HELD_MAX * 2,
                                     .answer_cache_bytes = 1 << 20};
    FUZZ_CHECK(hf_net_create(&options, &port->net) == 0);
    port->now_ns = 1000000000000ull;
    for (unsigned i = 0; i < PEERS; i++) {
        port->peers[i] = (struct peer){.fd = -1, .next = 1};
        open_peer(port, (uint8_t)(i << 4));
    }
}

static void drain(struct port *port)
{
    answer_held(port, 0);
    port->hold = false;
    for (unsigned i = 0; i < TURNS_AT_END; i++)
        turn_and_pull(port, 0);
    FUZZ_CHECK(hf_net_quiet(port->net));
    for (unsigned i = 0; i < PEERS; i++)
        close(port->peers[i].fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const operations[])(struct port *, uint8_t) = {
        open_peer,   push_hello, push_request, push_other,   push_raw, turn_and_pull, pass_time,    answer_held,
        switch_port, push_old,   push_hello,   push_request, push_old, turn_and_pull, push_request, turn_and_pull};
    static struct port port;
    memset(&port, 0, offsetof(struct port, known));
    memset(port.old, 0, sizeof port.old);
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

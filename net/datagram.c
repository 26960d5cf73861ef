/* Datagrams: one frame in each, from whatever transport. Nothing here knows a socket or a device: events come in, and what goes out is
 * queued for a connection or handed to the transport's reply().
 *
 * Two things are asked of every datagram: can it make the engine send more than it brought before its address is proven, and can it grow
 * memory? To an address that is not proven goes at most one frame for one that came, by reply(), never longer than that one, and nothing of
 * it is kept. A connection is taken for a HELLO that brings the cookie back, no more than there are sessions.
 *
 * What is malformed is counted and dropped without a word: its sender may be anybody. */
#include <stdlib.h>
#include <sys/random.h>

#include "net/cookie.h"
#include "net/frame.h"
#include "net/net_p.h"

enum { HF_DATAGRAM_CREDITS_MIN = 32, HF_DATAGRAM_REQUESTS_PER_S = 1000000 };

static const uint64_t HF_DATAGRAM_TAIL_GUESS_NS = 2 * 1000 * 1000ull;
static const uint64_t HF_DATAGRAM_RESEND_MIN_NS = 10 * 1000 * 1000ull, HF_DATAGRAM_RESEND_MAX_NS = 1000 * 1000 * 1000ull;

void hf_datagrams_init(struct hf_datagrams *datagrams)
{
    while (getrandom(datagrams->key, sizeof datagrams->key, 0) != (ssize_t)sizeof datagrams->key)
        ;
    hf_tail_init(&datagrams->tail, HF_DATAGRAM_TAIL_GUESS_NS);
}

/* ---- To addresses that are not proven ---- */

/* One frame back, if it is not longer than what came. */
static void hf_datagram_reply(struct hf_net *net, struct hf_transport *transport, const struct hf_event *event, struct hf_frame head,
                              const struct hf_hello *payload)
{
    struct {
        struct hf_frame head;
        struct hf_hello payload;
    } frame = {.head = head};
    uint32_t bytes = (uint32_t)sizeof frame.head;
    if (payload) {
        frame.payload = *payload;
        bytes = (uint32_t)sizeof frame;
    }
    if (bytes > event->bytes)
        return;
    hf_frame_seal(&frame.head, bytes);
    transport->ops->reply(transport, &event->from, &frame, bytes, 0);
    net->status.frames_out++;
}

static void hf_datagram_refuse(struct hf_net *net, struct hf_transport *transport, const struct hf_event *event,
                               const struct hf_frame *head, int result)
{
    hf_net_count_refusal(net, result);
    struct hf_frame refused = {.type = HF_REFUSED, .result = (uint16_t)result, .session = head->session};
    refused.request = head->type == HF_REQUEST ? head->request : 0;
    hf_datagram_reply(net, transport, event, refused, NULL);
}

/* The client says HELLO with this cookie next. */
static void hf_datagram_ask(struct hf_net *net, struct hf_transport *transport, const struct hf_event *event, const struct hf_frame *head)
{
    struct hf_hello hello = {0};
    hf_cookie_make(net->datagrams.key, &event->from, net->now_ns / 1000000, hello.cookie);
    net->status.addresses_asked++;
    struct hf_frame cookie = {.type = HF_COOKIE, .session = head->session};
    hf_datagram_reply(net, transport, event, cookie, &hello);
}

/* ---- HELLO ---- */

/* What the port serves in the time that 99 of 100 answers take keeps it busy; more would only wait. No more in all than it has room for. */
static uint16_t hf_datagram_credits(const struct hf_net *net, uint16_t wanted)
{
    uint64_t credits = net->datagrams.tail.p99_ns * HF_DATAGRAM_REQUESTS_PER_S / 1000000000u;
    uint64_t left = net->requests.max > net->datagrams.granted ? net->requests.max - net->datagrams.granted : 0;
    credits = credits < left ? credits : left;
    credits = credits > HF_DATAGRAM_CREDITS_MIN ? credits : HF_DATAGRAM_CREDITS_MIN;
    credits = credits < net->sessions.credits_max ? credits : net->sessions.credits_max;
    return wanted != 0 && wanted < credits ? wanted : (uint16_t)credits;
}

static uint64_t *hf_datagram_recent(struct hf_net *net, const struct hf_hello *hello)
{
    return &net->datagrams.recent[(hello->cookie[1] ^ hello->client) % HF_DATAGRAM_RECENT];
}

/* A new session with a connection to this address; NULL when there is no room. */
static struct hf_session *hf_datagram_open(struct hf_net *net, struct hf_transport *transport, const struct hf_event *event,
                                           const struct hf_frame *head, const struct hf_hello *hello)
{
    struct hf_connection *connection = hf_connections_take(&net->connections, transport);
    if (!connection)
        return NULL;
    connection->datagrams = true;
    connection->carrier = event->carrier;
    connection->peer_address = event->from;
    connection->client = hello->client;
    struct hf_session *session = hf_session_open(&net->sessions, hf_datagram_credits(net, head->credits), hello->first);
    if (!session) {
        hf_connections_give(&net->connections, connection);
        return NULL;
    }
    session->datagrams = true;
    net->datagrams.granted += session->credits;
    hf_session_attach(&net->sessions, session, connection);
    net->status.accepted++;
    *hf_datagram_recent(net, hello) = session->id;
    return session;
}

/* A datagram session with this id on this transport; NULL: none. */
static struct hf_session *hf_datagram_find(struct hf_net *net, const struct hf_transport *transport, uint64_t id)
{
    struct hf_session *session = hf_session_find(&net->sessions, id);
    return session && session->datagrams && session->connection->transport == transport ? session : NULL;
}

/* The session that a HELLO means and that it may have: by its id, or the one that a copy of the same HELLO has opened and that is unused;
 * who has used it and asks for a new one means another. */
static struct hf_session *hf_datagram_session(struct hf_net *net, const struct hf_transport *transport, const struct hf_frame *head,
                                              const struct hf_hello *hello)
{
    struct hf_session *session = hf_datagram_find(net, transport, head->session);
    if (session)
        return session;
    session = hf_datagram_find(net, transport, *hf_datagram_recent(net, hello));
    bool copy = session && session->next == 1 && session->connection->client == hello->client &&
                memcmp(session->connection->cookie, hello->cookie, sizeof hello->cookie) == 0;
    return copy ? session : NULL;
}

/* As many bytes as HELLO had: now the path is known to carry them both ways. */
static void hf_datagram_welcome(struct hf_net *net, const struct hf_session *session, uint32_t bytes)
{
    const struct hf_connection *connection = session->connection;
    uint64_t resend_ns = 2 * net->datagrams.tail.p99_ns;
    resend_ns = resend_ns > HF_DATAGRAM_RESEND_MIN_NS ? resend_ns : HF_DATAGRAM_RESEND_MIN_NS;
    resend_ns = resend_ns < HF_DATAGRAM_RESEND_MAX_NS ? resend_ns : HF_DATAGRAM_RESEND_MAX_NS;
    struct {
        struct hf_frame head;
        struct hf_welcome payload;
    } frame = {.head = {.type = HF_WELCOME, .session = session->id, .credits = session->credits}, .payload = net->welcome};
    memcpy(frame.payload.ports, net->ports[connection->carrier], sizeof frame.payload.ports);
    frame.payload.engine_time_ns = net->now_ns;
    frame.payload.frame_bytes_max = frame.payload.answer_bytes_max = bytes;
    frame.payload.resend_us = (uint32_t)(resend_ns / 1000);
    _Static_assert(sizeof frame == HF_HELLO_DATAGRAM_BYTES_MIN && sizeof frame <= HF_REPLY_BYTES_MAX, "WELCOME is no longer than HELLO");
    hf_frame_seal_zeros(&frame.head, (uint32_t)sizeof frame, bytes);
    connection->transport->ops->reply(connection->transport, &connection->peer_address, &frame, (uint32_t)sizeof frame,
                                      bytes - (uint32_t)sizeof frame);
    net->status.frames_out++;
}

/* Whether the session's frames may go to where this HELLO came from: not if it was under way for so long that the client is elsewhere now.
 */
static bool hf_datagram_move(struct hf_net *net, struct hf_connection *connection, const struct hf_peer *from, const uint64_t cookie[2])
{
    if (memcmp(&connection->peer_address, from, sizeof *from) == 0)
        return true;
    if (cookie[0] < connection->cookie[0]) {
        net->status.datagrams_late++;
        return false;
    }
    connection->peer_address = *from;
    net->status.addresses_changed++;
    return true;
}

static void hf_datagram_take_hello(struct hf_net *net, struct hf_transport *transport, const struct hf_event *event,
                                   const struct hf_frame *head)
{
    struct hf_hello hello;
    if (event->bytes < HF_HELLO_DATAGRAM_BYTES_MIN || head->count != 0 || head->request != 0 || !hf_frame_reserved_zero(head)) {
        net->status.bad_frame++;
        return;
    }
    memcpy(&hello, event->data + sizeof *head, sizeof hello);
    if (!hf_cookie_holds(net->datagrams.key, &event->from, net->now_ns / 1000000, hello.cookie)) {
        hf_datagram_ask(net, transport, event, head);
        return;
    }
    struct hf_session *session = hf_datagram_session(net, transport, head, &hello);
    if (!session && net->stopped) {
        hf_datagram_refuse(net, transport, event, head, HF_DRAINING);
        return;
    }
    if (!session)
        session = hf_datagram_open(net, transport, event, head, &hello);
    if (!session) {
        net->status.refused_sessions++;
        hf_datagram_refuse(net, transport, event, head, HF_BUSY);
        return;
    }
    struct hf_connection *connection = session->connection;
    /* A client that opens a session goes from large to small: this one has no hope for WELCOME of so many bytes any more. */
    if (head->session != session->id && connection->datagram_bytes != 0 && event->bytes > connection->datagram_bytes) {
        net->status.datagrams_late++;
        return;
    }
    if (!hf_datagram_move(net, connection, &event->from, hello.cookie))
        return;
    memcpy(connection->cookie, hello.cookie, sizeof hello.cookie);
    connection->datagram_bytes = event->bytes;
    connection->heard_ns = net->now_ns;
    hf_datagram_welcome(net, session, event->bytes);
}

/* ---- The rest ---- */

static void hf_datagram_take_request(struct hf_net *net, struct hf_intake *intake, struct hf_transport *transport,
                                     const struct hf_event *event, const struct hf_frame *head)
{
    struct hf_session *session = hf_session_find(&net->sessions, head->session);
    if (!session || !session->datagrams) {
        hf_datagram_refuse(net, transport, event, head, HF_SESSION_EXPIRED);
        return;
    }
    struct hf_connection *connection = session->connection;
    if (connection->transport != transport || memcmp(&connection->peer_address, &event->from, sizeof event->from) != 0) {
        hf_datagram_ask(net, transport, event, head);
        return;
    }
    connection->heard_ns = net->now_ns;
    uint64_t entry = 0, serial = head->request ? hf_session_serial(session, head->request) : 0;
    switch (hf_session_admit(&net->sessions, session, serial, &net->outbox, &entry)) {
    case HF_ADMIT_NEW:
        hf_net_take_new(net, intake, session, head, event->data + sizeof *head);
        break;
    case HF_ADMIT_WAITING:
        net->status.resend_waiting++;
        break;
    case HF_ADMIT_ANSWERED:
        net->status.resend_answered++;
        hf_net_queue(net, connection, entry);
        break;
    case HF_ADMIT_LOST:
        /* Under a new session's number it is judged anew, and the client knows; here it might be a late copy of what was answered long ago.
         */
        net->status.resend_lost++;
        hf_net_refuse(net, connection, head, HF_SESSION_EXPIRED);
        break;
    case HF_ADMIT_OVERRUN:
        hf_net_refuse(net, connection, head, HF_CREDIT_OVERRUN);
        break;
    case HF_ADMIT_PAST:
        net->status.datagrams_late++;
        break;
    }
}

/* ---- Answers ---- */

uint32_t hf_datagram_page(struct hf_answer *answer, uint32_t bytes_max)
{
    uint32_t head = sizeof *answer, each;
    if (answer->result != HF_OK)
        return 0;
    switch (answer->opcode) {
    case HF_GET_ORDER:
        head += (uint32_t)sizeof(struct hf_order_item);
        each = sizeof(struct hf_order_line_item);
        break;
    case HF_GET_SKU:
        head += (uint32_t)sizeof(struct hf_sku_item);
        each = sizeof(struct hf_cell_item);
        break;
    case HF_LIST_LOCATIONS:
        each = sizeof(struct hf_location_item);
        break;
    default:
        return 0;
    }
    if (bytes_max < head + each || answer->length <= bytes_max)
        return 0;
    uint32_t count = (bytes_max - head) / each, dropped = (answer->length - head) / each - count;
    answer->item_count = (uint16_t)(answer->item_count - dropped);
    answer->flags |= HF_ANSWER_MORE;
    answer->length = head + count * each;
    return answer->length;
}

/* ---- All of them ---- */

/* Whether a datagram is one whole frame; else what is wrong with it is counted. */
static bool hf_datagram_whole(struct hf_net *net, const struct hf_event *event, struct hf_frame *head)
{
    if (event->bytes < sizeof *head) {
        net->status.bad_frame++;
        return false;
    }
    memcpy(head, event->data, sizeof *head);
    int result = hf_frame_check_head(head);
    if (result == HF_OK && head->length != event->bytes)
        result = HF_BAD_FRAME;
    if (result == HF_OK && event->bytes > HF_DATAGRAM_BYTES_MAX)
        result = HF_TOO_LARGE;
    if (result == HF_OK && !hf_frame_check_crc(head, event->data + sizeof *head))
        result = HF_BAD_CRC;
    if (result != HF_OK)
        hf_net_count_refusal(net, result);
    return result == HF_OK;
}

void hf_datagram_take(struct hf_net *net, struct hf_intake *intake, struct hf_transport *transport, const struct hf_event *event)
{
    struct hf_frame head;
    net->status.datagrams_in++;
    if (!hf_datagram_whole(net, event, &head))
        return;
    net->status.frames_in++;
    struct hf_session *session;
    switch (head.type) {
    case HF_REQUEST:
        hf_datagram_take_request(net, intake, transport, event, &head);
        break;
    case HF_HELLO:
        hf_datagram_take_hello(net, transport, event, &head);
        break;
    case HF_BYE:
        session = hf_session_find(&net->sessions, head.session);
        if (session && session->datagrams && memcmp(&session->connection->peer_address, &event->from, sizeof event->from) == 0)
            hf_datagram_end(net, session->connection);
        else
            net->status.datagrams_late++;
        break;
    default:
        net->status.bad_frame++;
    }
}

void hf_datagram_end(struct hf_net *net, struct hf_connection *connection)
{
    struct hf_session *session = &net->sessions.all[connection->session];
    net->datagrams.granted -= session->credits;
    hf_session_close(&net->sessions, session);
    connection->transport->ops->shut(connection->transport, connection);
    hf_outbox_forget(&net->outbox, connection);
    hf_connections_give(&net->connections, connection);
    net->status.closed++;
}

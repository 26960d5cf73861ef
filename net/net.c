/* A shard's port: what arrives becomes frames, frames become sessions' requests, answers become frames again. */
#include "net/net.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef HF_DPDK
#include "net/dpdk/port.h"
#endif
#include "net/frame.h"
#include "net/net_p.h"

enum {
    HF_NET_EVENTS_MAX = 512, /* taken in one hf_net_receive(), so that a flood cannot hold the shard's loop */
    HF_NET_ASSEMBLIES_MAX = 1024,
    HF_NET_SPARE_CONNECTIONS = 64, /* beyond sessions_max: those that have not said HELLO, or were told to go */
};

static const uint64_t HF_NET_SWEEP_NS = 250 * 1000 * 1000ull;
static const uint64_t HF_NET_HALF_FRAME_NS = 30 * 1000000000ull; /* also: until HELLO */
static const uint64_t HF_NET_FAREWELL_NS = 2 * 1000000000ull;

/* ---- Sending ---- */

void hf_net_queue(struct hf_net *net, struct hf_connection *connection, uint64_t entry)
{
    if (!connection || connection->detached || !hf_outbox_queue(&net->outbox, entry, connection))
        return;
    net->status.frames_out++;
    connection->transport->ops->send(connection->transport, connection);
}

uint64_t hf_net_reply(struct hf_net *net, struct hf_connection *connection, struct hf_frame head, const void *payload,
                      uint32_t payload_bytes)
{
    uint64_t entry;
    uint32_t bytes = (uint32_t)sizeof head + payload_bytes;
    struct hf_frame *frame = hf_outbox_append(&net->outbox, bytes, &entry);
    *frame = head;
    if (payload_bytes > 0)
        memcpy(frame + 1, payload, payload_bytes);
    hf_frame_seal(frame, bytes);
    hf_net_queue(net, connection, entry);
    return entry;
}

void hf_net_count_refusal(struct hf_net *net, int result)
{
    uint64_t *const counters[HF_RESULT_COUNT] = {
        [HF_BAD_FRAME] = &net->status.bad_frame,           [HF_BAD_CRC] = &net->status.bad_crc,
        [HF_BAD_VERSION] = &net->status.bad_version,       [HF_TOO_LARGE] = &net->status.too_large,
        [HF_CREDIT_OVERRUN] = &net->status.credit_overrun, [HF_SESSION_EXPIRED] = &net->status.session_expired,
    };
    ++*(counters[result] ? counters[result] : &net->status.refused_busy);
}

uint64_t hf_net_refuse(struct hf_net *net, struct hf_connection *connection, const struct hf_frame *head, int result)
{
    hf_net_count_refusal(net, result);
    struct hf_frame refused = {.type = HF_REFUSED, .result = (uint16_t)result};
    if (head) {
        refused.session = head->session;
        refused.request = head->type == HF_REQUEST ? head->request : 0;
    }
    return hf_net_reply(net, connection, refused, NULL, 0);
}

/* ---- Ending a connection ---- */

static void hf_net_drop_assembly(struct hf_net *net, struct hf_connection *connection)
{
    if (connection->assembly)
        hf_assembly_give(&net->requests, connection->assembly);
    connection->assembly = NULL;
    connection->assembled = 0;
    connection->since_ns = 0;
}

/* Lets the connection take what is queued for it, then closes it; what it still sends is thrown away. */
static void hf_net_condemn(struct hf_net *net, struct hf_connection *connection)
{
    hf_net_drop_assembly(net, connection);
    connection->condemned = connection->detached = true;
    connection->since_ns = net->now_ns;
    connection->transport->ops->send(connection->transport, connection);
}

/* Closes the connection at once. */
static void hf_net_shut(struct hf_net *net, struct hf_connection *connection)
{
    hf_net_drop_assembly(net, connection);
    connection->condemned = connection->detached = true;
    connection->transport->ops->shut(connection->transport, connection);
    hf_outbox_forget(&net->outbox, connection);
}

static void hf_net_give_up_slow_reader(void *context, struct hf_connection *connection)
{
    struct hf_net *net = context;
    if (connection->datagrams) {
        /* What it did not get it will ask for again. */
        net->status.datagrams_unsent++;
        hf_outbox_forget(&net->outbox, connection);
        return;
    }
    net->status.slow_reader++;
    hf_net_shut(net, connection);
}

static void hf_net_closed(struct hf_net *net, struct hf_connection *connection)
{
    hf_net_drop_assembly(net, connection);
    connection->detached = true;
    hf_outbox_forget(&net->outbox, connection);
    if (connection->session != HF_NONE)
        hf_session_detach(&net->sessions, &net->sessions.all[connection->session], net->now_ns);
    net->status.closed++;
}

/* ---- Frames that came ---- */

static void hf_net_take_hello(struct hf_net *net, struct hf_connection *connection, const struct hf_frame *head, const uint8_t *payload)
{
    struct hf_hello hello;
    if (head->length != sizeof *head + sizeof hello || head->count != 0 || head->request != 0 || !hf_frame_reserved_zero(head)) {
        hf_net_refuse(net, connection, head, HF_BAD_FRAME);
        return;
    }
    memcpy(&hello, payload, sizeof hello);
    if ((hello.cookie[0] | hello.cookie[1]) != 0) {
        hf_net_refuse(net, connection, head, HF_BAD_FRAME);
        return;
    }
    struct hf_session *session = hf_session_find(&net->sessions, head->session);
    if (session && session->datagrams)
        session = NULL;
    if (session && session->connection && session->connection != connection) {
        struct hf_connection *old = session->connection;
        hf_session_detach(&net->sessions, session, net->now_ns);
        hf_net_shut(net, old);
    }
    if (connection->session != HF_NONE && &net->sessions.all[connection->session] != session)
        hf_session_detach(&net->sessions, &net->sessions.all[connection->session], net->now_ns);
    if (!session)
        session = hf_session_open(&net->sessions, head->credits, hello.first);
    if (!session) {
        net->status.refused_sessions++;
        hf_net_refuse(net, connection, head, HF_BUSY);
        hf_net_condemn(net, connection);
        return;
    }
    if (!session->connection)
        hf_session_attach(&net->sessions, session, connection);
    connection->since_ns = 0;
    net->welcome.engine_time_ns = net->now_ns;
    memcpy(net->welcome.ports, net->ports[connection->carrier], sizeof net->welcome.ports);
    struct hf_frame welcome = {.type = HF_WELCOME, .session = session->id, .credits = session->credits};
    hf_net_reply(net, connection, welcome, &net->welcome, sizeof net->welcome);
}

/* The code that refuses a request of an admitted number, or HF_OK and *out. */
static int hf_net_make_request(struct hf_net *net, const struct hf_intake *intake, const struct hf_frame *head, const uint8_t *payload,
                               uint32_t answer_frame_bytes_max, struct hf_request **out)
{
    uint32_t bytes = head->length - (uint32_t)sizeof *head, answer_bytes = 0;
    if (!hf_frame_reserved_zero(head))
        return HF_BAD_FRAME;
    int result = hf_frame_walk_commands(payload, bytes, head->count, answer_frame_bytes_max, &answer_bytes);
    if (result != HF_OK)
        return result;
    if (!intake->accept)
        return intake->refuse_result;
    struct hf_request *request = hf_request_take(&net->requests, bytes, answer_bytes);
    if (!request)
        return HF_BUSY;
    uint8_t *const commands = request->commands, *const answers = request->answers;
    memcpy(commands, payload, bytes);
    *request = (struct hf_request){.session = head->session,
                                   .number = head->request,
                                   .commands = commands,
                                   .command_bytes = bytes,
                                   .command_count = head->count,
                                   .left = head->count,
                                   .answers = answers,
                                   .received_ns = net->now_ns};
    *out = request;
    return HF_OK;
}

/* The largest frame that an answer to the session may be. */
static uint32_t hf_net_answer_frame_bytes_max(const struct hf_session *session)
{
    return session->datagrams ? session->connection->datagram_bytes : HF_FRAME_ANSWER_BYTES_MAX;
}

void hf_net_take_new(struct hf_net *net, struct hf_intake *intake, struct hf_session *session, const struct hf_frame *head,
                     const uint8_t *payload)
{
    struct hf_request *request = NULL;
    struct hf_slot *slot = hf_session_slot(&net->sessions, session, hf_session_serial(session, head->request));
    int result = hf_net_make_request(net, intake, head, payload, hf_net_answer_frame_bytes_max(session), &request);
    if (result != HF_OK) {
        uint64_t entry = hf_net_refuse(net, session->connection, head, result);
        slot->entry = session->datagrams ? entry : HF_SLOT_OPEN;
        return;
    }
    request->session_index = session->index;
    net->status.commands_in += request->command_count;
    intake->out[intake->count++] = request;
}

static void hf_net_take_request(struct hf_net *net, struct hf_intake *intake, struct hf_connection *connection, const struct hf_frame *head,
                                const uint8_t *payload)
{
    struct hf_session *session = connection->session == HF_NONE ? NULL : &net->sessions.all[connection->session];
    if (!session || session->id != head->session) {
        hf_net_refuse(net, connection, head, HF_SESSION_EXPIRED);
        return;
    }
    uint64_t entry = 0, serial = head->request ? hf_session_serial(session, head->request) : 0;
    switch (hf_session_admit(&net->sessions, session, serial, &net->outbox, &entry)) {
    case HF_ADMIT_LOST:
        net->status.resend_lost++;
        hf_net_take_new(net, intake, session, head, payload);
        break;
    case HF_ADMIT_NEW:
        hf_net_take_new(net, intake, session, head, payload);
        break;
    case HF_ADMIT_WAITING:
        net->status.resend_waiting++;
        break;
    case HF_ADMIT_ANSWERED:
        net->status.resend_answered++;
        hf_net_queue(net, connection, entry);
        break;
    case HF_ADMIT_OVERRUN:
        hf_net_refuse(net, connection, head, HF_CREDIT_OVERRUN);
        break;
    case HF_ADMIT_PAST:
        hf_net_refuse(net, connection, head, HF_BAD_FRAME);
        break;
    }
}

static void hf_net_take_frame(struct hf_net *net, struct hf_intake *intake, struct hf_connection *connection, const struct hf_frame *head,
                              const uint8_t *payload)
{
    net->status.frames_in++;
    if (!hf_frame_check_crc(head, payload)) {
        hf_net_refuse(net, connection, NULL, HF_BAD_CRC);
        hf_net_condemn(net, connection);
        return;
    }
    switch (head->type) {
    case HF_REQUEST:
        hf_net_take_request(net, intake, connection, head, payload);
        break;
    case HF_HELLO:
        hf_net_take_hello(net, connection, head, payload);
        break;
    case HF_BYE:
        if (connection->session != HF_NONE)
            hf_session_close(&net->sessions, &net->sessions.all[connection->session]);
        hf_net_condemn(net, connection);
        break;
    default:
        hf_net_refuse(net, connection, head, HF_BAD_FRAME);
    }
}

/* ---- Bytes that came ---- */

/* Whether the stream is in step at this header; else the connection is told why and ended. */
static bool hf_net_in_step(struct hf_net *net, struct hf_connection *connection, const struct hf_frame *head)
{
    int result = hf_frame_check_head(head);
    if (result == HF_OK)
        return true;
    hf_net_refuse(net, connection, NULL, result);
    hf_net_condemn(net, connection);
    return false;
}

static void hf_net_advance(struct hf_event *event, uint32_t bytes)
{
    event->data += bytes;
    event->bytes -= bytes;
}

/* Moves bytes of the event to the connection's assembly until it holds `want`; whether it does. */
static bool hf_net_assemble(struct hf_connection *connection, struct hf_event *event, uint32_t want)
{
    uint32_t missing = want - connection->assembled, bytes = event->bytes < missing ? event->bytes : missing;
    memcpy(connection->assembly + connection->assembled, event->data, bytes);
    connection->assembled += bytes;
    hf_net_advance(event, bytes);
    return connection->assembled == want;
}

/* Goes on with a frame that came in parts. */
static void hf_net_consume_part(struct hf_net *net, struct hf_intake *intake, struct hf_connection *connection, struct hf_event *event)
{
    struct hf_frame head;
    if (connection->assembled < sizeof head) {
        if (!hf_net_assemble(connection, event, sizeof head))
            return;
        memcpy(&head, connection->assembly, sizeof head);
        if (!hf_net_in_step(net, connection, &head))
            return;
    }
    memcpy(&head, connection->assembly, sizeof head);
    if (!hf_net_assemble(connection, event, head.length))
        return;
    hf_net_take_frame(net, intake, connection, &head, connection->assembly + sizeof head);
    if (!connection->condemned)
        hf_net_drop_assembly(net, connection);
}

/* The event ends within a frame: keeps that part. */
static void hf_net_keep_part(struct hf_net *net, struct hf_connection *connection, struct hf_event *event)
{
    connection->assembly = hf_assembly_take(&net->requests);
    if (!connection->assembly) {
        hf_net_refuse(net, connection, NULL, HF_BUSY);
        hf_net_condemn(net, connection);
        return;
    }
    connection->since_ns = net->now_ns;
    (void)hf_net_assemble(connection, event, connection->assembled + event->bytes);
}

/* Takes frames out of the event until it is empty or `intake` is full. */
static void hf_net_consume(struct hf_net *net, struct hf_intake *intake)
{
    struct hf_event *event = &net->event;
    struct hf_connection *connection = event->connection;
    struct hf_frame head;
    while (event->bytes > 0 && intake->count < intake->max) {
        if (connection->condemned) {
            hf_net_advance(event, event->bytes);
        } else if (connection->assembly) {
            hf_net_consume_part(net, intake, connection, event);
        } else if (event->bytes < sizeof head) {
            hf_net_keep_part(net, connection, event);
        } else {
            memcpy(&head, event->data, sizeof head);
            if (!hf_net_in_step(net, connection, &head))
                continue;
            if (event->bytes < head.length) {
                hf_net_keep_part(net, connection, event);
                continue;
            }
            const uint8_t *payload = event->data + sizeof head;
            hf_net_advance(event, head.length);
            hf_net_take_frame(net, intake, connection, &head, payload);
        }
    }
}

/* The next event of any transport, each in its turn. */
static bool hf_net_next_event(struct hf_net *net)
{
    for (unsigned i = 0; i < net->transport_count; i++) {
        net->event_transport = net->transports[net->turn];
        if (net->event_transport->ops->next(net->event_transport, &net->event))
            return true;
        net->turn = (net->turn + 1) % net->transport_count;
    }
    return false;
}

/* Half frames, farewells and connections that do not say HELLO have a time limit, sessions without a connection too. */
static void hf_net_sweep(struct hf_net *net)
{
    for (uint32_t i = 0; i < net->connections.count; i++) {
        struct hf_connection *connection = &net->connections.all[i];
        if (!connection->transport || connection->gone)
            continue;
        if (connection->datagrams) {
            if (net->now_ns - connection->heard_ns > net->session_idle_ns)
                hf_datagram_end(net, connection);
            continue;
        }
        if (connection->since_ns == 0 && connection->session == HF_NONE)
            connection->since_ns = net->now_ns;
        if (connection->since_ns == 0)
            continue;
        uint64_t limit_ns = connection->condemned ? HF_NET_FAREWELL_NS : HF_NET_HALF_FRAME_NS;
        if (net->now_ns - connection->since_ns < limit_ns)
            continue;
        if (!connection->condemned)
            net->status.half_frame_timeout++;
        hf_net_shut(net, connection);
    }
    hf_tail_settle(&net->datagrams.tail);
    if (net->now_ns > net->session_idle_ns)
        hf_sessions_expire(&net->sessions, net->now_ns - net->session_idle_ns);
    for (unsigned i = 0; i < net->transport_count; i++)
        net->transports[i]->ops->tick(net->transports[i]);
}

unsigned hf_net_receive(struct hf_net *net, uint64_t now_ns, bool accept, uint16_t refuse_result, struct hf_request **out, unsigned max)
{
    struct hf_intake intake = {.out = out, .max = max, .accept = accept, .refuse_result = refuse_result};
    net->now_ns = now_ns;
    if (now_ns >= net->sweep_ns) {
        net->sweep_ns = now_ns + HF_NET_SWEEP_NS;
        hf_net_sweep(net);
    }
    bool turned = false;
    for (unsigned events = 0; events < HF_NET_EVENTS_MAX && intake.count < max; events++) {
        if (net->event.bytes == 0) {
            /* A transport that always has more must not keep the others from theirs, even if each call ends within an event of it. */
            if (!turned)
                net->turn = net->transport_count > 1 ? (net->turn + 1) % net->transport_count : 0;
            turned = true;
            if (!hf_net_next_event(net))
                break;
            net->status.bytes_in += net->event.bytes;
        }
        if (net->event.kind == HF_EVENT_BYTES) {
            hf_net_consume(net, &intake);
        } else {
            if (net->event.kind == HF_EVENT_CLOSED)
                hf_net_closed(net, net->event.connection);
            else
                hf_datagram_take(net, &intake, net->event_transport, &net->event);
            net->event.bytes = 0;
        }
        if (net->event.bytes == 0)
            net->event_transport->ops->release(net->event_transport, &net->event);
    }
    return intake.count;
}

/* The queries' answers are more than the path carries: they had no effect, and somewhere else they can be had. */
static uint64_t hf_net_answer_too_large(struct hf_net *net, const struct hf_request *request, struct hf_connection *connection)
{
    const struct hf_frame head = {.type = HF_REQUEST, .session = request->session, .request = request->number};
    net->status.answers_too_large++;
    return hf_net_refuse(net, connection, &head, HF_TOO_LARGE);
}

static uint64_t hf_net_send_answer(struct hf_net *net, const struct hf_request *request, const struct hf_session *session, uint32_t bytes)
{
    struct hf_frame *frame = (struct hf_frame *)(void *)(request->answers - sizeof *frame);
    *frame = (struct hf_frame){.type = HF_ANSWER,
                               .session = request->session,
                               .request = request->number,
                               .credits = session->credits,
                               .count = request->command_count};
    hf_frame_seal(frame, bytes);
    uint64_t entry;
    memcpy(hf_outbox_append(&net->outbox, bytes, &entry), frame, bytes);
    hf_net_queue(net, session->connection, entry);
    return entry;
}

void hf_net_answer(struct hf_net *net, struct hf_request *request, uint32_t answer_bytes)
{
    uint32_t bytes = (uint32_t)sizeof(struct hf_frame) + answer_bytes;
    assert(request->command_count > 0 && bytes <= HF_FRAME_ANSWER_BYTES_MAX);
    const struct hf_session *session = &net->sessions.all[request->session_index];
    if (session->id == request->session) {
        uint64_t serial = hf_session_serial(session, request->number);
        struct hf_slot *slot = hf_session_slot(&net->sessions, session, serial);
        assert(slot->number == serial && slot->entry == HF_SLOT_WAITING);
        uint32_t bytes_max = hf_net_answer_frame_bytes_max(session), page = 0;
        if (bytes > bytes_max && request->command_count == 1)
            page = hf_datagram_page((struct hf_answer *)(void *)request->answers, bytes_max - (uint32_t)sizeof(struct hf_frame));
        if (page)
            bytes = (uint32_t)sizeof(struct hf_frame) + page;
        slot->entry = bytes > bytes_max ? hf_net_answer_too_large(net, request, session->connection)
                                        : hf_net_send_answer(net, request, session, bytes);
        if (session->datagrams)
            hf_tail_add(&net->datagrams.tail, net->now_ns - request->received_ns);
    }
    hf_request_give(&net->requests, request);
}

bool hf_net_flush(struct hf_net *net)
{
    bool any = false;
    for (unsigned i = 0; i < net->transport_count; i++)
        any |= net->transports[i]->ops->flush(net->transports[i]);
    return any;
}

void hf_net_wait(struct hf_net *net, uint64_t timeout_ns)
{
    for (unsigned i = 1; i < net->transport_count; i++)
        net->transports[i]->ops->flush(net->transports[i]);
    if (net->transport_count > 0)
        net->transports[0]->ops->wait(net->transports[0], net->event.bytes > 0 ? 0 : timeout_ns);
}

int hf_net_watch(struct hf_net *net, int event_fd)
{
    return net->transport_count > 0 ? net->transports[0]->ops->watch(net->transports[0], event_fd) : 0;
}

bool hf_net_quiet(const struct hf_net *net)
{
    return net->requests.in_flight == 0 && net->outbox.unsent == 0;
}

void hf_net_stop_accepting(struct hf_net *net)
{
    net->stopped = true;
    for (unsigned i = 0; i < net->transport_count; i++)
        net->transports[i]->ops->stop_accepting(net->transports[i]);
}

/* ---- Beginning and end ---- */

/* Of transports, io_uring is the first: it can wait for the others. TCP stands for all that it serves. */
static enum hf_carrier hf_net_kind(const char *address)
{
    enum hf_carrier carrier = hf_carrier_of(address);
    return carrier == HF_CARRIER_LOOPBACK || carrier == HF_CARRIER_DPDK ? carrier : HF_CARRIER_TCP;
}

static int hf_net_make_transport(enum hf_carrier kind, const struct hf_transport_options *options, struct hf_transport **out)
{
    if (kind == HF_CARRIER_LOOPBACK)
        return hf_loopback_create(options, out);
    if (kind == HF_CARRIER_DPDK)
#ifdef HF_DPDK
        return hf_dpdk_create(options, out);
#else
        return hf_net_fail(HF_E_USAGE, "this engine was built without DPDK; build it where libdpdk 22.11 or newer is (-Ddpdk=enabled)");
#endif
    return hf_uring_create(options, out);
}

static int hf_net_listen(enum hf_carrier kind, struct hf_transport *transport, const char *address)
{
#ifdef HF_DPDK
    if (kind == HF_CARRIER_DPDK)
        return hf_dpdk_listen(transport, address);
#endif
    return kind == HF_CARRIER_LOOPBACK ? hf_loopback_listen(transport, address) : hf_uring_listen(transport, address);
}

/* The transport that serves addresses of this kind, made when first asked for. */
static int hf_net_transport(struct hf_net *net, const struct hf_net_options *options, enum hf_carrier kind, struct hf_transport **out)
{
    struct hf_transport_options given = {.outbox = &net->outbox,
                                         .connections = &net->connections,
                                         .status = &net->status,
                                         .insecure_listen = options->insecure_listen,
                                         .one_by_one = options->one_by_one,
                                         .shard = options->shard,
                                         .shard_count = options->shard_count,
                                         .listen = options->listen,
                                         .listen_count = options->listen_count,
                                         .dpdk_arguments = options->dpdk_arguments,
                                         .sharing = !options->shared_port ? HF_PORT_ALONE
                                                    : options->shard == 0 ? HF_PORT_FIRST
                                                                          : HF_PORT_JOINED};
    struct hf_transport *transport = NULL;
    int error = hf_net_make_transport(kind, &given, &transport);
    if (error)
        return error;
    transport->carrier = kind;
    net->transports[net->transport_count++] = transport;
    if (kind == HF_CARRIER_LOOPBACK && net->transport_count > 1)
        error = net->transports[0]->ops->watch(net->transports[0], hf_loopback_event_fd(transport));
    *out = transport;
    return error;
}

static int hf_net_listen_all(struct hf_net *net, const struct hf_net_options *options, enum hf_carrier kind)
{
    struct hf_transport *transport = NULL, *waits = NULL;
    unsigned index = 0;
    for (unsigned i = 0; i < options->listen_count; i++) {
        const char *address = options->listen[i];
        if (hf_net_kind(address) != kind)
            continue;
        int error = 0;
        if (kind == HF_CARRIER_DPDK && net->transport_count == 0)
            error = hf_net_transport(net, options, HF_CARRIER_TCP, &waits);
        if (!error && !transport)
            error = hf_net_transport(net, options, kind, &transport);
        if (!error)
            error = hf_net_listen(kind, transport, address);
        if (error)
            return error;
        net->listeners[i].transport = transport;
        net->listeners[i].index = index++;
    }
    return 0;
}

static uint32_t hf_or_default(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}

static int hf_net_set_up(struct hf_net *net, const struct hf_net_options *options)
{
    uint32_t sessions = hf_or_default(options->sessions_max, 4096), requests = hf_or_default(options->requests_max, 4096);
    uint32_t credits = hf_or_default(options->credits_max, 1024);
    if (sessions > 65536 || credits > UINT16_MAX || requests > 1u << 20)
        return hf_net_fail(HF_E_USAGE, "at most 65536 sessions, 65535 credits and 1048576 requests in flight are possible");
    if (options->listen_count > HF_NET_LISTENERS_MAX)
        return hf_net_fail(HF_E_USAGE, "at most %d addresses to listen on are possible", HF_NET_LISTENERS_MAX);
    uint32_t connections = sessions + HF_NET_SPARE_CONNECTIONS;
    int error = hf_connections_create(&net->connections, connections);
    if (!error)
        error = hf_outbox_create(&net->outbox, options->answer_cache_bytes ? options->answer_cache_bytes : 64 << 20, &net->connections);
    if (!error)
        error = hf_sessions_create(&net->sessions, sessions, credits);
    if (!error)
        error = hf_request_pool_create(&net->requests, requests, connections < HF_NET_ASSEMBLIES_MAX ? connections : HF_NET_ASSEMBLIES_MAX);
    if (error)
        return error;
    net->outbox.give_up = hf_net_give_up_slow_reader;
    net->outbox.context = net;
    net->session_idle_ns = options->session_idle_ns ? options->session_idle_ns : 60 * 1000000000ull;
    net->listener_count = options->listen_count;
    error = hf_net_listen_all(net, options, HF_CARRIER_TCP);
    if (!error)
        error = hf_net_listen_all(net, options, HF_CARRIER_DPDK);
    return error ? error : hf_net_listen_all(net, options, HF_CARRIER_LOOPBACK);
}

int hf_net_create(const struct hf_net_options *options, struct hf_net **out)
{
    struct hf_net *net = calloc(1, sizeof *net);
    if (!net)
        return hf_net_fail(HF_E_MEMORY, "no memory for a port");
    net->welcome = (struct hf_welcome){.partitions = options->partitions,
                                       .shard_count = (uint16_t)options->shard_count,
                                       .shard = (uint16_t)options->shard,
                                       .frame_bytes_max = HF_FRAME_BYTES_MAX,
                                       .answer_bytes_max = HF_FRAME_ANSWER_BYTES_MAX,
                                       .retention_ms = options->retention_ms,
                                       .term = options->term,
                                       .flags = options->async_durability ? 1 : 0};
    hf_datagrams_init(&net->datagrams);
    int error = hf_net_set_up(net, options);
    if (error) {
        hf_net_destroy(net);
        return error;
    }
    *out = net;
    return 0;
}

void hf_net_destroy(struct hf_net *net)
{
    if (!net)
        return;
    for (unsigned i = net->transport_count; i-- > 0;)
        net->transports[i]->ops->destroy(net->transports[i]);
    if (net->requests.max)
        hf_request_pool_destroy(&net->requests);
    if (net->sessions.count)
        hf_sessions_destroy(&net->sessions);
    if (net->outbox.bytes)
        hf_outbox_destroy(&net->outbox);
    hf_connections_destroy(&net->connections);
    free(net);
}

uint16_t hf_net_port(const struct hf_net *net, unsigned listener)
{
    if (listener >= net->listener_count || !net->listeners[listener].transport)
        return 0;
    const struct hf_transport *transport = net->listeners[listener].transport;
    return transport->ops->port(transport, net->listeners[listener].index);
}

const char *hf_net_path(const struct hf_net *net, unsigned listener)
{
    const struct hf_transport *transport = listener < net->listener_count ? net->listeners[listener].transport : NULL;
    return transport && transport->ops->path ? transport->ops->path(transport, net->listeners[listener].index) : NULL;
}

void hf_net_set_ports(struct hf_net *net, enum hf_carrier carrier, const uint16_t *ports, unsigned count)
{
    const unsigned room = sizeof net->ports[carrier] / sizeof net->ports[carrier][0];
    assert(carrier < HF_CARRIERS);
    memset(net->ports[carrier], 0, sizeof net->ports[carrier]);
    memcpy(net->ports[carrier], ports, (count < room ? count : room) * sizeof *ports);
}

void hf_net_status(const struct hf_net *net, struct hf_net_status *out)
{
    for (unsigned i = 0; i < net->transport_count; i++)
        if (net->transports[i]->ops->count)
            net->transports[i]->ops->count(net->transports[i]);
    *out = net->status;
    out->sessions = net->sessions.count - net->sessions.free_count;
    out->connections = net->connections.count - net->connections.free_count;
    out->requests_in_flight = net->requests.in_flight;
}

unsigned hf_net_device_counters(struct hf_net_counter *out, unsigned max)
{
#ifdef HF_DPDK
    return hf_dpdk_counters(out, max);
#else
    (void)out;
    (void)max;
    return 0;
#endif
}

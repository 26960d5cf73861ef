/* One session: its queue, its request numbers and their slots, its answers. */
#include <stdlib.h>
#include <string.h>

#include "client/client_p.h"

struct hf_session *hf_session_create(struct hf_client *client, unsigned index)
{
    struct hf_session *session = calloc(1, sizeof *session);
    unsigned slots = client->options.frames_max;
    if (!session)
        return NULL;
    session->slots = calloc(slots, sizeof(struct hf_batch *));
    session->partial = malloc(HF_FRAME_BYTES_MAX);
    if (!session->slots || !session->partial) {
        free(session->slots);
        free(session->partial);
        free(session);
        return NULL;
    }
    session->client = client;
    session->fd = -1;
    session->is_main = index == 0;
    session->shard = index == 0 ? 0 : (uint8_t)(index - 1);
    session->slot_count = slots;
    session->credits = (uint16_t)slots;
    session->next_number = session->send_number = 1;
    session->first = client->options.first_number ? client->options.first_number : 1;
    session->deadline_first_ns = session->resend_at_ns = UINT64_MAX;
    session->state = HF_SESSION_WAITING;
    session->loop_next = client->loop->sessions;
    client->loop->sessions = session;
    return session;
}

static void unlink_session(struct hf_session *session)
{
    struct hf_loop *loop = session->client->loop;
    for (struct hf_session **at = &loop->sessions; *at; at = &(*at)->loop_next)
        if (*at == session) {
            *at = session->loop_next;
            break;
        }
    for (struct hf_session **at = &loop->dirty; *at; at = &(*at)->dirty_next)
        if (*at == session) {
            *at = session->dirty_next;
            break;
        }
}

/* What an in-flight batch means to its owner when nothing more can come. */
static void close_batch(struct hf_batch *batch)
{
    struct hf_reply reply = {.error = HF_E_CLOSED, .sent = batch->was_sent};
    if (batch->state == HF_BATCH_ABANDONED)
        hf_batch_release(batch);
    else
        hf_batch_finish(batch, &reply);
}

void hf_session_destroy(struct hf_session *session)
{
    hf_session_goodbye(session);
    for (unsigned i = 0; i < session->slot_count; i++)
        if (session->slots[i])
            close_batch(session->slots[i]);
    for (struct hf_batch *batch = session->queue_first, *next; batch; batch = next) {
        next = batch->next;
        close_batch(batch);
    }
    unlink_session(session);
    free(session->slots);
    free(session->partial);
    free(session);
}

void hf_session_enqueue(struct hf_session *session, struct hf_batch *batch)
{
    batch->next = NULL;
    if (session->queue_last)
        session->queue_last->next = batch;
    else
        session->queue_first = batch;
    session->queue_last = batch;
    if (batch->deadline_ns < session->deadline_first_ns)
        session->deadline_first_ns = batch->deadline_ns;
    hf_session_touch(session);
}

/* Numbers go on at 1 after the last one there is: 0 is none. */
static uint64_t number_of(const struct hf_session *session, uint64_t serial)
{
    uint64_t number = session->first + (serial - 1);
    return number + (number < session->first);
}

static uint64_t serial_of(const struct hf_session *session, uint64_t number)
{
    return number == 0 ? 0 : number - session->first + (number >= session->first);
}

static void seal(struct hf_session *session, struct hf_batch *batch)
{
    struct hf_frame *frame = (struct hf_frame *)(void *)batch->frame;
    batch->number = session->next_number++;
    batch->tries = 0;
    batch->session = session->id;
    batch->state = HF_BATCH_SENT;
    *frame = (struct hf_frame){.magic = HF_FRAME_MAGIC,
                               .version = HF_FRAME_VERSION,
                               .type = HF_REQUEST,
                               .length = batch->bytes,
                               .session = session->id,
                               .request = number_of(session, batch->number),
                               .count = batch->count};
    hf_frame_seal(frame);
    session->slots[batch->number % session->credits] = batch;
}

void hf_session_seal(struct hf_session *session)
{
    while (session->queue_first && !session->slots[session->next_number % session->credits]) {
        struct hf_batch *batch = session->queue_first;
        session->queue_first = batch->next;
        if (!session->queue_first)
            session->queue_last = NULL;
        batch->next = NULL;
        if (session->client->datagram_ops && batch->bytes > session->datagram_bytes) {
            struct hf_reply reply = {.refused = HF_TOO_LARGE};
            hf_batch_finish(batch, &reply);
            continue;
        }
        seal(session, batch);
    }
}

/* Walks numbers downwards, so that pushing each to the front of the queue leaves them in their order of sending. */
void hf_session_requeue(struct hf_session *session)
{
    uint64_t oldest = session->next_number > session->credits ? session->next_number - session->credits : 1;
    for (uint64_t n = session->next_number; n-- > oldest;) {
        struct hf_batch **slot = &session->slots[n % session->credits], *batch = *slot;
        *slot = NULL;
        if (!batch)
            continue;
        if (batch->state == HF_BATCH_ABANDONED) {
            hf_batch_release(batch);
            continue;
        }
        batch->state = HF_BATCH_QUEUED;
        batch->next = session->queue_first;
        session->queue_first = batch;
        if (!session->queue_last)
            session->queue_last = batch;
    }
    session->next_number = session->send_number = 1;
    session->send_offset = 0;
}

void hf_session_move(struct hf_session *from, struct hf_session *to)
{
    hf_session_requeue(from);
    while (from->queue_first) {
        struct hf_batch *batch = from->queue_first;
        from->queue_first = batch->next;
        hf_session_enqueue(to, batch);
    }
    from->queue_last = NULL;
    from->id = 0;
}

void hf_session_welcome(struct hf_session *session, uint64_t id, uint16_t credits)
{
    uint16_t usable = credits < session->slot_count ? credits : (uint16_t)session->slot_count;
    if (session->id == id) {
        session->client->status.sessions_resumed++;
        /* Datagrams that were sent are resent each in its time. */
        if (!session->client->datagram_ops)
            session->send_number = session->next_number > session->credits ? session->next_number - session->credits : 1;
        session->send_offset = 0;
    } else {
        session->client->status.sessions_replaced += session->id != 0;
        hf_session_requeue(session);
        session->id = id;
        session->credits = usable;
    }
    session->state = HF_SESSION_OPEN;
    session->backoff_ns = 0;
    hf_session_touch(session);
}

static int protocol_error(struct hf_session *session, const char *what)
{
    hf_client_fail(session->client, HF_E_PROTOCOL, "%s does not keep to the protocol: %s", session->client->server, what);
    return HF_E_PROTOCOL;
}

static int on_welcome(struct hf_session *session, const struct hf_frame *frame)
{
    struct hf_welcome welcome;
    bool datagrams = session->client->datagram_ops != NULL, open = session->state == HF_SESSION_OPEN;
    if (datagrams ? frame->length < HF_HELLO_DATAGRAM_BYTES_MIN
                  : session->state != HF_SESSION_GREETING || frame->length != sizeof *frame + sizeof welcome)
        return protocol_error(session, "a WELCOME that was not asked for");
    memcpy(&welcome, frame + 1, sizeof welcome);
    uint32_t p = welcome.partitions;
    if (frame->session == 0 || frame->credits == 0 || p == 0 || p > HF_PARTITIONS_MAX || (p & (p - 1)) != 0 || welcome.shard_count == 0 ||
        welcome.shard_count > HF_CLIENT_SHARDS_MAX || welcome.shard >= welcome.shard_count)
        return protocol_error(session, "a WELCOME whose numbers make no sense");
    if (session->id == frame->session && frame->credits < session->credits) {
        /* Slots follow from the credits, so a session cannot go on with fewer. */
        hf_session_requeue(session);
        session->id = 0;
        hf_client_fail(session->client, HF_E_CLOSED, "%s changed the credits of a session; a new one is opened", session->client->server);
        return HF_E_CLOSED;
    }
    if (!datagrams || !open || session->id != frame->session)
        hf_session_welcome(session, frame->session, frame->credits);
    if (datagrams) {
        session->client->status.connections += !open;
        hf_datagram_welcomed(session, &welcome, frame->length);
    }
    if (session->is_main)
        hf_client_welcomed(session->client, &welcome);
    return 0;
}

/* Whether `count` answers fill the payload exactly. */
static bool answers_whole(const struct hf_frame *frame)
{
    const uint8_t *at = (const uint8_t *)(frame + 1), *end = (const uint8_t *)frame + frame->length;
    for (unsigned i = 0; i < frame->count; i++) {
        const struct hf_answer *answer = (const struct hf_answer *)(const void *)at;
        if ((size_t)(end - at) < sizeof *answer || answer->length < sizeof *answer || answer->length % 8 != 0 ||
            answer->length > (size_t)(end - at))
            return false;
        at += answer->length;
    }
    return at == end;
}

/* The batch that the frame answers, out of its slot; NULL for one that is not waited for. */
static struct hf_batch *answered_batch(struct hf_session *session, const struct hf_frame *frame)
{
    uint64_t serial = serial_of(session, frame->request);
    struct hf_batch **slot = &session->slots[serial % session->credits], *batch = *slot;
    if (session->state != HF_SESSION_OPEN || frame->session != session->id || !batch || batch->number != serial) {
        session->client->status.stray_answers++;
        return NULL;
    }
    /* An answer to what is still leaving, or not begun, would free memory that the socket reads. */
    if (!session->client->datagram_ops && serial >= session->send_number)
        return NULL;
    *slot = NULL;
    if (session->client->datagram_ops)
        hf_datagram_answered(session, batch);
    return batch;
}

static int on_answer(struct hf_session *session, const struct hf_frame *frame)
{
    struct hf_batch *batch = answered_batch(session, frame);
    if (!batch)
        return 0;
    if (frame->count != batch->count || !answers_whole(frame)) {
        session->slots[batch->number % session->credits] = batch;
        return protocol_error(session, "answers that do not fit their frame");
    }
    session->client->status.answers++;
    hf_session_touch(session);
    if (batch->state == HF_BATCH_ABANDONED) {
        hf_batch_release(batch);
        return 0;
    }
    struct hf_reply reply = {.sent = true,
                             .answers = (const struct hf_answer *)(const void *)(frame + 1),
                             .answer_bytes = frame->length - (uint32_t)sizeof *frame};
    hf_batch_finish(batch, &reply);
    return 0;
}

/* A refusal of one request goes to its owner; one of the connection ends it. */
static int on_refused(struct hf_session *session, const struct hf_frame *frame)
{
    if (frame->request == 0 || session->state != HF_SESSION_OPEN) {
        if (frame->result == HF_SESSION_EXPIRED) {
            hf_session_requeue(session);
            session->id = 0;
        }
        hf_client_fail(session->client, HF_E_CLOSED, "%s refused the connection with %s: %s", session->client->server,
                       hf_result_name(frame->result), hf_result_advice(frame->result));
        return HF_E_CLOSED;
    }
    struct hf_batch *batch = answered_batch(session, frame);
    if (!batch)
        return 0;
    if (frame->result == HF_CREDIT_OVERRUN && !session->client->datagram_ops) {
        /* Its number is not used up: one before it was lost. On a new connection all that is unanswered goes again, in order. */
        session->slots[batch->number % session->credits] = batch;
        hf_client_fail(session->client, HF_E_CLOSED, "%s missed a request; all without an answer are sent again", session->client->server);
        return HF_E_CLOSED;
    }
    if (frame->result == HF_SESSION_EXPIRED) {
        session->slots[batch->number % session->credits] = batch;
        hf_session_requeue(session);
        session->id = 0;
        hf_client_fail(session->client, HF_E_CLOSED, "%s forgot the session; a new one is opened", session->client->server);
        return HF_E_CLOSED;
    }
    hf_session_touch(session);
    struct hf_reply reply = {.sent = true, .refused = frame->result};
    if (batch->state == HF_BATCH_ABANDONED)
        hf_batch_release(batch);
    else
        hf_batch_finish(batch, &reply);
    return 0;
}

int hf_session_frame(struct hf_session *session, const struct hf_frame *frame)
{
    switch (frame->type) {
    case HF_WELCOME:
        return on_welcome(session, frame);
    case HF_ANSWER:
        return on_answer(session, frame);
    case HF_REFUSED:
        return on_refused(session, frame);
    case HF_BYE:
        hf_session_requeue(session);
        session->id = 0;
        hf_client_fail(session->client, HF_E_CLOSED, "%s says that it stops", session->client->server);
        return HF_E_CLOSED;
    default:
        return protocol_error(session, "a frame of a type that only clients send");
    }
}

/* A batch whose time is over is called back; if it was sent, its slot stays taken until the engine answers it. */
static bool expire(struct hf_batch *batch, uint64_t now_ns, uint64_t *first_ns)
{
    if (batch->state == HF_BATCH_ABANDONED)
        return false;
    if (batch->deadline_ns > now_ns) {
        *first_ns = batch->deadline_ns < *first_ns ? batch->deadline_ns : *first_ns;
        return false;
    }
    batch->client->status.timeouts++;
    return true;
}

static void expire_queue(struct hf_session *session, uint64_t now_ns, uint64_t *first_ns)
{
    struct hf_batch **at = &session->queue_first, *last = NULL, *expired = NULL;
    while (*at) {
        struct hf_batch *batch = *at;
        if (expire(batch, now_ns, first_ns)) {
            *at = batch->next;
            batch->next = expired;
            expired = batch;
        } else {
            last = batch;
            at = &batch->next;
        }
    }
    session->queue_last = last;
    for (struct hf_batch *batch = expired, *next; batch; batch = next) {
        struct hf_reply reply = {.error = HF_E_TIMEOUT, .sent = batch->was_sent};
        next = batch->next;
        hf_batch_finish(batch, &reply);
    }
}

void hf_session_deadlines(struct hf_session *session, uint64_t now_ns)
{
    if (now_ns < session->deadline_first_ns)
        return;
    uint64_t first_ns = UINT64_MAX;
    session->deadline_first_ns = UINT64_MAX;
    for (unsigned i = 0; i < session->slot_count; i++) {
        struct hf_batch *batch = session->slots[i];
        if (batch && expire(batch, now_ns, &first_ns)) {
            struct hf_reply reply = {.error = HF_E_TIMEOUT, .sent = batch->was_sent};
            batch->state = HF_BATCH_ABANDONED;
            hf_batch_finish(batch, &reply);
        }
    }
    expire_queue(session, now_ns, &first_ns);
    session->deadline_first_ns = first_ns < session->deadline_first_ns ? first_ns : session->deadline_first_ns;
}

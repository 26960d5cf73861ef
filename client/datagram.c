/* A session over datagrams: prove the address, find the size that the path carries, send, resend, notice a move or an end.
 *
 * Nothing here knows a socket: what carries the datagrams stands in struct hf_datagram_ops. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "client/client_p.h"
#include "wire/crc32c.h"

static const uint64_t ms_ns = 1000000;
static const uint64_t hello_first_ns = 20 * ms_ns, hello_most_ns = 500 * ms_ns;
static const uint64_t resend_most_ns = 1000 * ms_ns, silence_ns = 3000 * ms_ns, keepalive_ns = 15000 * ms_ns;
enum { HELLO_TRIES = 3 };

/* The next smaller size to try: jumbo frames, Ethernet over IPv4 and over IPv6, and what every path carries. */
static uint32_t smaller(uint32_t bytes)
{
    static const uint32_t sizes[] = {8928, 1472, 1448, HF_DATAGRAM_BYTES_MIN};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] < bytes)
            return sizes[i];
    return HF_DATAGRAM_BYTES_MIN;
}

/* ---- Greeting ---- */

static void failed_send(struct hf_session *session, int error)
{
    hf_client_fail(session->client, HF_E_CLOSED, "%s cannot be reached: %s", session->client->server, strerror(error));
    hf_session_disconnect(session, session->backoff_ns);
}

static void send_hello(struct hf_session *session, uint64_t now_ns)
{
    struct hf_client *client = session->client;
    bool proven = (session->cookie[0] | session->cookie[1]) != 0;
    struct {
        struct hf_frame head;
        struct hf_hello payload;
    } *hello = (void *)client->loop->datagrams;
    /* The largest frame comes back empty: the loop's memory serves for what goes out, too, as nothing is being received. */
    uint32_t bytes = proven ? session->datagram_bytes : HF_HELLO_DATAGRAM_BYTES_MIN;
    memset(hello, 0, bytes);
    hello->head = (struct hf_frame){.magic = HF_FRAME_MAGIC,
                                    .version = HF_FRAME_VERSION,
                                    .type = HF_HELLO,
                                    .length = bytes,
                                    .session = session->id,
                                    .credits = (uint16_t)session->slot_count};
    hello->payload = (struct hf_hello){
        .client = client->number + session->shard, .first = session->first, .cookie = {session->cookie[0], session->cookie[1]}};
    hf_frame_seal(&hello->head);
    struct iovec frame = {hello, bytes};
    session->hello_pending = true;
    session->hello_tries++;
    session->hello_at_ns = now_ns + session->hello_wait_ns;
    session->hello_wait_ns = session->hello_wait_ns * 2 < hello_most_ns ? session->hello_wait_ns * 2 : hello_most_ns;
    int sent = client->datagram_ops->send(session, &frame, 1);
    if (sent == -EMSGSIZE && bytes > HF_DATAGRAM_BYTES_MIN) {
        session->datagram_bytes = smaller(bytes);
        session->hello_at_ns = now_ns;
    } else if (sent < 0 && sent != -EAGAIN && sent != -EINTR) {
        failed_send(session, -sent);
    }
}

/* Says HELLO at the next flush. */
static void greet(struct hf_session *session)
{
    session->hello_at_ns = 0;
    session->hello_wait_ns = hello_first_ns;
    session->hello_tries = 0;
    hf_session_touch(session);
}

void hf_datagram_connect(struct hf_session *session, const struct sockaddr_storage *address, socklen_t address_bytes)
{
    struct hf_client *client = session->client;
    uint32_t most = client->options.datagram_bytes_max;
    int error = client->datagram_ops->open(session, address, address_bytes);
    if (error) {
        failed_send(session, error);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    epoll_ctl(client->loop->epoll_fd, EPOLL_CTL_ADD, session->fd, &event);
    session->state = HF_SESSION_GREETING;
    session->cookie[0] = session->cookie[1] = 0;
    uint32_t bytes = client->datagram_ops->bytes_max(session);
    bytes = most && most < bytes ? most : bytes;
    session->datagram_bytes = session->datagram_bytes && session->datagram_bytes < bytes ? session->datagram_bytes : bytes;
    session->heard_ns = hf_clock_ns();
    greet(session);
}

static void on_cookie(struct hf_session *session, const struct hf_frame *frame)
{
    struct hf_hello hello;
    if (frame->length != sizeof *frame + sizeof hello)
        return;
    memcpy(&hello, frame + 1, sizeof hello);
    memcpy(session->cookie, hello.cookie, sizeof session->cookie);
    greet(session);
}

void hf_datagram_welcomed(struct hf_session *session, struct hf_welcome *welcome, uint32_t bytes)
{
    session->hello_pending = false;
    session->datagram_bytes = bytes < session->datagram_bytes ? bytes : session->datagram_bytes;
    if (welcome->frame_bytes_max > session->datagram_bytes)
        welcome->frame_bytes_max = session->datagram_bytes;
    if (welcome->answer_bytes_max > session->datagram_bytes)
        welcome->answer_bytes_max = session->datagram_bytes;
    session->resend_min_ns = (welcome->resend_us > 0 ? welcome->resend_us : 1000) * 1000ull;
    /* What was on its way while the engine did not know this address is lost. */
    for (unsigned i = 0; i < session->slot_count; i++)
        if (session->slots[i])
            session->slots[i]->resend_at_ns = 0;
    session->resend_at_ns = 0;
}

/* ---- Sending ---- */

static uint64_t resend_after_ns(const struct hf_session *session, unsigned tries)
{
    uint64_t own_ns = 3 * session->median_ns;
    uint64_t wait_ns = (own_ns > session->resend_min_ns ? own_ns : session->resend_min_ns) << (tries < 8 ? tries : 8);
    wait_ns = wait_ns < resend_most_ns ? wait_ns : resend_most_ns;
    return wait_ns + hf_random_below(&session->client->random, wait_ns / 8 + 1);
}

/* Follows the median of the times from the first sending to the answer, a sixteenth up or down for each. Lost datagrams do not move it as
 * long as most come through, and an engine that got slower does, though its answers come after a resend. */
void hf_datagram_answered(struct hf_session *session, const struct hf_batch *batch)
{
    uint64_t now_ns = session->client->loop->now_ns, took_ns = now_ns > batch->first_sent_ns ? now_ns - batch->first_sent_ns : 0;
    if (session->median_ns == 0)
        session->median_ns = took_ns;
    else if (took_ns > session->median_ns)
        session->median_ns += session->median_ns / 16 + 1;
    else
        session->median_ns -= session->median_ns / 16;
}

static void was_sent(struct hf_session *session, struct hf_batch *batch, uint64_t now_ns)
{
    struct hf_client_status *status = &session->client->status;
    status->frames_resent += batch->was_sent;
    status->frames_sent++;
    batch->was_sent = true;
    if (batch->tries == 0)
        batch->first_sent_ns = now_ns;
    batch->resend_at_ns = now_ns + resend_after_ns(session, batch->tries);
    batch->tries = (uint8_t)(batch->tries + (batch->tries < UINT8_MAX));
    if (batch->resend_at_ns < session->resend_at_ns)
        session->resend_at_ns = batch->resend_at_ns;
}

/* The path carries less than it did. Numbers stand for their bytes, so what is too long now can only go on under another session. */
static void shrink(struct hf_session *session)
{
    session->datagram_bytes = smaller(session->datagram_bytes);
    hf_session_requeue(session);
    session->id = 0;
    hf_client_fail(session->client, HF_E_CLOSED, "the path to %s carries datagrams of %u bytes only", session->client->server,
                   session->datagram_bytes);
    hf_session_disconnect(session, 0);
}

/* Sends these batches, one datagram each; false when no more can be sent now. */
static bool send_batches(struct hf_session *session, struct hf_batch *const *batches, int count, uint64_t now_ns)
{
    struct iovec frames[HF_SEND_FRAMES_MAX];
    assert(count > 0 && count <= HF_SEND_FRAMES_MAX);
    for (int i = 0; i < count; i++)
        frames[i] = (struct iovec){batches[i]->frame, batches[i]->bytes};
    int sent = session->client->datagram_ops->send(session, frames, count);
    assert(sent <= count);
    for (int i = 0; i < sent; i++)
        was_sent(session, batches[i], now_ns);
    if (sent == count)
        return true;
    if (sent == -EMSGSIZE) {
        shrink(session);
    } else if (sent >= 0 || sent == -EAGAIN) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = session};
        session->blocked = true;
        epoll_ctl(session->client->loop->epoll_fd, EPOLL_CTL_MOD, session->fd, &event);
    } else if (sent != -EINTR) {
        failed_send(session, -sent);
    }
    return false;
}

static void send_new(struct hf_session *session, uint64_t now_ns)
{
    struct hf_batch *batches[HF_SEND_FRAMES_MAX];
    int count;
    do {
        uint64_t at = session->send_number;
        for (count = 0; at < session->next_number && count < HF_SEND_FRAMES_MAX; at++) {
            struct hf_batch *batch = session->slots[at % session->credits];
            if (batch && batch->number == at && batch->tries == 0)
                batches[count++] = batch;
        }
        if (count > 0 && !send_batches(session, batches, count, now_ns))
            return;
        session->send_number = at;
    } while (count == HF_SEND_FRAMES_MAX);
}

static void send_again(struct hf_session *session, uint64_t now_ns)
{
    struct hf_batch *batches[HF_SEND_FRAMES_MAX];
    int count = 0;
    session->resend_at_ns = UINT64_MAX;
    for (unsigned i = 0; i < session->slot_count; i++) {
        struct hf_batch *batch = session->slots[i];
        if (!batch || batch->tries == 0)
            continue;
        if (batch->resend_at_ns > now_ns) {
            session->resend_at_ns = batch->resend_at_ns < session->resend_at_ns ? batch->resend_at_ns : session->resend_at_ns;
            continue;
        }
        batches[count++] = batch;
        if (count == HF_SEND_FRAMES_MAX) {
            if (!send_batches(session, batches, count, now_ns)) {
                session->resend_at_ns = 0;
                return;
            }
            count = 0;
        }
    }
    if (count > 0 && !send_batches(session, batches, count, now_ns))
        session->resend_at_ns = 0;
}

void hf_datagram_flush(struct hf_session *session)
{
    uint64_t now_ns = hf_clock_ns();
    bool greeting = session->state == HF_SESSION_GREETING || (session->state == HF_SESSION_OPEN && session->hello_tries == 0);
    if (session->blocked)
        return;
    if (greeting && session->hello_at_ns <= now_ns)
        send_hello(session, now_ns);
    if (session->state != HF_SESSION_OPEN)
        return;
    hf_session_seal(session);
    send_new(session, now_ns);
    if (session->state == HF_SESSION_OPEN && !session->blocked && session->resend_at_ns <= now_ns)
        send_again(session, now_ns);
}

/* ---- Receiving ---- */

void hf_datagram_take(struct hf_session *session, void *datagram, size_t bytes)
{
    struct hf_frame *frame = datagram;
    struct hf_client_status *status = &session->client->status;
    uint32_t crc = bytes >= sizeof *frame ? frame->crc : 0;
    if (bytes < sizeof *frame || frame->magic != HF_FRAME_MAGIC || frame->version != HF_FRAME_VERSION || frame->length != bytes ||
        bytes % 8 != 0) {
        status->protocol_errors++;
        return;
    }
    hf_frame_seal(frame);
    if (crc != frame->crc) {
        status->protocol_errors++;
        return;
    }
    session->heard_ns = session->client->loop->now_ns;
    if (frame->type == HF_COOKIE) {
        on_cookie(session, frame);
        return;
    }
    bool unasked = frame->type == HF_WELCOME && !session->hello_pending;
    bool about_another = frame->type != HF_WELCOME && session->state == HF_SESSION_OPEN && frame->session != session->id;
    if (unasked || about_another) {
        status->stray_answers++;
        return;
    }
    int failed = hf_session_frame(session, frame);
    status->protocol_errors += failed == HF_E_PROTOCOL;
    if (failed == HF_E_CLOSED)
        hf_session_disconnect(session, session->backoff_ns);
}

static void receive(struct hf_session *session)
{
    int error = session->client->datagram_ops->receive(session);
    if (error && session->fd >= 0)
        failed_send(session, error);
}

void hf_datagram_event(struct hf_session *session, uint32_t events)
{
    if (session->fd >= 0 && (events & EPOLLOUT)) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
        session->blocked = false;
        epoll_ctl(session->client->loop->epoll_fd, EPOLL_CTL_MOD, session->fd, &event);
        hf_session_touch(session);
    }
    if (session->fd >= 0 && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
        receive(session);
}

/* ---- Time ---- */

static bool waits_for_answers(const struct hf_session *session)
{
    for (unsigned i = 0; i < session->slot_count; i++)
        if (session->slots[i] && session->slots[i]->tries > 1)
            return true;
    return false;
}

static void tick_open(struct hf_session *session, uint64_t now_ns)
{
    uint64_t silent_ns = now_ns > session->heard_ns ? now_ns - session->heard_ns : 0;
    if ((silent_ns > silence_ns && waits_for_answers(session)) || silent_ns > 2 * keepalive_ns) {
        hf_client_fail(session->client, HF_E_CLOSED, "%s has not been heard for %llu ms", session->client->server,
                       (unsigned long long)(silent_ns / ms_ns));
        hf_session_disconnect(session, 0);
        return;
    }
    if (session->hello_pending && now_ns >= session->hello_at_ns)
        send_hello(session, now_ns);
    else if (silent_ns > keepalive_ns && !session->hello_pending)
        greet(session);
    if (now_ns >= session->resend_at_ns)
        hf_session_touch(session);
}

static void tick_greeting(struct hf_session *session, uint64_t now_ns)
{
    if (now_ns < session->hello_at_ns)
        return;
    /* COOKIE came and WELCOME does not: perhaps the path does not carry so much. */
    bool proven = (session->cookie[0] | session->cookie[1]) != 0;
    if (proven && session->hello_tries >= HELLO_TRIES && session->datagram_bytes > HF_DATAGRAM_BYTES_MIN) {
        session->datagram_bytes = smaller(session->datagram_bytes);
        session->hello_tries = 0;
        session->hello_wait_ns = hello_first_ns;
    }
    hf_session_touch(session);
}

void hf_datagram_tick(struct hf_session *session, uint64_t now_ns)
{
    if (session->state == HF_SESSION_OPEN)
        tick_open(session, now_ns);
    else if (session->state == HF_SESSION_GREETING)
        tick_greeting(session, now_ns);
}

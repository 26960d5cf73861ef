/* A session's socket: connect, greet, send, receive, come back after a failure. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client/client_p.h"
#include "wire/crc32c.h"

static const uint64_t backoff_first_ns = 10000000, backoff_most_ns = 500000000;

void hf_frame_seal(struct hf_frame *frame)
{
    frame->crc = 0;
    frame->crc = hf_crc32c(0, frame, frame->length);
}

static void watch(struct hf_session *session, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = session};
    epoll_ctl(session->client->loop->epoll_fd, operation, session->fd, &event);
}

/* What the engine is asked first: to take up the old session, or for a new one. */
static void make_hello(struct hf_session *session)
{
    struct hf_frame head = {.magic = HF_FRAME_MAGIC,
                            .version = HF_FRAME_VERSION,
                            .type = HF_HELLO,
                            .length = sizeof session->hello,
                            .session = session->id,
                            .credits = (uint16_t)session->slot_count};
    struct hf_hello hello = {.client = session->client->number, .first = session->first};
    memcpy(session->hello, &head, sizeof head);
    memcpy(session->hello + sizeof head, &hello, sizeof hello);
    head.crc = hf_crc32c(0, session->hello, sizeof session->hello);
    memcpy(session->hello, &head, sizeof head);
    session->hello_left = sizeof session->hello;
}

/* The port that shards share may lead to another shard, which does not know the session. If its own does not answer at once, the engine may
 * have come back with others. */
static bool takes_up_at_own_port(const struct hf_session *session)
{
    const struct hf_client *client = session->client;
    return client->datagram_ops && session->id != 0 && session->backoff_ns <= backoff_first_ns && client->welcomed &&
           client->welcome.ports[client->welcome.shard] != 0;
}

void hf_session_connect(struct hf_session *session)
{
    struct hf_client *client = session->client;
    struct sockaddr_storage address = client->address;
    int one = 1;
    if (!session->is_main)
        hf_address_of_shard(&address, session->shard, client->welcome.ports[session->shard]);
    else if (takes_up_at_own_port(session))
        hf_address_of_shard(&address, client->welcome.shard, client->welcome.ports[client->welcome.shard]);
    session->attempt_ends_ns = hf_clock_ns() + client->options.connect_timeout_ns;
    session->partial_bytes = 0;
    if (client->datagram_ops) {
        hf_datagram_connect(session, &address, client->address_bytes);
        return;
    }
    session->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (session->fd < 0) {
        hf_client_fail(client, HF_E_IO, "no socket could be made: %s", strerror(errno));
        hf_session_disconnect(session, backoff_most_ns);
        return;
    }
    setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(session->fd, (const struct sockaddr *)&address, client->address_bytes) != 0 && errno != EINPROGRESS) {
        hf_client_fail(client, HF_E_CLOSED, "%s cannot be reached: %s", client->server, strerror(errno));
        hf_session_disconnect(session, session->backoff_ns);
        return;
    }
    session->state = HF_SESSION_CONNECTING;
    session->blocked = true;
    watch(session, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void close_socket(struct hf_session *session)
{
    if (session->client->datagram_ops)
        session->client->datagram_ops->close(session);
    else
        close(session->fd);
    session->fd = -1;
}

/* Closes the socket; the session and what it has not had answered stay. Next attempt after again_in_ns, each wait twice the one before. */
void hf_session_disconnect(struct hf_session *session, uint64_t again_in_ns)
{
    struct hf_client *client = session->client;
    if (session->state == HF_SESSION_OPEN)
        client->status.disconnections++;
    if (session->fd >= 0)
        close_socket(session);
    session->state = HF_SESSION_WAITING;
    session->blocked = false;
    session->partial_bytes = 0;
    uint64_t jitter_ns = hf_random_below(&client->random, again_in_ns / 4 + 1);
    session->retry_at_ns = hf_clock_ns() + again_in_ns + jitter_ns;
    session->backoff_ns = session->backoff_ns < backoff_first_ns      ? backoff_first_ns
                          : session->backoff_ns > backoff_most_ns / 2 ? backoff_most_ns
                                                                      : session->backoff_ns * 2;
}

static void finish_connect(struct hf_session *session)
{
    int failure = 0;
    socklen_t bytes = sizeof failure;
    getsockopt(session->fd, SOL_SOCKET, SO_ERROR, &failure, &bytes);
    if (failure) {
        hf_client_fail(session->client, HF_E_CLOSED, "%s cannot be reached: %s", session->client->server, strerror(failure));
        hf_session_disconnect(session, session->backoff_ns);
        return;
    }
    session->client->status.connections++;
    session->state = HF_SESSION_GREETING;
    session->blocked = false;
    watch(session, EPOLL_CTL_MOD, EPOLLIN);
    make_hello(session);
    hf_session_touch(session);
}

/* Whole frames at the front of data[0, bytes): returns how many bytes they took, or an error. */
static int64_t take_frames(struct hf_session *session, uint8_t *data, size_t bytes)
{
    size_t at = 0;
    while (bytes - at >= sizeof(struct hf_frame)) {
        struct hf_frame *frame = (struct hf_frame *)(void *)(data + at);
        if (frame->magic != HF_FRAME_MAGIC || frame->version != HF_FRAME_VERSION || frame->length < sizeof *frame ||
            frame->length % 8 != 0 || frame->length > HF_FRAME_ANSWER_BYTES_MAX) {
            hf_client_fail(session->client, HF_E_PROTOCOL, "what came from %s is no Holdfast frame: is it the right port?",
                           session->client->server);
            return HF_E_PROTOCOL;
        }
        if (bytes - at < frame->length)
            break;
        uint32_t crc = frame->crc;
        hf_frame_seal(frame);
        if (crc != frame->crc) {
            hf_client_fail(session->client, HF_E_PROTOCOL, "a frame from %s has a wrong checksum: it was damaged on the way",
                           session->client->server);
            return HF_E_PROTOCOL;
        }
        int failed = hf_session_frame(session, frame);
        if (failed)
            return failed;
        at += frame->length;
    }
    return (int64_t)at;
}

static void receive(struct hf_session *session)
{
    struct hf_loop *loop = session->client->loop;
    size_t have = session->partial_bytes;
    memcpy(loop->receive, session->partial, have);
    ssize_t got = recv(session->fd, loop->receive + have, HF_RECEIVE_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        hf_client_fail(session->client, HF_E_CLOSED, "the connection to %s broke: %s", session->client->server,
                       got == 0 ? "closed by the other side" : strerror(errno));
        hf_session_disconnect(session, session->backoff_ns);
        return;
    }
    loop->now_ns = hf_clock_ns();
    size_t total = have + (size_t)got;
    int64_t used = take_frames(session, loop->receive, total);
    if (used < 0) {
        session->client->status.protocol_errors += used == HF_E_PROTOCOL;
        hf_session_disconnect(session, session->backoff_ns);
        return;
    }
    session->partial_bytes = (uint32_t)(total - (size_t)used);
    memcpy(session->partial, loop->receive + used, session->partial_bytes);
}

void hf_session_event(struct hf_session *session, uint32_t events)
{
    if (session->client->datagram_ops) {
        hf_datagram_event(session, events);
        return;
    }
    if (session->state == HF_SESSION_CONNECTING) {
        finish_connect(session);
        return;
    }
    if (session->fd >= 0 && (events & EPOLLOUT)) {
        session->blocked = false;
        watch(session, EPOLL_CTL_MOD, EPOLLIN);
        hf_session_touch(session);
    }
    if (session->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        receive(session);
}

/* What is sealed and not yet written, in order of request number; answered numbers (of a resumed session) are left out. */
static int gather(struct hf_session *session, struct iovec *parts, int parts_max)
{
    int count = 0;
    uint32_t offset = session->send_offset;
    if (session->hello_left > 0) {
        parts[0] = (struct iovec){session->hello + sizeof session->hello - session->hello_left, session->hello_left};
        return 1;
    }
    for (uint64_t n = session->send_number; n < session->next_number && count < parts_max; n++) {
        struct hf_batch *batch = session->slots[n % session->credits];
        if (!batch || batch->number != n) {
            assert(offset == 0);
            continue;
        }
        parts[count++] = (struct iovec){batch->frame + offset, batch->bytes - offset};
        offset = 0;
    }
    return count;
}

/* `bytes` more have left. */
static void advance(struct hf_session *session, size_t bytes)
{
    if (session->hello_left > 0) {
        session->hello_left -= (uint32_t)bytes;
        return;
    }
    while (session->send_number < session->next_number) {
        struct hf_batch *batch = session->slots[session->send_number % session->credits];
        if (batch && batch->number == session->send_number) {
            uint32_t left = batch->bytes - session->send_offset;
            if (bytes < left) {
                session->send_offset += (uint32_t)bytes;
                batch->was_sent |= session->send_offset > 0;
                return;
            }
            bytes -= left;
            session->client->status.frames_resent += batch->was_sent;
            batch->was_sent = true;
            session->client->status.frames_sent++;
        }
        session->send_offset = 0;
        session->send_number++;
    }
    assert(bytes == 0);
}

void hf_session_flush(struct hf_session *session)
{
    struct iovec parts[HF_SEND_FRAMES_MAX];
    if (session->client->datagram_ops) {
        hf_datagram_flush(session);
        return;
    }
    while (!session->blocked && (session->state == HF_SESSION_GREETING || session->state == HF_SESSION_OPEN)) {
        if (session->state == HF_SESSION_OPEN)
            hf_session_seal(session);
        int count = gather(session, parts, HF_SEND_FRAMES_MAX);
        if (count == 0 || (session->state == HF_SESSION_GREETING && session->hello_left == 0))
            return;
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t sent = sendmsg(session->fd, &message, MSG_NOSIGNAL);
        if (sent >= 0) {
            advance(session, (size_t)sent);
        } else if (errno == EAGAIN) {
            session->blocked = true;
            watch(session, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
        } else if (errno != EINTR) {
            hf_client_fail(session->client, HF_E_CLOSED, "the connection to %s broke: %s", session->client->server, strerror(errno));
            hf_session_disconnect(session, session->backoff_ns);
        }
    }
}

void hf_session_touch(struct hf_session *session)
{
    if (session->dirty)
        return;
    session->dirty = true;
    session->dirty_next = session->client->loop->dirty;
    session->client->loop->dirty = session;
}

void hf_session_tick(struct hf_session *session, uint64_t now_ns)
{
    bool trying = session->state == HF_SESSION_CONNECTING || session->state == HF_SESSION_GREETING;
    if (session->state == HF_SESSION_WAITING && now_ns >= session->retry_at_ns) {
        hf_session_connect(session);
    } else if (trying && now_ns >= session->attempt_ends_ns) {
        hf_client_fail(session->client, HF_E_TIMEOUT, "%s does not answer", session->client->server);
        hf_session_disconnect(session, session->backoff_ns);
    }
    if (!session->is_main)
        hf_client_detour(session, now_ns);
    if (session->client->datagram_ops)
        hf_datagram_tick(session, now_ns);
    hf_session_deadlines(session, now_ns);
}

/* Best effort: a session that ends without BYE only lives on until the engine forgets it. */
void hf_session_goodbye(struct hf_session *session)
{
    if (session->state == HF_SESSION_OPEN && session->send_offset == 0) {
        struct hf_frame bye = {
            .magic = HF_FRAME_MAGIC, .version = HF_FRAME_VERSION, .type = HF_BYE, .length = sizeof bye, .session = session->id};
        hf_frame_seal(&bye);
        struct iovec frame = {&bye, sizeof bye};
        if (session->client->datagram_ops)
            (void)session->client->datagram_ops->send(session, &frame, 1);
        else
            (void)!send(session->fd, &bye, sizeof bye, MSG_NOSIGNAL);
    }
    if (session->fd >= 0)
        close_socket(session);
}

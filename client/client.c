/* The loop, the client and its batches: what holdfast.h promises, over sessions. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "client/client_p.h"

enum { EVENTS_MAX = 256, FRAMES_DEFAULT = 64, FRAMES_MOST = 65535 };
static const uint64_t tick_ns = 5000000, deadline_default_ns = 10000000000, connect_default_ns = 5000000000;
static const uint64_t detour_ns = 1000000000;
static const uint64_t nap_ns = 20000; /* of a loop with a device, which wakes nobody */

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t hf_clock_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

int hf_loop_create(struct hf_loop **out)
{
    struct hf_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return HF_E_MEMORY;
    loop->receive = malloc(HF_RECEIVE_BYTES + HF_FRAME_BYTES_MAX);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->now_ns = hf_clock_ns();
    if (!loop->receive || loop->epoll_fd < 0) {
        int failed = loop->receive ? HF_E_IO : HF_E_MEMORY;
        hf_loop_destroy(loop);
        return failed;
    }
    *out = loop;
    return 0;
}

void hf_loop_destroy(struct hf_loop *loop)
{
    if (!loop)
        return;
    assert(!loop->sessions);
    if (loop->device)
        loop->device->end(loop->device);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    free(loop->receive);
    if (loop->datagrams)
        munmap(loop->datagrams, (size_t)HF_DATAGRAMS_MAX * HF_FRAME_BYTES_MAX);
    free(loop);
}

uint64_t hf_loop_now_ns(const struct hf_loop *loop)
{
    return loop->now_ns;
}

int hf_loop_fd(const struct hf_loop *loop)
{
    return loop->epoll_fd;
}

static void flush_dirty(struct hf_loop *loop)
{
    while (loop->dirty) {
        struct hf_session *session = loop->dirty;
        loop->dirty = session->dirty_next;
        session->dirty = false;
        hf_session_flush(session);
    }
}

static void tick(struct hf_loop *loop)
{
    if (loop->now_ns < loop->tick_at_ns)
        return;
    loop->tick_at_ns = loop->now_ns + tick_ns;
    for (struct hf_session *session = loop->sessions; session; session = session->loop_next)
        hf_session_tick(session, loop->now_ns);
}

int hf_loop_poll(struct hf_loop *loop, uint64_t timeout_ns)
{
    struct epoll_event events[EVENTS_MAX];
    flush_dirty(loop);
    uint64_t wait_ns = timeout_ns < tick_ns ? timeout_ns : tick_ns;
    unsigned came = loop->device ? loop->device->poll(loop->device) : 0;
    if (loop->device)
        wait_ns = came > 0 ? 0 : wait_ns < nap_ns ? wait_ns : nap_ns;
    struct timespec wait = {.tv_nsec = (long)wait_ns};
    int count = epoll_pwait2(loop->epoll_fd, events, EVENTS_MAX, &wait, NULL);
    if (count < 0 && errno != EINTR)
        return HF_E_IO;
    loop->now_ns = hf_clock_ns();
    if (loop->device && came == 0)
        came = loop->device->poll(loop->device);
    for (int i = 0; i < count; i++)
        hf_session_event(events[i].data.ptr, events[i].events);
    tick(loop);
    flush_dirty(loop);
    return (count < 0 ? 0 : count) + (int)came;
}

void hf_client_fail(struct hf_client *client, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(client->error, sizeof client->error, format, arguments);
    va_end(arguments);
    client->last_error = error;
}

static int fill_options(struct hf_client *client, const struct hf_client_options *options, char *error, size_t error_bytes)
{
    struct hf_client_options *own = &client->options;
    *own = *options;
    own->frames_max = own->frames_max ? own->frames_max : FRAMES_DEFAULT;
    own->frame_bytes_max = own->frame_bytes_max ? own->frame_bytes_max : HF_FRAME_BYTES_MAX;
    own->deadline_ns = own->deadline_ns ? own->deadline_ns : deadline_default_ns;
    own->connect_timeout_ns = own->connect_timeout_ns ? own->connect_timeout_ns : connect_default_ns;
    own->server = client->server;
    const char *server = options->server ? options->server : HF_CLIENT_DEFAULT_SERVER;
    if (own->frames_max > FRAMES_MOST || own->frame_bytes_max > HF_FRAME_BYTES_MAX || own->frame_bytes_max % 8 != 0 ||
        own->frame_bytes_max < sizeof(struct hf_frame) + sizeof(struct hf_command) || strlen(server) >= sizeof client->server ||
        own->datagram_bytes_max % 8 != 0 || (own->datagram_bytes_max != 0 && own->datagram_bytes_max < HF_DATAGRAM_BYTES_MIN)) {
        snprintf(error, error_bytes, "the client's sizes make no sense: %u frames of %u bytes", own->frames_max, own->frame_bytes_max);
        return HF_E_USAGE;
    }
    memcpy(client->server, server, strlen(server) + 1);
    return hf_address_parse(server, client, error, error_bytes);
}

/* Frames are mapped, so that what is never used costs no memory. */
static int make_batches(struct hf_client *client)
{
    unsigned count = client->options.frames_max;
    size_t each = ((size_t)client->options.frame_bytes_max + 63) & ~(size_t)63;
    client->frames_bytes = each * count;
    client->batches = calloc(count, sizeof *client->batches);
    client->frames = mmap(NULL, client->frames_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (client->frames == MAP_FAILED)
        client->frames = NULL;
    if (!client->batches || !client->frames)
        return HF_E_MEMORY;
    for (unsigned i = count; i-- > 0;) {
        struct hf_batch *batch = &client->batches[i];
        *batch = (struct hf_batch){.next = client->free, .client = client, .frame = client->frames + i * each};
        client->free = batch;
    }
    return 0;
}

static int map_datagrams(struct hf_loop *loop)
{
    if (loop->datagrams)
        return 0;
    void *pages = mmap(NULL, (size_t)HF_DATAGRAMS_MAX * HF_FRAME_BYTES_MAX, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    loop->datagrams = pages == MAP_FAILED ? NULL : pages;
    return loop->datagrams ? 0 : HF_E_MEMORY;
}

static void free_client(struct hf_client *client)
{
    for (unsigned i = 0; i < HF_SESSIONS_MAX; i++)
        if (client->sessions[i])
            hf_session_destroy(client->sessions[i]);
    if (client->frames)
        munmap(client->frames, client->frames_bytes);
    free(client->batches);
    if (client->owns_loop)
        hf_loop_destroy(client->loop);
    free(client);
}

static int start_client(struct hf_client *client, struct hf_loop *loop, const struct hf_client_options *options, char *error,
                        size_t error_bytes)
{
    uint64_t seed[2];
    int failed = fill_options(client, options, error, error_bytes);
    if (failed)
        return failed;
    snprintf(error, error_bytes, "the client has no memory or no descriptor left");
    if (getrandom(seed, sizeof seed, 0) != sizeof seed)
        return HF_E_IO;
    client->random.state = seed[0];
    client->number = seed[1];
    client->loop = loop;
    client->owns_loop = !loop;
    failed = loop ? 0 : hf_loop_create(&client->loop);
    if (!failed && client->datagram_ops)
        failed = map_datagrams(client->loop);
    if (!failed)
        failed = make_batches(client);
    if (!failed && client->datagram_ops && client->datagram_ops->start)
        failed = client->datagram_ops->start(client, error, error_bytes);
    if (failed)
        return failed;
    client->sessions[0] = hf_session_create(client, 0);
    if (!client->sessions[0])
        return HF_E_MEMORY;
    snprintf(error, error_bytes, "%s", "");
    hf_session_connect(client->sessions[0]);
    return 0;
}

int hf_client_create(struct hf_loop *loop, const struct hf_client_options *options, struct hf_client **out, char *error, size_t error_bytes)
{
    char ignored[HF_ERROR_BYTES];
    struct hf_client *client = calloc(1, sizeof *client);
    if (!error) {
        error = ignored;
        error_bytes = sizeof ignored;
    }
    if (!client) {
        snprintf(error, error_bytes, "the client has no memory");
        return HF_E_MEMORY;
    }
    int failed = start_client(client, loop, options, error, error_bytes);
    if (failed) {
        client->owns_loop = client->owns_loop && client->loop;
        free_client(client);
        return failed;
    }
    *out = client;
    return 0;
}

void hf_client_destroy(struct hf_client *client)
{
    if (client)
        free_client(client);
}

struct hf_loop *hf_client_loop(struct hf_client *client)
{
    return client->loop;
}

const char *hf_client_error(const struct hf_client *client)
{
    return client->error;
}

void hf_client_status(const struct hf_client *client, struct hf_client_status *out)
{
    *out = client->status;
    out->connected = client->sessions[0]->state == HF_SESSION_OPEN;
    out->ever_connected = client->welcomed;
}

int hf_client_connect(struct hf_client *client, uint64_t timeout_ns, bool once)
{
    uint64_t end_ns = hf_clock_ns() + timeout_ns;
    while (client->sessions[0]->state != HF_SESSION_OPEN) {
        uint64_t now_ns = hf_clock_ns();
        if (once && client->last_error)
            return client->last_error;
        if (now_ns >= end_ns)
            return HF_E_TIMEOUT;
        if (hf_loop_poll(client->loop, end_ns - now_ns) < 0)
            return HF_E_IO;
    }
    return 0;
}

/* A session of its own for a shard that has a port of its own; NULL when there is no memory for it. */
static struct hf_session *shard_session(struct hf_client *client, unsigned shard)
{
    struct hf_session **session = &client->sessions[1 + shard];
    if (!*session) {
        *session = hf_session_create(client, 1 + shard);
        if (*session)
            hf_session_connect(*session);
    }
    return *session;
}

/* What waited for a shard's session goes over the main connection. */
static void retire(struct hf_session *session)
{
    hf_session_disconnect(session, 0);
    hf_session_move(session, session->client->sessions[0]);
    session->state = HF_SESSION_UNUSED;
}

/* A shard's own port may be out of reach where the main one is not: behind a firewall, or a forwarded port. */
void hf_client_detour(struct hf_session *session, uint64_t now_ns)
{
    struct hf_client *client = session->client;
    if (session->state == HF_SESSION_OPEN || client->sessions[0]->state != HF_SESSION_OPEN)
        session->astray_since_ns = 0;
    else if (session->astray_since_ns == 0)
        session->astray_since_ns = now_ns;
    else if (session->state != HF_SESSION_UNUSED && now_ns - session->astray_since_ns >= detour_ns) {
        client->session_of_shard[session->shard] = 0;
        retire(session);
    }
}

void hf_client_welcomed(struct hf_client *client, const struct hf_welcome *welcome)
{
    client->welcome = *welcome;
    client->welcome_at_ns = client->loop->now_ns;
    client->welcomed = true;
    client->status.shard_count = welcome->shard_count;
    client->status.partitions = welcome->partitions;
    client->status.term = welcome->term;
    client->status.retention_ms = welcome->retention_ms;
    client->status.async_durability = (welcome->flags & 1) != 0;
    for (unsigned shard = 0; shard < HF_CLIENT_SHARDS_MAX; shard++) {
        bool own = !client->options.one_session && shard < welcome->shard_count && shard != welcome->shard && welcome->ports[shard] != 0;
        own = own && shard_session(client, shard);
        client->session_of_shard[shard] = own ? (uint8_t)(1 + shard) : 0;
        if (!own && client->sessions[1 + shard]) {
            retire(client->sessions[1 + shard]); /* the engine came back with other shards */
        } else if (own && client->sessions[1 + shard]->state == HF_SESSION_UNUSED) {
            client->sessions[1 + shard]->astray_since_ns = 0;
            hf_session_connect(client->sessions[1 + shard]);
        }
    }
}

uint64_t hf_client_time_ms(struct hf_client *client)
{
    uint64_t time_ns = client->welcomed ? client->welcome.engine_time_ns + (client->loop->now_ns - client->welcome_at_ns)
                                        : clock_read_ns(CLOCK_REALTIME);
    return time_ns / 1000000;
}

struct hf_id hf_client_id(struct hf_client *client, uint16_t route)
{
    return hf_id_make(route, hf_client_time_ms(client), hf_random_next(&client->random));
}

uint64_t hf_client_random(struct hf_client *client)
{
    return hf_random_next(&client->random);
}

unsigned hf_client_shard(const struct hf_client *client, uint16_t route)
{
    return client->welcomed ? hf_partition(route, client->welcome.partitions) % client->welcome.shard_count : 0;
}

struct hf_batch *hf_client_batch(struct hf_client *client, unsigned shard)
{
    struct hf_batch *batch = client->free;
    assert(shard < HF_CLIENT_SHARDS_MAX);
    if (!batch)
        return NULL;
    client->free = batch->next;
    batch->next = NULL;
    batch->shard = (uint8_t)shard;
    batch->bytes = batch->answer_bytes = sizeof(struct hf_frame);
    batch->count = 0;
    batch->was_sent = false;
    batch->state = HF_BATCH_FILLING;
    return batch;
}

void hf_batch_release(struct hf_batch *batch)
{
    batch->state = HF_BATCH_FREE;
    batch->next = batch->client->free;
    batch->client->free = batch;
}

void hf_batch_discard(struct hf_batch *batch)
{
    assert(batch->state == HF_BATCH_FILLING);
    hf_batch_release(batch);
}

unsigned hf_batch_count(const struct hf_batch *batch)
{
    return batch->count;
}

unsigned hf_client_frame_bytes_max(const struct hf_client *client)
{
    unsigned path = !client->datagram_ops ? HF_FRAME_BYTES_MAX : client->welcomed ? client->welcome.frame_bytes_max : HF_DATAGRAM_BYTES_MIN;
    return path < client->options.frame_bytes_max ? path : client->options.frame_bytes_max;
}

struct hf_command *hf_batch_add(struct hf_batch *batch, uint16_t opcode, uint16_t line_count, uint16_t ext_bytes)
{
    uint32_t bytes = (uint32_t)sizeof(struct hf_command) + line_count * (uint32_t)sizeof(struct hf_line) + ext_bytes;
    if (batch->count >= HF_FRAME_COMMANDS_MAX || batch->bytes + bytes > hf_client_frame_bytes_max(batch->client) || ext_bytes % 8 != 0)
        return NULL;
    struct hf_command *command = (struct hf_command *)(void *)(batch->frame + batch->bytes);
    memset(command, 0, bytes);
    command->length = bytes;
    command->opcode = opcode;
    command->version = HF_COMMAND_VERSION;
    command->line_count = line_count;
    command->ext_bytes = ext_bytes;
    uint32_t most = batch->client->welcomed && batch->client->welcome.answer_bytes_max >= sizeof(struct hf_frame)
                        ? batch->client->welcome.answer_bytes_max
                        : HF_FRAME_ANSWER_BYTES_MAX;
    uint32_t answer_bytes = hf_answer_bytes_max(command);
    if (batch->count > 0 && batch->answer_bytes + answer_bytes > most)
        return NULL;
    batch->bytes += bytes;
    batch->answer_bytes += answer_bytes;
    batch->count++;
    return command;
}

uint8_t *hf_extension_put(uint8_t *at, uint16_t type, const void *bytes, uint16_t count)
{
    uint16_t head[2] = {type, count};
    size_t padded = hf_extension_bytes(count);
    memset(at, 0, padded);
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, bytes, count);
    return at + padded;
}

int hf_client_submit(struct hf_client *client, struct hf_batch *batch, uint64_t deadline_ns,
                     void (*done)(void *context, const struct hf_reply *reply), void *context)
{
    assert(batch->client == client && batch->state == HF_BATCH_FILLING);
    if (batch->count == 0) {
        hf_batch_release(batch);
        return HF_E_USAGE;
    }
    batch->state = HF_BATCH_QUEUED;
    batch->submitted_ns = client->loop->now_ns;
    batch->deadline_ns = batch->submitted_ns + (deadline_ns ? deadline_ns : client->options.deadline_ns);
    batch->done = done;
    batch->context = context;
    client->status.batches_queued++;
    hf_session_enqueue(client->sessions[client->session_of_shard[batch->shard]], batch);
    return 0;
}

void hf_batch_finish(struct hf_batch *batch, struct hf_reply *reply)
{
    reply->count = batch->count;
    reply->commands = (const struct hf_command *)(const void *)(batch->frame + sizeof(struct hf_frame));
    reply->submitted_ns = batch->submitted_ns;
    reply->answered_ns = batch->client->loop->now_ns;
    batch->client->status.batches_queued--;
    batch->done(batch->context, reply);
    if (batch->state != HF_BATCH_ABANDONED)
        hf_batch_release(batch);
}

struct call {
    bool over;
    int error;
    uint16_t *refused;
    struct hf_answer *answers;
    size_t bytes_max;
};

static void call_done(void *context, const struct hf_reply *reply)
{
    struct call *call = context;
    call->over = true;
    call->error = reply->error;
    if (reply->refused) {
        call->error = HF_E_CLOSED;
        *call->refused = reply->refused;
    } else if (!reply->error && reply->answer_bytes <= call->bytes_max) {
        memcpy(call->answers, reply->answers, reply->answer_bytes);
    } else if (!reply->error) {
        call->error = HF_E_FULL;
    }
}

int hf_client_call(struct hf_client *client, struct hf_batch *batch, uint64_t deadline_ns, struct hf_answer *answers,
                   size_t answer_bytes_max, uint16_t *refused)
{
    struct call call = {.answers = answers, .bytes_max = answer_bytes_max, .refused = refused};
    *refused = 0;
    client->loop->now_ns = hf_clock_ns();
    int failed = hf_client_submit(client, batch, deadline_ns, call_done, &call);
    while (!failed && !call.over) {
        int served = hf_loop_poll(client->loop, tick_ns);
        failed = served < 0 ? served : 0;
    }
    return failed ? failed : call.error;
}

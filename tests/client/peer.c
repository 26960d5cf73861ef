#include "peer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wire/command_check.h"
#include "wire/crc32c.h"

enum { CONNECTIONS = 128, SHARDS = 8, IDS = 1 << 16, NUMBERS = 1 << 16, INPUT_BYTES = 1 << 20 };

struct line {
    int fd;
    unsigned shard;
    uint64_t session;
    uint8_t *input;
    size_t input_bytes;
    uint64_t open_requests;
};

struct peer {
    pthread_t thread;
    pthread_mutex_t lock;
    struct peer_options options;
    struct peer_seen seen;
    int listeners[SHARDS], wake;
    uint16_t ports[SHARDS];
    char address[64];
    unsigned shards;  /* fixed at start, so the thread reads it without the lock */
    bool unreachable; /* likewise */
    bool stop, drop, broke, lost;
    uint64_t missing; /* number of the request that was lost */
    uint64_t next_session;
    struct line lines[CONNECTIONS];
    uint64_t ids[IDS], numbers[NUMBERS];
    uint8_t reply[HF_FRAME_ANSWER_BYTES_MAX];
};

/* Remembers the value; true when it was there. */
static bool remember(uint64_t *set, size_t size, uint64_t value)
{
    for (size_t at = value * 0x9e3779b97f4a7c15ull >> 20;; at++) {
        uint64_t *slot = &set[at % size];
        if (*slot == value)
            return true;
        if (*slot == 0) {
            *slot = value;
            return false;
        }
    }
}

static void seal(struct hf_frame *frame)
{
    frame->magic = HF_FRAME_MAGIC;
    frame->version = HF_FRAME_VERSION;
    frame->crc = 0;
    frame->crc = hf_crc32c(0, frame, frame->length);
}

static void put(int fd, const void *bytes, size_t count)
{
    for (size_t at = 0; at < count;) {
        ssize_t sent = send(fd, (const uint8_t *)bytes + at, count - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        at += (size_t)sent;
    }
}

static void hang_up(struct line *line)
{
    if (line->fd >= 0)
        close(line->fd);
    line->fd = -1;
    line->input_bytes = 0;
    line->open_requests = 0;
}

static void welcome(struct peer *peer, struct line *line, const struct hf_frame *hello)
{
    struct {
        struct hf_frame head;
        struct hf_welcome body;
    } out = {.head = {.type = HF_WELCOME, .length = sizeof out}};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    bool known = hello->session != 0 && !peer->options.forget_sessions;
    peer->seen.hellos++;
    peer->seen.resumed += known;
    line->session = known ? hello->session : ++peer->next_session;
    out.head.session = line->session;
    out.head.credits = hello->credits < peer->options.credits ? hello->credits : peer->options.credits;
    uint64_t wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    out.body = (struct hf_welcome){.engine_time_ns = peer->options.engine_time_ns ? peer->options.engine_time_ns : wall_ns,
                                   .partitions = 256,
                                   .shard_count = (uint16_t)peer->options.shards,
                                   .shard = (uint16_t)line->shard,
                                   .frame_bytes_max = HF_FRAME_BYTES_MAX,
                                   .answer_bytes_max = HF_FRAME_ANSWER_BYTES_MAX,
                                   .retention_ms = 600000,
                                   .term = 1};
    for (unsigned i = 0; i < peer->options.shards && peer->options.shards > 1; i++)
        out.body.ports[i] = peer->ports[i];
    seal(&out.head);
    if (peer->options.greeting == PEER_BAD_CRC)
        out.head.crc ^= 1;
    put(line->fd, &out, sizeof out);
}

static void refuse(struct line *line, uint64_t request, uint16_t result)
{
    struct hf_frame frame = {.type = HF_REFUSED, .length = sizeof frame, .session = line->session, .request = request, .result = result};
    seal(&frame);
    put(line->fd, &frame, sizeof frame);
}

static void answer_request(struct peer *peer, struct line *line, const struct hf_frame *frame)
{
    const struct hf_command *command = (const struct hf_command *)(const void *)(frame + 1);
    struct hf_frame *head = (struct hf_frame *)(void *)peer->reply;
    uint8_t *at = peer->reply + sizeof *head;
    for (unsigned i = 0; i < frame->count; i++) {
        struct hf_answer *answer = (struct hf_answer *)(void *)at;
        *answer = (struct hf_answer){.length = sizeof *answer, .opcode = command->opcode};
        if (peer->options.answer)
            answer->length = peer->options.answer(peer->options.context, command, answer);
        at += answer->length;
        command = hf_command_next(command);
    }
    *head = (struct hf_frame){.type = HF_ANSWER,
                              .length = (uint32_t)(at - peer->reply),
                              .session = line->session,
                              .request = frame->request,
                              .count = frame->count};
    if (peer->options.garbage_answers)
        ((struct hf_answer *)(void *)(head + 1))->length = 4096;
    seal(head);
    line->open_requests--;
    put(line->fd, head, head->length);
}

static void note_commands(struct peer *peer, const struct line *line, const struct hf_frame *frame)
{
    const struct hf_command *command = (const struct hf_command *)(const void *)(frame + 1);
    size_t left = frame->length - sizeof *frame;
    for (unsigned i = 0; i < frame->count; i++) {
        uint16_t detail;
        if (hf_command_check(command, left, &detail) != HF_OK) {
            peer->seen.bad_frames++;
            return;
        }
        if (!hf_id_none(command->id)) {
            peer->seen.repeated_ids += remember(peer->ids, IDS, command->id.low | 1);
            unsigned home = hf_partition(hf_id_route(command->id), 256) % peer->options.shards;
            peer->seen.misrouted += peer->options.shards > 1 && home != line->shard;
        }
        left -= command->length;
        command = hf_command_next(command);
    }
    peer->seen.bad_frames += left != 0;
    peer->seen.commands += frame->count;
    if (frame->count > peer->seen.frame_commands_max)
        peer->seen.frame_commands_max = frame->count;
}

/* False when the connection is to be hung up. */
static bool take_request(struct peer *peer, struct line *line, const struct hf_frame *frame)
{
    note_commands(peer, line, frame);
    peer->seen.requests++;
    peer->seen.repeated_numbers += remember(peer->numbers, NUMBERS, line->session << 32 | frame->request);
    if (++line->open_requests > peer->seen.in_flight_max)
        peer->seen.in_flight_max = line->open_requests;
    if (peer->options.break_after && !peer->broke && peer->seen.requests >= peer->options.break_after) {
        peer->broke = true;
        return false;
    }
    return true;
}

static bool take_frame(struct peer *peer, struct line *line, const struct hf_frame *frame)
{
    static const char garbage[] = "HTTP/1.1 400 Bad Request\r\nServer: not what was expected\r\nContent-Length: 0\r\n\r\n";
    struct hf_frame copy = *frame;
    uint32_t crc = copy.crc;
    copy.crc = 0;
    crc ^= hf_crc32c(hf_crc32c(0, &copy, sizeof copy), frame + 1, frame->length - sizeof *frame);
    peer->seen.bad_frames += crc != 0;
    if (frame->type == HF_REQUEST)
        return take_request(peer, line, frame);
    if (frame->type == HF_BYE)
        return false;
    if (peer->options.greeting == PEER_GARBAGE)
        put(line->fd, garbage, sizeof garbage - 1);
    else if (peer->options.greeting == PEER_REFUSE_BUSY)
        refuse(line, 0, HF_BUSY);
    else if (peer->options.greeting != PEER_SILENCE)
        welcome(peer, line, frame);
    return true;
}

/* Whether the request is as good as lost: it never came, or is out of its turn. */
static bool loses(struct peer *peer, struct line *line, const struct hf_frame *frame)
{
    if (peer->options.lose_request && !peer->lost && peer->seen.requests == peer->options.lose_request) {
        peer->lost = true;
        peer->missing = frame->request;
        return true;
    }
    if (peer->missing == frame->request)
        peer->missing = 0;
    if (peer->missing != 0 && frame->request > peer->missing) {
        refuse(line, frame->request, HF_CREDIT_OVERRUN);
        return true;
    }
    return false;
}

static void read_line(struct peer *peer, struct line *line)
{
    const struct hf_frame *requests[256];
    unsigned count = 0;
    ssize_t got = recv(line->fd, line->input + line->input_bytes, INPUT_BYTES - line->input_bytes, 0);
    if (got <= 0) {
        hang_up(line);
        return;
    }
    line->input_bytes += (size_t)got;
    peer->seen.bytes += (uint64_t)got;
    size_t at = 0;
    while (line->input_bytes - at >= sizeof(struct hf_frame) && count < 256) {
        const struct hf_frame *frame = (const struct hf_frame *)(const void *)(line->input + at);
        if (line->input_bytes - at < frame->length)
            break;
        if (!take_frame(peer, line, frame)) {
            hang_up(line);
            return;
        }
        if (frame->type == HF_REQUEST && !loses(peer, line, frame))
            requests[count++] = frame;
        at += frame->length;
    }
    for (unsigned i = 0; i < count && !peer->options.mute; i++)
        answer_request(peer, line, requests[peer->options.reverse ? count - 1 - i : i]);
    memmove(line->input, line->input + at, line->input_bytes - at);
    line->input_bytes -= at;
}

static void accept_line(struct peer *peer, unsigned shard)
{
    int fd = accept(peer->listeners[shard], NULL, NULL), one = 1;
    for (unsigned i = 0; i < CONNECTIONS && fd >= 0; i++) {
        struct line *line = &peer->lines[i];
        if (line->fd >= 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        line->fd = fd;
        line->shard = shard;
        line->input = line->input ? line->input : malloc(INPUT_BYTES);
        peer->seen.connections++;
        return;
    }
    if (fd >= 0)
        close(fd);
}

/* Whether the shard's port is taken and nobody listens there. */
static bool refuses(const struct peer *peer, unsigned shard)
{
    return peer->unreachable || (shard > 0 && peer->options.shards_unreachable);
}

static void *serve(void *argument)
{
    struct peer *peer = argument;
    for (;;) {
        struct pollfd polls[1 + SHARDS + CONNECTIONS];
        unsigned shards = peer->shards;
        polls[0] = (struct pollfd){peer->wake, POLLIN, 0};
        for (unsigned i = 0; i < shards; i++)
            polls[1 + i] = (struct pollfd){refuses(peer, i) ? -1 : peer->listeners[i], POLLIN, 0};
        for (unsigned i = 0; i < CONNECTIONS; i++)
            polls[1 + shards + i] = (struct pollfd){peer->lines[i].fd, POLLIN, 0};
        poll(polls, 1 + shards + CONNECTIONS, -1);
        pthread_mutex_lock(&peer->lock);
        if (polls[0].revents) {
            uint64_t count;
            (void)!read(peer->wake, &count, sizeof count);
        }
        for (unsigned i = 0; i < CONNECTIONS; i++)
            if (polls[1 + shards + i].revents && peer->lines[i].fd >= 0)
                read_line(peer, &peer->lines[i]);
        for (unsigned i = 0; i < shards; i++)
            if (polls[1 + i].revents)
                accept_line(peer, i);
        for (unsigned i = 0; i < CONNECTIONS && peer->drop; i++)
            hang_up(&peer->lines[i]);
        peer->drop = false;
        bool stop = peer->stop;
        pthread_mutex_unlock(&peer->lock);
        if (stop)
            return NULL;
    }
}

static void listen_on_free_port(struct peer *peer, unsigned shard)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    peer->listeners[shard] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(peer->listeners[shard], (struct sockaddr *)&address, sizeof address) != 0 ||
        (!refuses(peer, shard) && listen(peer->listeners[shard], 128) != 0) ||
        getsockname(peer->listeners[shard], (struct sockaddr *)&address, &bytes) != 0) {
        perror("peer");
        abort();
    }
    peer->ports[shard] = ntohs(address.sin_port);
}

static void fill_defaults(struct peer_options *options)
{
    options->shards = options->shards ? options->shards : 1;
    options->credits = options->credits ? options->credits : 64;
}

struct peer *peer_start(const struct peer_options *options)
{
    struct peer *peer = calloc(1, sizeof *peer);
    peer->options = *options;
    fill_defaults(&peer->options);
    peer->shards = peer->options.shards;
    peer->unreachable = options->unreachable;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        peer->lines[i].fd = -1;
    for (unsigned i = 0; i < peer->options.shards; i++)
        listen_on_free_port(peer, i);
    snprintf(peer->address, sizeof peer->address, "tcp://127.0.0.1:%u", peer->ports[0]);
    peer->wake = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&peer->lock, NULL);
    pthread_create(&peer->thread, NULL, serve, peer);
    return peer;
}

const char *peer_address(const struct peer *peer)
{
    return peer->address;
}

void peer_seen(struct peer *peer, struct peer_seen *out)
{
    pthread_mutex_lock(&peer->lock);
    *out = peer->seen;
    pthread_mutex_unlock(&peer->lock);
}

static void wake(struct peer *peer)
{
    uint64_t one = 1;
    (void)!write(peer->wake, &one, sizeof one);
}

void peer_behave(struct peer *peer, const struct peer_options *options)
{
    pthread_mutex_lock(&peer->lock);
    peer->options = *options;
    fill_defaults(&peer->options);
    peer->options.shards = peer->shards;
    pthread_mutex_unlock(&peer->lock);
}

void peer_drop_all(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    peer->drop = true;
    pthread_mutex_unlock(&peer->lock);
    wake(peer);
}

void peer_stop(struct peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    peer->stop = true;
    pthread_mutex_unlock(&peer->lock);
    wake(peer);
    pthread_join(peer->thread, NULL);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        hang_up(&peer->lines[i]);
        free(peer->lines[i].input);
    }
    for (unsigned i = 0; i < peer->options.shards; i++)
        close(peer->listeners[i]);
    close(peer->wake);
    pthread_mutex_destroy(&peer->lock);
    free(peer);
}

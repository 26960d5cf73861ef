#include "tests/sim/network.h"

#include "net/loopback.h"
#include "tests/sim/process.h"
#include "tests/sim/sim.h"
#include "tests/sim/threads.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    LINKS_MAX = 256,
    FD_LINK = 1 << 20,
    FD_EPOLL = 1 << 21,
    FD_EVENT = 1 << 22,
    QUEUE_BYTES_MAX = 256 << 10, /* a socket's buffer */
    PULL_BYTES_MAX = 64 << 10,
};

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    uint32_t bytes, taken;
    uint8_t data[];
};

struct queue {
    struct chunk *first, *last;
    uint32_t bytes;
    uint64_t last_due_ns;
};

enum link_state { FREE, FRESH, CONNECTING, OPEN, REFUSED, BROKEN };

/* One client's socket and the engine's end of it. */
struct link {
    enum link_state state;
    bool in_use;
    uint16_t port;
    uint64_t due_ns; /* of the connect's outcome */
    int epoll_fd;
    uint32_t events;
    void *data;
    struct hf_loopback *pipe; /* NULL: the engine's end is gone */
    struct queue up, down;
    bool client_closed; /* the descriptor is closed; what is under way still arrives */
    bool half_open;     /* the engine is not told that the client went, nor the client that the engine went */
    uint64_t until_ns;  /* when the lack of acknowledgements is noticed and the connection is given up; 0: none lacks */
    bool engine_closed; /* once down is empty the client sees the end */
};

static struct link links[LINKS_MAX];
static unsigned link_count;
static int epolls, events;
static struct sim_network_options options;

/* ---- chunks ---- */

static bool chance(uint32_t per_65536)
{
    return per_65536 != 0 && sim_below(65536) < per_65536;
}

static void free_queue(struct queue *queue)
{
    for (struct chunk *chunk = queue->first, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    *queue = (struct queue){0};
}

static struct chunk *make_chunk(const void *data, uint32_t bytes)
{
    struct chunk *chunk = malloc(sizeof *chunk + bytes);
    assert(chunk);
    *chunk = (struct chunk){.bytes = bytes};
    memcpy(chunk->data, data, bytes);
    return chunk;
}

static void append(struct queue *queue, struct chunk *chunk)
{
    uint64_t due_ns = sim.now_ns + sim_below(options.delay_ns_max + 1);
    chunk->next = NULL;
    chunk->due_ns = due_ns > queue->last_due_ns ? due_ns : queue->last_due_ns;
    if (queue->first)
        queue->last->next = chunk;
    else
        queue->first = chunk;
    queue->last = chunk;
    queue->last_due_ns = chunk->due_ns;
    queue->bytes += chunk->bytes;
}

/* Of a stream nothing is lost or changed for good: sooner or later its ends notice, and give it up. */
static void give_up_later(struct link *link)
{
    if (link->until_ns == 0)
        link->until_ns = sim.now_ns + 1000000 + sim_below(sim_one_in(8) ? 1500000000 : 30000000);
}

static void send_hurt(struct link *link, struct queue *queue, struct chunk *chunk)
{
    if (chance(options.drop)) {
        sim_fault(SIM_NET_DROP);
        give_up_later(link);
        free(chunk);
        return;
    }
    if (chance(options.corrupt)) {
        sim_fault(SIM_NET_CORRUPT);
        give_up_later(link);
        uint8_t *hurt = &chunk->data[sim_below(chunk->bytes)];
        *hurt ^= (uint8_t)(1u << sim_below(8));
    }
    if (chunk->bytes > 1 && chance(options.truncate)) {
        sim_fault(SIM_NET_TRUNCATE);
        give_up_later(link);
        chunk->bytes = 1 + (uint32_t)sim_below(chunk->bytes - 1);
    }
    if (chance(options.delay)) {
        sim_fault(SIM_NET_DELAY);
        queue->last_due_ns = sim.now_ns + sim_below(200000000);
    }
    struct chunk *before = queue->first ? queue->last : NULL;
    append(queue, chunk);
    if (chance(options.duplicate)) {
        sim_fault(SIM_NET_DUPLICATE);
        give_up_later(link);
        append(queue, make_chunk(chunk->data, chunk->bytes));
    }
    if (before && before->taken == 0 && before != chunk && before->next == chunk && chance(options.reorder)) {
        sim_fault(SIM_NET_REORDER);
        give_up_later(link);
        struct chunk **at = &queue->first;
        while (*at != before)
            at = &(*at)->next;
        before->next = chunk->next;
        chunk->next = before;
        *at = chunk;
        if (queue->last == chunk)
            queue->last = before;
    }
}

static void send_bytes(struct link *link, struct queue *queue, const uint8_t *data, uint32_t bytes)
{
    while (bytes > 0) {
        uint32_t part = bytes > 1 && chance(options.split) ? 1 + (uint32_t)sim_below(bytes - 1) : bytes;
        send_hurt(link, queue, make_chunk(data, part));
        data += part;
        bytes -= part;
    }
}

/* ---- links ---- */

static struct link *link_of(int fd)
{
    return fd >= FD_LINK && fd < FD_LINK + LINKS_MAX ? &links[fd - FD_LINK] : NULL;
}

static void close_engine_end(struct link *link)
{
    if (link->pipe)
        hf_loopback_close(link->pipe);
    link->pipe = NULL;
    free_queue(&link->up);
}

static void break_link(struct link *link)
{
    close_engine_end(link);
    free_queue(&link->down);
    link->until_ns = 0;
    link->half_open = false;
    link->state = link->client_closed ? FREE : BROKEN;
    link->in_use = !link->client_closed;
}

static void half_open(struct link *link)
{
    link->half_open = true;
    give_up_later(link);
}

static void connect_due(struct link *link)
{
    char name[64];
    snprintf(name, sizeof name, "sim:%u", link->port);
    link->pipe = sim_process_listens() ? hf_loopback_connect(name) : NULL;
    link->state = link->pipe ? OPEN : REFUSED;
    sim_note("link %u: port %u %s", (unsigned)(link - links), link->port, link->pipe ? "open" : "refused");
}

/* What has arrived goes into the engine's end, as much as it takes. */
static bool push_up(struct link *link)
{
    bool moved = false;
    struct chunk *chunk;
    while (link->pipe && (chunk = link->up.first) && chunk->due_ns <= sim.now_ns) {
        long taken = hf_loopback_push(link->pipe, chunk->data + chunk->taken, chunk->bytes - chunk->taken);
        if (taken == 0)
            return moved;
        moved = true;
        if (taken < 0) { /* the engine closed: what is still sent is lost */
            free_queue(&link->up);
            return true;
        }
        sim_mix_bytes(chunk->data + chunk->taken, (size_t)taken);
        sim_threads_wake();
        chunk->taken += (uint32_t)taken;
        if (chunk->taken < chunk->bytes)
            return true;
        link->up.first = chunk->next;
        link->up.bytes -= chunk->bytes;
        free(chunk);
    }
    return moved;
}

static bool pull_down(struct link *link)
{
    static uint8_t data[PULL_BYTES_MAX];
    if (!link->pipe || link->engine_closed || link->down.bytes > QUEUE_BYTES_MAX)
        return false;
    long given = hf_loopback_pull(link->pipe, data, sizeof data);
    if (given == 0)
        return false;
    if (given < 0) {
        link->engine_closed = true;
        close_engine_end(link);
        return true;
    }
    if (link->client_closed || link->half_open)
        return true;
    send_bytes(link, &link->down, data, (uint32_t)given);
    return true;
}

static void maybe_break(struct link *link)
{
    if (chance(options.reset)) {
        sim_fault(SIM_NET_RESET);
        break_link(link);
    } else if (!link->half_open && chance(options.half_open)) {
        sim_fault(SIM_NET_HALF_OPEN);
        half_open(link);
        if (sim_one_in(2)) { /* the client learns it, the engine does not */
            link->state = BROKEN;
            free_queue(&link->down);
        }
    }
}

static bool run_link(struct link *link)
{
    if (link->state == CONNECTING && link->due_ns <= sim.now_ns) {
        connect_due(link);
        return true;
    }
    if (link->until_ns != 0 && link->until_ns <= sim.now_ns) {
        break_link(link);
        return true;
    }
    if (!link->pipe)
        return false;
    bool moved = push_up(link);
    moved |= pull_down(link);
    if (moved && link->pipe)
        maybe_break(link);
    if (link->client_closed && !link->half_open && !link->up.first) {
        break_link(link);
        return true;
    }
    return moved;
}

bool sim_network_run(void)
{
    bool moved = false;
    for (unsigned i = 0; i < link_count; i++)
        if (links[i].in_use)
            moved |= run_link(&links[i]);
    return moved;
}

uint64_t sim_network_next_ns(void)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < link_count; i++) {
        const struct link *link = &links[i];
        if (!link->in_use)
            continue;
        if (link->state == CONNECTING && link->due_ns < next)
            next = link->due_ns;
        if (link->until_ns != 0 && link->until_ns < next)
            next = link->until_ns;
        if (link->up.first && link->up.first->due_ns < next)
            next = link->up.first->due_ns;
        if (link->down.first && link->down.first->due_ns < next)
            next = link->down.first->due_ns;
    }
    return next;
}

void sim_network_engine_gone(void)
{
    for (unsigned i = 0; i < link_count; i++) {
        struct link *link = &links[i];
        if (!link->pipe)
            continue;
        close_engine_end(link);
        link->engine_closed = true;
        if (link->client_closed)
            break_link(link);
        else if (chance(options.half_open * 16))
            half_open(link); /* as after a power cut: nobody says goodbye */
    }
}

void sim_network_heal(void)
{
    for (unsigned i = 0; i < link_count; i++)
        if (links[i].in_use && links[i].until_ns != 0)
            break_link(&links[i]);
}

void sim_network_set(const struct sim_network_options *wanted)
{
    options = *wanted;
}

void sim_network_begin(void)
{
    memset(links, 0, sizeof links);
    link_count = 0;
    epolls = events = 0;
    options = (struct sim_network_options){0};
}

void sim_network_end(void)
{
    for (unsigned i = 0; i < link_count; i++) {
        links[i].client_closed = true;
        if (links[i].in_use)
            break_link(&links[i]);
    }
}

/* ---- the client's system calls ---- */

static bool ended(const struct link *link)
{
    return link->state == BROKEN || link->state == REFUSED || (link->engine_closed && !link->down.first && !link->half_open);
}

static uint32_t ready_events(const struct link *link)
{
    uint32_t ready = 0;
    if (link->state == FRESH || link->state == CONNECTING)
        return 0;
    if (ended(link))
        return EPOLLIN | EPOLLHUP | (link->events & EPOLLOUT);
    if (link->down.first && link->down.first->due_ns <= sim.now_ns)
        ready |= EPOLLIN;
    if (link->up.bytes < QUEUE_BYTES_MAX)
        ready |= EPOLLOUT;
    return ready & link->events;
}

bool sim_network_client_ready(int epoll_fd)
{
    for (unsigned i = 0; i < link_count; i++)
        if (links[i].in_use && !links[i].client_closed && links[i].epoll_fd == epoll_fd && ready_events(&links[i]) != 0)
            return true;
    return false;
}

int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes);
ssize_t __wrap_recv(int fd, void *buffer, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *buffer, size_t bytes, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __wrap_close(int fd);
int __real_close(int fd);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_pwait2(int epoll_fd, struct epoll_event *out, int max, const struct timespec *timeout, const sigset_t *mask);
int __wrap_eventfd(unsigned count, int flags);
ssize_t __wrap_read(int fd, void *buffer, size_t bytes);
ssize_t __real_read(int fd, void *buffer, size_t bytes);
ssize_t __wrap_write(int fd, const void *buffer, size_t bytes);
ssize_t __real_write(int fd, const void *buffer, size_t bytes);

int __wrap_socket(int domain, int type, int protocol)
{
    (void)domain, (void)type, (void)protocol;
    unsigned i = 0;
    while (i < link_count && links[i].in_use)
        i++;
    if (i == LINKS_MAX) {
        errno = EMFILE;
        return -1;
    }
    if (i == link_count)
        link_count++;
    links[i] = (struct link){.state = FRESH, .in_use = true, .epoll_fd = -1};
    return FD_LINK + (int)i;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
    struct link *link = link_of(fd);
    struct sockaddr_in to;
    (void)bytes;
    memcpy(&to, address, sizeof to);
    link->port = ntohs(to.sin_port);
    link->state = CONNECTING;
    link->due_ns = sim.now_ns + sim_below(options.delay_ns_max + 1);
    errno = EINPROGRESS;
    return -1;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
    (void)fd, (void)level, (void)name, (void)value, (void)bytes;
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes)
{
    (void)level, (void)name, (void)bytes;
    int failure = link_of(fd)->state == REFUSED ? ECONNREFUSED : link_of(fd)->state == BROKEN ? ECONNRESET : 0;
    memcpy(value, &failure, sizeof failure);
    return 0;
}

ssize_t __wrap_recv(int fd, void *buffer, size_t bytes, int flags)
{
    struct link *link = link_of(fd);
    struct chunk *chunk = link->down.first;
    (void)flags;
    if (link->state == BROKEN || link->state == REFUSED) {
        errno = ECONNRESET;
        return -1;
    }
    if (ended(link))
        return 0;
    if (!chunk || chunk->due_ns > sim.now_ns) {
        errno = EAGAIN;
        return -1;
    }
    size_t part = chunk->bytes - chunk->taken;
    part = part < bytes ? part : bytes;
    memcpy(buffer, chunk->data + chunk->taken, part);
    sim_mix(part, sim.now_ns); /* not the bytes: STATUS counts cycles of the real machine */
    chunk->taken += (uint32_t)part;
    if (chunk->taken == chunk->bytes) {
        link->down.first = chunk->next;
        link->down.bytes -= chunk->bytes;
        free(chunk);
    }
    return (ssize_t)part;
}

ssize_t __wrap_send(int fd, const void *buffer, size_t bytes, int flags)
{
    struct iovec part = {(void *)(uintptr_t)buffer, bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return __wrap_sendmsg(fd, &message, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct link *link = link_of(fd);
    size_t sent = 0;
    (void)flags;
    if (link->state != OPEN) {
        errno = ECONNRESET;
        return -1;
    }
    if (link->up.bytes >= QUEUE_BYTES_MAX) {
        errno = EAGAIN;
        return -1;
    }
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        const struct iovec *part = &message->msg_iov[i];
        if (link->pipe && !link->half_open)
            send_bytes(link, &link->up, part->iov_base, (uint32_t)part->iov_len);
        sent += part->iov_len;
    }
    return (ssize_t)sent;
}

int __wrap_close(int fd)
{
    struct link *link = link_of(fd);
    if (!link)
        return fd >= FD_LINK ? 0 : __real_close(fd);
    link->client_closed = true;
    link->events = 0;
    free_queue(&link->down);
    if (!link->pipe)
        break_link(link);
    return 0;
}

int __wrap_epoll_create1(int flags)
{
    (void)flags;
    return FD_EPOLL + epolls++;
}

int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    struct link *link = link_of(fd);
    (void)operation;
    link->epoll_fd = epoll_fd;
    link->events = event->events;
    link->data = event->data.ptr;
    return 0;
}

int __wrap_epoll_pwait2(int epoll_fd, struct epoll_event *out, int max, const struct timespec *timeout, const sigset_t *mask)
{
    int count = 0;
    (void)timeout, (void)mask;
    for (unsigned i = 0; i < link_count && count < max; i++) {
        struct link *link = &links[i];
        uint32_t ready = link->in_use && !link->client_closed && link->epoll_fd == epoll_fd ? ready_events(link) : 0;
        if (ready != 0)
            out[count++] = (struct epoll_event){.events = ready, .data.ptr = link->data};
    }
    return count;
}

int __wrap_eventfd(unsigned count, int flags)
{
    (void)count, (void)flags;
    return FD_EVENT + events++;
}

ssize_t __wrap_read(int fd, void *buffer, size_t bytes)
{
    return fd >= FD_EVENT ? (ssize_t)bytes : __real_read(fd, buffer, bytes);
}

ssize_t __wrap_write(int fd, const void *buffer, size_t bytes)
{
    return fd >= FD_EVENT ? (ssize_t)bytes : __real_write(fd, buffer, bytes);
}

/* What the transport alone costs: a port answers each command with a plain answer, plain sockets ask. The client checks no checksum, so
 * that it stays ahead of the port; the port does all that it does in the engine.
 *
 *   net_echo [seconds of each case]      prints one JSON object a line
 *   net_echo serve ADDRESS               only the port, over any transport, on core 0: what a load generator reaches against it is its
 *                                        own ceiling with the very frames of a run against an engine. Prints where it listens
 *
 * `port_ns` is processor time of the port's thread for each command, system calls included: the figure to watch on a machine that is not
 * quiet. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/net.h"
#include "ring/atomics.h"
#include "wire/crc32c.h"

enum { CONNECTIONS_MAX = 256, BUFFER_BYTES = 1 << 20, BATCH = 256 };

struct port_thread {
    struct hf_net *net;
    struct hf_atomic_u32 stop;
    clockid_t clock; /* of what clients are told to be the engine's time */
    double cpu_s;
    uint64_t commands, turns, waits;
};

struct client {
    int fd;
    uint64_t session, next, answered;
    uint8_t *in, *out;
    size_t in_bytes, out_bytes, out_sent;
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

static void answer(struct hf_net *net, struct hf_request *request)
{
    struct hf_answer *to = (struct hf_answer *)(void *)request->answers;
    const uint8_t *from = request->commands;
    for (unsigned i = 0; i < request->command_count; i++, to++) {
        const struct hf_command *command = (const struct hf_command *)(const void *)from;
        *to = (struct hf_answer){.length = sizeof *to, .opcode = command->opcode};
        from += command->length;
    }
    hf_net_answer(net, request, request->command_count * (uint32_t)sizeof *to);
}

static void *serve(void *context)
{
    struct port_thread *port = context;
    struct hf_request *requests[BATCH];
    pin(0);
    while (!hf_load_acquire_u32(&port->stop)) {
        unsigned count = hf_net_receive(port->net, clock_ns(port->clock), true, 0, requests, BATCH);
        for (unsigned i = 0; i < count; i++) {
            port->commands += requests[i]->command_count;
            answer(port->net, requests[i]);
        }
        port->turns++;
        bool submitted = hf_net_flush(port->net);
        if (count == 0 && !submitted) {
            port->waits++;
            hf_net_wait(port->net, 50000);
        }
    }
    port->cpu_s = (double)clock_ns(CLOCK_THREAD_CPUTIME_ID) / 1e9;
    return NULL;
}

static void seal(uint8_t *frame, uint32_t bytes)
{
    struct hf_frame *head = (struct hf_frame *)(void *)frame;
    head->magic = HF_FRAME_MAGIC;
    head->version = HF_FRAME_VERSION;
    head->length = bytes;
    head->crc = 0;
    head->crc = hf_crc32c(0, frame, bytes);
}

static void client_connect(struct client *client, uint16_t port)
{
    const int on = 1;
    uint8_t hello[96] = {0}, welcome[240];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ((struct hf_frame *)(void *)hello)->type = HF_HELLO;
    seal(hello, sizeof hello);
    if (connect(client->fd, (struct sockaddr *)&to, sizeof to) != 0 || send(client->fd, hello, sizeof hello, 0) != (ssize_t)sizeof hello ||
        recv(client->fd, welcome, sizeof welcome, MSG_WAITALL) != (ssize_t)sizeof welcome) {
        perror("net_echo: no WELCOME");
        exit(1);
    }
    memcpy(&client->session, welcome + offsetof(struct hf_frame, session), 8);
    client->next = 1;
    client->in = malloc(BUFFER_BYTES);
    client->out = malloc(BUFFER_BYTES);
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
}

static void client_add(struct client *client, unsigned batch)
{
    uint8_t *frame = client->out + client->out_bytes;
    struct hf_frame *head = (struct hf_frame *)(void *)frame;
    *head = (struct hf_frame){.type = HF_REQUEST, .session = client->session, .request = client->next++, .count = (uint16_t)batch};
    struct hf_command *command = (struct hf_command *)(void *)(head + 1);
    for (unsigned i = 0; i < batch; i++, command = (struct hf_command *)(void *)((uint8_t *)command + 96)) {
        *command = (struct hf_command){.length = 96, .opcode = HF_PLACE, .version = 1, .line_count = 1, .id = {head->request, i}};
        *(struct hf_line *)(void *)(command + 1) = (struct hf_line){.sku = {{i + 1, 1}}, .location = 1, .quantity = 1};
    }
    uint32_t bytes = (uint32_t)(sizeof *head + 96u * batch);
    seal(frame, bytes);
    client->out_bytes += bytes;
}

static bool client_turn(struct client *client, unsigned batch, unsigned frames)
{
    bool any = false;
    ssize_t got = recv(client->fd, client->in + client->in_bytes, BUFFER_BYTES - client->in_bytes, 0);
    if (got > 0) {
        any = true;
        client->in_bytes += (size_t)got;
        size_t at = 0;
        while (client->in_bytes - at >= sizeof(struct hf_frame)) {
            const struct hf_frame *head = (const struct hf_frame *)(const void *)(client->in + at);
            if (client->in_bytes - at < head->length)
                break;
            if (head->type != HF_ANSWER) {
                fprintf(stderr, "net_echo: frame %u %s\n", head->type, hf_result_name(head->result));
                exit(1);
            }
            client->answered++;
            at += head->length;
        }
        client->in_bytes -= at;
        memmove(client->in, client->in + at, client->in_bytes);
    }
    if (client->out_sent == client->out_bytes) {
        client->out_sent = client->out_bytes = 0;
        while (client->next - 1 - client->answered < frames && client->out_bytes + 64 + 96u * batch <= BUFFER_BYTES)
            client_add(client, batch);
    }
    if (client->out_sent < client->out_bytes) {
        ssize_t sent = send(client->fd, client->out + client->out_sent, client->out_bytes - client->out_sent, MSG_NOSIGNAL);
        if (sent > 0) {
            client->out_sent += (size_t)sent;
            any = true;
        }
    }
    return any;
}

static void run(double seconds, unsigned connections, unsigned batch, unsigned frames)
{
    static struct client clients[CONNECTIONS_MAX];
    struct pollfd polls[CONNECTIONS_MAX];
    const char *const listen[] = {"tcp://127.0.0.1:0"};
    struct hf_net_options options = {.listen = listen, .listen_count = 1, .shard_count = 1, .partitions = 256};
    struct port_thread port = {.clock = CLOCK_MONOTONIC};
    pthread_t thread;
    if (hf_net_create(&options, &port.net) != 0) {
        fprintf(stderr, "net_echo: %s\n", hf_net_error());
        exit(1);
    }
    pthread_create(&thread, NULL, serve, &port);
    memset(clients, 0, sizeof clients);
    for (unsigned i = 0; i < connections; i++) {
        client_connect(&clients[i], hf_net_port(port.net, 0));
        polls[i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
    }
    uint64_t from = clock_ns(CLOCK_MONOTONIC), until = from + (uint64_t)(seconds * 1e9), now;
    while ((now = clock_ns(CLOCK_MONOTONIC)) < until) {
        bool any = false;
        for (unsigned i = 0; i < connections; i++)
            any |= client_turn(&clients[i], batch, frames);
        if (!any)
            poll(polls, connections, 1);
    }
    hf_store_release_u32(&port.stop, 1);
    pthread_join(thread, NULL);
    struct hf_net_status status;
    hf_net_status(port.net, &status);
    printf(
        "{\"bench\":\"net_echo\",\"connections\":%u,\"batch\":%u,\"in_flight\":%u,\"commands_per_s\":%.0f,\"port_ns\":%.1f,\"turns\":%llu,"
        "\"waits\":%llu,\"frames_per_turn\":%.1f,\"buffers_short\":%llu}\n",
        connections, batch, connections * frames * batch, (double)port.commands / ((double)(now - from) / 1e9),
        port.cpu_s * 1e9 / (double)port.commands, (unsigned long long)port.turns, (unsigned long long)port.waits,
        (double)status.frames_in / (double)port.turns, (unsigned long long)status.receive_buffers_short);
    fflush(stdout);
    for (unsigned i = 0; i < connections; i++) {
        close(clients[i].fd);
        free(clients[i].in);
        free(clients[i].out);
    }
    hf_net_destroy(port.net);
}

/* Where listener 0 really is. */
static void print_address(const struct hf_net *net, const char *asked)
{
    const char *colon = strrchr(asked, ':');
    if (hf_net_path(net, 0))
        printf("unix://%s\n", hf_net_path(net, 0));
    else if (hf_carrier_of(asked) == HF_CARRIER_DPDK || !colon)
        printf("%s\n", asked);
    else
        printf("%.*s:%u\n", (int)(colon - asked), asked, hf_net_port(net, 0));
    fflush(stdout);
}

static int serve_address(const char *address)
{
    const char *const listen[] = {address};
    struct hf_net_options options = {
        .listen = listen, .listen_count = 1, .insecure_listen = true, .shard_count = 1, .partitions = 256, .retention_ms = 600000};
    options.requests_max = 16384;
    struct port_thread port = {.clock = CLOCK_REALTIME};
    if (hf_net_create(&options, &port.net) != 0) {
        fprintf(stderr, "net_echo: %s\n", hf_net_error());
        return 1;
    }
    print_address(port.net, address);
    serve(&port);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve_address(argv[2]);
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    pin(1);
    run(seconds, 8, 64, 16);
    run(seconds, 8, 8, 128);
    run(seconds, 8, 1, 512);
    run(seconds, 200, 1, 16);
    run(seconds, 8, 1, 64);
    return 0;
}

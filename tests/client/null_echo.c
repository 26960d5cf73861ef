/* Answers every command of every frame with OK, as cheaply as it can: the ceiling of a load generator. Prints its address, ends with its
 * stdin. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/holdfast.h"
#include "wire/crc32c.h"

enum { LINES = 1200, INPUT_BYTES = 1 << 18, OUTPUT_BYTES = 1 << 19 };

struct line {
    int fd;
    size_t bytes;
    uint8_t *input;
};

static uint8_t output[OUTPUT_BYTES];

static size_t seal(struct hf_frame *frame)
{
    frame->magic = HF_FRAME_MAGIC;
    frame->version = HF_FRAME_VERSION;
    frame->crc = 0;
    frame->crc = hf_crc32c(0, frame, frame->length);
    return frame->length;
}

static size_t welcome(uint8_t *at, const struct hf_frame *hello)
{
    struct hf_frame *head = (struct hf_frame *)(void *)at;
    struct hf_welcome *body = (struct hf_welcome *)(void *)(head + 1);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *head = (struct hf_frame){.type = HF_WELCOME, .length = sizeof *head + sizeof *body, .session = 1, .credits = hello->credits};
    *body = (struct hf_welcome){.engine_time_ns = (uint64_t)now.tv_sec * 1000000000u,
                                .partitions = 256,
                                .shard_count = 1,
                                .frame_bytes_max = HF_FRAME_BYTES_MAX,
                                .answer_bytes_max = HF_FRAME_ANSWER_BYTES_MAX,
                                .retention_ms = 600000};
    return seal(head);
}

static size_t answer(uint8_t *at, const struct hf_frame *request)
{
    struct hf_frame *head = (struct hf_frame *)(void *)at;
    struct hf_answer *answers = (struct hf_answer *)(void *)(head + 1);
    const struct hf_command *command = (const struct hf_command *)(const void *)(request + 1);
    for (unsigned i = 0; i < request->count; i++) {
        answers[i] = (struct hf_answer){
            .length = sizeof *answers, .opcode = command->opcode, .order = HF_HELD, .position = 1, .version = 1, .value = 1};
        command = hf_command_next(command);
    }
    *head = (struct hf_frame){.type = HF_ANSWER, .session = request->session, .request = request->request, .count = request->count};
    head->length = (uint32_t)(sizeof *head + request->count * sizeof *answers);
    return seal(head);
}

static void send_all(int fd, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t sent = send(fd, output + at, bytes - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        at += (size_t)sent;
    }
}

static void serve(struct line *line)
{
    ssize_t got = recv(line->fd, line->input + line->bytes, INPUT_BYTES - line->bytes, 0);
    size_t at = 0, out = 0;
    if (got <= 0) {
        close(line->fd);
        line->fd = -1;
        return;
    }
    line->bytes += (size_t)got;
    while (line->bytes - at >= sizeof(struct hf_frame)) {
        struct hf_frame *frame = (struct hf_frame *)(void *)(line->input + at);
        if (line->bytes - at < frame->length)
            break;
        uint32_t crc = frame->crc;
        frame->crc = 0;
        if (crc != hf_crc32c(0, frame, frame->length))
            abort();
        if (out + HF_FRAME_ANSWER_BYTES_MAX > OUTPUT_BYTES) {
            send_all(line->fd, out);
            out = 0;
        }
        if (frame->type == HF_HELLO)
            out += welcome(output + out, frame);
        else if (frame->type == HF_REQUEST)
            out += answer(output + out, frame);
        at += frame->length;
    }
    send_all(line->fd, out);
    memmove(line->input, line->input + at, line->bytes - at);
    line->bytes -= at;
}

static void accept_line(int epoll, int listener, struct line *lines)
{
    int fd = accept(listener, NULL, NULL), one = 1;
    for (unsigned i = 0; i < LINES && fd >= 0; i++) {
        if (lines[i].fd >= 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        lines[i].fd = fd;
        lines[i].bytes = 0;
        lines[i].input = lines[i].input ? lines[i].input : malloc(INPUT_BYTES);
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &lines[i]});
        return;
    }
}

int main(void)
{
    static struct line lines[LINES];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    for (unsigned i = 0; i < LINES; i++)
        lines[i].fd = -1;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &bytes) != 0)
        return 1;
    printf("tcp://127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &(struct epoll_event){.events = EPOLLIN, .data.ptr = lines + LINES});
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            struct line *line = events[i].data.ptr;
            if (!line)
                accept_line(epoll, listener, lines);
            else if (line == lines + LINES)
                return 0;
            else
                serve(line);
        }
    }
}

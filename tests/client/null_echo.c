/* Answers every command of every frame with OK, as cheaply as it can: the ceiling of a load generator. Prints its address, ends with its
 * stdin. Argument: unix://PATH, to listen there; without one it listens on a TCP port. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/client/null_echo.h"

enum { LINES = 1200, INPUT_BYTES = 1 << 18, OUTPUT_BYTES = 1 << 19 };

struct line {
    int fd;
    size_t bytes;
    uint8_t *input;
};

static uint8_t output[OUTPUT_BYTES];

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
            out += null_echo_welcome(output + out, frame, sizeof(struct hf_frame) + sizeof(struct hf_welcome), HF_FRAME_BYTES_MAX);
        else if (frame->type == HF_REQUEST)
            out += null_echo_answer(output + out, frame);
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

static int listen_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &bytes) != 0)
        return -1;
    printf("tcp://127.0.0.1:%u\n", ntohs(address.sin_port));
    return listener;
}

static int listen_unix(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (strlen(path) >= sizeof name.sun_path)
        return -1;
    memcpy(name.sun_path, path, strlen(path) + 1);
    if (bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 1024) != 0)
        return -1;
    printf("unix://%s\n", path);
    return listener;
}

int main(int argc, char **argv)
{
    static struct line lines[LINES];
    static const char scheme[] = "unix://";
    bool is_unix = argc > 1 && strncmp(argv[1], scheme, sizeof scheme - 1) == 0;
    int listener = is_unix ? listen_unix(argv[1] + sizeof scheme - 1) : listen_tcp(), epoll = epoll_create1(0);
    for (unsigned i = 0; i < LINES; i++)
        lines[i].fd = -1;
    if (listener < 0)
        return 1;
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
                return is_unix ? unlink(argv[1] + sizeof scheme - 1) : 0;
            else
                serve(line);
        }
    }
}

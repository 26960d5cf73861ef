/* null_echo over datagrams, received and sent joined where the kernel can: the ceiling of a load generator over udp://. Prints its address,
 * ends with its stdin. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/client/null_echo.h"

enum { MESSAGES = 32, SOCKET_BYTES = 8 << 20, OUTPUT_BYTES = 1 << 17, RUN_MAX = 64 };

struct message {
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
    struct sockaddr_in from;
    struct iovec part;
    uint8_t data[HF_FRAME_BYTES_MAX] __attribute__((aligned(8)));
};

/* Answers of one length for one peer, which leave together. */
struct run {
    const struct sockaddr_in *to;
    uint32_t bytes, each;
    unsigned count;
    uint8_t data[OUTPUT_BYTES] __attribute__((aligned(8)));
};

static struct message messages[MESSAGES];
static struct run run;

static void flush(int fd)
{
    struct iovec part = {run.data, run.bytes};
    struct msghdr out = {.msg_name = (void *)(uintptr_t)run.to, .msg_namelen = sizeof *run.to, .msg_iov = &part, .msg_iovlen = 1};
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.bytes = {0}};
    uint16_t each = (uint16_t)run.each;
    if (run.count == 0)
        return;
    if (run.count > 1) {
        control.head = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof each)};
        memcpy(CMSG_DATA(&control.head), &each, sizeof each);
        out.msg_control = &control;
        out.msg_controllen = sizeof control;
    }
    (void)!sendmsg(fd, &out, MSG_NOSIGNAL);
    run.count = 0;
    run.bytes = 0;
}

/* What the frame is answered with, behind the run; its bytes. */
static uint32_t respond(const struct hf_frame *frame)
{
    uint8_t *at = run.data + run.bytes;
    struct hf_hello hello;
    if (frame->type == HF_REQUEST)
        return null_echo_answer(at, frame);
    if (frame->type != HF_HELLO)
        return 0;
    memcpy(&hello, frame + 1, sizeof hello);
    if (hello.cookie[0] != 0)
        return null_echo_welcome(at, frame, frame->length, frame->length);
    *(struct hf_frame *)(void *)at = (struct hf_frame){.type = HF_COOKIE, .length = sizeof *frame + sizeof hello};
    hello.cookie[0] = 1;
    memcpy(at + sizeof *frame, &hello, sizeof hello);
    return null_echo_seal((struct hf_frame *)(void *)at);
}

static void serve_frame(int fd, const struct sockaddr_in *from, struct hf_frame *frame)
{
    uint32_t crc = frame->crc;
    frame->crc = 0;
    if (crc != hf_crc32c(0, frame, frame->length))
        abort();
    if (run.count > 0 && (run.to != from || run.count == RUN_MAX || run.bytes + run.each > HF_DATAGRAM_BYTES_MAX))
        flush(fd);
    run.to = from;
    uint32_t bytes = respond(frame);
    if (run.count > 0 && bytes != run.each) {
        /* Of another length: it begins the next run. */
        static uint8_t kept[HF_FRAME_BYTES_MAX];
        memcpy(kept, run.data + run.bytes, bytes);
        flush(fd);
        memcpy(run.data, kept, bytes);
    }
    run.each = bytes;
    run.bytes += bytes;
    run.count += bytes > 0;
}

static void serve_message(int fd, struct msghdr *message, uint32_t bytes)
{
    struct message *own = message->msg_name ? (struct message *)(void *)((uint8_t *)message->msg_name - offsetof(struct message, from))
                                            : NULL;
    int each = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control))
        if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO)
            memcpy(&each, CMSG_DATA(control), sizeof each);
    for (uint32_t at = 0, step = each > 0 ? (uint32_t)each : bytes; at < bytes; at += step) {
        struct hf_frame *frame = (struct hf_frame *)(void *)(own->data + at);
        if (bytes - at < sizeof *frame || frame->length > bytes - at)
            return;
        serve_frame(fd, &own->from, frame);
    }
}

static void serve(int fd)
{
    struct mmsghdr heads[MESSAGES];
    for (unsigned i = 0; i < MESSAGES; i++) {
        messages[i].part = (struct iovec){messages[i].data, sizeof messages[i].data};
        heads[i].msg_hdr = (struct msghdr){.msg_name = &messages[i].from,
                                           .msg_namelen = sizeof messages[i].from,
                                           .msg_iov = &messages[i].part,
                                           .msg_iovlen = 1,
                                           .msg_control = &messages[i].control,
                                           .msg_controllen = sizeof messages[i].control};
    }
    int got = recvmmsg(fd, heads, MESSAGES, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++)
        serve_message(fd, &heads[i].msg_hdr, heads[i].msg_len);
    flush(fd);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof address;
    const int on = 1, bytes = SOCKET_BYTES;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || getsockname(fd, (struct sockaddr *)&address, &address_bytes) != 0)
        return 1;
    printf("udp://127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct pollfd watched[] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
        (void)poll(watched, 2, -1);
        if (watched[1].revents)
            return 0;
        if (watched[0].revents)
            serve(fd);
    }
}

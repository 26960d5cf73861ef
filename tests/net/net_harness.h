/* A port under test and plain clients of it, all in one thread: the port is turned by hand between what the clients do. */
#ifndef HF_TESTS_NET_HARNESS_H
#define HF_TESTS_NET_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/net.h"

struct hf_loopback;

struct test_client {
    struct hf_loopback *pipe; /* loopback */
    int fd;                   /* tcp, unix */
    uint64_t session;
    uint8_t held[2 * HF_FRAME_BYTES_MAX];
    size_t held_bytes;
    bool open, closed;
};

struct test_port {
    struct hf_net *net;
    struct hf_net_options options;
    bool tcp;
    unsigned listener; /* that clients connect to */
    uint64_t now_ns;
    bool accept; /* passed to hf_net_receive() */
    bool hold;   /* requests are kept in held[] instead of being answered */
    struct hf_request *held[4096];
    unsigned held_count;
    uint64_t commands; /* answered so far */
    uint16_t items;    /* hf_short_items behind each answer */
};

/* When set, ports that would listen on TCP listen on this address, unix://PATH. */
extern const char *port_unix_address;

void port_open(struct test_port *port, bool tcp);
void port_close(struct test_port *port);
/* One turn of a shard's loop: receive, answer (or hold), flush. */
void port_turn(struct test_port *port);
void port_answer(struct test_port *port, struct hf_request *request);
void port_answer_held(struct test_port *port);
struct hf_net_status port_status(const struct test_port *port);

void client_open(struct test_client *client, struct test_port *port);
void client_close(struct test_client *client);
/* Gives all bytes, turning the port meanwhile. */
void client_give(struct test_client *client, struct test_port *port, const void *data, size_t bytes);
/* The next frame, with port turns until it is there; its checksum is verified. False when the port has closed the connection. */
bool client_take(struct test_client *client, struct test_port *port, struct hf_frame *head, void *payload);
/* Takes in what has come, without a turn; and whether a whole frame is there. */
void client_look(struct test_client *client);
bool client_has_frame(const struct test_client *client);
/* Turns the port until the connection is closed; fails when a frame comes first. */
void client_expect_closed(struct test_client *client, struct test_port *port);
/* A few turns after which nothing may have come. */
void client_expect_silence(struct test_client *client, struct test_port *port);
void client_expect_refused(struct test_client *client, struct test_port *port, uint64_t request, int result);
void client_expect_answer(struct test_client *client, struct test_port *port, uint64_t request, unsigned count);
/* HELLO and its WELCOME. session 0: a new one. */
void client_hello(struct test_client *client, struct test_port *port, uint64_t session, uint16_t credits);

/* Frames into `out` (HF_FRAME_BYTES_MAX bytes); each returns its length. */
uint32_t make_hello(void *out, uint64_t session, uint16_t credits);
/* A REQUEST of `count` places of one line. */
uint32_t make_request(void *out, uint64_t session, uint64_t number, unsigned count);
/* Sets length and checksum of what was changed. */
void seal_again(void *frame, uint32_t bytes);

#endif

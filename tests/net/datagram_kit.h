/* A port over UDP on the loopback interface and peers of it that send what they like; every test goes twice, the second time without a
 * multishot receive. */
#ifndef HF_TESTS_NET_DATAGRAM_KIT_H
#define HF_TESTS_NET_DATAGRAM_KIT_H

#include "tests/net/net_harness.h"

enum { PEER_BYTES = 65536, TURNS_MAX = 20000, SILENT_TURNS = 10 };

struct peer {
    int fd;
    uint64_t client, session, cookie[2];
    uint16_t credits;
};

extern bool one_by_one;
extern struct test_port port;
extern struct peer peer, other;
extern uint8_t out[PEER_BYTES], in[PEER_BYTES]; /* what is sent next, and what came last */
extern const struct hf_frame *const head;       /* of in[] */
extern const struct hf_welcome *const welcome;

#define OVER_UDP(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

void open_port_at(const char *const *listen, unsigned count);
void open_port(void);
void open_peer(struct peer *it, uint64_t client);
int set_up(void **state);
int tear_down(void **state);
void give(const struct peer *it, const void *data, size_t bytes);
/* Whether a datagram came into in[]; its checksum is verified. */
bool look(const struct peer *it);
/* The next datagram, into in[]. */
void take(const struct peer *it);
void expect_silence(const struct peer *it);
uint32_t make_datagram_hello(const struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes);
void give_hello(const struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes);
void expect_cookie(struct peer *it);
void expect_welcome(struct peer *it, uint32_t bytes);
/* HELLO, cookie, HELLO with it, WELCOME: a session, or another address of one. */
void greet(struct peer *it, uint64_t session, uint64_t first, uint16_t credits, uint32_t bytes);
/* A port, and `peer` with a new session. */
void start(uint16_t credits);
void give_request(const struct peer *it, uint64_t number, unsigned count);
void expect_answer(const struct peer *it, uint64_t number, unsigned count);
void expect_refused(const struct peer *it, uint64_t number, int result);
/* Runs a group, and once more without a multishot receive. -> how many failed */
int run_twice(const struct CMUnitTest *tests, size_t count);

#endif

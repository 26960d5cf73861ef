/* The tool's own small gRPC client: unary calls to a control plane over HTTP/2 without TLS.
 *
 * Followed: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of the gRPC project). One thread; a client has one connection and up to
 * HF_CONTROL_CALLS_MAX calls on it at once. Memory: a call's bytes live until its `done` has returned. */
#ifndef HF_CLIENT_CONTROL_H
#define HF_CLIENT_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hf_control_client;

/* Room for an answer grows to twice what has come: one of half of it always fits. A larger one breaks the connection, and every call. */
enum { HF_CONTROL_CALLS_MAX = 64, HF_CONTROL_ANSWER_BYTES_MAX = 4 << 20 };

/* What became of a call. Valid during the callback only. */
struct hf_control_reply {
    int status;          /* of gRPC; 0: OK. -1: none came, whether it was done is not known */
    const char *message; /* never NULL */
    const uint8_t *answer;
    size_t answer_bytes;
};

/* Connects: tcp://HOST:PORT, unix://PATH, or a data directory, whose control.sock is meant. 0, HF_E_USAGE (no such address) or HF_E_CLOSED;
 * error[] gets the sentence. */
int hf_control_connect(const char *address, uint64_t timeout_ns, struct hf_control_client **out, char *error, size_t error_bytes);
/* Ends what is still out with status -1. NULL is fine. */
void hf_control_close(struct hf_control_client *client);
const char *hf_control_error(const struct hf_control_client *client);

/* Begins a call of "/package.Service/Method" with one packed message, which is copied. `done` is called exactly once, from
 * hf_control_poll() or hf_control_close(). False: HF_CONTROL_CALLS_MAX are out, or no memory. */
bool hf_control_begin(struct hf_control_client *client, const char *method, const void *message, size_t bytes, uint64_t deadline_ns,
                      void (*done)(void *context, const struct hf_control_reply *reply), void *context);
/* Sends, waits up to timeout_ns, receives, calls back. 0, or HF_E_CLOSED: the connection is gone, and every call was called back. */
int hf_control_poll(struct hf_control_client *client, uint64_t timeout_ns);

#endif

/* libholdfast: commands to a Holdfast engine, asynchronous, batched and pipelined.
 *
 * One loop, its clients and their batches belong to one thread; nothing here starts a thread or blocks, but hf_client_connect(),
 * hf_client_call() and hf_loop_poll(), which wait no longer than told. Memory is taken by hf_loop_create() and hf_client_create(), and once
 * more when a shard's session is first opened; sending and receiving allocate nothing.
 *
 * The path of a command: hf_client_batch() lends a frame, hf_batch_add() gives room in it, the caller fills the command in place,
 * hf_client_submit() queues it, hf_loop_poll() sends it and later calls back with the answers, which are read in place too.
 *
 * A connection that breaks is made anew, and what was not answered is sent again: under its old request numbers where the engine still
 * knows the session, as new frames where it does not. What a shard's own port refuses for a second, while the engine can be reached, goes
 * over the main connection until that one is made anew. Ids make all this safe, so every command that changes something carries one of
 * hf_client_id().
 *
 * Functions return 0 or a negative enum hf_error; hf_client_error() has the sentence. */
#ifndef HF_CLIENT_HOLDFAST_H
#define HF_CLIENT_HOLDFAST_H

#include "wire/answer.h"
#include "wire/command.h"
#include "wire/error.h"
#include "wire/frame.h"
#include "wire/result.h"

struct hf_loop;
struct hf_client;
struct hf_batch;

#define HF_CLIENT_DEFAULT_SERVER "tcp://127.0.0.1:7420"

struct hf_client_options {
    const char *server;          /* tcp://HOST:PORT, udp://HOST:PORT, unix://PATH or, where built with DPDK (docs/dpdk.md),
                                    dpdk://DEVICE-ARGS?ip=ADDRESS/PREFIX&to=ADDRESS:PORT, copied; NULL: HF_CLIENT_DEFAULT_SERVER */
    unsigned frames_max;         /* batches that exist at once, over all sessions; 0: 64, at most 65,535 */
    unsigned frame_bytes_max;    /* of one batch, header included, a multiple of 8; 0: HF_FRAME_BYTES_MAX */
    uint64_t deadline_ns;        /* of a batch, from its submission; 0: 10 s */
    uint64_t connect_timeout_ns; /* of one attempt, from connect to WELCOME; 0: 5 s */
    bool one_session;            /* everything over the main connection; the engine forwards */
    unsigned datagram_bytes_max; /* datagrams: of one frame, a multiple of 8, at least 1,232; 0: what the path carries, found by trying */
    uint64_t first_number;       /* of a session's requests; 0: 1 */
};

struct hf_client_status {
    bool connected; /* the main session is open now */
    bool ever_connected;
    bool async_durability; /* as WELCOME said: answers do not wait for the disk */
    unsigned shard_count;
    uint32_t partitions;
    uint64_t term, retention_ms;
    unsigned batches_queued; /* submitted and without an answer */
    uint64_t connections;    /* made, over all sessions */
    uint64_t disconnections; /* lost after WELCOME */
    uint64_t sessions_resumed, sessions_replaced;
    uint64_t frames_sent, frames_resent, answers, protocol_errors, stray_answers, timeouts;
};

/* What became of a batch. Valid during the callback only; so are `answers` and the batch's commands. */
struct hf_reply {
    int error;        /* 0: answers, or `refused`. HF_E_TIMEOUT: its deadline passed. HF_E_CLOSED: the client was destroyed */
    uint16_t refused; /* enum hf_result for the whole frame, which had no effect; else 0 */
    bool sent;        /* with an error: the commands may have taken effect */
    uint16_t count;   /* commands of the batch, and answers unless error or refused */
    const struct hf_command *commands;
    const struct hf_answer *answers;
    uint32_t answer_bytes;
    uint64_t submitted_ns, answered_ns; /* CLOCK_MONOTONIC */
};

/* The command or answer behind this one. */
static inline const struct hf_command *hf_command_next(const struct hf_command *command)
{
    return (const struct hf_command *)(const void *)((const uint8_t *)command + command->length);
}

static inline const struct hf_answer *hf_answer_next(const struct hf_answer *answer)
{
    return (const struct hf_answer *)(const void *)((const uint8_t *)answer + answer->length);
}

/* 0, HF_E_IO or HF_E_MEMORY. A loop outlives its clients. */
int hf_loop_create(struct hf_loop **out);
void hf_loop_destroy(struct hf_loop *loop);

/* Sends what is queued, waits up to timeout_ns (0: not at all) for the network, receives, calls back, sends what the callbacks submitted.
 * Sleeps in the kernel while there is nothing to do. Returns the number of sockets served, or HF_E_IO. Not to be called from a callback. */
int hf_loop_poll(struct hf_loop *loop, uint64_t timeout_ns);
/* CLOCK_MONOTONIC in ns as of the loop's last look. */
uint64_t hf_loop_now_ns(const struct hf_loop *loop);
/* A descriptor that is readable when the loop has something to receive; for use inside another event loop. A DPDK device wakes nobody: with
 * one the loop is to be polled again and again, and hf_loop_poll() sleeps no longer than 20 us between two looks at it. */
int hf_loop_fd(const struct hf_loop *loop);

/* Resolves the address (may block in the resolver) and begins to connect. `loop` NULL: a loop of its own. 0, HF_E_USAGE (bad address or
 * sizes), HF_E_MEMORY, HF_E_IO; `error` (may be NULL) gets the sentence. */
int hf_client_create(struct hf_loop *loop, const struct hf_client_options *options, struct hf_client **out, char *error,
                     size_t error_bytes);
/* Calls back every batch without an answer with HF_E_CLOSED, says BYE, frees. Not to be called from a callback. */
void hf_client_destroy(struct hf_client *client);
struct hf_loop *hf_client_loop(struct hf_client *client);

/* Waits until the main session is open: 0, HF_E_TIMEOUT, or with `once` the failure of the first attempt (HF_E_CLOSED: nobody listens or
 * the connection broke; HF_E_PROTOCOL: not Holdfast). */
int hf_client_connect(struct hf_client *client, uint64_t timeout_ns, bool once);
/* The last thing that went wrong, as a sentence; "" when nothing did. Valid until the next call on the client. */
const char *hf_client_error(const struct hf_client *client);
void hf_client_status(const struct hf_client *client, struct hf_client_status *out);

/* Engine time in ms (the wall clock before the first WELCOME), and a fresh id for `route`. */
uint64_t hf_client_time_ms(struct hf_client *client);
struct hf_id hf_client_id(struct hf_client *client, uint16_t route);
/* 64 random bits. */
uint64_t hf_client_random(struct hf_client *client);
/* The shard whose session a command of this route belongs on, less than HF_CLIENT_SHARDS_MAX. */
enum { HF_CLIENT_SHARDS_MAX = 64 };
unsigned hf_client_shard(const struct hf_client *client, uint16_t route);

/* An empty batch for the shard, or NULL while all frames_max are in use: poll, then ask again. */
struct hf_batch *hf_client_batch(struct hf_client *client, unsigned shard);
/* The most that a batch may take now, header included: what the options say, and over datagrams what the path carries. A batch that turns
 * out too large for its path is called back with `refused` HF_TOO_LARGE. */
unsigned hf_client_frame_bytes_max(const struct hf_client *client);
/* Room for a command at the end of the batch, all zeros but length, opcode, version, line_count and ext_bytes (multiple of 8), for the
 * caller to fill in place before the next call; NULL when it does not fit, or when its answer might not. */
struct hf_command *hf_batch_add(struct hf_batch *batch, uint16_t opcode, uint16_t line_count, uint16_t ext_bytes);
/* Writes one extension (type, length, bytes, zeros) at `at` and returns where the next begins; hf_extension_bytes() is what it takes. */
uint8_t *hf_extension_put(uint8_t *at, uint16_t type, const void *bytes, uint16_t count);
static inline uint16_t hf_extension_bytes(uint16_t count)
{
    return (uint16_t)((4u + count + 7u) & ~7u);
}
static inline struct hf_line *hf_command_lines_rw(struct hf_command *command)
{
    return (struct hf_line *)(void *)(command + 1);
}
static inline uint8_t *hf_command_extensions_rw(struct hf_command *command)
{
    return (uint8_t *)(command + 1) + (size_t)command->line_count * sizeof(struct hf_line);
}
unsigned hf_batch_count(const struct hf_batch *batch);

/* Queues the batch; `done` is called exactly once, from hf_loop_poll() or hf_client_destroy(), and the batch is the client's again after
 * it. deadline_ns 0: that of the options. Returns 0 or HF_E_USAGE (empty: it is discarded, done is not called). Frames leave in the order
 * of submission within a shard, as the session's credits allow. */
int hf_client_submit(struct hf_client *client, struct hf_batch *batch, uint64_t deadline_ns,
                     void (*done)(void *context, const struct hf_reply *reply), void *context);
/* Gives back a batch that is not to be submitted. */
void hf_batch_discard(struct hf_batch *batch);

/* Submits and polls until the batch is answered. Answers are copied to `answers` (answer_bytes_max bytes, 8-byte aligned;
 * HF_FRAME_ANSWER_BYTES_MAX is always enough). 0, or an error; a frame refused as a whole is HF_E_CLOSED with *refused set. */
int hf_client_call(struct hf_client *client, struct hf_batch *batch, uint64_t deadline_ns, struct hf_answer *answers,
                   size_t answer_bytes_max, uint16_t *refused);

/* One sentence for a result: what it means and what to do. Static storage. */
const char *hf_result_advice(unsigned result);

#endif

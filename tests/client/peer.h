/* A small peer for the client's tests: plain sockets in a thread of its own, the protocol's frames, and as much misbehaviour as a test asks
 * for. */
#ifndef HF_TESTS_CLIENT_PEER_H
#define HF_TESTS_CLIENT_PEER_H

#include "client/holdfast.h"

struct peer;

enum peer_greeting { PEER_WELCOME, PEER_SILENCE, PEER_GARBAGE, PEER_BAD_CRC, PEER_REFUSE_BUSY };

struct peer_options {
    unsigned shards;  /* 0: 1. Each has a listener and a port */
    uint16_t credits; /* 0: 64 */
    enum peer_greeting greeting;
    unsigned break_after;    /* closes a connection once, when this many requests came in all, without answering the last */
    bool shards_unreachable; /* the ports of all shards but the first are named in WELCOME and refuse connections */
    bool unreachable;        /* its own port refuses connections, and nobody else can have it meanwhile */
    unsigned lose_request;   /* this request, counted over all, never came; those behind it overrun until it comes again */
    bool forget_sessions;    /* every HELLO gets a new session */
    bool mute;               /* takes requests, never answers */
    bool reverse;            /* answers what came in one read in reverse order */
    bool garbage_answers;    /* answers whose lengths do not add up */
    uint64_t engine_time_ns; /* of WELCOME; 0: the wall clock */
    /* Fills an answer: on entry 48 bytes long, OK. Returns its length. Runs on the peer's thread. */
    uint32_t (*answer)(void *context, const struct hf_command *command, struct hf_answer *answer);
    void *context;
};

struct peer_seen {
    uint64_t connections, hellos, resumed, requests, commands, bad_frames, misrouted;
    uint64_t repeated_numbers; /* a request number that came before on its session */
    uint64_t repeated_ids;     /* a command id that came before */
    uint64_t in_flight_max;    /* of one session, for a mute peer: requests without an answer */
    uint64_t bytes, frame_commands_max;
};

/* Starts it on free ports of 127.0.0.1. Never fails (a test without sockets is no test). */
struct peer *peer_start(const struct peer_options *options);
const char *peer_address(const struct peer *peer);
void peer_seen(struct peer *peer, struct peer_seen *out);
/* Changes how it behaves from now on. */
void peer_behave(struct peer *peer, const struct peer_options *options);
/* Closes every connection; its listeners stay. */
void peer_drop_all(struct peer *peer);
void peer_stop(struct peer *peer);

#endif

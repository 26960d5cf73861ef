/* The load generator behind `holdfast load`: C connections in one thread, each with up to F frames of up to B commands in flight.
 *
 * Commands are built in the frames' own memory and answers are read in the receive buffer. Between sends it sleeps in the kernel, since it
 * shares the machine with the engine and the engine's disk. One run at a time owns everything here. */
#ifndef HF_CLIENT_LOAD_H
#define HF_CLIENT_LOAD_H

#include "client/histogram.h"
#include "client/holdfast.h"
#include "client/trace.h"

struct hf_load_options {
    const char *server;
    const struct hf_trace *trace; /* NULL: synthetic */
    double speed;                 /* a trace's pace when there is no rate */
    uint64_t skus, lines, quantity;
    double zipf;
    unsigned connections, batch, inflight;
    bool has_rate;   /* rate 0: closed loop */
    double rate;     /* orders/s */
    double seconds;  /* 0: no end by time */
    uint64_t orders; /* 0: no end by count; with neither, a trace runs once */
    double settle_percent, cancel_percent;
    uint32_t ttl_ms;
    uint64_t seed;
    uint64_t first_number;    /* of each session's requests; 0: 1 */
    uint64_t linger_ns;       /* a frame that is not full waits this long for more orders */
    uint64_t warmup_ns;       /* answers before do not enter the latencies */
    uint64_t patience_ns;     /* ends the run when commands have waited this long and nothing was answered; 0: 30 s */
    const char *acked_path;   /* NULL: none */
    const volatile int *stop; /* not NULL: ends the run when it becomes nonzero */
};

struct hf_load_verbs {
    uint64_t sent, ok, refused;
};

struct hf_load_report {
    bool connected; /* at least once */
    bool silent;    /* the run ended because the server did not answer any more, though connected */
    uint64_t orders, granted, shorted, busy, refused[HF_RESULT_COUNT], repeated;
    uint64_t errors;     /* broken connections and protocol errors after the first connection */
    uint64_t unanswered; /* orders sent without an answer at the end */
    uint64_t unsent;     /* orders that were due and never sent, because all frames were in flight */
    uint64_t answered, frames, frames_resent, connections_made, sessions_resumed, sessions_replaced;
    uint64_t verbs_dropped;
    struct hf_load_verbs settle, result, ship, cancel;
    double seconds;
    struct hf_histogram response, service, granted_response;
    char error[256]; /* the last thing that went wrong, or "" */
};

/* 0 when the run came to its end (look at ->connected), HF_E_USAGE, HF_E_IO or HF_E_MEMORY with ->error. */
int hf_load_run(const struct hf_load_options *options, struct hf_load_report *report);

#endif

/* What a server counts: one array of counters a loop, written by the loop's thread alone, read by any. */
#ifndef HF_CONTROL_GRPC_COUNTERS_H
#define HF_CONTROL_GRPC_COUNTERS_H

enum hf_grpc_counter {
    HF_GRPC_CONNECTIONS_ACCEPTED,
    HF_GRPC_CONNECTIONS_CLOSED,
    HF_GRPC_CONNECTIONS_REFUSED,
    HF_GRPC_CONNECTIONS_FORBIDDEN,
    HF_GRPC_ACCEPT_ERRORS,
    HF_GRPC_BYTES_IN,
    HF_GRPC_BYTES_OUT,
    HF_GRPC_STREAMS,
    HF_GRPC_CALLS,
    HF_GRPC_HTTP_REQUESTS,
    HF_GRPC_MESSAGES_IN,
    HF_GRPC_MESSAGES_OUT,
    HF_GRPC_BAD_PREFACE,
    HF_GRPC_HANDSHAKE_TIMEOUTS,
    HF_GRPC_IDLE_TIMEOUTS,
    HF_GRPC_HEADER_TIMEOUTS,
    HF_GRPC_RECEIVE_TIMEOUTS,
    HF_GRPC_SEND_TIMEOUTS,
    HF_GRPC_KEEPALIVE_TIMEOUTS,
    HF_GRPC_AGED,
    HF_GRPC_GRACE_CUTS,
    HF_GRPC_HEADERS_TOO_LARGE,
    HF_GRPC_MESSAGES_TOO_LARGE,
    HF_GRPC_MESSAGES_TOO_DEEP,
    HF_GRPC_MEMORY_FULL,
    HF_GRPC_CALLS_FULL,
    HF_GRPC_PROTOCOL_ERRORS,
    HF_GRPC_RESET_FLOODS,
    HF_GRPC_CONTINUATION_FLOODS,
    HF_GRPC_SETTINGS_FLOODS,
    HF_GRPC_PING_FLOODS,
    HF_GRPC_FRAME_FLOODS,
    HF_GRPC_RESETS_RECEIVED,
    HF_GRPC_RESETS_SENT,
    HF_GRPC_COUNTERS
};

/* Name in snake case, and what it counts in one sentence; for a metrics page. Static. */
const char *hf_grpc_counter_name(enum hf_grpc_counter counter);
const char *hf_grpc_counter_help(enum hf_grpc_counter counter);

#endif

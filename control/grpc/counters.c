/* Names of the counters. */
#include "control/grpc/counters.h"

static const struct {
    const char *name, *help;
} HF_GRPC_COUNTER_TEXTS[HF_GRPC_COUNTERS] = {
    [HF_GRPC_CONNECTIONS_ACCEPTED] = {"connections_accepted", "Connections accepted."},
    [HF_GRPC_CONNECTIONS_CLOSED] = {"connections_closed", "Accepted connections that are closed again."},
    [HF_GRPC_CONNECTIONS_REFUSED] = {"connections_refused", "Connections closed at once because there were too many."},
    [HF_GRPC_CONNECTIONS_FORBIDDEN] = {"connections_forbidden", "Connections closed at once because of who was at the other end."},
    [HF_GRPC_ACCEPT_ERRORS] = {"accept_errors", "Failures to accept a connection, such as too many open files."},
    [HF_GRPC_BYTES_IN] = {"bytes_in", "Bytes read from connections."},
    [HF_GRPC_BYTES_OUT] = {"bytes_out", "Bytes written to connections."},
    [HF_GRPC_STREAMS] = {"streams", "HTTP streams begun."},
    [HF_GRPC_CALLS] = {"calls", "gRPC calls begun."},
    [HF_GRPC_HTTP_REQUESTS] = {"http_requests", "Requests begun that are not gRPC."},
    [HF_GRPC_MESSAGES_IN] = {"messages_in", "gRPC messages received whole."},
    [HF_GRPC_MESSAGES_OUT] = {"messages_out", "gRPC messages queued to be sent."},
    [HF_GRPC_BAD_PREFACE] = {"bad_preface", "Connections closed because they did not begin with the HTTP/2 preface."},
    [HF_GRPC_HANDSHAKE_TIMEOUTS] = {"handshake_timeouts", "Connections closed because their preface did not come in time."},
    [HF_GRPC_IDLE_TIMEOUTS] = {"idle_timeouts", "Connections closed because they had no stream for long."},
    [HF_GRPC_HEADER_TIMEOUTS] = {"header_timeouts", "Connections closed because a header block was not ended in time."},
    [HF_GRPC_RECEIVE_TIMEOUTS] = {"receive_timeouts", "Streams ended because a message was not sent whole in time."},
    [HF_GRPC_SEND_TIMEOUTS] = {"send_timeouts", "Streams and connections dropped because their reader took nothing for long."},
    [HF_GRPC_KEEPALIVE_TIMEOUTS] = {"keepalive_timeouts", "Connections closed because a ping was not answered."},
    [HF_GRPC_AGED] = {"aged", "Connections drained because of their age."},
    [HF_GRPC_GRACE_CUTS] = {"grace_cuts", "Drained connections closed before their streams had ended."},
    [HF_GRPC_HEADERS_TOO_LARGE] = {"headers_too_large", "Requests refused because of the size of their header list."},
    [HF_GRPC_MESSAGES_TOO_LARGE] = {"messages_too_large", "Calls ended because of the size of a request message."},
    [HF_GRPC_MESSAGES_TOO_DEEP] = {"messages_too_deep", "Calls ended because of the nesting of a request message."},
    [HF_GRPC_MEMORY_FULL] = {"memory_full", "Calls ended because the memory bound was reached."},
    [HF_GRPC_CALLS_FULL] = {"calls_full", "Calls refused because too many were in flight."},
    [HF_GRPC_PROTOCOL_ERRORS] = {"protocol_errors", "Invalid HTTP/2 frames received."},
    [HF_GRPC_RESET_FLOODS] = {"reset_floods", "Connections closed because of too many stream resets."},
    [HF_GRPC_CONTINUATION_FLOODS] = {"continuation_floods", "Connections closed because of too many CONTINUATION frames."},
    [HF_GRPC_SETTINGS_FLOODS] = {"settings_floods", "Connections closed because of too many SETTINGS frames."},
    [HF_GRPC_PING_FLOODS] = {"ping_floods", "Connections closed because of too many PING frames."},
    [HF_GRPC_FRAME_FLOODS] = {"frame_floods", "Connections closed because of too many frames that carry nothing."},
    [HF_GRPC_RESETS_RECEIVED] = {"resets_received", "Streams reset by clients."},
    [HF_GRPC_RESETS_SENT] = {"resets_sent", "Streams reset by the server because of what the client did."},
    [HF_GRPC_HTTP1_CONNECTIONS] = {"http1_connections", "Connections that spoke HTTP/1.1."},
    [HF_GRPC_HTTP1_ERRORS] = {"http1_errors", "Connections closed because of HTTP/1.1 that is malformed or ambiguous."},
    [HF_GRPC_HTTP_BODIES_TOO_LARGE] = {"http_bodies_too_large", "HTTP requests refused because of the size of their body."},
    [HF_GRPC_HTTP_BODIES_TOO_DEEP] = {"http_bodies_too_deep", "HTTP requests refused because of the nesting of their body."},
    [HF_GRPC_HTTP_BODIES_MALFORMED] = {"http_bodies_malformed", "HTTP requests refused because their body could not be read."},
    [HF_GRPC_HTTP_TYPES_REFUSED] = {"http_types_refused", "HTTP requests refused because of the content type of their body."},
    [HF_GRPC_HTTP_HOSTS_REFUSED] = {"http_hosts_refused", "HTTP requests refused because they named another host."},
    [HF_GRPC_HTTP_ORIGINS_REFUSED] = {"http_origins_refused", "HTTP requests refused because another site's page made them."},
};

const char *hf_grpc_counter_name(enum hf_grpc_counter counter)
{
    return HF_GRPC_COUNTER_TEXTS[counter].name;
}

const char *hf_grpc_counter_help(enum hf_grpc_counter counter)
{
    return HF_GRPC_COUNTER_TEXTS[counter].help;
}

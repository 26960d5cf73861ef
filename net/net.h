/* One shard's port: sessions, credits, answer cache, and the transports behind one small interface. Owned by the shard's thread alone.
 *
 * A REQUEST frame is copied once from the transport into private memory and handed to the shard as struct hf_request; it comes back with
 * its answers and leaves as one ANSWER frame. Everything is bounded by options; what does not fit is refused with a code and counted. */
#ifndef HF_NET_NET_H
#define HF_NET_NET_H

#include "wire/answer.h"
#include "wire/command.h"
#include "wire/error.h"
#include "wire/frame.h"
#include "wire/result.h"

#include <string.h>

struct hf_net;

/* What carries a session's frames. WELCOME names the ports of the session's own carrier. */
enum hf_carrier { HF_CARRIER_TCP, HF_CARRIER_UNIX, HF_CARRIER_UDP, HF_CARRIER_DPDK, HF_CARRIER_LOOPBACK, HF_CARRIERS };

/* The carrier that an address names by its scheme; HF_CARRIERS: none. */
static inline enum hf_carrier hf_carrier_of(const char *address)
{
    static const char *const schemes[HF_CARRIERS] = {[HF_CARRIER_TCP] = "tcp://",
                                                     [HF_CARRIER_UNIX] = "unix://",
                                                     [HF_CARRIER_UDP] = "udp://",
                                                     [HF_CARRIER_DPDK] = "dpdk://",
                                                     [HF_CARRIER_LOOPBACK] = "loopback://"};
    unsigned carrier = 0;
    while (carrier < HF_CARRIERS && strncmp(address, schemes[carrier], strlen(schemes[carrier])) != 0)
        carrier++;
    return (enum hf_carrier)carrier;
}

struct hf_net_options {
    const char *const
        *listen; /* tcp://HOST:PORT (port 0: any free one), unix://PATH, udp://HOST:PORT, dpdk://..., loopback://NAME[:PORT] for tests */
    unsigned listen_count;
    bool insecure_listen; /* non-loopback addresses are allowed */
    bool shared_port;     /* SO_REUSEPORT: several shards listen on it, shard 0 first: it is refused if another process does */
    bool one_by_one;      /* datagrams are received as on a kernel without a multishot receive of messages */
    unsigned shard, shard_count;
    uint32_t partitions;
    uint64_t retention_ms, term;
    bool async_durability;
    const char *dpdk_arguments;  /* more for DPDK's environment, blanks between them; NULL: none */
    unsigned sessions_max;       /* 0: 4096 */
    unsigned requests_max;       /* requests in flight at once; 0: 4096 */
    unsigned credits_max;        /* of one session; 0: 1024 */
    uint64_t answer_cache_bytes; /* ring of answers kept for resends and unsent ones; 0: 64 MiB, touched on use */
    uint64_t session_idle_ns;    /* a session without a connection for longer expires; 0: 60 s */
};

/* A request frame being served. Lent to the shard by hf_net_receive() until hf_net_answer(). */
struct hf_request {
    uint64_t session, number;
    uint8_t *commands; /* command_bytes of private, 8-byte aligned memory: command_count commands whose lengths were walked and fit */
    uint32_t command_bytes;
    uint16_t command_count;
    uint16_t left; /* shard's: commands without an answer. Set to command_count at receipt */
    uint8_t *
        answers; /* private, 8-byte aligned memory with room for hf_answer_bytes_max() of every command; the 64 bytes before it are net's */
    uint64_t position;       /* shard's: the log position this frame's answers wait for; 0 at receipt */
    uint64_t received_ns;    /* engine time passed to hf_net_receive() */
    struct hf_request *next; /* shard's, for its queues */
    void *connection;        /* net's */
    uint32_t slot;           /* net's */
    uint32_t session_index;  /* net's */
    uint64_t shard_words[4]; /* shard's */
};

/* Any thread may create; the one that first receives, flushes or waits owns the port from then on (io_uring binds to it), and it must have
 * ended, or be the caller, when the port is destroyed. 0, HF_E_USAGE (bad address; non-loopback without insecure_listen), HF_E_IO (port in
 * use: waits up to 5 s for it), HF_E_MEMORY. On failure hf_net_error() (thread's own) has the sentence. */
int hf_net_create(const struct hf_net_options *options, struct hf_net **out);
void hf_net_destroy(struct hf_net *net);
const char *hf_net_error(void);

/* The port that listener i got (host order), 1 for a unix socket, 0: none. */
uint16_t hf_net_port(const struct hf_net *net, unsigned listener);
/* Where unix listener i really is: a path too long for a socket has a short one instead. Of any other listener NULL. */
const char *hf_net_path(const struct hf_net *net, unsigned listener);
/* Ports of all shards, for the WELCOME of sessions on this carrier; copied. */
void hf_net_set_ports(struct hf_net *net, enum hf_carrier carrier, const uint16_t *ports, unsigned count);

/* Takes what the transports have and fills out[] with at most `max` new requests. `now_ns` is engine time. When `accept` is false
 * (draining, or no room), new requests are refused with `refuse_result`. Returns the count. */
unsigned hf_net_receive(struct hf_net *net, uint64_t now_ns, bool accept, uint16_t refuse_result, struct hf_request **out, unsigned max);

/* Every answer of the request is ready and durable: `answers` holds answer_count == command_count answers back to back in answer_bytes
 * bytes (compacted). The request goes back to net's pool. The connection may be gone: the answer is then kept for a resend. */
void hf_net_answer(struct hf_net *net, struct hf_request *request, uint32_t answer_bytes);

/* Submits what is queued to be sent, without waiting. Returns true when something was submitted. */
bool hf_net_flush(struct hf_net *net);

/* Submits what is queued, then waits in the kernel until something completes or timeout_ns passed. Each write to an eventfd that
 * hf_net_watch() was given ends the wait too; net never reads it, so its owner may or may not. Up to 3; 0, or HF_E_FULL. */
void hf_net_wait(struct hf_net *net, uint64_t timeout_ns);
int hf_net_watch(struct hf_net *net, int event_fd);

/* No request in flight and nothing unsent. */
bool hf_net_quiet(const struct hf_net *net);
/* Stops accepting connections (drain). */
void hf_net_stop_accepting(struct hf_net *net);

/* Packets of DPDK devices: each that came in is in one of the counts of the first two lines. */
struct hf_net_packets {
    uint64_t in, datagrams, arp_answered, neighbour_answered, echo_answered, neighbours_told;
    uint64_t not_ours, malformed, bad_checksum, fragments, unserved, held_back; /* dropped */
    uint64_t out, neighbours_asked, neighbours_confirmed;
    uint64_t no_neighbour, too_long, no_buffer, transmit_full; /* not sent */
    uint64_t handed_on, handed_on_full, taken_over;            /* to and from other shards; these count them in */
};

struct hf_net_status {
    uint64_t connections, sessions, accepted, closed, frames_in, frames_out, bytes_in, bytes_out, commands_in;
    uint64_t bad_frame, bad_crc, bad_version, too_large, credit_overrun, session_expired, resend_waiting, resend_answered, resend_lost;
    uint64_t datagrams_in, datagrams_unsent /* no room in the socket, or the path carries no such size */;
    uint64_t datagrams_overrun; /* that the socket had no room for */
    uint64_t datagrams_late;    /* old copies: of a request whose slot went on, of a HELLO from before the last one, of a BYE */
    uint64_t addresses_asked;   /* COOKIE sent */
    uint64_t addresses_changed, answers_too_large;
    uint64_t refused_busy, refused_sessions, slow_reader, half_frame_timeout, requests_in_flight, receive_buffers_short;
    struct hf_net_packets packets;
};
void hf_net_status(const struct hf_net *net, struct hf_net_status *out);

struct hf_net_counter {
    char name[40];
    uint64_t value;
};

/* What the process's DPDK devices say of themselves: link, queues, packet memory and the drivers' own counters, named devices.N.WHAT in the
 * order of their addresses. Fills out[] with at most `max`, and returns how many. One thread at a time, while their ports are there. */
unsigned hf_net_device_counters(struct hf_net_counter *out, unsigned max);

#endif

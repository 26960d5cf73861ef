/* What the files of a shard's port share: net.c has streams and what all sessions have in common, datagram.c has datagrams. Owned by the
 * shard's thread. */
#ifndef HF_NET_NET_P_H
#define HF_NET_NET_P_H

#include "net/net.h"
#include "net/outbox.h"
#include "net/request_pool.h"
#include "net/session.h"
#include "net/tail.h"
#include "net/transport.h"

enum {
    HF_NET_TRANSPORTS = 3,
    HF_NET_LISTENERS_MAX = 32,
    HF_DATAGRAM_RECENT = 1024, /* a power of two */
};

/* The state of datagrams that belongs to no session. */
struct hf_datagrams {
    uint64_t key[2];                     /* of cookies */
    uint64_t recent[HF_DATAGRAM_RECENT]; /* sessions opened last, by their cookie: a HELLO that comes twice opens one */
    struct hf_tail tail;                 /* from a request to its answer */
    uint32_t granted;                    /* credits of all datagram sessions */
};

struct hf_net {
    struct hf_event event; /* bytes of it that were not looked at yet; no bytes: none */
    struct hf_transport *event_transport;
    struct hf_transport *transports[HF_NET_TRANSPORTS];
    unsigned transport_count, turn;
    bool stopped; /* no new sessions */
    struct hf_outbox outbox;
    struct hf_sessions sessions;
    struct hf_request_pool requests;
    struct hf_connections connections;
    struct hf_datagrams datagrams;
    struct hf_net_status status;
    struct hf_welcome welcome;
    uint16_t ports[HF_CARRIERS][64];
    uint64_t now_ns, sweep_ns, session_idle_ns;
    unsigned listener_count;
    struct {
        struct hf_transport *transport;
        unsigned index;
    } listeners[HF_NET_LISTENERS_MAX];
};

/* What one hf_net_receive() fills. */
struct hf_intake {
    struct hf_request **out;
    unsigned count, max;
    uint16_t refuse_result;
    bool accept;
};

/* net.c. Composes a frame without answers in the outbox and queues it for the connection; its entry. */
uint64_t hf_net_reply(struct hf_net *net, struct hf_connection *connection, struct hf_frame head, const void *payload,
                      uint32_t payload_bytes);
/* The entry's frame for the connection, unless it is on its way there already. */
void hf_net_queue(struct hf_net *net, struct hf_connection *connection, uint64_t entry);
/* Counts a refusal by its result. */
void hf_net_count_refusal(struct hf_net *net, int result);
/* REFUSED about a frame with this header (NULL: about the connection), counted. Its entry. */
uint64_t hf_net_refuse(struct hf_net *net, struct hf_connection *connection, const struct hf_frame *head, int result);
/* A request whose slot was made waiting: handed to the shard, or refused. */
void hf_net_take_new(struct hf_net *net, struct hf_intake *intake, struct hf_session *session, const struct hf_frame *head,
                     const uint8_t *payload);

/* datagram.c. Cookies' key and the first estimate of the tail. */
void hf_datagrams_init(struct hf_datagrams *datagrams);
/* One datagram, as the transport gave it. */
void hf_datagram_take(struct hf_net *net, struct hf_intake *intake, struct hf_transport *transport, const struct hf_event *event);
/* Cuts the answer to a query that lists something down to a page of at most `bytes_max` bytes; its length, or 0 when that is impossible. */
uint32_t hf_datagram_page(struct hf_answer *answer, uint32_t bytes_max);
/* Ends the session of a datagram connection and gives both records back. */
void hf_datagram_end(struct hf_net *net, struct hf_connection *connection);

#endif

/* What carries bytes: connections, and the few things a shard's port asks of a transport. All of it belongs to the shard's thread.
 *
 * A transport is pulled: next() gives one event at a time, and the bytes of an event stay lent until release(). Sending is pulled too:
 * send() only says that the connection's queue in the outbox is no longer empty, the transport takes from it when it can. */
#ifndef HF_NET_TRANSPORT_H
#define HF_NET_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "net/address.h"

struct hf_net_status;
struct hf_outbox;
struct hf_transport;

#define HF_NONE UINT32_MAX
enum { HF_REPLY_BYTES_MAX = 240 };

/* Where a datagram came from, and the listener that took it in: answers leave by the same. Two are one peer when all bytes are equal. */
struct hf_peer {
    uint8_t address[16]; /* IPv6, or IPv4 as ::ffff:a.b.c.d */
    uint32_t scope;      /* of a link-local IPv6 address */
    uint16_t port;       /* host order */
    uint16_t listener;   /* the transport's number of it */
};

struct hf_connection {
    struct hf_transport *transport; /* NULL: free */
    uint32_t index;

    /* The outbox's: entries that wait to be sent, in order. */
    uint64_t unsent_first, unsent_last;
    uint32_t unsent_skip; /* bytes of the first that are gone already */

    /* The session layer's. */
    uint32_t session;
    uint32_t assembled; /* bytes of a frame of which the rest has not come */
    uint8_t *assembly;
    uint64_t since_ns; /* when the half frame, or the farewell, began; 0: neither */
    bool condemned;    /* what it still sends is thrown away; it is closed once its queue is empty */
    bool detached;     /* nothing more is queued for it */

    /* Of a datagram session, whose connection is no more than a proven address. */
    bool datagrams;
    uint32_t datagram_bytes; /* the path carries as much */
    struct hf_peer peer_address;
    uint64_t heard_ns;
    uint64_t cookie[2]; /* by which the address was proven */
    uint64_t client;    /* as HELLO named it */

    /* The transport's. */
    enum hf_carrier carrier;
    bool receiving, sending, queued, starved, gone;
    int fd;
    void *peer;
};

/* A fixed table of connections. */
struct hf_connections {
    struct hf_connection *all;
    uint32_t *free;
    uint32_t free_count, count;
};

int hf_connections_create(struct hf_connections *table, uint32_t count);
void hf_connections_destroy(struct hf_connections *table);
/* NULL when all are in use. */
struct hf_connection *hf_connections_take(struct hf_connections *table, struct hf_transport *transport);
void hf_connections_give(struct hf_connections *table, struct hf_connection *connection);

enum hf_event_kind { HF_EVENT_BYTES, HF_EVENT_CLOSED, HF_EVENT_DATAGRAM };

struct hf_event {
    enum hf_event_kind kind;
    uint32_t bytes;
    uint32_t buffer;                  /* the transport's */
    struct hf_connection *connection; /* NULL for a datagram */
    struct hf_peer from;              /* of a datagram */
    enum hf_carrier carrier;          /* of a datagram */
    const uint8_t *data;              /* lent until release() */
};

struct hf_transport_ops {
    void (*destroy)(struct hf_transport *transport);
    /* The next event, false when there is none now. After CLOSED the connection is the transport's alone. */
    bool (*next)(struct hf_transport *transport, struct hf_event *event);
    void (*release)(struct hf_transport *transport, const struct hf_event *event);
    /* A datagram connection's frames leave one in each datagram, to its peer_address; what cannot leave is lost and counted. */
    void (*send)(struct hf_transport *transport, struct hf_connection *connection);
    /* Of a transport of datagrams, else NULL: one frame to whoever sent, proven or not. Copied; `zeros` zeros follow it. At most
     * HF_REPLY_BYTES_MAX and HF_DATAGRAM_BYTES_MAX in all. */
    void (*reply)(struct hf_transport *transport, const struct hf_peer *to, const void *frame, uint32_t bytes, uint32_t zeros);
    /* Ends both directions at once; when it returns nothing of the outbox is read for this connection any more. CLOSED follows; of a
     * datagram connection the transport just forgets, and the caller gives the record back. */
    void (*shut)(struct hf_transport *transport, struct hf_connection *connection);
    bool (*flush)(struct hf_transport *transport);
    /* Flushes, then waits until something happens or the time is over. */
    void (*wait)(struct hf_transport *transport, uint64_t timeout_ns);
    int (*watch)(struct hf_transport *transport, int fd);
    uint16_t (*port)(const struct hf_transport *transport, unsigned listener);
    /* Of a unix listener, else NULL; the function may be NULL. */
    const char *(*path)(const struct hf_transport *transport, unsigned listener);
    void (*stop_accepting)(struct hf_transport *transport);
    /* Now and then: what failed for want of resources is tried again. */
    void (*tick)(struct hf_transport *transport);
    /* Brings what it counts by itself into its status; may be NULL. */
    void (*count)(struct hf_transport *transport);
};

struct hf_transport {
    const struct hf_transport_ops *ops;
    struct hf_outbox *outbox;
    struct hf_connections *connections;
    struct hf_net_status *status;
    enum hf_carrier carrier; /* of its connections, unless it says otherwise for one */
};

struct hf_transport_options {
    struct hf_outbox *outbox;
    struct hf_connections *connections;
    struct hf_net_status *status;
    bool insecure_listen;
    bool one_by_one;
    enum hf_sharing sharing;
    unsigned shard, shard_count;
    const char *const *listen; /* all addresses of the port, also other transports' */
    unsigned listen_count;
    const char *dpdk_arguments; /* see struct hf_net_options */
};

/* Each: 0 or an enum hf_error with hf_net_error() set; *out untouched on failure. listen() adds one address. */
int hf_uring_create(const struct hf_transport_options *options, struct hf_transport **out);
int hf_uring_listen(struct hf_transport *transport, const char *address);
int hf_loopback_create(const struct hf_transport_options *options, struct hf_transport **out);
int hf_loopback_listen(struct hf_transport *transport, const char *address);
/* Readable while a client of the loopback transport has given something. */
int hf_loopback_event_fd(const struct hf_transport *transport);

/* Sets the thread's sentence for hf_net_error() and returns `error`. */
__attribute__((format(printf, 2, 3))) int hf_net_fail(int error, const char *format, ...);

/* Zeroed pages, touched on use, with huge pages where the kernel has them and `huge` asks; NULL when refused. */
void *hf_pages_map(size_t bytes, bool huge);
void hf_pages_unmap(void *pages, size_t bytes);

#endif

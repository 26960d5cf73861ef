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

enum hf_event_kind { HF_EVENT_BYTES, HF_EVENT_CLOSED };

struct hf_event {
    enum hf_event_kind kind;
    uint32_t bytes;
    uint32_t buffer; /* the transport's */
    struct hf_connection *connection;
    const uint8_t *data; /* lent until release() */
};

struct hf_transport_ops {
    void (*destroy)(struct hf_transport *transport);
    /* The next event, false when there is none now. After CLOSED the connection is the transport's alone. */
    bool (*next)(struct hf_transport *transport, struct hf_event *event);
    void (*release)(struct hf_transport *transport, const struct hf_event *event);
    void (*send)(struct hf_transport *transport, struct hf_connection *connection);
    /* Ends both directions at once; when it returns nothing of the outbox is read for this connection any more. CLOSED follows. */
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
    enum hf_sharing sharing;
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

/* What the files of the io_uring transport share: the ring of a shard, its receive buffers, its listeners.
 *
 * uring.c has the ring and takes its completions apart; uring_stream.c serves TCP and unix connections, uring_udp.c datagrams. Owned by the
 * shard's thread. */
#ifndef HF_NET_URING_P_H
#define HF_NET_URING_P_H

#include <liburing.h>
#include <sys/socket.h>

#include "net/address.h"
#include "net/transport.h"

enum {
    HF_URING_ENTRIES = 1024,
    HF_URING_COMPLETIONS = 8192,
    HF_URING_REAP = 64,
    HF_URING_LISTENERS_MAX = 32,
    HF_URING_WATCHES_MAX = 4,
    HF_URING_SENDS = 128, /* prepared between two submissions */
    HF_URING_RANGES = 64, /* of one send */
    HF_URING_DATAGRAM_SENDS = 256,
};

enum hf_uring_kind {
    HF_URING_ACCEPT = 1,
    HF_URING_RECEIVE,
    HF_URING_SEND,
    HF_URING_WATCH,
    HF_URING_CANCEL,
    HF_URING_DATAGRAM,
    HF_URING_READABLE,
    HF_URING_DATAGRAM_SENT /* only of those that failed */
};

struct hf_udp;

struct hf_uring_listener {
    struct hf_socket socket;
    bool armed;
    bool six, readable; /* udp: of IPv6; may have something, where datagrams are read one by one */
    uint32_t overrun;   /* udp: datagrams that the socket had no room for, as far as counted */
};

struct hf_uring_send {
    struct msghdr message;
    struct iovec ranges[HF_URING_RANGES];
};

/* A ring of provided buffers. Few are given to the kernel until those are too few: what is used again is still in the cache. */
struct hf_uring_buffers {
    struct io_uring_buf_ring *ring;
    uint8_t *memory;
    uint16_t *spare; /* not given to the kernel */
    uint32_t bytes;  /* of one */
    unsigned count, spare_count, given, given_max;
    unsigned short group;
};

struct hf_uring {
    struct hf_transport transport;
    struct io_uring ring;
    bool ring_made, enabled, accepting;
    bool insecure_listen, one_by_one;
    enum hf_sharing sharing;
    struct hf_uring_listener listeners[HF_URING_LISTENERS_MAX];
    unsigned listener_count;
    int watches[HF_URING_WATCHES_MAX];
    bool watching[HF_URING_WATCHES_MAX]; /* armed */
    unsigned watch_count;
    struct hf_uring_buffers stream_buffers;

    struct io_uring_cqe *reaped[HF_URING_REAP];
    unsigned reaped_count, reaped_at;

    uint32_t *queue; /* connections with something to send */
    uint32_t queue_count;
    uint32_t *starved; /* connections that wait for a buffer to receive into */
    uint32_t starved_count;
    struct hf_uring_send *sends;
    struct hf_udp *udp; /* NULL: no udp listener */
    unsigned sends_prepared, datagrams_prepared;
};

static inline struct hf_uring *hf_uring_of(struct hf_transport *transport)
{
    return (struct hf_uring *)(void *)transport;
}

static inline uint64_t hf_uring_tag(enum hf_uring_kind kind, uint32_t index)
{
    return (uint64_t)kind << 32 | index;
}

static inline uint8_t *hf_uring_buffer(const struct hf_uring_buffers *buffers, unsigned id)
{
    return buffers->memory + (size_t)id * buffers->bytes;
}

/* uring.c. A free submission entry; the caller prepares it and then sets its tag (preparing clears it). */
struct io_uring_sqe *hf_uring_sqe(struct hf_uring *uring);
void hf_uring_submit(struct hf_uring *uring);
/* Gives the kernel as many as it may have now. */
void hf_uring_fill_buffers(struct hf_uring_buffers *buffers);
void hf_uring_return_buffer(struct hf_uring_buffers *buffers, unsigned id);
/* `count` is a power of two, `first` of them are given at first. 0, HF_E_MEMORY or HF_E_IO. */
int hf_uring_buffers_create(struct hf_uring *uring, struct hf_uring_buffers *buffers, unsigned count, unsigned first, uint32_t bytes,
                            unsigned short group);
void hf_uring_buffers_destroy(struct hf_uring_buffers *buffers);
/* The kernel ran out: from now on it gets twice as many. */
void hf_uring_want_buffers(struct hf_uring_buffers *buffers);

/* uring_stream.c */
void hf_uring_arm_accept(struct hf_uring *uring, unsigned listener);
void hf_uring_accepted(struct hf_uring *uring, unsigned listener, const struct io_uring_cqe *cqe);
/* Whether there is an event in it. */
bool hf_uring_received(struct hf_uring *uring, struct hf_connection *connection, const struct io_uring_cqe *cqe, struct hf_event *event);
void hf_uring_sent(struct hf_uring *uring, struct hf_connection *connection, int result);
void hf_uring_stream_released(struct hf_uring *uring, const struct hf_event *event);
/* Something was queued for the connection, or it is to be closed once its queue is empty. */
void hf_uring_queue(struct hf_uring *uring, struct hf_connection *connection);
void hf_uring_prepare_sends(struct hf_uring *uring);
void hf_uring_feed_starved(struct hf_uring *uring);

/* uring_udp.c */
int hf_uring_udp_create(struct hf_uring *uring);
void hf_uring_udp_destroy(struct hf_uring *uring);
void hf_uring_arm_datagrams(struct hf_uring *uring, unsigned listener);
/* Whether there is an event in it. */
bool hf_uring_datagram(struct hf_uring *uring, unsigned listener, const struct io_uring_cqe *cqe, struct hf_event *event);
void hf_uring_datagram_released(struct hf_uring *uring, const struct hf_event *event);
/* Where datagrams are read one by one: there are some; the next of any listener. */
void hf_uring_readable(struct hf_uring *uring, unsigned listener, const struct io_uring_cqe *cqe);
bool hf_uring_read_one(struct hf_uring *uring, struct hf_event *event);
/* The next of datagrams that came joined. */
bool hf_uring_cut(struct hf_uring *uring, struct hf_event *event);
/* Whether there may be datagrams without a completion. */
bool hf_uring_has_readable(const struct hf_uring *uring);
void hf_uring_prepare_datagrams(struct hf_uring *uring, struct hf_connection *connection);
void hf_uring_reply(struct hf_transport *transport, const struct hf_peer *to, const void *frame, uint32_t bytes, uint32_t zeros);
/* Adds what the kernel has dropped before it could be received. */
void hf_uring_count_overrun(struct hf_uring *uring);
void hf_uring_datagram_unsent(struct hf_uring *uring, int error);

#endif

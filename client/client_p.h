/* What the files of libholdfast share. One thread; see holdfast.h. */
#ifndef HF_CLIENT_CLIENT_P_H
#define HF_CLIENT_CLIENT_P_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "client/holdfast.h"
#include "client/random.h"

enum {
    HF_RECEIVE_BYTES = 1 << 18,                 /* one recv takes up to this much, over the loop's shared buffer */
    HF_SEND_FRAMES_MAX = 64,                    /* gathered by one sendmsg */
    HF_SESSIONS_MAX = 1 + HF_CLIENT_SHARDS_MAX, /* the main one, then one a shard */
    HF_ERROR_BYTES = 256,
    HF_SERVER_BYTES = 1040,
    HF_DATAGRAMS_MAX = 32, /* received at once */
};

enum hf_session_state { HF_SESSION_UNUSED = 0, HF_SESSION_WAITING, HF_SESSION_CONNECTING, HF_SESSION_GREETING, HF_SESSION_OPEN };
enum hf_batch_state {
    HF_BATCH_FREE = 0,
    HF_BATCH_FILLING,
    HF_BATCH_QUEUED,
    HF_BATCH_SENT,
    HF_BATCH_ABANDONED /* called back, slot still taken */
};

struct hf_batch {
    struct hf_batch *next; /* in the free list or a session's queue */
    struct hf_client *client;
    uint8_t *frame; /* header, then commands */
    uint32_t bytes;
    uint32_t answer_bytes; /* the most its answer frame can take */
    uint16_t count;
    uint8_t state;
    uint8_t shard;
    bool was_sent;
    uint8_t tries;    /* datagrams: how often it was sent under its number */
    uint64_t number;  /* serial of its request, once sealed */
    uint64_t session; /* for which it is sealed, else 0 */
    uint64_t submitted_ns, deadline_ns;
    uint64_t first_sent_ns, resend_at_ns; /* datagrams */
    void (*done)(void *context, const struct hf_reply *reply);
    void *context;
};

struct hf_session;

/* What carries datagrams: a UDP socket, or a port of another kind. A session's fd is readable when there is something to receive. */
struct hf_datagram_ops {
    /* Before the first session of a client whose loop stands: 0, or an enum hf_error with the sentence. NULL: nothing to do. */
    int (*start)(struct hf_client *client, char *error, size_t error_bytes);
    /* Sets the session's fd; 0 or an errno. */
    int (*open)(struct hf_session *session, const struct sockaddr_storage *address, socklen_t address_bytes);
    /* The largest frame that the path may carry, as far as is known here. */
    uint32_t (*bytes_max)(const struct hf_session *session);
    /* One datagram for each; copied. How many left, or minus an errno: EAGAIN no room now, EMSGSIZE too large for the path. */
    int (*send)(struct hf_session *session, struct iovec *frames, int count);
    /* Reads the clock and hands each datagram that came to hf_datagram_take(), in 8-byte aligned memory, until there is none or the
     * session's fd is closed. 0, or an errno. */
    int (*receive)(struct hf_session *session);
    void (*close)(struct hf_session *session);
};

extern const struct hf_datagram_ops hf_udp_ops;
extern const struct hf_datagram_ops hf_dpdk_ops; /* dpdk.c, where it is built */

/* What no descriptor tells of: looked at by every poll of its loop, and between two naps of one. */
struct hf_loop_device {
    /* Takes what came, reads the clock if there was something, and hands datagrams to hf_datagram_take(); how many. */
    unsigned (*poll)(struct hf_loop_device *device);
    void (*end)(struct hf_loop_device *device);
};

/* One connection's worth of a session. Serials in [send_number, next_number) are sealed and not yet written; slot = serial mod credits.
 * Serials count from 1, and stand for the numbers from `first` on. */
struct hf_session {
    struct hf_client *client;
    struct hf_session *dirty_next, *loop_next;
    int fd;
    uint8_t state;
    uint8_t shard;
    bool dirty, blocked /* the socket takes no more */, is_main;
    uint64_t id; /* 0: none */
    uint64_t first, next_number, send_number;
    uint32_t send_offset; /* bytes of frame send_number that left */
    uint16_t credits;
    unsigned slot_count; /* of slots[] */
    struct hf_batch **slots;
    struct hf_batch *queue_first, *queue_last;
    uint64_t deadline_first_ns; /* no batch here is due before */
    uint64_t retry_at_ns, attempt_ends_ns, backoff_ns;
    uint64_t astray_since_ns; /* a shard's: not open although the main one is; 0: not so */
    uint8_t *partial;         /* HF_FRAME_BYTES_MAX: the beginning of a frame whose end has not come */
    uint32_t partial_bytes;
    uint8_t hello[sizeof(struct hf_frame) + sizeof(struct hf_hello)];
    uint32_t hello_left;

    /* Of datagrams. */
    uint64_t cookie[2];      /* that proves this address; 0: none yet */
    uint32_t datagram_bytes; /* that the path carries, or is tried */
    uint16_t local_port;     /* of a device's session */
    bool hello_pending, joins_not /* the kernel does not cut messages on this path */;
    unsigned hello_tries;
    uint64_t hello_at_ns, hello_wait_ns; /* when HELLO is said (again), and how long after that once more */
    uint64_t heard_ns;
    uint64_t resend_at_ns; /* no batch is due before */
    uint64_t median_ns /* from first sending to answer */, resend_min_ns;
};

struct hf_loop {
    int epoll_fd;
    uint64_t now_ns, tick_at_ns;
    struct hf_session *sessions, *dirty;
    uint8_t *receive;              /* HF_RECEIVE_BYTES after room for a partial frame */
    uint8_t *datagrams;            /* HF_DATAGRAMS_MAX of HF_FRAME_BYTES_MAX, mapped; NULL until a client asks */
    struct hf_loop_device *device; /* NULL: none */
};

struct hf_client {
    struct hf_loop *loop;
    bool owns_loop;
    struct hf_client_options options;
    char server[HF_SERVER_BYTES];
    struct sockaddr_storage address;
    socklen_t address_bytes;
    const struct hf_datagram_ops *datagram_ops; /* NULL: a stream */
    struct hf_session *sessions[HF_SESSIONS_MAX];
    uint8_t session_of_shard[HF_CLIENT_SHARDS_MAX];
    struct hf_welcome welcome;
    bool welcomed;
    uint64_t welcome_at_ns;
    struct hf_random random;
    uint64_t number; /* names this client in the engine's log */
    struct hf_batch *batches, *free;
    uint8_t *frames;
    size_t frames_bytes;
    struct hf_client_status status;
    int last_error; /* of the last failed attempt or broken connection */
    char error[HF_ERROR_BYTES];
};

uint64_t hf_clock_ns(void);

/* address.c. tcp://HOST:PORT, udp://HOST:PORT, unix://PATH or dpdk://… into the client's address and what carries its datagrams: 0,
 * HF_E_USAGE with the sentence. */
int hf_address_parse(const char *text, struct hf_client *client, char *error, size_t error_bytes);
/* The same host or path, where WELCOME says that another shard listens. */
void hf_address_of_shard(struct sockaddr_storage *address, unsigned shard, uint16_t port);

/* client.c */
__attribute__((format(printf, 3, 4))) void hf_client_fail(struct hf_client *client, int error, const char *format, ...);
void hf_batch_finish(struct hf_batch *batch, struct hf_reply *reply);
void hf_batch_release(struct hf_batch *batch);
/* WELCOME of the main session: opens, maps and retires sessions. */
void hf_client_welcomed(struct hf_client *client, const struct hf_welcome *welcome);
/* Gives up a shard's session that does not come about while the main one is open: its commands take the main one. */
void hf_client_detour(struct hf_session *session, uint64_t now_ns);

/* session.c: the state of one session, without a socket's details */
struct hf_session *hf_session_create(struct hf_client *client, unsigned index);
void hf_session_destroy(struct hf_session *session);
void hf_session_enqueue(struct hf_session *session, struct hf_batch *batch);
/* Takes request numbers for as many queued batches as the credits allow and seals them. */
void hf_session_seal(struct hf_session *session);
/* A WELCOME came: go on with the same session or start over with a new one. */
void hf_session_welcome(struct hf_session *session, uint64_t id, uint16_t credits);
/* Every batch without an answer goes to the front of the queue as a new frame. */
void hf_session_requeue(struct hf_session *session);
/* Hands queued batches over to another session's queue. */
void hf_session_move(struct hf_session *from, struct hf_session *to);
/* Handles one whole frame: 0, or HF_E_PROTOCOL / HF_E_CLOSED with the client's sentence set. */
int hf_session_frame(struct hf_session *session, const struct hf_frame *frame);
void hf_session_deadlines(struct hf_session *session, uint64_t now_ns);

/* transport.c: its socket */
void hf_session_connect(struct hf_session *session);
void hf_session_event(struct hf_session *session, uint32_t events);
void hf_session_flush(struct hf_session *session);
void hf_session_disconnect(struct hf_session *session, uint64_t again_in_ns);
void hf_session_tick(struct hf_session *session, uint64_t now_ns);
void hf_session_touch(struct hf_session *session); /* will be flushed at the end of this poll */
void hf_session_goodbye(struct hf_session *session);

/* datagram.c: the same for a session over datagrams */
void hf_datagram_connect(struct hf_session *session, const struct sockaddr_storage *address, socklen_t address_bytes);
void hf_datagram_take(struct hf_session *session, void *datagram, size_t bytes);
void hf_datagram_event(struct hf_session *session, uint32_t events);
void hf_datagram_flush(struct hf_session *session);
void hf_datagram_tick(struct hf_session *session, uint64_t now_ns);
/* WELCOME came in a datagram of so many bytes: the path carries them, and what it says of sizes is cut to what was tried last. */
void hf_datagram_welcomed(struct hf_session *session, struct hf_welcome *welcome, uint32_t bytes);
void hf_datagram_answered(struct hf_session *session, const struct hf_batch *batch);

/* Fills the checksum of a frame whose length stands. */
void hf_frame_seal(struct hf_frame *frame);

#endif

/* The session table: who may send what number next, and what became of the numbers before. No I/O, no clock; owned by the shard's thread.
 *
 * The requests of a session are numbered from any number on, without 0, and begin again at 1 after 2^64 - 1; their serials, which count
 * from 1, are what is kept here.
 *
 * A session has `credits` slots; serial n lives in slot n mod credits until n + credits takes it over. A slot is waiting
 * (its request is being served), answered (the outbox may still hold the frame) or open: it was refused, or its answer is gone, and the
 * same number is judged anew. */
#ifndef HF_NET_SESSION_H
#define HF_NET_SESSION_H

#include "net/transport.h"

/* What a slot's `entry` is when it is not the number of an outbox entry. */
#define HF_SLOT_WAITING 0
#define HF_SLOT_OPEN    UINT64_MAX

struct hf_slot {
    uint64_t number; /* serial; 0: none yet */
    uint64_t entry;
};

struct hf_session {
    uint64_t id;    /* 0: free. Low 16 bits: index; the others random */
    uint64_t first; /* the number whose serial is 1 */
    uint64_t next;  /* serial of the next new request; of datagrams, beyond the latest */
    struct hf_connection *connection;
    uint64_t left_ns;      /* when its connection went */
    uint32_t older, newer; /* among those without a connection, by left_ns; HF_NONE: none */
    uint32_t index;
    uint16_t credits;
    bool datagrams; /* requests come in any order, and some never */
};

struct hf_sessions {
    struct hf_session *all;
    struct hf_slot *slots; /* credits_max for each session */
    uint32_t *free;
    uint32_t free_count, count, credits_max;
    uint32_t oldest, newest; /* without a connection */
    size_t slots_bytes;
};

enum hf_admission {
    HF_ADMIT_NEW,      /* the next number, or one that is judged anew */
    HF_ADMIT_LOST,     /* the same, and it had an answer that is gone */
    HF_ADMIT_WAITING,  /* a resend of a request that is being served */
    HF_ADMIT_ANSWERED, /* a resend, and *entry may be held */
    HF_ADMIT_OVERRUN,  /* not the next number, or the slot's last one has no answer yet */
    HF_ADMIT_PAST,     /* a number whose slot was taken over; of datagrams, the network may have kept it back for long */
};

/* `count` is at most 65,536. 0 or HF_E_MEMORY. */
int hf_sessions_create(struct hf_sessions *table, uint32_t count, uint32_t credits_max);
void hf_sessions_destroy(struct hf_sessions *table);

/* NULL when unknown. */
struct hf_session *hf_session_find(const struct hf_sessions *table, uint64_t id);
/* A new session; when the table is full the one that has been without a connection longest makes room. NULL: every one has its connection.
 */
struct hf_session *hf_session_open(struct hf_sessions *table, uint16_t credits_wanted, uint64_t first);
void hf_session_close(struct hf_sessions *table, struct hf_session *session);
/* Gives the session a connection, or takes it away (it then waits to be taken up again). */
void hf_session_attach(struct hf_sessions *table, struct hf_session *session, struct hf_connection *connection);
void hf_session_detach(struct hf_sessions *table, struct hf_session *session, uint64_t now_ns);
/* Closes those without a connection since before `before_ns`. */
void hf_sessions_expire(struct hf_sessions *table, uint64_t before_ns);

/* The serial of a request number other than 0. */
static inline uint64_t hf_session_serial(const struct hf_session *session, uint64_t number)
{
    return number - session->first + (number >= session->first);
}

/* Judges a serial and, for NEW and LOST, makes its slot waiting. *entry gets the slot's entry for ANSWERED. A stream's requests come in
 * order of their numbers. A datagram's slot takes its next serial whatever the other slots have; an answered request of which the answer is
 * gone is not made waiting, and one that was refused is not judged anew: the datagram may be a late copy, of which the client is not aware.
 */
enum hf_admission hf_session_admit(struct hf_sessions *table, struct hf_session *session, uint64_t serial, const struct hf_outbox *outbox,
                                   uint64_t *entry);
struct hf_slot *hf_session_slot(const struct hf_sessions *table, const struct hf_session *session, uint64_t serial);

#endif

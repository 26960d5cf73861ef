/* Everything a shard sends: one circular buffer in which frames are composed, from which they are sent, and in which answers stay for
 * resends until they are overwritten.
 *
 * Frames are entries numbered from 1. The oldest go first when room is needed; an entry that its connection has not taken yet then tells of
 * a slow reader, and the connection is given up (the caller's function, before the memory is used again). So memory is bounded whatever the
 * clients do. Owned by the shard's thread. */
#ifndef HF_NET_OUTBOX_H
#define HF_NET_OUTBOX_H

#include "net/transport.h"

struct hf_outbox_entry {
    uint64_t at;   /* free-running byte offset */
    uint64_t next; /* of the same connection's queue; 0: the last */
    uint32_t bytes;
    uint32_t connection; /* index of the one that is still to get it; HF_NONE: nobody */
};

struct hf_outbox {
    uint8_t *bytes;
    struct hf_outbox_entry *entries;
    uint64_t bytes_mask, entries_mask;
    uint64_t head;        /* free-running offset of the next byte to write */
    uint64_t first, next; /* numbers of the oldest entry kept and of the next one */
    uint64_t unsent;      /* entries that wait for a connection */
    struct hf_connections *connections;
    /* Called for the connection of an unsent entry that must give way; ends with hf_outbox_forget() of it. */
    void (*give_up)(void *context, struct hf_connection *connection);
    void *context;
};

/* `bytes` is rounded up to a power of two of at least 1 MiB. 0 or HF_E_MEMORY. */
int hf_outbox_create(struct hf_outbox *outbox, uint64_t bytes, struct hf_connections *connections);
void hf_outbox_destroy(struct hf_outbox *outbox);

/* Room for a frame of `bytes` (a multiple of 8, at most 64 KiB), 8-byte aligned and contiguous; *number gets its entry. Never fails. */
void *hf_outbox_append(struct hf_outbox *outbox, uint32_t bytes, uint64_t *number);
/* Whether the entry's bytes are still there. */
bool hf_outbox_holds(const struct hf_outbox *outbox, uint64_t number);
/* Puts an entry that is held at the end of a connection's queue; false if it waits in a queue already. */
bool hf_outbox_queue(struct hf_outbox *outbox, uint64_t number, struct hf_connection *connection);
/* Up to `max` ranges of what the connection is to get, neighbours merged; returns their count. */
unsigned hf_outbox_gather(const struct hf_outbox *outbox, const struct hf_connection *connection, struct iovec *ranges, unsigned max);
/* The same with a range for each frame, none of which was begun. */
unsigned hf_outbox_gather_frames(const struct hf_outbox *outbox, const struct hf_connection *connection, struct iovec *ranges,
                                 unsigned max);
/* The first `bytes` of the queue are sent. */
void hf_outbox_sent(struct hf_outbox *outbox, struct hf_connection *connection, size_t bytes);
/* Empties the queue; the frames stay for resends. */
void hf_outbox_forget(struct hf_outbox *outbox, struct hf_connection *connection);

#endif

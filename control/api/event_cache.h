/* Pieces of the log that were read, and their records as packed messages: read and packed once for all followers that come by.
 *
 * Threads: the loop's. Memory: bounded by the number of chunks, each of at most HF_EVENT_RAW_BYTES of log and what that packs to; taken
 * when it is first needed and kept. */
#ifndef HF_CONTROL_API_EVENT_CACHE_H
#define HF_CONTROL_API_EVENT_CACHE_H

#include "control/api/event_message.h"

enum {
    HF_EVENT_RAW_BYTES = HF_ADMIN_ANSWER_BYTES_MAX,
    HF_EVENT_ENTRIES_MAX = HF_EVENT_RAW_BYTES / (sizeof(struct hf_follow_head) + sizeof(struct hf_record) + sizeof(struct hf_command)) + 1,
};

struct hf_event_entry {
    uint64_t end, term;  /* position behind the record; the term it was written in */
    uint32_t at, bytes;  /* packed, as an element of FollowResponse.events */
    uint32_t raw, asked; /* where record and command stand */
};

struct hf_event_chunk {
    uint64_t from, to; /* whoever stands at from or behind it, and before to, goes on here */
    uint64_t used;
    uint32_t count, raw_bytes;
    size_t packed_bytes, packed_room;
    uint8_t *raw, *packed;
    struct hf_event_entry entries[HF_EVENT_ENTRIES_MAX];
};

struct hf_event_cache {
    struct hf_event_chunk **chunks; /* NULL: not taken yet */
    unsigned chunk_count;
    struct hf_event_chunk *newest;
    uint64_t uses;
    struct hf_event_room *room;
};

/* HF_E_MEMORY. */
int hf_event_cache_create(struct hf_event_cache *cache, unsigned chunk_count);
void hf_event_cache_destroy(struct hf_event_cache *cache);

/* NULL: what comes behind `position` is not here. */
struct hf_event_chunk *hf_event_cache_find(struct hf_event_cache *cache, uint64_t position);
/* The records of a FOLLOW that was asked from `from`, at least one. They join the newest chunk if they follow it and fit, else they take
 * the place of the chunk that was not used for longest. HF_E_MEMORY; HF_E_DAMAGED: not of a known form. */
int hf_event_cache_add(struct hf_event_cache *cache, uint64_t from, const struct hf_answer *answer);

/* The first of the chunk's entries that ends behind `position`; chunk->count: none. */
uint32_t hf_event_chunk_after(const struct hf_event_chunk *chunk, uint64_t position);
/* Whether `position` lies within a record of the chunk: nobody's cursor does. */
bool hf_event_chunk_splits(const struct hf_event_chunk *chunk, uint64_t position);
/* The term of the record behind `position`; UINT64_MAX: there is none. */
uint64_t hf_event_chunk_term(const struct hf_event_chunk *chunk, uint64_t position);
bool hf_event_chunk_wanted(const struct hf_event_chunk *chunk, const struct hf_event_entry *entry, const struct hf_event_filter *filter);

#endif

#include "control/api/event_cache.h"

#include "wire/error.h"
#include "wire/record_check.h"

#include <stdlib.h>

/* Field 1, of bytes: protobuf's "tag", then the length as a varint, then the message. */
enum { HF_EVENT_TAG = 1 << 3 | 2, HF_EVENT_HEAD_BYTES_MAX = 6 };

int hf_event_cache_create(struct hf_event_cache *cache, unsigned chunk_count)
{
    *cache = (struct hf_event_cache){.chunk_count = chunk_count};
    cache->chunks = calloc(chunk_count, sizeof(struct hf_event_chunk *));
    cache->room = hf_event_room_create();
    return cache->chunks && cache->room ? 0 : HF_E_MEMORY;
}

void hf_event_cache_destroy(struct hf_event_cache *cache)
{
    for (unsigned i = 0; cache->chunks && i < cache->chunk_count; i++) {
        if (!cache->chunks[i])
            continue;
        free(cache->chunks[i]->raw);
        free(cache->chunks[i]->packed);
        free(cache->chunks[i]);
    }
    free(cache->chunks);
    hf_event_room_destroy(cache->room);
}

struct hf_event_chunk *hf_event_cache_find(struct hf_event_cache *cache, uint64_t position)
{
    for (unsigned i = 0; i < cache->chunk_count; i++) {
        struct hf_event_chunk *chunk = cache->chunks[i];
        if (chunk && chunk->from <= position && position < chunk->to) {
            chunk->used = ++cache->uses;
            return chunk;
        }
    }
    return NULL;
}

uint32_t hf_event_chunk_after(const struct hf_event_chunk *chunk, uint64_t position)
{
    uint32_t low = 0, high = chunk->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (chunk->entries[middle].end > position)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

bool hf_event_chunk_splits(const struct hf_event_chunk *chunk, uint64_t position)
{
    uint32_t i = hf_event_chunk_after(chunk, position);
    if (i == chunk->count)
        return false;
    const struct hf_record *record = (const struct hf_record *)(const void *)(chunk->raw + chunk->entries[i].raw);
    return chunk->entries[i].end - record->length < position;
}

uint64_t hf_event_chunk_term(const struct hf_event_chunk *chunk, uint64_t position)
{
    uint32_t i = hf_event_chunk_after(chunk, position);
    return i < chunk->count ? chunk->entries[i].term : UINT64_MAX;
}

bool hf_event_chunk_wanted(const struct hf_event_chunk *chunk, const struct hf_event_entry *entry, const struct hf_event_filter *filter)
{
    return hf_event_wanted(filter, (const struct hf_record *)(const void *)(chunk->raw + entry->raw),
                           (const struct hf_command *)(const void *)(chunk->raw + entry->asked));
}

/* ---- filling ---- */

static struct hf_event_chunk *hf_event_chunk_create(void)
{
    struct hf_event_chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk)
        chunk->raw = aligned_alloc(8, HF_EVENT_RAW_BYTES);
    if (chunk && chunk->raw)
        return chunk;
    free(chunk);
    return NULL;
}

static struct hf_event_chunk *hf_event_cache_oldest(struct hf_event_cache *cache)
{
    struct hf_event_chunk *oldest = NULL;
    for (unsigned i = 0; i < cache->chunk_count; i++) {
        if (!cache->chunks[i])
            return cache->chunks[i] = hf_event_chunk_create();
        if (!oldest || cache->chunks[i]->used < oldest->used)
            oldest = cache->chunks[i];
    }
    return oldest;
}

/* A chunk whose `to` is `from`, with room for that much more. */
static struct hf_event_chunk *hf_event_cache_open(struct hf_event_cache *cache, uint64_t from, uint32_t bytes)
{
    struct hf_event_chunk *chunk = cache->newest;
    if (chunk && chunk->to == from && HF_EVENT_RAW_BYTES - chunk->raw_bytes >= bytes)
        return chunk;
    chunk = hf_event_cache_oldest(cache);
    if (!chunk)
        return NULL;
    chunk->from = chunk->to = from;
    chunk->count = chunk->raw_bytes = 0;
    chunk->packed_bytes = 0;
    return chunk;
}

static bool hf_event_chunk_reserve(struct hf_event_chunk *chunk, size_t bytes)
{
    size_t room = chunk->packed_room ? chunk->packed_room : HF_EVENT_RAW_BYTES;
    while (room - chunk->packed_bytes < bytes)
        room *= 2;
    if (room == chunk->packed_room)
        return true;
    uint8_t *packed = realloc(chunk->packed, room);
    if (!packed)
        return false;
    chunk->packed = packed;
    chunk->packed_room = room;
    return true;
}

static bool hf_event_chunk_pack(struct hf_event_chunk *chunk, const struct hf_event_room *room, struct hf_event_entry *entry)
{
    size_t bytes = hf_event_bytes(room);
    if (!hf_event_chunk_reserve(chunk, bytes + HF_EVENT_HEAD_BYTES_MAX))
        return false;
    uint8_t *begin = chunk->packed + chunk->packed_bytes, *at = begin;
    *at++ = HF_EVENT_TAG;
    size_t left = bytes;
    for (; left >= 128; left >>= 7)
        *at++ = (uint8_t)(left | 128);
    *at++ = (uint8_t)left;
    hf_event_pack(room, at);
    at += bytes;
    entry->at = (uint32_t)chunk->packed_bytes;
    entry->bytes = (uint32_t)(at - begin);
    chunk->packed_bytes += entry->bytes;
    return true;
}

/* One record behind its head, at chunk->raw + at. */
static int hf_event_chunk_take(struct hf_event_chunk *chunk, struct hf_event_room *room, uint32_t at, uint32_t end)
{
    const struct hf_follow_head *head = (const struct hf_follow_head *)(const void *)(chunk->raw + at);
    const struct hf_record *record = (const struct hf_record *)(const void *)(head + 1);
    const struct hf_command *command;
    if (end - at <= sizeof *head || !hf_record_check(record, end - at - sizeof *head, &command) || chunk->count == HF_EVENT_ENTRIES_MAX ||
        !hf_event_make(room, head, record, command))
        return HF_E_DAMAGED;
    struct hf_event_entry *entry = &chunk->entries[chunk->count];
    *entry = (struct hf_event_entry){.end = head->end_position,
                                     .term = head->term,
                                     .raw = at + (uint32_t)sizeof *head,
                                     .asked = (uint32_t)((const uint8_t *)command - chunk->raw)};
    if (!hf_event_chunk_pack(chunk, room, entry))
        return HF_E_MEMORY;
    chunk->count++;
    chunk->to = head->end_position;
    return (int)(sizeof *head + record->length);
}

int hf_event_cache_add(struct hf_event_cache *cache, uint64_t from, const struct hf_answer *answer)
{
    uint32_t bytes = answer->length - (uint32_t)sizeof *answer;
    struct hf_event_chunk *chunk = hf_event_cache_open(cache, from, bytes);
    if (!chunk)
        return HF_E_MEMORY;
    uint32_t at = chunk->raw_bytes, end = at + bytes;
    memcpy(chunk->raw + at, answer + 1, bytes);
    cache->newest = chunk;
    chunk->used = ++cache->uses;
    while (at < end) {
        int taken = hf_event_chunk_take(chunk, cache->room, at, end);
        if (taken < 0) {
            chunk->raw_bytes = at;
            return taken;
        }
        at += (uint32_t)taken;
    }
    chunk->raw_bytes = end;
    return 0;
}

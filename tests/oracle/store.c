#include "tests/oracle/oracle_p.h"

#include <stdlib.h>

struct hf_chunk {
    struct hf_chunk *next;
    size_t used, bytes;
    uint64_t memory[];
};

enum { CHUNK_BYTES = 1 << 18 };

void *hf_oracle_take(struct hf_oracle *oracle, size_t bytes)
{
    struct hf_chunk *chunk = oracle->chunks;
    bytes = (bytes + 15) & ~(size_t)15;
    if (!chunk || chunk->bytes - chunk->used < bytes) {
        size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        chunk = calloc(1, sizeof *chunk + room);
        if (!chunk)
            abort(); /* a test without memory has nothing to say */
        chunk->bytes = room;
        chunk->next = oracle->chunks;
        oracle->chunks = chunk;
    }
    void *at = (uint8_t *)chunk->memory + chunk->used;
    chunk->used += bytes;
    return at;
}

void hf_oracle_give_all(struct hf_oracle *oracle)
{
    while (oracle->chunks) {
        struct hf_chunk *next = oracle->chunks->next;
        free(oracle->chunks);
        oracle->chunks = next;
    }
}

void hf_model_store_open(struct hf_store *store, struct hf_oracle *oracle, size_t value_bytes)
{
    *store = (struct hf_store){.oracle = oracle, .value_bytes = value_bytes, .buckets = 64};
    store->bucket = calloc(store->buckets, sizeof(struct hf_entry *));
    if (!store->bucket)
        abort();
}

void hf_model_store_close(struct hf_store *store)
{
    free(store->bucket);
    store->bucket = NULL;
}

static uint64_t key_hash(const struct hf_key *key)
{
    uint64_t h = 0x9E3779B97F4A7C15ull;
    for (int i = 0; i < 5; i++) {
        h = (h ^ key->word[i]) * 0xD6E8FEB86659FD93ull;
        h ^= h >> 32;
    }
    return h;
}

static bool key_equal(const struct hf_key *a, const struct hf_key *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

struct hf_entry *hf_model_store_entry(const struct hf_store *store, const struct hf_key *key)
{
    struct hf_entry *entry = store->bucket[key_hash(key) & (store->buckets - 1)];
    while (entry && !key_equal(&entry->key, key))
        entry = entry->chain;
    return entry;
}

const void *hf_model_store_at(const struct hf_store *store, const struct hf_key *key, uint64_t position)
{
    const struct hf_entry *entry = hf_model_store_entry(store, key);
    const struct hf_state *state = entry ? entry->newest : NULL;
    while (state && state->position > position)
        state = state->older;
    return state && !state->gone ? state->value : NULL;
}

static void grow(struct hf_store *store)
{
    uint64_t buckets = store->buckets * 2;
    struct hf_entry **bucket = calloc(buckets, sizeof(struct hf_entry *));
    if (!bucket)
        abort();
    for (struct hf_entry *entry = store->first; entry; entry = entry->next) {
        uint64_t at = key_hash(&entry->key) & (buckets - 1);
        entry->chain = bucket[at];
        bucket[at] = entry;
    }
    free(store->bucket);
    store->bucket = bucket;
    store->buckets = buckets;
}

static struct hf_entry *entry_make(struct hf_store *store, const struct hf_key *key)
{
    if (store->entries >= store->buckets)
        grow(store);
    struct hf_entry *entry = hf_oracle_take(store->oracle, sizeof *entry), **at = &store->bucket[key_hash(key) & (store->buckets - 1)];
    entry->key = *key;
    entry->chain = *at;
    *at = entry;
    if (store->last)
        store->last->next = entry;
    else
        store->first = entry;
    store->last = entry;
    store->entries++;
    return entry;
}

/* States that no view looks at any more: all below the newest one that is not above keep_from. */
static void drop_old(struct hf_store *store, struct hf_state *newest)
{
    while (newest && newest->position > store->oracle->keep_from)
        newest = newest->older;
    if (!newest)
        return;
    struct hf_state *old = newest->older;
    newest->older = NULL;
    while (old) {
        struct hf_state *older = old->older;
        old->older = store->spare;
        store->spare = old;
        old = older;
    }
}

static struct hf_state *state_make(struct hf_store *store)
{
    struct hf_state *state = store->spare;
    if (state)
        store->spare = state->older;
    else
        state = hf_oracle_take(store->oracle, sizeof *state + store->value_bytes);
    return state;
}

static struct hf_state *write_state(struct hf_store *store, const struct hf_key *key)
{
    struct hf_entry *entry = hf_model_store_entry(store, key);
    if (!entry)
        entry = entry_make(store, key);
    struct hf_state *old = entry->newest, *state = old;
    if (!old || (store->oracle->options.history && old->position != store->oracle->applying)) {
        state = state_make(store);
        state->older = old;
        if (old)
            memcpy(state->value, old->value, store->value_bytes);
        entry->newest = state;
        state->position = store->oracle->applying;
        drop_old(store, state);
    }
    if (!old || old->gone) {
        memset(state->value, 0, store->value_bytes);
        store->live++;
    }
    state->position = store->oracle->applying;
    state->gone = false;
    return state;
}

void *hf_model_store_write(struct hf_store *store, const struct hf_key *key)
{
    return write_state(store, key)->value;
}

void hf_model_store_remove(struct hf_store *store, const struct hf_key *key)
{
    write_state(store, key)->gone = true;
    store->live--;
}

void hf_model_store_cut(struct hf_store *store, uint64_t position)
{
    store->live = 0;
    for (struct hf_entry *entry = store->first; entry; entry = entry->next) {
        while (entry->newest && entry->newest->position > position) {
            struct hf_state *state = entry->newest;
            entry->newest = state->older;
            state->older = store->spare;
            store->spare = state;
        }
        store->live += entry->newest && !entry->newest->gone;
    }
}

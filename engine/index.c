#include "engine/index.h"

void hf_index_init(struct hf_index *index, struct hf_index_bucket *buckets, struct hf_index_bucket *overflow, uint32_t buckets_first)
{
    assert(buckets_first > 0 && (buckets_first & (buckets_first - 1)) == 0);
    *index = (struct hf_index){.buckets = buckets, .overflow = overflow, .mask = buckets_first - 1};
}

static uint32_t overflow_take(struct hf_index *index)
{
    struct hf_index_spares *spares = hf_index_spares(index);
    uint32_t at = spares->free;
    if (at != 0)
        spares->free = index->overflow[at].next;
    else
        at = ++spares->used;
    spares->live++;
    index->overflow[at].count = index->overflow[at].next = 0;
    return at;
}

static void overflow_give(struct hf_index *index, uint32_t at)
{
    struct hf_index_spares *spares = hf_index_spares(index);
    index->overflow[at].next = spares->free;
    index->overflow[at].count = 0;
    spares->free = at;
    spares->live--;
}

static void chain_append(struct hf_index *index, struct hf_index_bucket *bucket, uint32_t hash, uint32_t slot)
{
    while (bucket->next != 0)
        bucket = &index->overflow[bucket->next];
    if (bucket->count == HF_BUCKET_ENTRIES) {
        bucket->next = overflow_take(index);
        bucket = &index->overflow[bucket->next];
    }
    bucket->tag[bucket->count] = hash;
    bucket->slot[bucket->count++] = slot;
}

/* Deals the entries of bucket `split` out to itself and to the bucket that the index grows by. */
static void index_grow(struct hf_index *index)
{
    uint32_t width = index->mask + 1;
    struct hf_index_bucket *low = &index->buckets[index->split], *high = &index->buckets[index->split + width];
    struct hf_index_bucket part = *low;
    low->count = low->next = 0;
    high->count = high->next = 0;
    for (;;) {
        for (uint32_t i = 0; i < part.count; i++)
            chain_append(index, part.tag[i] & width ? high : low, part.tag[i], part.slot[i]);
        if (part.next == 0)
            break;
        uint32_t at = part.next;
        part = index->overflow[at];
        overflow_give(index, at);
    }
    if (++index->split == width) {
        index->mask = index->mask * 2 + 1;
        index->split = 0;
    }
}

void hf_index_insert(struct hf_index *index, uint32_t hash, uint32_t slot)
{
    struct hf_index_bucket *bucket = &index->buckets[hf_index_bucket_of(index->mask, index->split, hash)];
    if (__builtin_expect(bucket->count < HF_BUCKET_ENTRIES, 1)) {
        bucket->tag[bucket->count] = hash;
        bucket->slot[bucket->count++] = slot;
    } else {
        chain_append(index, bucket, hash, slot);
    }
    if (++index->rows > (uint64_t)HF_BUCKET_LOAD * (index->mask + 1ull + index->split))
        index_grow(index);
}

void hf_index_erase(struct hf_index *index, uint32_t hash, uint32_t slot)
{
    struct hf_index_bucket *bucket = &index->buckets[hf_index_bucket_of(index->mask, index->split, hash)], *before = NULL;
    uint32_t i = 0;
    while (i >= bucket->count || bucket->slot[i] != slot) {
        if (++i < bucket->count)
            continue;
        assert(bucket->next != 0);
        before = bucket;
        bucket = &index->overflow[bucket->next];
        i = 0;
    }
    struct hf_index_bucket *last = bucket;
    for (; last->next != 0; last = &index->overflow[last->next])
        before = last;
    last->count--;
    bucket->tag[i] = last->tag[last->count];
    bucket->slot[i] = last->slot[last->count];
    if (last->count == 0 && before != NULL) {
        overflow_give(index, before->next);
        before->next = 0;
    }
    index->rows--;
}

uint32_t hf_index_chain_max(const struct hf_index *index)
{
    uint32_t longest = 0;
    for (uint64_t i = 0; i < index->mask + 1ull + index->split; i++) {
        uint32_t length = 1;
        for (const struct hf_index_bucket *b = &index->buckets[i]; b->next != 0; b = &index->overflow[b->next])
            length++;
        longest = length > longest ? length : longest;
    }
    return longest;
}

/* The numbers in an answer to STATUS, by name: what Admin's typed answers and the metrics are made of.
 *
 * Threads: pure. Memory: nothing is kept. */
#ifndef HF_CONTROL_API_NUMBERS_H
#define HF_CONTROL_API_NUMBERS_H

#include "wire/answer.h"

/* The shard number of what is the node's. */
enum { HF_NUMBERS_NODE = 0xffffffff };

/* One number and where it goes: a uint64_t at `offset` of the caller's structure. */
struct hf_number_place {
    const char *name;
    size_t offset;
};

/* The stages of a shard's loop as they stand in its numbers' names, by their numbers; the last is the whole turn. */
#define HF_STAGE_NAMES "receive", "run", "sweep", "drain", "answer", "flush", "turn"
enum { HF_STAGES = 7 };

/* The upper bounds of a stage's buckets as they stand in its numbers' names, and in ns: each is four times the one before. */
#define HF_STAGE_BUCKET_NAMES \
    "le_1us", "le_4us", "le_16us", "le_66us", "le_262us", "le_1ms", "le_4ms", "le_17ms", "le_67ms", "le_268ms", "le_1074ms", "more"
enum { HF_STAGE_BOUND_FIRST_NS = 1024, HF_STAGE_BOUND_STEP = 4 };

/* Whether the item has this name. */
bool hf_number_is(const struct hf_counter_item *item, const char *name);

/* The items of one shard (or the node), which stand together: how many, and the first one in *out. */
unsigned hf_numbers_of(const struct hf_answer *answer, uint32_t shard, const struct hf_counter_item **out);

/* One number; 0 where it is not among the items. */
uint64_t hf_numbers_get(const struct hf_counter_item *items, unsigned count, const char *name);

/* Puts every number that `places` names into `out`; what is not among the items stays as it is. */
void hf_numbers_fill(const struct hf_counter_item *items, unsigned count, const struct hf_number_place *places, unsigned place_count,
                     void *out);

/* The shards of an answer: the first one's number in *first; 0 when it holds none. */
unsigned hf_numbers_shards(const struct hf_answer *answer, uint32_t *first);

#endif

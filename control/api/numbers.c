#include "control/api/numbers.h"

#include <string.h>

static const struct hf_counter_item *hf_numbers_items(const struct hf_answer *answer)
{
    return (const struct hf_counter_item *)(const void *)(answer + 1);
}

bool hf_number_is(const struct hf_counter_item *item, const char *name)
{
    return strncmp(item->name, name, sizeof item->name) == 0;
}

unsigned hf_numbers_of(const struct hf_answer *answer, uint32_t shard, const struct hf_counter_item **out)
{
    const struct hf_counter_item *items = hf_numbers_items(answer);
    unsigned first = 0, end;
    while (first < answer->item_count && items[first].shard != shard)
        first++;
    for (end = first; end < answer->item_count && items[end].shard == shard; end++)
        ;
    *out = items + first;
    return end - first;
}

uint64_t hf_numbers_get(const struct hf_counter_item *items, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (hf_number_is(&items[i], name))
            return items[i].value;
    return 0;
}

void hf_numbers_fill(const struct hf_counter_item *items, unsigned count, const struct hf_number_place *places, unsigned place_count,
                     void *out)
{
    for (unsigned p = 0; p < place_count; p++)
        for (unsigned i = 0; i < count; i++)
            if (hf_number_is(&items[i], places[p].name)) {
                memcpy((char *)out + places[p].offset, &items[i].value, sizeof items[i].value);
                break;
            }
}

unsigned hf_numbers_shards(const struct hf_answer *answer, uint32_t *first)
{
    const struct hf_counter_item *items = hf_numbers_items(answer);
    unsigned at = 0;
    while (at < answer->item_count && items[at].shard == HF_NUMBERS_NODE)
        at++;
    if (at == answer->item_count)
        return 0;
    *first = items[at].shard;
    return items[answer->item_count - 1].shard - *first + 1;
}

#include "server/lanes.h"

#include "server/memory.h"

enum { NONE = HF_LANES_NONE };

struct parked {
    struct hf_task task;
    uint32_t next;
};

struct lane {
    uint32_t first, last;
    uint32_t listed_at;
    uint32_t lacking;
};

struct hf_lanes {
    struct parked *parked;
    struct lane *lanes;
    uint32_t *listed;
    uint32_t listed_count, parked_count, free;
};

struct hf_lanes *hf_lanes_create(uint32_t partitions, uint32_t tasks_max)
{
    struct hf_lanes *lanes = hf_memory_zeroed(sizeof *lanes);
    if (!lanes)
        return NULL;
    lanes->parked = hf_memory_zeroed(tasks_max * sizeof *lanes->parked);
    lanes->lanes = hf_memory_zeroed(partitions * sizeof *lanes->lanes);
    lanes->listed = hf_memory_zeroed(partitions * sizeof *lanes->listed);
    if (!lanes->parked || !lanes->lanes || !lanes->listed) {
        hf_lanes_destroy(lanes);
        return NULL;
    }
    for (uint32_t i = 0; i < tasks_max; i++)
        lanes->parked[i].next = i + 1 < tasks_max ? i + 1 : NONE;
    for (uint32_t i = 0; i < partitions; i++)
        lanes->lanes[i].first = lanes->lanes[i].lacking = NONE;
    return lanes;
}

void hf_lanes_destroy(struct hf_lanes *lanes)
{
    if (!lanes)
        return;
    hf_memory_free(lanes->parked);
    hf_memory_free(lanes->lanes);
    hf_memory_free(lanes->listed);
    hf_memory_free(lanes);
}

bool hf_lanes_busy(const struct hf_lanes *lanes, uint32_t home)
{
    return lanes->lanes[home].first != NONE;
}

bool hf_lanes_park(struct hf_lanes *lanes, const struct hf_task *task)
{
    if (lanes->free == NONE)
        return false;
    uint32_t at = lanes->free;
    struct lane *lane = &lanes->lanes[task->home];
    lanes->free = lanes->parked[at].next;
    lanes->parked[at] = (struct parked){.task = *task, .next = NONE};
    lanes->parked_count++;
    if (lane->first == NONE) {
        lane->first = at;
        lane->listed_at = lanes->listed_count;
        lanes->listed[lanes->listed_count++] = task->home;
    } else {
        lanes->parked[lane->last].next = at;
    }
    lane->last = at;
    return true;
}

const struct hf_task *hf_lanes_first(const struct hf_lanes *lanes, uint32_t home)
{
    uint32_t first = lanes->lanes[home].first;
    return first == NONE ? NULL : &lanes->parked[first].task;
}

void hf_lanes_take(struct hf_lanes *lanes, uint32_t home)
{
    struct lane *lane = &lanes->lanes[home];
    uint32_t at = lane->first;
    assert(at != NONE);
    lane->first = lanes->parked[at].next;
    lanes->parked[at].next = lanes->free;
    lanes->free = at;
    lanes->parked_count--;
    if (lane->first == NONE) {
        uint32_t last_home = lanes->listed[--lanes->listed_count];
        lanes->listed[lane->listed_at] = last_home;
        lanes->lanes[last_home].listed_at = lane->listed_at;
    }
}

uint32_t hf_lanes_lacking(const struct hf_lanes *lanes, uint32_t home)
{
    return lanes->lanes[home].lacking;
}

void hf_lanes_set_lacking(struct hf_lanes *lanes, uint32_t home, uint32_t partition)
{
    lanes->lanes[home].lacking = partition;
}

uint32_t hf_lanes_count(const struct hf_lanes *lanes)
{
    return lanes->listed_count;
}

uint32_t hf_lanes_home(const struct hf_lanes *lanes, uint32_t index)
{
    return lanes->listed[index];
}

uint32_t hf_lanes_parked(const struct hf_lanes *lanes)
{
    return lanes->parked_count;
}

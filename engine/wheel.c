#include "engine/wheel.h"

#include <assert.h>

static uint64_t tick_of(const struct hf_timers *timers, uint64_t ns)
{
    uint64_t sum = ns + timers->phase_ns;
    return (sum < ns ? UINT64_MAX : sum) >> HF_TICK_SHIFT;
}

/* The last tick that has wholly passed. */
static uint64_t tick_passed(const struct hf_timers *timers, uint64_t now_ns)
{
    uint64_t tick = tick_of(timers, now_ns);
    return tick > 0 ? tick - 1 : 0;
}

static void list_push(struct hf_timers *timers, unsigned list, uint32_t slot)
{
    struct hf_wheel *wheel = timers->wheel;
    struct hf_link *link = hf_timer_link(timers, slot);
    uint32_t first = wheel->heads[list];
    *link = (struct hf_link){.next = first, .prev = HF_LINK_HEAD | list};
    wheel->heads[list] = slot;
    if (first != 0)
        hf_timer_link(timers, first)->prev = slot;
    else
        wheel->bits[list / HF_WHEEL_SLOTS][list / 64 % 4] |= 1ull << list % 64;
}

void hf_timer_insert(struct hf_timers *timers, uint32_t slot, uint64_t at_ns, uint64_t now_ns)
{
    assert(hf_timer_link(timers, slot)->prev == 0);
    if (timers->count++ == 0) {
        uint64_t passed = tick_passed(timers, now_ns);
        timers->now = passed > timers->now ? passed : timers->now;
    }
    list_push(timers, hf_timer_list(timers->now, tick_of(timers, at_ns)), slot);
}

void hf_timer_remove(struct hf_timers *timers, uint32_t slot)
{
    struct hf_wheel *wheel = timers->wheel;
    struct hf_link *link = hf_timer_link(timers, slot), gone = *link;
    if (gone.prev == 0)
        return;
    if (gone.next != 0)
        hf_timer_link(timers, gone.next)->prev = gone.prev;
    if (gone.prev & HF_LINK_HEAD) {
        unsigned list = gone.prev & ~HF_LINK_HEAD;
        wheel->heads[list] = gone.next;
        if (gone.next == 0)
            wheel->bits[list / HF_WHEEL_SLOTS][list / 64 % 4] &= ~(1ull << list % 64);
    } else {
        hf_timer_link(timers, gone.prev)->next = gone.next;
    }
    *link = (struct hf_link){0, 0};
    timers->count--;
}

/* hf_timer_due_ns() may be asked without the word, by a thread that takes its answer as a hint: what it reads is kept from the thread
 * sanitizer. */
#define HINT __attribute__((no_sanitize("thread")))

/* The first list of a level at or after `from` that has items; HF_WHEEL_SLOTS: none. */
HINT static unsigned list_find(const uint64_t bits[HF_WHEEL_SLOTS / 64], unsigned from)
{
    for (unsigned word = from / 64; word < HF_WHEEL_SLOTS / 64; word++) {
        uint64_t left = bits[word];
        if (word == from / 64)
            left &= ~0ull << from % 64;
        if (left != 0)
            return word * 64 + (unsigned)__builtin_ctzll(left);
    }
    return HF_WHEEL_SLOTS;
}

/* The tick at which the next list fires or is dealt out to lower levels. The lists that stand at the present moment come first. */
HINT static uint64_t tick_next(const struct hf_timers *timers)
{
    const struct hf_wheel *wheel = timers->wheel;
    if (timers->count == 0)
        return UINT64_MAX;
    for (unsigned level = 0; level < HF_WHEEL_LEVELS; level++) {
        unsigned at = (timers->now >> 8 * level) & 255;
        if (wheel->bits[level][at / 64] >> at % 64 & 1)
            return timers->now;
    }
    for (unsigned level = 0; level < HF_WHEEL_LEVELS; level++) {
        unsigned at = list_find(wheel->bits[level], ((timers->now >> 8 * level) & 255) + 1);
        if (at < HF_WHEEL_SLOTS)
            return ((timers->now >> 8 * level & ~255ull) | at) << 8 * level;
    }
    return UINT64_MAX;
}

/* Deals the items of the present lists of the upper levels out. False when the budget ran out. */
static bool wheel_cascade(struct hf_timers *timers, uint32_t *budget, hf_timer_time *time_ns, const void *owner)
{
    struct hf_wheel *wheel = timers->wheel;
    for (unsigned level = HF_WHEEL_LEVELS - 1; level > 0; level--) {
        unsigned list = level * HF_WHEEL_SLOTS + ((timers->now >> 8 * level) & 255);
        while (wheel->heads[list] != 0) {
            if (*budget == 0)
                return false;
            --*budget;
            uint32_t slot = wheel->heads[list];
            hf_timer_remove(timers, slot);
            timers->count++;
            list_push(timers, hf_timer_list(timers->now, tick_of(timers, time_ns(owner, timers->kind, slot))), slot);
        }
    }
    return true;
}

uint32_t hf_timer_advance(struct hf_timers *timers, uint64_t now_ns, uint32_t *budget, hf_timer_time *time_ns, const void *owner)
{
    struct hf_wheel *wheel = timers->wheel;
    uint64_t passed = tick_passed(timers, now_ns);
    for (;;) {
        if (!wheel_cascade(timers, budget, time_ns, owner))
            return 0;
        uint32_t first = wheel->heads[timers->now & 255];
        if (first != 0)
            return timers->now <= passed ? first : 0;
        uint64_t next = tick_next(timers);
        if (next > passed) {
            timers->now = passed > timers->now ? passed : timers->now;
            return 0;
        }
        timers->now = next;
    }
}

HINT uint64_t hf_timer_due_ns(const struct hf_timers *timers)
{
    uint64_t tick = tick_next(timers), limit = UINT64_MAX >> HF_TICK_SHIFT;
    if (tick >= limit)
        return tick == UINT64_MAX ? UINT64_MAX : limit << HF_TICK_SHIFT;
    uint64_t ns = (tick + 1) << HF_TICK_SHIFT;
    return ns > timers->phase_ns ? ns - timers->phase_ns : 0;
}

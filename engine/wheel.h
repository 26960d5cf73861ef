/* Timers of one table of one partition: a hierarchical timing wheel (G. Varghese and A. Lauck, SOSP 1987, scheme 7).
 *
 * A tick is 2^22 ns: under half of the 10 ms within which holds are given back, and long enough that a busy partition's sweep finds many at
 * once. Six levels of 256 lists cover every 64-bit time, so nothing wraps and nothing is clamped: an item stands at the level of the
 * highest byte in which its tick differs from the wheel's. Items are slots of a table that carry a hf_link. Each partition's ticks are
 * shifted by a phase, so that the partitions' cascades do not fall together. A tick fires when all of it has passed. Guarded by the
 * partition's word. */
#ifndef HF_ENGINE_WHEEL_H
#define HF_ENGINE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HF_TICK_SHIFT = 22, HF_WHEEL_LEVELS = 6, HF_WHEEL_SLOTS = 256 };

/* In a table's slot. prev: the slot before, or HF_LINK_HEAD | list when it is the first; 0: in no list. */
struct hf_link {
    uint32_t next, prev;
};

#define HF_LINK_HEAD 0x80000000u

struct hf_wheel {
    uint64_t bits[HF_WHEEL_LEVELS][HF_WHEEL_SLOTS / 64]; /* lists that are not empty */
    uint32_t heads[HF_WHEEL_LEVELS * HF_WHEEL_SLOTS];
};

struct hf_timers {
    uint64_t now;   /* tick up to which time has passed */
    uint64_t count; /* of items; with `now` it stands beside the table's other hot fields, not in the wheel */
    struct hf_wheel *wheel;
    uint8_t *links; /* link of slot 0 */
    uint32_t stride;
    uint32_t kind; /* which table, for hf_timer_time */
    uint64_t phase_ns;
};

static inline struct hf_link *hf_timer_link(const struct hf_timers *timers, uint32_t slot)
{
    return (struct hf_link *)(void *)(timers->links + (size_t)slot * timers->stride);
}

/* The number of the list in which an item that fires at `tick` stands while the wheel is at `now`. */
static inline uint32_t hf_timer_list(uint64_t now, uint64_t tick)
{
    if (tick <= now)
        return now & 255;
    unsigned level = (63u - (unsigned)__builtin_clzll(tick ^ now)) / 8;
    return level * HF_WHEEL_SLOTS + ((tick >> 8 * level) & 255);
}

/* The slot that will most likely stand behind an item inserted to fire `after_ns` from now: 0 when none. A hint. */
static inline uint32_t hf_timer_hint(const struct hf_timers *timers, uint64_t after_ns)
{
    return timers->wheel->heads[hf_timer_list(timers->now, timers->now + (after_ns >> HF_TICK_SHIFT))];
}

/* When the item of a slot is to fire, for the cascade; `owner` is what hf_timer_advance() was given. */
typedef uint64_t hf_timer_time(const void *owner, uint32_t kind, uint32_t slot);

/* Puts a slot that is in no list where `at_ns` fires. */
void hf_timer_insert(struct hf_timers *timers, uint32_t slot, uint64_t at_ns, uint64_t now_ns);
/* Takes a slot out; one that is in no list is left alone. */
void hf_timer_remove(struct hf_timers *timers, uint32_t slot);
/* Moves on to now_ns or to the first tick with items, whichever comes first, touching at most *budget items. Returns the first of the items
 * that fire (follow hf_link.next; they stay until removed), 0: none yet. */
uint32_t hf_timer_advance(struct hf_timers *timers, uint64_t now_ns, uint32_t *budget, hf_timer_time *time_ns, const void *owner);
/* When hf_timer_advance() may next find something; UINT64_MAX when there are no timers. */
uint64_t hf_timer_due_ns(const struct hf_timers *timers);

#endif

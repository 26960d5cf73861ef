/* Bursts and DPDK's thread for interrupts, kept apart on devices that do not do so themselves.
 *
 * DPDK's memif lets that thread map, unmap and free what a burst on another thread is in the middle of using: when the other end comes, and
 * when it goes. It asks nobody. So each thread that makes bursts on such a device has a place of its own to say that it is within one, and
 * the thread for interrupts runs no handler before all are out; until it has run them, nobody gets in. It waits for bursts, which end;
 * nobody waits for it but hf_hold_enter_soon(), which gives up.
 *
 * It is caught where it waits for interrupts: hold.c defines epoll_wait(), so that DPDK's libraries find that one before the C library's.
 * In every other thread it does what the C library's does. */
#ifndef HF_NET_DPDK_HOLD_H
#define HF_NET_DPDK_HOLD_H

#include "ring/atomics.h"

enum { HF_HOLD_BUSY = 1, HF_HOLD_HELD = 2, HF_HOLD_PLACES_MAX = 320 };

/* One thread's at a time. A word for both sides: each sees what the other wrote before, or changes it first. */
struct hf_hold_place {
    _Alignas(HF_CACHE_PAD_BYTES) struct hf_atomic_u32 state;
    struct hf_atomic_u32 taken;
};

/* A place, until it is given back; NULL: there is none left. Any thread. */
struct hf_hold_place *hf_hold_take(void);
/* NULL is no place. */
void hf_hold_give(struct hf_hold_place *place);

/* Whether the device may be used now, until hf_hold_exit(). A device that needs no place has NULL and may always be used. */
static inline bool hf_hold_enter(struct hf_hold_place *place)
{
    uint32_t idle = 0;
    return !place || hf_cas_strong_acquire_u32(&place->state, &idle, HF_HOLD_BUSY); /* partner: hf_hold_end() in hold.c */
}

static inline void hf_hold_exit(struct hf_hold_place *place)
{
    if (place)
        (void)hf_add_release_u32(&place->state, (uint32_t)-HF_HOLD_BUSY); /* partner: hf_hold_begin() in hold.c */
}

/* Waits for up to a second; false: DPDK's thread is stuck. For starting and stopping a device. */
bool hf_hold_enter_soon(struct hf_hold_place *place);

#endif

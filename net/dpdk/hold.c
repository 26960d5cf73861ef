#include "net/dpdk/hold.h"

#include <stddef.h>
#include <sys/epoll.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_interrupts.h>

enum { HF_HOLD_PAUSE_NS = 20000, HF_HOLD_SOON_S = 1 };

static struct hf_hold_place hf_hold_places[HF_HOLD_PLACES_MAX];

static void hf_hold_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = HF_HOLD_PAUSE_NS}, NULL);
}

struct hf_hold_place *hf_hold_take(void)
{
    for (unsigned i = 0; i < HF_HOLD_PLACES_MAX; i++) {
        uint32_t taken = 0;
        if (hf_cas_strong_acquire_u32(&hf_hold_places[i].taken, &taken, 1))
            return &hf_hold_places[i];
    }
    return NULL;
}

void hf_hold_give(struct hf_hold_place *place)
{
    if (place)
        hf_store_release_u32(&place->taken, 0);
}

bool hf_hold_enter_soon(struct hf_hold_place *place)
{
    const uint64_t until = rte_get_timer_cycles() + HF_HOLD_SOON_S * rte_get_timer_hz();
    while (!hf_hold_enter(place)) {
        if (rte_get_timer_cycles() >= until)
            return false;
        hf_hold_pause();
    }
    return true;
}

/* The thread for interrupts has something to do. A place that is taken meanwhile is of a device that it does not know yet. */
static void hf_hold_begin(void)
{
    for (unsigned i = 0; i < HF_HOLD_PLACES_MAX; i++)
        if (hf_load_acquire_u32(&hf_hold_places[i].taken) != 0)
            (void)hf_add_release_u32(&hf_hold_places[i].state, HF_HOLD_HELD);
    for (unsigned i = 0; i < HF_HOLD_PLACES_MAX; i++)
        while (hf_load_acquire_u32(&hf_hold_places[i].state) == (HF_HOLD_HELD | HF_HOLD_BUSY)) /* partner: hf_hold_exit() */
            hf_hold_pause();
}

static void hf_hold_end(void)
{
    for (unsigned i = 0; i < HF_HOLD_PLACES_MAX; i++)
        if (hf_load_relaxed_u32(&hf_hold_places[i].state) & HF_HOLD_HELD)
            (void)hf_add_release_u32(&hf_hold_places[i].state, (uint32_t)-HF_HOLD_HELD); /* partner: hf_hold_enter() */
}

/* Between two calls of it DPDK's thread for interrupts runs its handlers (eal_intr_handle_interrupts() of DPDK). Without a mask the C
 * library's epoll_pwait() is its epoll_wait(). */
__attribute__((visibility("default"))) int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
    bool interrupts = rte_thread_is_intr();
    if (interrupts)
        hf_hold_end();
    int count = epoll_pwait(fd, events, max, timeout_ms, NULL);
    if (interrupts && count > 0)
        hf_hold_begin();
    return count;
}

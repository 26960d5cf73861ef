/* The stage counters' clock: the time-stamp counter, which costs a few ns and orders nothing. */
#ifndef HF_SERVER_CYCLES_H
#define HF_SERVER_CYCLES_H

#include <stdint.h>
#include <time.h>

static inline uint64_t hf_cycles(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t count;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
#else
    return 0;
#endif
}

/* A pair of readings, to learn the counter's rate from two of them. */
struct hf_cycles_mark {
    uint64_t cycles, ns;
};

static inline struct hf_cycles_mark hf_cycles_mark(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (struct hf_cycles_mark){hf_cycles(), (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec};
}

/* ns << 32 of one cycle, from a mark set at least `HF_CYCLES_APART_NS` ago (it waits for that); 0 where there is no counter. */
enum { HF_CYCLES_APART_NS = 2000000 };
static inline uint64_t hf_cycles_rate(const struct hf_cycles_mark *since)
{
    struct hf_cycles_mark now = hf_cycles_mark();
    while (now.ns - since->ns < HF_CYCLES_APART_NS) {
        nanosleep(&(struct timespec){.tv_nsec = HF_CYCLES_APART_NS}, NULL);
        now = hf_cycles_mark();
    }
    uint64_t cycles = now.cycles - since->cycles;
    return cycles == 0 ? 0 : (uint64_t)(((unsigned __int128)(now.ns - since->ns) << 32) / cycles);
}

static inline uint64_t hf_cycles_to_ns(uint64_t cycles, uint64_t ns_per_cycle)
{
    return (uint64_t)((unsigned __int128)cycles * ns_per_cycle >> 32);
}

#endif

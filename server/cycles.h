/* The stage counters' clock: the time-stamp counter, which costs a few ns and orders nothing. */
#ifndef HF_SERVER_CYCLES_H
#define HF_SERVER_CYCLES_H

#include <stdint.h>

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

#endif

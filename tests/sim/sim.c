#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sim sim;

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xc2b2ae3d27d4eb4full);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

void sim_mix(uint64_t a, uint64_t b)
{
    sim.hash = fold(fold(sim.hash, a), b);
}

void sim_mix_bytes(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint64_t word;
    for (; bytes >= 8; at += 8, bytes -= 8) {
        memcpy(&word, at, 8);
        sim.hash = fold(sim.hash, word);
    }
    word = 0;
    memcpy(&word, at, bytes);
    sim.hash = fold(sim.hash, word + bytes);
}

void sim_note(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    sim_mix_bytes(line, bytes < (int)sizeof line ? (size_t)bytes : sizeof line - 1);
    if (sim.tracing)
        printf("%8llu %12.6f  %s\n", (unsigned long long)sim.steps, (double)sim.now_ns / 1e9, line);
}

void sim_fail(const char *format, ...)
{
    if (sim.failed)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim.failure, sizeof sim.failure, format, arguments);
    va_end(arguments);
    sim.failed = true;
    sim_note("FAILED: %s", sim.failure);
}

void sim_fault(enum sim_fault kind)
{
    sim.faults[kind]++;
    sim_note("fault: %s", sim_fault_name(kind));
}

const char *sim_fault_name(enum sim_fault kind)
{
    static const char *const names[SIM_FAULTS] = {
        "net_drop",  "net_duplicate", "net_reorder", "net_delay", "net_truncate", "net_corrupt", "net_half_open",
        "net_reset", "pause",         "clock_step",  "reshard",   "resize",       "client_gone",
    };
    return names[kind];
}

/* Threads that are none: every thread that the production code starts is a coroutine here, and runs until it waits or is interrupted.
 *
 * The places where one may be interrupted are calls: the end of a shard's turn, a claim and a commit in the log buffer, a wait for a word,
 * a step, a nap. The simulator's own thread (the scheduler) is none of them. */
#ifndef HF_SIM_THREADS_H
#define HF_SIM_THREADS_H

#include <stdbool.h>
#include <stdint.h>

enum { SIM_THREADS_MAX = 64 };

/* Starts one; its number, from 0. */
unsigned sim_thread_start(void *(*entry)(void *context), void *context, const char *name);
/* Whether the caller is one (and not the scheduler). */
bool sim_in_thread(void);
/* The scheduler goes on; this thread comes back when it is chosen again, not before `ns` from now. */
void sim_yield(uint64_t ns);
/* Waits for something to happen, `ns` or longer: until the disk has something, or the network (sim_threads_wake()), or some time. */
void sim_doze(uint64_t ns);
/* Perhaps: as often as the world's yield rate says. */
void sim_maybe_yield(void);
/* This thread never runs again. */
_Noreturn void sim_thread_end(void);

/* Lets one runnable thread go on, chosen by dice; false when none is runnable now. */
bool sim_threads_run(void);
/* When the next sleeper wakes; UINT64_MAX: there is none. */
uint64_t sim_threads_next_ns(void);
/* A process that is killed takes its threads along, wherever they stand. */
void sim_threads_kill(void);
/* Who dozes looks up: something was delivered. */
void sim_threads_wake(void);
/* All sleep on until then (a stopped process). */
void sim_threads_pause(uint64_t until_ns);

#endif

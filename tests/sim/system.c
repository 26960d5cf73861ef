/* The machine under the production code: clocks, random numbers, the end of a process, its log lines; and where its threads may be
 * interrupted. */
#include "tests/sim/cycles.h"
#include "tests/sim/history.h"
#include "tests/sim/process.h"
#include "tests/sim/promises.h"
#include "tests/sim/sim.h"
#include "tests/sim/threads.h"

#include "net/net.h"
#include "ring/log_buffer.h"
#include "ring/word.h"
#include "server/log_line.h"

#include "engine/engine.h"
#include "persist/backend.h"
#include "persist/log.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

int __wrap_clock_gettime(clockid_t clock, struct timespec *out);
ssize_t __wrap_getrandom(void *buffer, size_t bytes, unsigned flags);
long __wrap_sysconf(int name);
_Noreturn void __wrap__exit(int status);
void __wrap_hf_log_line_write(enum hf_log_level level, const char *message, const struct hf_log_line_field *fields, unsigned count);
struct hf_log_claim __wrap_hf_log_buffer_claim(struct hf_log_buffer *buffer, uint32_t bytes);
struct hf_log_claim __real_hf_log_buffer_claim(struct hf_log_buffer *buffer, uint32_t bytes);
void __wrap_hf_log_buffer_commit(struct hf_log_buffer *buffer, const struct hf_log_claim *claim);
void __real_hf_log_buffer_commit(struct hf_log_buffer *buffer, const struct hf_log_claim *claim);
bool __wrap_hf_word_wait(struct hf_word *word, struct hf_word_taker *taker, uint32_t spins_max);
bool __real_hf_word_wait(struct hf_word *word, struct hf_word_taker *taker, uint32_t spins_max);
void __wrap_hf_engine_step(struct hf_engine *engine, struct hf_step *step);
void __real_hf_engine_step(struct hf_engine *engine, struct hf_step *step);
bool __wrap_hf_net_flush(struct hf_net *net);
bool __real_hf_net_flush(struct hf_net *net);
int __wrap_hf_log_recover(struct hf_log *log, hf_log_visit *visit, void (*prefetch)(void *, const struct hf_record *, int), void *context,
                          uint64_t until, struct hf_log_info *info);
int __real_hf_log_recover(struct hf_log *log, hf_log_visit *visit, void (*prefetch)(void *, const struct hf_record *, int), void *context,
                          uint64_t until, struct hf_log_info *info);

int __wrap_hf_backend_sim_open(struct hf_sim_disk *disk, struct hf_backend **out, char *error);
int __real_hf_backend_sim_open(struct hf_sim_disk *disk, struct hf_backend **out, char *error);

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    uint64_t ns = clock == CLOCK_REALTIME ? sim.now_ns + (uint64_t)sim.wall_offset_ns : sim.now_ns;
    *out = (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    return 0;
}

unsigned long long sim_cycles(void)
{
    return sim.now_ns;
}

ssize_t __wrap_getrandom(void *buffer, size_t bytes, unsigned flags)
{
    (void)flags;
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = hf_random_next(&sim.entropy);
        memcpy((uint8_t *)buffer + at, &word, bytes - at < 8 ? bytes - at : 8);
    }
    return (ssize_t)bytes;
}

long __wrap_sysconf(int name)
{
    (void)name; /* only the number of processors is asked for; one: nothing is pinned, loops sleep */
    return 1;
}

_Noreturn void __wrap__exit(int status)
{
    sim_process_exits(status);
    sim_thread_end();
}

void __wrap_hf_log_line_write(enum hf_log_level level, const char *message, const struct hf_log_line_field *fields, unsigned count)
{
    (void)level, (void)fields, (void)count;
    sim_note("engine says: %s", message);
}

struct hf_log_claim __wrap_hf_log_buffer_claim(struct hf_log_buffer *buffer, uint32_t bytes)
{
    sim_maybe_yield();
    struct hf_log_claim claim = __real_hf_log_buffer_claim(buffer, bytes);
    sim_history_claimed(&claim);
    sim_maybe_yield();
    return claim;
}

void __wrap_hf_log_buffer_commit(struct hf_log_buffer *buffer, const struct hf_log_claim *claim)
{
    sim_maybe_yield();
    sim_history_committed(claim);
    __real_hf_log_buffer_commit(buffer, claim);
}

/* A spin does not bring its holder forward here: the wait is cut into short ones with the holder running between them. */
bool __wrap_hf_word_wait(struct hf_word *word, struct hf_word_taker *taker, uint32_t spins_max)
{
    enum { LOOKS = 4 };
    sim_promise_word_wait(word, taker);
    for (unsigned i = 0; i < LOOKS && sim_in_thread(); i++) {
        sim_yield(0);
        if (hf_load_relaxed_u32(&word->owner) == 0)
            break;
    }
    return __real_hf_word_wait(word, taker, spins_max < 2 ? spins_max : 2);
}

/* Only the node's own steps: the follower replays within a commit. */
void __wrap_hf_engine_step(struct hf_engine *engine, struct hf_step *step)
{
    const struct hf_node *node = sim_process_node();
    if (node && engine == node->engine && sim.yield_per_256 > 64)
        sim_maybe_yield();
    __real_hf_engine_step(engine, step);
}

/* The end of a shard's turn. */
bool __wrap_hf_net_flush(struct hf_net *net)
{
    bool any = __real_hf_net_flush(net);
    sim_yield(0);
    return any;
}

/* In some worlds a start reads the log with threads of its own, as from files. */
int __wrap_hf_backend_sim_open(struct hf_sim_disk *disk, struct hf_backend **out, char *error)
{
    int code = __real_hf_backend_sim_open(disk, out, error);
    if (code == 0 && sim_in_thread() && sim.seed % 4 == 0)
        (*out)->reads_alone = false;
    return code;
}

struct recovery {
    hf_log_visit *visit;
    void *context;
};

static int visit_recovered(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    const struct recovery *recovery = context;
    sim_history_recovered(record, end_position);
    return recovery->visit(recovery->context, record, end_position, term);
}

int __wrap_hf_log_recover(struct hf_log *log, hf_log_visit *visit, void (*prefetch)(void *, const struct hf_record *, int), void *context,
                          uint64_t until, struct hf_log_info *info)
{
    (void)prefetch; /* those in use have none */
    struct recovery recovery = {visit, context};
    if (sim_process_is_forged())
        return __real_hf_log_recover(log, visit, NULL, context, until, info);
    sim_history_recovery_begins();
    return __real_hf_log_recover(log, visit_recovered, NULL, &recovery, until, info);
}

#include "tests/sim/threads.h"

#include "tests/sim/process.h"
#include "tests/sim/memory.h"
#include "tests/sim/sim.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SWITCH_BEGIN(fake, bottom, size) __sanitizer_start_switch_fiber(fake, bottom, size)
#define SWITCH_END(fake, bottom, size)   __sanitizer_finish_switch_fiber(fake, bottom, size)
#define SWITCH(from, to)                 swapcontext(&(from)->context, &(to)->context)
#else
#define SWITCH_BEGIN(fake, bottom, size) ((void)(fake), (void)(bottom), (void)(size))
#define SWITCH_END(fake, bottom, size)   ((void)(fake), (void)(bottom), (void)(size))
/* Without the system call for the signal mask that swapcontext() makes. The first switch to a thread still needs it. */
#define SWITCH(from, to)                                \
    do {                                                \
        if (__builtin_setjmp((from)->registers) == 0) { \
            (from)->ran = true;                         \
            if ((to)->ran)                              \
                __builtin_longjmp((to)->registers, 1);  \
            setcontext(&(to)->context);                 \
        }                                               \
    } while (0)
#endif

enum { STACK_BYTES = 512 << 10 };

struct thread {
    ucontext_t context;
    void *registers[5];
    bool ran; /* registers is where it stands */
    void *stack;
    void *(*entry)(void *context);
    void *argument;
    bool alive, dozing;
    uint64_t wake_ns;
    void *fake_stack;
    char name[16];
};

static struct thread threads[SIM_THREADS_MAX];
static unsigned thread_count;
static struct thread scheduler;
static void *scheduler_fake;
static const void *scheduler_bottom;
static size_t scheduler_bytes;
static struct thread *current;

bool sim_in_thread(void)
{
    return current != NULL;
}

static void thread_main(void)
{
    SWITCH_END(NULL, &scheduler_bottom, &scheduler_bytes);
    current->entry(current->argument);
    sim_thread_end();
}

static void make_context(struct thread *thread)
{
    getcontext(&thread->context);
    thread->context.uc_stack.ss_sp = thread->stack;
    thread->context.uc_stack.ss_size = STACK_BYTES;
    thread->context.uc_link = NULL;
    makecontext(&thread->context, thread_main, 0);
}

unsigned sim_thread_start(void *(*entry)(void *context), void *context, const char *name)
{
    unsigned number = 0;
    while (number < thread_count && threads[number].alive)
        number++;
    assert(number < SIM_THREADS_MAX);
    struct thread *thread = &threads[number];
    if (number == thread_count)
        thread_count++;
    if (!thread->stack)
        thread->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(thread->stack != MAP_FAILED);
    make_context(thread);
    thread->entry = entry;
    thread->argument = context;
    thread->alive = true;
    thread->ran = false;
    thread->dozing = false;
    thread->wake_ns = 0;
    thread->fake_stack = NULL;
    snprintf(thread->name, sizeof thread->name, "%s", name);
    return number;
}

static void leave(void **fake)
{
    struct thread *thread = current;
    SWITCH_BEGIN(fake, scheduler_bottom, scheduler_bytes);
    SWITCH(thread, &scheduler);
    SWITCH_END(fake ? *fake : NULL, &scheduler_bottom, &scheduler_bytes);
}

void sim_yield(uint64_t ns)
{
    if (!current) {
        sim.now_ns += ns;
        return;
    }
    current->wake_ns = sim.now_ns + ns;
    leave(&current->fake_stack);
}

void sim_doze(uint64_t ns)
{
    enum { DOZE_NS_MAX = 2000000 };
    uint64_t until_ns = sim.now_ns + ns + sim_below(DOZE_NS_MAX), disk_ns = sim_process_disk_next_ns();
    /* What the disk has had for a while is not waited for: it may be nothing that a look takes. */
    if (disk_ns <= sim.now_ns)
        disk_ns = sim.now_ns + 20000 + sim_below(400000);
    if (disk_ns < until_ns)
        until_ns = disk_ns;
    if (current)
        current->dozing = true;
    sim_yield(until_ns - sim.now_ns);
    if (current)
        current->dozing = false;
}

void sim_threads_wake(void)
{
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].alive && threads[i].dozing)
            threads[i].wake_ns = sim.now_ns;
}

void sim_maybe_yield(void)
{
    if (current && sim_below(256) < sim.yield_per_256)
        sim_yield(0);
}

_Noreturn void sim_thread_end(void)
{
    assert(current);
    current->alive = false;
    leave(NULL);
    abort();
}

bool sim_threads_run(void)
{
    unsigned runnable[SIM_THREADS_MAX], count = 0;
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].alive && threads[i].wake_ns <= sim.now_ns)
            runnable[count++] = i;
    if (count == 0)
        return false;
    unsigned number = runnable[count == 1 ? 0 : sim_below(count)];
    sim_mix(number, sim.now_ns);
    current = &threads[number];
    SWITCH_BEGIN(&scheduler_fake, current->stack, STACK_BYTES);
    SWITCH(&scheduler, current);
    SWITCH_END(scheduler_fake, NULL, NULL);
    current = NULL;
    return true;
}

uint64_t sim_threads_next_ns(void)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].alive && threads[i].wake_ns < next)
            next = threads[i].wake_ns;
    return next;
}

void sim_threads_kill(void)
{
    assert(!current);
    for (unsigned i = 0; i < thread_count; i++)
        threads[i].alive = false;
    thread_count = 0;
}

void sim_threads_pause(uint64_t until_ns)
{
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].wake_ns < until_ns)
            threads[i].wake_ns = until_ns;
}

/* ---- what the production code calls ---- */

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*entry)(void *), void *context);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition);
int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_pthread_setaffinity_np(pthread_t thread, size_t bytes, const cpu_set_t *set);
int __wrap_nanosleep(const struct timespec *wanted, struct timespec *left);
int __wrap_sched_yield(void);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*entry)(void *), void *context)
{
    (void)attributes;
    if (sim_memory_refused())
        return EAGAIN;
    *out = (pthread_t)sim_thread_start(entry, context, "thread") + 1;
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    (void)result;
    while (threads[thread - 1].alive && current)
        sim_yield(10000);
    assert(thread > thread_count || !threads[thread - 1].alive);
    return 0;
}

/* Nobody is interrupted while holding a mutex, but by a wait for a condition. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    (void)mutex;
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    (void)mutex;
    return 0;
}

/* May return without a reason, as the real one may: its callers look again. */
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    (void)condition, (void)mutex;
    assert(current);
    sim_yield(1000);
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *condition)
{
    (void)condition;
    return 0;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    (void)thread;
    if (current)
        snprintf(current->name, sizeof current->name, "%s", name);
    return 0;
}

int __wrap_pthread_setaffinity_np(pthread_t thread, size_t bytes, const cpu_set_t *set)
{
    (void)thread, (void)bytes, (void)set;
    return 0;
}

int __wrap_nanosleep(const struct timespec *wanted, struct timespec *left)
{
    (void)left;
    uint64_t ns = (uint64_t)wanted->tv_sec * 1000000000u + (uint64_t)wanted->tv_nsec;
    if (ns < 100000)
        sim_doze(ns);
    else
        sim_yield(ns);
    return 0;
}

int __wrap_sched_yield(void)
{
    sim_yield(1000 + sim_below(50000));
    return 0;
}

int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    (void)fds, (void)count, (void)mask;
    sim_doze(timeout ? (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec : 0);
    return 0;
}

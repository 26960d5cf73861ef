/* An event loop: epoll, a binary heap of timers, and a locked list of posted tasks behind an eventfd. */
#include "control/grpc/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "control/grpc/grpc.h"

enum { HF_GRPC_LOOP_EVENTS = 256 };

struct hf_grpc_loop {
    int epoll_fd, bell_fd;
    struct hf_grpc_watch bell;
    uint64_t now_ns;
    void (*round_end)(void *context);
    void *context;
    struct hf_grpc_timer **heap;
    uint32_t timer_count, timer_room;

    /* any thread, under the lock */
    pthread_mutex_t lock;
    struct hf_grpc_task *first, **last;
    bool stopping;
};

static uint64_t hf_grpc_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t hf_grpc_loop_now_ns(const struct hf_grpc_loop *loop)
{
    return loop->now_ns;
}

/* ---- Tasks ---- */

static void hf_grpc_loop_ring(struct hf_grpc_loop *loop)
{
    uint64_t one = 1;
    while (write(loop->bell_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void hf_grpc_loop_hear(struct hf_grpc_watch *watch, uint32_t events)
{
    uint64_t count;
    (void)events;
    while (read(watch->fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

void hf_grpc_loop_post(struct hf_grpc_loop *loop, struct hf_grpc_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&loop->lock);
    bool was_empty = !loop->first;
    *loop->last = task;
    loop->last = &task->next;
    pthread_mutex_unlock(&loop->lock);
    if (was_empty)
        hf_grpc_loop_ring(loop);
}

void hf_grpc_loop_stop(struct hf_grpc_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->stopping = true;
    pthread_mutex_unlock(&loop->lock);
    hf_grpc_loop_ring(loop);
}

/* Returns whether the loop goes on. */
static bool hf_grpc_loop_run_tasks(struct hf_grpc_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct hf_grpc_task *task = loop->first;
    bool stopping = loop->stopping;
    loop->first = NULL;
    loop->last = &loop->first;
    pthread_mutex_unlock(&loop->lock);
    while (task) {
        struct hf_grpc_task *next = task->next;
        task->run(task);
        task = next;
    }
    return !stopping;
}

/* ---- Timers ---- */

static void hf_grpc_heap_put(struct hf_grpc_loop *loop, uint32_t place, struct hf_grpc_timer *timer)
{
    loop->heap[place] = timer;
    timer->place = place;
}

static void hf_grpc_heap_settle(struct hf_grpc_loop *loop, uint32_t place, struct hf_grpc_timer *timer)
{
    while (place > 0 && loop->heap[(place - 1) / 2]->due_ns > timer->due_ns) {
        hf_grpc_heap_put(loop, place, loop->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (uint32_t child; (child = 2 * place + 1) < loop->timer_count; place = child) {
        if (child + 1 < loop->timer_count && loop->heap[child + 1]->due_ns < loop->heap[child]->due_ns)
            child++;
        if (loop->heap[child]->due_ns >= timer->due_ns)
            break;
        hf_grpc_heap_put(loop, place, loop->heap[child]);
    }
    hf_grpc_heap_put(loop, place, timer);
}

int hf_grpc_loop_set_timer(struct hf_grpc_loop *loop, struct hf_grpc_timer *timer, uint64_t due_ns)
{
    uint32_t place = timer->place;
    if (place == HF_GRPC_TIMER_OFF) {
        if (loop->timer_count == loop->timer_room) {
            uint32_t room = loop->timer_room ? 2 * loop->timer_room : 64;
            struct hf_grpc_timer **heap = realloc(loop->heap, room * sizeof(struct hf_grpc_timer *));
            if (!heap)
                return HF_GRPC_E_MEMORY;
            loop->heap = heap;
            loop->timer_room = room;
        }
        place = loop->timer_count++;
    }
    timer->due_ns = due_ns;
    hf_grpc_heap_settle(loop, place, timer);
    return 0;
}

void hf_grpc_loop_clear_timer(struct hf_grpc_loop *loop, struct hf_grpc_timer *timer)
{
    uint32_t place = timer->place;
    if (place == HF_GRPC_TIMER_OFF)
        return;
    struct hf_grpc_timer *last = loop->heap[--loop->timer_count];
    if (last != timer)
        hf_grpc_heap_settle(loop, place, last);
    timer->place = HF_GRPC_TIMER_OFF;
}

static void hf_grpc_loop_fire(struct hf_grpc_loop *loop)
{
    while (loop->timer_count > 0 && loop->heap[0]->due_ns <= loop->now_ns) {
        struct hf_grpc_timer *timer = loop->heap[0];
        hf_grpc_loop_clear_timer(loop, timer);
        timer->fire(timer);
    }
}

static int hf_grpc_loop_wait_ms(const struct hf_grpc_loop *loop)
{
    if (loop->timer_count == 0)
        return -1;
    uint64_t now = hf_grpc_clock_ns(), due = loop->heap[0]->due_ns;
    if (due <= now)
        return 0;
    uint64_t wait = (due - now + 999999) / 1000000;
    return wait > 3600000 ? 3600000 : (int)wait;
}

/* ---- Descriptors ---- */

static int hf_grpc_loop_control(struct hf_grpc_loop *loop, int operation, struct hf_grpc_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll_fd, operation, watch->fd, &event) ? HF_GRPC_E_IO : 0;
}

int hf_grpc_loop_watch(struct hf_grpc_loop *loop, struct hf_grpc_watch *watch, uint32_t events)
{
    return hf_grpc_loop_control(loop, EPOLL_CTL_ADD, watch, events);
}

void hf_grpc_loop_rewatch(struct hf_grpc_loop *loop, struct hf_grpc_watch *watch, uint32_t events)
{
    int failed = hf_grpc_loop_control(loop, EPOLL_CTL_MOD, watch, events);
    assert(!failed);
    (void)failed;
}

void hf_grpc_loop_unwatch(struct hf_grpc_loop *loop, struct hf_grpc_watch *watch)
{
    hf_grpc_loop_control(loop, EPOLL_CTL_DEL, watch, 0);
    watch->ready = NULL;
}

/* ---- The loop ---- */

void hf_grpc_loop_run(struct hf_grpc_loop *loop)
{
    struct epoll_event events[HF_GRPC_LOOP_EVENTS];
    bool going = true;
    loop->now_ns = hf_grpc_clock_ns();
    while (going) {
        int count = epoll_wait(loop->epoll_fd, events, HF_GRPC_LOOP_EVENTS, hf_grpc_loop_wait_ms(loop));
        loop->now_ns = hf_grpc_clock_ns();
        for (int i = 0; i < count; i++) {
            struct hf_grpc_watch *watch = events[i].data.ptr;
            if (watch->ready)
                watch->ready(watch, events[i].events);
        }
        hf_grpc_loop_fire(loop);
        going = hf_grpc_loop_run_tasks(loop);
        loop->round_end(loop->context);
    }
}

static int hf_grpc_loop_open(struct hf_grpc_loop *loop)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->bell = (struct hf_grpc_watch){.fd = loop->bell_fd, .ready = hf_grpc_loop_hear};
    if (loop->epoll_fd < 0 || loop->bell_fd < 0)
        return HF_GRPC_E_IO;
    return hf_grpc_loop_watch(loop, &loop->bell, EPOLLIN);
}

int hf_grpc_loop_create(void (*round_end)(void *context), void *context, struct hf_grpc_loop **out)
{
    struct hf_grpc_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return HF_GRPC_E_MEMORY;
    loop->round_end = round_end;
    loop->context = context;
    loop->last = &loop->first;
    loop->now_ns = hf_grpc_clock_ns();
    pthread_mutex_init(&loop->lock, NULL);
    int failed = hf_grpc_loop_open(loop);
    if (failed) {
        hf_grpc_loop_destroy(loop);
        return failed;
    }
    *out = loop;
    return 0;
}

void hf_grpc_loop_destroy(struct hf_grpc_loop *loop)
{
    if (!loop)
        return;
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->bell_fd >= 0)
        close(loop->bell_fd);
    pthread_mutex_destroy(&loop->lock);
    free(loop->heap);
    free(loop);
}

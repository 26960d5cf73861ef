/*
 * An event loop: file descriptors (epoll, level-triggered), timers, and tasks that other threads post.
 *
 * Threads: one runs the loop and calls everything but hf_grpc_loop_post and hf_grpc_loop_stop, which any thread may.
 * Memory: watches, timers and tasks are embedded in what they belong to; the heap of timers grows to their number.
 */
#ifndef HF_CONTROL_GRPC_LOOP_H
#define HF_CONTROL_GRPC_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct hf_grpc_task;

struct hf_grpc_watch {
    int fd;
    void (*ready)(struct hf_grpc_watch *watch, uint32_t events);
};

#define HF_GRPC_TIMER_OFF UINT32_MAX

/* Set `place` to HF_GRPC_TIMER_OFF before the first use. */
struct hf_grpc_timer {
    uint64_t due_ns;
    uint32_t place; /* in the heap */
    void (*fire)(struct hf_grpc_timer *timer);
};

struct hf_grpc_loop;

/* `round_end` is called with `context` after each round's events, timers and tasks. 0 or HF_GRPC_E_*. */
int hf_grpc_loop_create(void (*round_end)(void *context), void *context, struct hf_grpc_loop **out);
void hf_grpc_loop_destroy(struct hf_grpc_loop *loop);
/* Returns after hf_grpc_loop_stop. */
void hf_grpc_loop_run(struct hf_grpc_loop *loop);
void hf_grpc_loop_stop(struct hf_grpc_loop *loop);
/* Runs the task on the loop, in the order posted by each thread. Any thread. */
void hf_grpc_loop_post(struct hf_grpc_loop *loop, struct hf_grpc_task *task);

/* CLOCK_MONOTONIC, read once a round. */
uint64_t hf_grpc_loop_now_ns(const struct hf_grpc_loop *loop);

/* `events` as in epoll_ctl. HF_GRPC_E_IO. A watch must live until the round is over in which it was removed. */
int hf_grpc_loop_watch(struct hf_grpc_loop *loop, struct hf_grpc_watch *watch, uint32_t events);
void hf_grpc_loop_rewatch(struct hf_grpc_loop *loop, struct hf_grpc_watch *watch, uint32_t events);
void hf_grpc_loop_unwatch(struct hf_grpc_loop *loop, struct hf_grpc_watch *watch);

/* Sets or moves. HF_GRPC_E_MEMORY. */
int hf_grpc_loop_set_timer(struct hf_grpc_loop *loop, struct hf_grpc_timer *timer, uint64_t due_ns);
void hf_grpc_loop_clear_timer(struct hf_grpc_loop *loop, struct hf_grpc_timer *timer);

#endif

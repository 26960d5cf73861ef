/* Timers fire in order, tasks from other threads all run, a removed watch stays silent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "control/grpc/grpc.h"
#include "control/grpc/loop.h"

enum { TIMERS = 2000, POSTERS = 4, TASKS_EACH = 5000 };

static struct hf_grpc_loop *loop;
static unsigned rounds;

static void round_end(void *context)
{
    (void)context;
    rounds++;
}

static int begin(void **state)
{
    (void)state;
    rounds = 0;
    return hf_grpc_loop_create(round_end, NULL, &loop);
}

static int end(void **state)
{
    (void)state;
    hf_grpc_loop_destroy(loop);
    return 0;
}

/* ---- Timers ---- */

struct numbered {
    struct hf_grpc_timer timer;
    bool fired, cleared;
};

static struct numbered timers[TIMERS];
static uint64_t last_due_ns;
static unsigned fired;

static void stop_now(struct hf_grpc_timer *timer)
{
    (void)timer;
    hf_grpc_loop_stop(loop);
}

static void note(struct hf_grpc_timer *timer)
{
    struct numbered *one = (struct numbered *)timer;
    assert_false(one->fired || one->cleared);
    assert_true(timer->due_ns >= last_due_ns);
    assert_int_equal(timer->place, HF_GRPC_TIMER_OFF);
    last_due_ns = timer->due_ns;
    one->fired = true;
    fired++;
}

static void timers_fire_in_order_and_cleared_ones_never(void **state)
{
    uint32_t random = 12345;
    struct hf_grpc_timer stop = {.place = HF_GRPC_TIMER_OFF, .fire = stop_now};
    uint64_t now = hf_grpc_loop_now_ns(loop);
    unsigned cleared = 0;
    (void)state;
    last_due_ns = fired = 0;
    for (unsigned i = 0; i < TIMERS; i++)
        timers[i] = (struct numbered){.timer = {.place = HF_GRPC_TIMER_OFF, .fire = note}};
    for (unsigned step = 0; step < 5 * TIMERS; step++) {
        random = random * 1664525u + 1013904223u;
        struct numbered *one = &timers[step < TIMERS ? step : (random >> 8) % TIMERS];
        if (step >= TIMERS && random % 7 == 0) {
            hf_grpc_loop_clear_timer(loop, &one->timer);
            one->cleared = true;
        } else {
            assert_int_equal(hf_grpc_loop_set_timer(loop, &one->timer, now + random % 1000000), 0);
            one->cleared = false;
        }
    }
    for (unsigned i = 0; i < TIMERS; i++)
        cleared += timers[i].cleared;
    assert_true(cleared > 0 && cleared < TIMERS);
    hf_grpc_loop_set_timer(loop, &stop, now + 1000001);
    hf_grpc_loop_run(loop);
    assert_int_equal(fired, TIMERS - cleared);
}

/* ---- Tasks ---- */

struct poster {
    pthread_t thread;
    struct hf_grpc_task tasks[TASKS_EACH];
    unsigned next;
};

static struct poster posters[POSTERS];
static unsigned ran;

static void run_task(struct hf_grpc_task *task)
{
    for (unsigned i = 0; i < POSTERS; i++) {
        if (task >= posters[i].tasks && task < posters[i].tasks + TASKS_EACH)
            assert_ptr_equal(task, &posters[i].tasks[posters[i].next++]);
    }
    if (++ran == POSTERS * TASKS_EACH)
        hf_grpc_loop_stop(loop);
}

static void *post_all(void *argument)
{
    struct poster *poster = argument;
    for (unsigned i = 0; i < TASKS_EACH; i++) {
        poster->tasks[i].run = run_task;
        hf_grpc_loop_post(loop, &poster->tasks[i]);
    }
    return NULL;
}

static void tasks_of_other_threads_all_run_in_each_ones_order(void **state)
{
    (void)state;
    ran = 0;
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i].next = 0;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    hf_grpc_loop_run(loop);
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(ran, POSTERS * TASKS_EACH);
    assert_true(rounds > 0);
}

/* ---- Watches ---- */

struct pair {
    struct hf_grpc_watch watch;
    struct pair *other;
    unsigned heard;
};

static void hear_and_silence_the_other(struct hf_grpc_watch *watch, uint32_t events)
{
    struct pair *one = (struct pair *)watch;
    assert_true(events & EPOLLIN);
    one->heard++;
    hf_grpc_loop_unwatch(loop, &one->other->watch);
    hf_grpc_loop_stop(loop);
}

static void a_watch_removed_within_a_round_is_not_called(void **state)
{
    struct pair pairs[2] = {{.other = &pairs[1]}, {.other = &pairs[0]}};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        pairs[i].watch = (struct hf_grpc_watch){.fd = eventfd(1, EFD_NONBLOCK), .ready = hear_and_silence_the_other};
        assert_int_equal(hf_grpc_loop_watch(loop, &pairs[i].watch, EPOLLIN), 0);
    }
    hf_grpc_loop_run(loop);
    assert_int_equal(pairs[0].heard + pairs[1].heard, 1);
    close(pairs[0].watch.fd);
    close(pairs[1].watch.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_fire_in_order_and_cleared_ones_never, begin, end),
        cmocka_unit_test_setup_teardown(tasks_of_other_threads_all_run_in_each_ones_order, begin, end),
        cmocka_unit_test_setup_teardown(a_watch_removed_within_a_round_is_not_called, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

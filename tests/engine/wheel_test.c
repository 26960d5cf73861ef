/* The wheel against a plain list: every timer fires once, in its tick, wherever time starts and however it jumps. */
#include "tests/engine/kit.h"

enum { TIMERS = 2000 };

#define TICK_NS (1ull << HF_TICK_SHIFT)

struct item {
    uint64_t at_ns;
    struct hf_link link;
};

struct clockwork {
    struct hf_wheel wheel;
    struct hf_timers timers;
    struct item items[TIMERS + 1];
    uint64_t random;
};

static uint64_t item_time(const void *owner, uint32_t kind, uint32_t slot)
{
    (void)kind;
    return ((const struct clockwork *)owner)->items[slot].at_ns;
}

static struct clockwork *clockwork_new(uint64_t phase_ns)
{
    struct clockwork *work = calloc(1, sizeof *work);
    assert_non_null(work);
    work->timers = (struct hf_timers){
        .wheel = &work->wheel, .links = (uint8_t *)&work->items[0].link, .stride = sizeof work->items[0], .phase_ns = phase_ns};
    work->random = 5;
    return work;
}

static uint64_t draw(struct clockwork *work)
{
    work->random = work->random * 6364136223846793005ull + 1442695040888963407ull;
    return work->random >> 20;
}

static void add(struct clockwork *work, uint32_t slot, uint64_t at_ns, uint64_t now_ns)
{
    work->items[slot].at_ns = at_ns;
    hf_timer_insert(&work->timers, slot, at_ns, now_ns);
}

/* Takes all that fires at now_ns; each must be due, and none may have been due a tick and more before `last_ns`. */
static unsigned fire(struct clockwork *work, uint64_t last_ns, uint64_t now_ns)
{
    unsigned fired = 0;
    for (;;) {
        uint32_t budget = 7, slot = hf_timer_advance(&work->timers, now_ns, &budget, item_time, work);
        if (slot == 0 && budget > 0)
            return fired;
        if (slot == 0)
            continue;
        assert_true(work->items[slot].at_ns <= now_ns);
        assert_true(work->items[slot].at_ns + 2 * TICK_NS > last_ns);
        hf_timer_remove(&work->timers, slot);
        fired++;
    }
}

static void walk(uint64_t start_ns, uint64_t phase_ns, uint64_t spread_ns, uint64_t step_ns)
{
    struct clockwork *work = clockwork_new(phase_ns);
    uint64_t now_ns = start_ns, last_ns = 0;
    unsigned fired = 0;
    for (uint32_t slot = 1; slot <= TIMERS; slot++)
        add(work, slot, now_ns + draw(work) % spread_ns, now_ns);
    while (fired < TIMERS) {
        uint64_t due_ns = hf_timer_due_ns(&work->timers);
        now_ns = draw(work) % 2 ? now_ns + draw(work) % step_ns : due_ns > now_ns ? due_ns : now_ns + 1;
        unsigned now = fire(work, last_ns, now_ns);
        assert_true(now == 0 || due_ns <= now_ns);
        fired += now;
        for (uint32_t slot = 1; slot <= TIMERS; slot++)
            if (work->items[slot].link.prev != 0)
                assert_true(work->items[slot].at_ns + 2 * TICK_NS > now_ns);
        last_ns = now_ns;
    }
    assert_int_equal(hf_timer_due_ns(&work->timers), UINT64_MAX);
    free(work);
}

static void timers_fire_in_their_tick(void **state)
{
    (void)state;
    walk(KIT_START_NS, 0, 50 * KIT_MS, 3 * KIT_MS);
    walk(KIT_START_NS, 12345678, 3 * KIT_S, 100 * KIT_MS);
    walk(KIT_START_NS, 1ull << 35, 900 * KIT_S, 20 * KIT_S);
    walk(KIT_START_NS, 7, 30 * 86400 * KIT_S, 86400 * KIT_S);
    walk(1, 0, 60 * KIT_S, KIT_S);
}

static void timers_fire_across_every_level_boundary(void **state)
{
    (void)state;
    for (unsigned level = 1; level < HF_WHEEL_LEVELS; level++) {
        uint64_t boundary_ns = (3ull << 8 * level) << HF_TICK_SHIFT;
        if (level < 5)
            walk(boundary_ns - 20 * KIT_MS, 0, 40 * KIT_MS, 2 * KIT_MS);
        walk(boundary_ns - 20 * KIT_MS, 0, 100 * KIT_S, 5 * KIT_S);
    }
}

static void a_jump_of_an_hour_fires_everything_before_it(void **state)
{
    (void)state;
    struct clockwork *work = clockwork_new(0);
    for (uint32_t slot = 1; slot <= TIMERS; slot++)
        add(work, slot, KIT_START_NS + slot * 3 * KIT_S, KIT_START_NS);
    assert_int_equal(fire(work, 0, KIT_START_NS + 3600 * KIT_S), 1199); /* the 1200th tick has not wholly passed */
    assert_int_equal(fire(work, 0, KIT_START_NS + 7200 * KIT_S), 801);
    free(work);
}

static void a_timer_in_the_past_fires_at_once(void **state)
{
    (void)state;
    struct clockwork *work = clockwork_new(0);
    add(work, 1, KIT_START_NS, KIT_START_NS);
    assert_int_equal(fire(work, 0, KIT_START_NS + KIT_S), 1);
    add(work, 2, KIT_START_NS + 5000 * KIT_S, KIT_START_NS + KIT_S);
    add(work, 3, KIT_START_NS - 3600 * KIT_S, KIT_START_NS + KIT_S);
    assert_int_equal(fire(work, 0, KIT_START_NS + KIT_S), 1);
    hf_timer_remove(&work->timers, 2);
    hf_timer_remove(&work->timers, 2);
    assert_int_equal(hf_timer_due_ns(&work->timers), UINT64_MAX);
    free(work);
}

static void removing_from_anywhere_in_a_list_keeps_the_rest(void **state)
{
    (void)state;
    struct clockwork *work = clockwork_new(0);
    for (uint32_t slot = 1; slot <= TIMERS; slot++)
        add(work, slot, KIT_START_NS + (1 + slot % 7) * KIT_S, KIT_START_NS);
    for (uint32_t slot = 1; slot <= TIMERS; slot += 3)
        hf_timer_remove(&work->timers, slot);
    assert_int_equal(fire(work, 0, KIT_START_NS + 60 * KIT_S), TIMERS - (TIMERS + 2) / 3);
    free(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_their_tick),
        cmocka_unit_test(timers_fire_across_every_level_boundary),
        cmocka_unit_test(a_jump_of_an_hour_fires_everything_before_it),
        cmocka_unit_test(a_timer_in_the_past_fires_at_once),
        cmocka_unit_test(removing_from_anywhere_in_a_list_keeps_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

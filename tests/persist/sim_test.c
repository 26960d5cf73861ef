/* The log on a disk that does everything a disk can do: whole lives, one after another, each judged by what the disk says it must come to.
 */
#include "log_help.h"

#include "persist/log_p.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIVES = 12, RECORDS_MOST = 300, SEEDS_DEFAULT = 60, SEEDS_FULL = 3000 };

struct trial {
    struct help help;
    struct hf_sim_disk *disk;
    uint64_t seed, random;
    unsigned life;
    uint64_t acknowledged; /* records known to be durable */
    uint64_t refused, left_over, recovered;
};

static uint64_t draw(struct trial *trial, uint64_t below)
{
    trial->random = trial->random * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (trial->random >> 33) % below;
}

static void trial_failed(const struct trial *trial, const char *what)
{
    const char *error = trial->help.log != NULL ? hf_log_error(trial->help.log) : hf_log_error(NULL);
    fail_msg("HF_TEST_SEED=%llu life %u: %s; the log said: %s", (unsigned long long)trial->seed, trial->life, what, error);
}

static void trial_begin(struct trial *trial, uint64_t seed)
{
    *trial = (struct trial){.seed = seed, .random = seed + 77};
    struct hf_sim_options options = {.seed = seed,
                                     .depth = 1 + (unsigned)draw(trial, 4),
                                     .write_ns_max = 1000 + draw(trial, 400000),
                                     .fill_bytes = 4096u << draw(trial, 4),
                                     .fill_ns_max = draw(trial, 2) * 20000,
                                     .buffered = draw(trial, 2) == 0,
                                     .keeps_old = draw(trial, 3) == 0};
    trial->disk = hf_sim_disk_new(&options);
    trial->help.options = help_small();
    trial->help.options.segment_bytes = 16384u << draw(trial, 3);
    trial->help.options.backend = HF_LOG_SIM;
    trial->help.options.backend_options = trial->disk;
}

static void set_rates(struct trial *trial)
{
    hf_sim_disk_calm(trial->disk);
    for (enum hf_sim_fault fault = 0; fault < HF_SIM_FAULTS; fault++)
        if (draw(trial, 4) == 0)
            hf_sim_disk_set_rate(trial->disk, fault, (uint32_t)draw(trial, fault == HF_SIM_SLOW_WRITE ? 100000 : 8000));
    if (draw(trial, 3) == 0)
        hf_sim_disk_crash_after(trial->disk, 1 + draw(trial, 300));
    else if (draw(trial, 2) == 0)
        hf_sim_disk_kill_after(trial->disk, 1 + draw(trial, 300));
}

static void damage_at_rest(struct trial *trial)
{
    switch (draw(trial, 12)) {
    case 0:
    case 1:
        hf_sim_disk_rot(trial->disk);
        break;
    case 2:
        hf_sim_disk_rot_manifest(trial->disk, (unsigned)draw(trial, 2));
        break;
    case 3:
        if (draw(trial, 4) == 0)
            hf_sim_disk_lose_segment(trial->disk);
        break;
    case 4:
        if (draw(trial, 4) == 0)
            for (unsigned copy = 0; copy < 2; copy++)
                hf_sim_disk_rot_manifest(trial->disk, copy);
        break;
    default:
        break;
    }
}

/* An error that the disk made on order, or the end of the process: the start says so and nothing else follows from it. */
static bool excused(const struct trial *trial, int e)
{
    return hf_sim_disk_crashed(trial->disk) || e == HF_E_IO || e == HF_E_NO_SPACE;
}

static void life_ends(struct trial *trial)
{
    help_close(&trial->help);
    hf_sim_disk_restart(trial->disk);
}

static void judge_start(struct trial *trial, enum hf_sim_promise promise, uint64_t kept, int e)
{
    struct help *help = &trial->help;
    bool refused = e == HF_E_DAMAGED;
    if (e != 0 && !refused)
        trial_failed(trial, "a start failed by itself");
    if (refused && promise == HF_SIM_KEEPS)
        trial_failed(trial, "a start was refused although nothing acknowledged is damaged");
    if (!refused && promise == HF_SIM_REFUSES)
        trial_failed(trial, "a damaged log was served");
    if (refused)
        return;
    if (promise == HF_SIM_LEFT_OVER && help->info.end_position < kept)
        trial_failed(trial, "what stands before the damage was lost too");
    if (promise != HF_SIM_LEFT_OVER && help->seen < trial->acknowledged)
        trial_failed(trial, "acknowledged records were lost");
    trial->recovered++;
}

/* Starts; false: this life is over before it began. */
static bool life_begins(struct trial *trial)
{
    uint64_t kept;
    enum hf_sim_promise promise = hf_sim_disk_promise(trial->disk, &kept);
    int e = help_open(&trial->help);
    if (e != 0 && e != HF_E_DAMAGED && excused(trial, e))
        return false;
    judge_start(trial, promise, kept, e);
    trial->refused += e != 0;
    trial->left_over += promise == HF_SIM_LEFT_OVER;
    if (e != 0) {
        hf_sim_disk_repair(trial->disk);
        return false;
    }
    trial->acknowledged = trial->help.seen;
    e = hf_log_start(trial->help.log, &trial->help.buffer, &trial->help.term);
    if (e != 0 && !excused(trial, e))
        trial_failed(trial, "a recovered log could not be started");
    return e == 0;
}

/* One turn: time goes on a little, or a lot; 0 or the error that ended the log. */
static int turn(struct trial *trial)
{
    struct help *help = &trial->help;
    uint64_t step_ns = draw(trial, 50) == 0 ? 6000000 : 1 + draw(trial, 30000);
    hf_sim_disk_set_now(trial->disk, hf_sim_disk_now(trial->disk) + step_ns);
    help->now_ns = HELP_WALL_NS + hf_sim_disk_now(trial->disk);
    int e = hf_log_drain(help->log, help->now_ns);
    return e < 0 ? e : 0;
}

static void live(struct trial *trial)
{
    struct help *help = &trial->help;
    uint64_t ends[RECORDS_MOST] = {0}, first = help->written, most = draw(trial, RECORDS_MOST);
    int e = 0;
    for (unsigned turns = 0; e == 0 && help->written - first < most && turns < 20000; turns++) {
        if (draw(trial, 2) == 0 && hf_log_watermark(help->log) < 2 && hf_log_buffer_has_room(help->buffer, 0)) {
            uint64_t slot = help->written - first;
            ends[slot] = help_write(help, 48 + 8 * (uint32_t)draw(trial, draw(trial, 4) == 0 ? 500 : 30));
        }
        e = turn(trial);
        while (trial->acknowledged < help->written && ends[trial->acknowledged - first] <= hf_log_durable(help->log))
            trial->acknowledged++;
    }
    for (unsigned quiet = (unsigned)draw(trial, 30); e == 0 && quiet > 0; quiet--)
        e = turn(trial);
    while (trial->acknowledged < help->written && ends[trial->acknowledged - first] <= hf_log_durable(help->log))
        trial->acknowledged++;
    switch (draw(trial, 4)) {
    case 0:
        hf_sim_disk_power_cut(trial->disk);
        break;
    case 1:
        hf_sim_disk_kill(trial->disk);
        break;
    case 2:
        if (hf_log_stop(help->log) == 0)
            trial->acknowledged = help->written;
        break;
    default:
        break;
    }
}

static void one_seed(uint64_t seed, uint64_t counts[HF_SIM_FAULTS], uint64_t totals[3])
{
    struct trial trial;
    trial_begin(&trial, seed);
    for (; trial.life < LIVES; trial.life++) {
        set_rates(&trial);
        if (life_begins(&trial))
            live(&trial);
        life_ends(&trial);
        if (draw(&trial, 6) == 0) {
            hf_sim_disk_power_cut(trial.disk);
            life_ends(&trial);
        }
        damage_at_rest(&trial);
    }
    hf_sim_disk_repair(trial.disk);
    hf_sim_disk_calm(trial.disk);
    if (!life_begins(&trial))
        trial_failed(&trial, "with all faults over and all damage repaired the log does not start");
    life_ends(&trial);
    for (unsigned i = 0; i < HF_SIM_FAULTS; i++)
        counts[i] += hf_sim_disk_counts(trial.disk)[i];
    totals[0] += trial.recovered;
    totals[1] += trial.refused;
    totals[2] += trial.left_over;
    hf_sim_disk_free(trial.disk);
}

static void every_life_on_a_hostile_disk_comes_to_what_was_promised(void **state)
{
    (void)state;
    uint64_t counts[HF_SIM_FAULTS] = {0}, totals[3] = {0};
    const char *scale = getenv("HF_TEST_SCALE"), *one = getenv("HF_TEST_SEED");
    uint64_t seeds = scale != NULL && strcmp(scale, "full") == 0 ? SEEDS_FULL : SEEDS_DEFAULT, first = 1;
    if (one != NULL) {
        first = strtoull(one, NULL, 10);
        seeds = 1;
    }
    for (uint64_t seed = first; seed < first + seeds; seed++)
        one_seed(seed, counts, totals);
    printf("seeds: %llu, recovered: %llu, refused: %llu, left over: %llu, faults: {", (unsigned long long)seeds,
           (unsigned long long)totals[0], (unsigned long long)totals[1], (unsigned long long)totals[2]);
    for (unsigned i = 0; i < HF_SIM_FAULTS; i++)
        printf("%s%s:%llu", i == 0 ? "" : ",", hf_sim_fault_name(i), (unsigned long long)counts[i]);
    printf("}\n");
    for (unsigned i = 0; i < HF_SIM_FAULTS && one == NULL; i++)
        if (counts[i] == 0)
            fail_msg("%s never happened", hf_sim_fault_name(i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_life_on_a_hostile_disk_comes_to_what_was_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

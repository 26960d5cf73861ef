#include "tests/sim/run.h"

#include "tests/sim/check.h"
#include "tests/sim/history.h"
#include "tests/sim/network.h"
#include "tests/sim/process.h"
#include "tests/sim/threads.h"
#include "tests/sim/trials.h"
#include "tests/sim/workload.h"
#include "wire/error.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    COMMANDS_LEAST = 5000,
    RESTARTS_LEAST = 3,
    FAULTS_LEAST = 20,
    STEPS_MAX = 4000000,
    QUIET_STEPS_MAX = 400000,              /* without an answer, while there should be some */
    IDLE_STEPS_MAX = 20 * QUIET_STEPS_MAX, /* with nothing asked: every client waits before it connects again */
    CALM_COMMANDS = 300,
    STATE_CHECK_STEPS = 2048,
    TRIALS_LAST = 1,
    QUICK_TRIALS = 3,
    SHORT_LIVES = 66,
    STARTS_MAX = 32, /* until one succeeds */
};

/* What a seed draws once. */
struct plan {
    struct hf_server_options options;
    struct hf_node_world world;
    struct hf_sim_options disk;
    struct sim_network_options net;
    struct sim_workload_options workload;
    uint64_t step_ns_max;
    unsigned restarts;
    bool short_lives;
    bool hostile; /* false: nothing goes wrong but the engine's ends */
};

static struct plan plan;
static struct hf_sim_disk *disk;
static uint64_t restarts, reasons_seen;
static bool resized, calm;

/* ---- drawing a world ---- */

static uint64_t pick(const uint64_t *values, unsigned count)
{
    return values[sim_below(count)];
}
#define PICK(...) pick((const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void draw_shards(void)
{
    struct hf_server_options *options = &plan.options;
    do
        options->shards = (uint32_t)PICK(1, 1, 2, 2, 3, 4);
    while (options->shards > options->partitions);
    /* The least that holds the worst case of so many and the service. */
    plan.world.log_buffer_bytes = options->shards == 1 ? 8 << 20 : options->shards < 4 ? 16 << 20 : 32 << 20;
    options->drainer = sim_one_in(3) ? HF_DRAINER_THREAD : HF_DRAINER_INLINE;
}

static void draw_sizes(void)
{
    struct hf_server_options *options = &plan.options;
    options->skus_max = 64 + sim_below(64);
    options->cells_max = 128 + sim_below(512);
    options->orders_max = PICK(256, 1024, 8192);
    options->lines_max = PICK(512, 4096, 32768);
    options->command_ids_max = PICK(512, 4096, 16384);
    options->limits_max = PICK(16, 256, 4096);
    options->request_keys_max = PICK(16, 256, 4096);
}

static void draw_roomy_sizes(void)
{
    struct hf_server_options *options = &plan.options;
    options->skus_max = options->cells_max = options->limits_max = 8192;
    options->orders_max = options->lines_max = options->command_ids_max = options->request_keys_max = 65536;
}

static void draw_options(void)
{
    struct hf_server_options *options = &plan.options;
    *options = (struct hf_server_options){.listen_count = 1, .idle = HF_IDLE_SLEEP, .log_level = HF_LEVEL_WARN};
    snprintf(options->listen[0], sizeof options->listen[0], "loopback://sim:7420");
    snprintf(options->data, sizeof options->data, "sim");
    options->partitions = (uint32_t)PICK(1, 2, 4, 8, 16, 64);
    draw_sizes();
    options->retention_ns = PICK(300, 1000, 2000, 5000) * 1000000;
    options->clock_gap_max_ns = 3600000000000u;
    options->session_idle_ns = PICK(500, 5000, 60000) * 1000000;
    options->block_max_bytes = PICK(32, 32, 64, 256) << 10;
    /* Odd multiples: recovery then reads ahead in pieces of one block, which is quick. */
    options->segment_bytes = options->block_max_bytes * PICK(1, 3, 5, 7, 15, 16);
    options->log_ahead_bytes = 1 << 20;
    plan.world = (struct hf_node_world){
        .answer_cache_bytes = 1 << 20,
        .channel_tasks = (uint32_t)PICK(4, 64, 256),
        .service_tasks = (uint32_t)PICK(2, 16),
        .parked_max = (uint32_t)PICK(4, 64, 1024),
        .sessions_max = 12,
        .requests_max = (uint32_t)PICK(4, 64),
        .credits_max = (uint32_t)PICK(4, 64),
    };
    draw_shards();
}

static void draw_workload(void)
{
    static const uint32_t usual[ACTS] = {
        [ACT_LOCATION] = 1,  [ACT_SKU] = 1,      [ACT_POLICY] = 2,  [ACT_RECEIVE] = 8, [ACT_ADJUST] = 4, [ACT_SET] = 4,
        [ACT_PLACE] = 40,    [ACT_EXTEND] = 6,   [ACT_SETTLE] = 20, [ACT_RESULT] = 14, [ACT_SHIP] = 12,  [ACT_CANCEL] = 8,
        [ACT_GET_ORDER] = 4, [ACT_GET_CELL] = 4, [ACT_GET_SKU] = 2, [ACT_LIST] = 1,    [ACT_ADMIN] = 1,  [ACT_AGAIN] = 6,
        [ACT_CHANGED] = 2,   [ACT_KEYED] = 8,    [ACT_BAD] = 1};
    plan.workload = (struct sim_workload_options){
        .clients = 1 + (unsigned)sim_below(4),
        .skus = (unsigned)PICK(1, 3, 10, 40),
        .locations = (unsigned)PICK(1, 2, 5),
        .customers = (unsigned)PICK(2, 10, 1000),
        .lines_max = (unsigned)PICK(1, 4, 16, 16, 64, 256),
        .frames_max = (unsigned)PICK(1, 4, 16),
        .commands_max = (unsigned)PICK(1, 4, 16),
        .ttl_ms_max = PICK(20, 200, 2000, 60000),
        .deadline_ns = PICK(300, 2000, 10000) * 1000000,
        .keyed = (unsigned)PICK(0, 2, 4, 16),
        .fond = (unsigned)PICK(2, 6, 6, 6),
        .retention_ns = plan.options.retention_ns,
        .one_session = sim_one_in(3),
    };
    for (unsigned i = 0; i < ACTS; i++)
        plan.workload.weights[i] = i != ACT_PLACE && sim_one_in(8) ? 0 : usual[i] * (1 + (uint32_t)sim_below(8));
    if (sim_one_in(12)) { /* more places than an answer lists, of one thing */
        plan.workload.skus = 1;
        plan.workload.locations = 80 + (unsigned)sim_below(240);
        plan.workload.weights[ACT_GET_SKU] = plan.workload.weights[ACT_LIST] = 4;
    }
}

static void draw_faults(void)
{
    plan.hostile = true;
    plan.net = (struct sim_network_options){.delay_ns_max = PICK(1000, 100000, 5000000), .split = (uint32_t)PICK(0, 2000, 20000)};
    if (plan.hostile) {
        uint32_t *rates[] = {&plan.net.drop,     &plan.net.duplicate, &plan.net.reorder, &plan.net.delay,
                             &plan.net.truncate, &plan.net.corrupt,   &plan.net.reset,   &plan.net.half_open};
        for (unsigned i = 0; i < sizeof rates / sizeof rates[0]; i++)
            *rates[i] = sim_one_in(2) ? 0 : 20 + (uint32_t)sim_below(300);
    }
    plan.disk = (struct hf_sim_options){
        .seed = hf_random_next(&sim.random),
        .depth = 1 + (unsigned)sim_below(4),
        .write_ns_max = PICK(20000, 200000, 3000000),
        .fill_ns_max = PICK(0, 0, 1000000),
        .fill_bytes = PICK(0, 1 << 20),
        .buffered = sim_one_in(4),
        .keeps_old = sim_one_in(4),
    };
}

static void draw(void)
{
    memset(&plan, 0, sizeof plan);
    draw_options();
    draw_workload();
    draw_faults();
    plan.short_lives = sim_one_in(40);
    plan.options.prefault = sim_one_in(4);
    plan.step_ns_max = PICK(500, 5000, 100000);
    plan.restarts = RESTARTS_LEAST + (unsigned)sim_below(3);
    sim.yield_per_256 = (uint32_t)PICK(0, 16, 64, 128);
}

/* ---- moving on ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How far the wall clock may be ahead of the log: of its last entry that no cut can have taken. */
static uint64_t wall_gap_most_ns(void)
{
    uint64_t wall_ns = sim.now_ns + (uint64_t)sim.wall_offset_ns, last_ns = 0;
    for (uint64_t i = 0; i < sim_history_count() && sim_history_entry(i)->end_position <= sim_history_acknowledged_position(); i++)
        if (sim_history_record(i)->time_ns > last_ns)
            last_ns = sim_history_record(i)->time_ns;
    return wall_ns > last_ns ? wall_ns - last_ns : 0;
}

static void skip_idle_time(void)
{
    uint64_t next = least(least(sim_threads_next_ns(), sim_network_next_ns()), sim_workload_next_ns());
    if (next == UINT64_MAX)
        sim_fail("nothing will ever happen again");
    else if (next > sim.now_ns)
        sim.now_ns = next;
    else
        sim.now_ns += 1000;
}

/* Something happens, somewhere. */
static void step(void)
{
    sim.steps++;
    sim.now_ns += sim_below(plan.step_ns_max + 1);
    hf_sim_disk_set_now(disk, sim.now_ns);
    uint64_t first = sim_below(4);
    bool moved = false;
    for (unsigned i = 0; i < 4 && !moved; i++) {
        uint64_t what = (first + i) % 4;
        moved = what == 0 ? sim_network_run() : what == 1 ? sim_workload_run() : sim_threads_run();
    }
    if (hf_sim_disk_now(disk) > sim.now_ns)
        sim.now_ns = hf_sim_disk_now(disk);
    if (!moved)
        skip_idle_time();
    if (sim.tracing || sim.steps % STATE_CHECK_STEPS == 0)
        sim_check_state(sim.steps % (16 * STATE_CHECK_STEPS) == 0);
    if (sim.steps % STATE_CHECK_STEPS == 0 && sim_process_state() == SIM_UP)
        sim_check_keep_from(
            least(sim_workload_oldest_position(), least(sim_history_acknowledged_position(), hf_log_durable(sim_process_node()->log))));
    if (sim.steps > STEPS_MAX)
        sim_fail("the seed does not end: %u steps", STEPS_MAX);
}

/* ---- the engine's lives ---- */

/* Whether a start may be refused with this, by what was done to the disk, the clock and the sizes. */
static bool refusal_is_right(int code, enum hf_sim_promise promise, const uint64_t before[HF_SIM_FAULTS])
{
    static const enum hf_sim_fault failing[] = {HF_SIM_READ_ERROR, HF_SIM_FLUSH_ERROR, HF_SIM_MANIFEST_ERROR, HF_SIM_POWER_CUT,
                                                HF_SIM_KILL,       HF_SIM_WRITE_ERROR, HF_SIM_WRITE_SHORT};
    const uint64_t *now = hf_sim_disk_counts(disk);
    switch (code) {
    case HF_E_CLOCK:
        return !plan.options.accept_clock && wall_gap_most_ns() > plan.options.clock_gap_max_ns;
    case HF_E_TOO_SMALL:
        return resized;
    case HF_E_NO_SPACE:
        return true;
    case HF_E_DAMAGED:
        return promise != HF_SIM_KEEPS;
    default:
        for (unsigned i = 0; i < sizeof failing / sizeof failing[0]; i++)
            if (now[failing[i]] != before[failing[i]])
                return true;
        return false;
    }
}

/* What an operator would do about it. */
static void mend(int code)
{
    if (code == HF_E_CLOCK)
        plan.options.accept_clock = true;
    else if (code == HF_E_TOO_SMALL)
        draw_roomy_sizes();
    else if (code == HF_E_DAMAGED)
        hf_sim_disk_repair(disk);
    sim.now_ns += 100000000;
}

static void start_once(void)
{
    uint64_t before[HF_SIM_FAULTS], kept = 0;
    memcpy(before, hf_sim_disk_counts(disk), sizeof before);
    enum hf_sim_promise promise = hf_sim_disk_promise(disk, &kept);
    if (promise == HF_SIM_LEFT_OVER) {
        hf_sim_disk_repair(disk);
        promise = hf_sim_disk_promise(disk, &kept);
    }
    if (plan.hostile && sim_one_in(6))
        (sim_one_in(2) ? hf_sim_disk_crash_after : hf_sim_disk_kill_after)(disk, 1 + sim_below(20));
    struct hf_server_options options = plan.options;
    if (restarts > 0 && sim_one_in(2))
        options.partitions = 0; /* as nearly every start of an old directory */
    sim_process_start(&options, &plan.world);
    while (sim_process_state() == SIM_STARTING && !sim.failed)
        step();
    if (sim_process_state() == SIM_UP && promise == HF_SIM_REFUSES)
        sim_fail("the engine serves from a disk whose damage it should have refused");
    if (sim_process_state() == SIM_REFUSED && !refusal_is_right(sim_process_code(), promise, before))
        sim_fail("the engine does not start: %d: %s", sim_process_code(), sim_process_error());
}

static void start_engine(void)
{
    plan.options.accept_clock = false;
    for (unsigned tries = 0; !sim.failed; tries++) {
        start_once();
        if (sim.failed || sim_process_state() == SIM_UP)
            return;
        sim_note("start %u failed: %d: %s", tries, sim_process_code(), sim_process_error());
        mend(sim_process_code());
        sim_process_bury();
        if (tries == STARTS_MAX)
            sim_fail("no start succeeds: %d: %s", sim_process_code(), sim_process_error());
    }
}

static void stop_engine(void)
{
    sim_process_stop();
    while (sim_process_state() == SIM_UP || sim_process_state() == SIM_STOPPING) {
        if (sim.failed)
            return;
        step();
    }
    if (sim_process_state() != SIM_STOPPED && !plan.hostile)
        sim_fail("the engine does not stop cleanly: %d: %s", sim_process_code(), sim_process_error());
}

/* While it serves. */
static void maybe_hurt(void)
{
    if (!plan.hostile || calm || !sim_one_in(10000))
        return;
    switch (sim_below(6)) {
    case 0:
        sim_fault(SIM_PAUSE);
        sim_threads_pause(sim.now_ns + sim_below(400000000));
        break;
    case 1:
        sim_fault(SIM_CLOCK_STEP);
        sim.wall_offset_ns += (int64_t)sim_below(7200000000000) - 3600000000000;
        break;
    case 2:
        sim_workload_replace_client();
        break;
    case 3:
        hf_sim_disk_fill_up(disk, sim.now_ns + sim_below(2000000000));
        break;
    case 4:
        hf_sim_disk_plan(disk, HF_SIM_SLOW_WRITE, 1 + sim_below(5));
        break;
    default:
        hf_sim_disk_plan(disk,
                         (enum hf_sim_fault)PICK(HF_SIM_WRITE_ERROR, HF_SIM_WRITE_SHORT, HF_SIM_FLUSH_ERROR, HF_SIM_FENCED,
                                                 HF_SIM_LOST_WRITE, HF_SIM_MISDIRECTED, HF_SIM_READ_ERROR),
                         1 + sim_below(50));
    }
}

/* While it does not. */
static void hurt_at_rest(void)
{
    if (!plan.hostile)
        return;
    if (sim_one_in(6))
        hf_sim_disk_rot(disk);
    if (sim_one_in(10))
        hf_sim_disk_rot_manifest(disk, (unsigned)sim_below(2));
    if (sim_one_in(30)) {
        hf_sim_disk_rot_manifest(disk, 0);
        hf_sim_disk_rot_manifest(disk, 1);
    }
    if (sim_one_in(20))
        hf_sim_disk_lose_segment(disk);
    if (sim_one_in(4)) {
        sim_fault(SIM_CLOCK_STEP);
        sim.wall_offset_ns += (int64_t)sim_below(14400000000000) - 7200000000000;
    }
    if (sim_one_in(6))
        hf_sim_disk_plan(disk, HF_SIM_READ_ERROR, 1 + sim_below(20));
    if (sim_one_in(6))
        hf_sim_disk_plan(disk, HF_SIM_MANIFEST_ERROR, 1 + sim_below(2));
}

/* The disk goes within one of its next operations; with clients that ask for nothing there may be none. */
static void run_until_ended(void)
{
    uint64_t last = sim.steps + 20000;
    while (sim_process_state() != SIM_EXITED && sim.steps < last && !sim.failed)
        step();
    if (sim.failed)
        return;
    if (sim_process_state() == SIM_EXITED)
        sim_process_bury();
    else
        sim_process_kill(false);
}

static struct sim_trials trials(bool clean)
{
    return (struct sim_trials){.disk = disk, .options = &plan.options, .world = &plan.world, .step = step, .clean = clean};
}

static void restart_engine(void)
{
    bool clean = false;
    sim_check_state(true);
    restarts++;
    switch (sim_below(6)) {
    case 0:
        stop_engine();
        clean = sim_process_state() == SIM_STOPPED;
        if (!sim.failed)
            sim_process_bury();
        break;
    case 1:
        sim_process_kill(true);
        break;
    case 2:
        sim_process_kill(false);
        break;
    case 3:
        hf_sim_disk_crash_after(disk, 1 + sim_below(200));
        run_until_ended();
        break;
    default:
        hf_sim_disk_kill_after(disk, 1 + sim_below(200));
        run_until_ended();
    }
    if (sim.failed)
        return;
    sim_check_log();
    struct sim_trials with = trials(clean);
    if (sim_one_in(2))
        sim_trial(&with);
    hurt_at_rest();
    if (sim_one_in(4) && !sim.failed)
        sim_trial_look(&with);
    if (sim.failed)
        return;
    uint32_t before = plan.options.shards;
    draw_shards();
    if (plan.options.shards != before)
        sim_fault(SIM_RESHARD);
    if (plan.hostile && sim_one_in(4)) {
        sim_fault(SIM_RESIZE);
        draw_sizes();
        resized = true;
    }
    start_engine();
}

/* A process that ended by itself may do so only where the disk gave it reason. */
static void come_back(void)
{
    static const enum hf_sim_fault reasons[] = {HF_SIM_WRITE_ERROR, HF_SIM_WRITE_SHORT, HF_SIM_FLUSH_ERROR,
                                                HF_SIM_FENCED,      HF_SIM_POWER_CUT,   HF_SIM_KILL};
    uint64_t given = 0;
    for (unsigned i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        given += hf_sim_disk_counts(disk)[reasons[i]];
    if (given == reasons_seen)
        sim_fail("the engine ended by itself without a reason: %d", sim_process_code());
    reasons_seen = given;
    restarts++;
    sim_process_bury();
    start_engine();
}

/* Until so many commands have been answered or have failed; false: it came to a standstill or failed. */
static void serve(uint64_t commands)
{
    const struct sim_workload_counts *counts = sim_workload_counts();
    uint64_t until = counts->answered + commands, last = 0, quiet = 0, idle = 0;
    while (counts->answered < until && !sim.failed) {
        uint64_t before = sim.steps;
        step();
        uint64_t now = counts->answered + counts->failed + counts->refused;
        if (now != last) {
            last = now;
            quiet = idle = 0;
        }
        *(sim_workload_outstanding() > 0 ? &quiet : &idle) += sim.steps - before;
        if (quiet > QUIET_STEPS_MAX || idle > IDLE_STEPS_MAX)
            sim_fail("no answer in %" PRIu64 " steps, %u frames outstanding", quiet + idle, sim_workload_outstanding());
        if (sim_process_state() == SIM_EXITED && !sim.failed)
            come_back();
        maybe_hurt();
    }
}

/* Nothing goes wrong any more: all that is outstanding gets its answer, and then as many again as ever. */
static void come_to_rest(void)
{
    calm = true;
    sim_network_set(&(struct sim_network_options){.delay_ns_max = 100000});
    sim_network_heal();
    hf_sim_disk_calm(disk);
    sim_workload_pace(UINT64_MAX);
    uint64_t last = sim.steps + QUIET_STEPS_MAX;
    while (sim_workload_outstanding() > 0 && !sim.failed) {
        step();
        if (sim.steps > last)
            sim_fail("%u frames have no answer although nothing goes wrong any more", sim_workload_outstanding());
    }
    if (sim.failed)
        return;
    sim_note("calm");
    sim_workload_pace(1000000);
    serve(CALM_COMMANDS);
    sim_workload_pace(UINT64_MAX);
    while (sim_workload_outstanding() > 0 && !sim.failed)
        step();
}

static uint64_t faults_so_far(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < SIM_FAULTS; i++)
        sum += sim.faults[i];
    for (unsigned i = 0; i < HF_SIM_FAULTS; i++)
        sum += hf_sim_disk_counts(disk)[i];
    return sum;
}

/* A world in which too little went wrong meets more of it. */
static void make_up_for_calm(void)
{
    struct sim_network_options net = plan.net;
    net.reset = net.duplicate = net.corrupt = 4000;
    sim_network_set(&net);
    while (faults_so_far() < FAULTS_LEAST && !sim.failed)
        serve(50);
}

/* More terms than the manifest lists. */
static void live_shortly(void)
{
    for (unsigned i = 0; i < SHORT_LIVES && !sim.failed; i++) {
        if (sim_one_in(8)) {
            stop_engine();
            if (!sim.failed)
                sim_process_bury();
        } else {
            sim_process_kill(false);
        }
        restarts++;
        if (!sim.failed)
            start_engine();
    }
}

static void live(void)
{
    uint64_t part = COMMANDS_LEAST / (plan.restarts + 1) + 1;
    struct sim_trials empty = trials(false);
    sim_trial_empty(&empty);
    start_engine();
    for (unsigned i = 0; i <= plan.restarts && !sim.failed; i++) {
        sim_network_set(&plan.net);
        sim_workload_pace(PICK(0, 2000000, 20000000, 50000000));
        serve(i == 0 && plan.short_lives ? 100 : part);
        if (i == 0 && plan.short_lives && !sim.failed)
            live_shortly();
        if (i < plan.restarts && !sim.failed)
            restart_engine();
    }
    if (!sim.failed)
        make_up_for_calm();
    if (!sim.failed)
        come_to_rest();
    if (!sim.failed) {
        stop_engine();
        sim_process_bury();
        sim_check_log();
        struct sim_trials with = trials(true);
        for (unsigned i = 0; i < TRIALS_LAST && !sim.failed; i++)
            sim_trial(&with);
        for (unsigned i = 0; i < QUICK_TRIALS && !sim.failed; i++)
            sim_trial_manifest(&with);
        if (!sim.failed)
            sim_trial_look(&with);
    }
    if (!sim.failed) {
        start_engine();
        restarts++;
        sim_check_state(true);
    }
}

void sim_run(uint64_t seed, bool tracing, struct sim_result *out)
{
    sim = (struct sim){.seed = seed, .tracing = tracing, .now_ns = 1000000000, .wall_offset_ns = 1700000000000000000};
    sim.random.state = seed;
    sim.entropy.state = ~seed;
    restarts = reasons_seen = 0;
    resized = calm = false;
    draw();
    disk = hf_sim_disk_new(&plan.disk);
    sim_history_begin();
    sim_check_begin(&(struct sim_check_options){.partitions = plan.options.partitions, .retention_ns = plan.options.retention_ns});
    sim_network_begin();
    sim_process_begin(disk);
    sim_workload_begin(&plan.workload);
    live();
    *out = (struct sim_result){.seed = seed,
                               .hash = sim.hash,
                               .steps = sim.steps,
                               .commands = sim_workload_counts()->answered,
                               .keyed = sim_workload_counts()->keyed,
                               .records = sim_history_count(),
                               .restarts = restarts,
                               .virtual_ns = sim.now_ns,
                               .failed = sim.failed};
    memcpy(out->failure, sim.failure, sizeof out->failure);
    memcpy(out->faults, sim.faults, sizeof out->faults);
    memcpy(out->disk_faults, hf_sim_disk_counts(disk), sizeof out->disk_faults);
    sim_workload_end();
    sim_process_end();
    sim_network_end();
    sim_check_end();
    sim_history_end();
    hf_sim_disk_free(disk);
}

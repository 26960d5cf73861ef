/*
 * What an order costs behind the transport: words, step, digest, outcome, claim, copy, checksummed blocks; one core, no disk.
 *
 * Premade places go through the shard's own executor, sixteen batches of 64 a turn; then the shard's own sweep and the log's drainer have
 * their share, as in the shard loop. The clock stands still while commands are made. All tables are touched before it starts, and a run in
 * which one order was not granted is void (exit 1).
 *
 * step_bench [--case 1m-skus|three-line|hot-sku|steady] [--orders N | --seconds S] [--skus N] [--max-orders N] [--data DIR] [--cpu N]
 *            [--partitions P]
 * One run, one JSON line on stdout. --data DIR keeps the log there (file backend), for benches that need one to read.
 */
#include "persist/engine_time.h"
#include "server/executor.h"
#include "server/node.h"
#include "server/shard.h"
#include "server/sweep.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum {
    BATCHES_A_TURN = 16,
    TURN = BATCHES_A_TURN * HF_BATCH_MAX,
    WARM_TURNS = 64,
    LINES = 3,
    COMMAND_BYTES = 64 + LINES * 32,
    ANSWER_BYTES = 256,
    LOCATION = 1,
    STOCK = 1 << 30,
};

#define SECOND_NS UINT64_C(1000000000)

struct scene {
    const char *name;
    uint32_t lines;
    bool hot;
    uint32_t ttl_ms;
    uint64_t retention_ns;
};

static const struct scene scenes[] = {
    {"1m-skus", 1, false, 3600000, 600 * SECOND_NS},
    {"three-line", LINES, false, 3600000, 600 * SECOND_NS},
    {"hot-sku", 1, true, 3600000, 600 * SECOND_NS},
    {"steady", 1, false, 2000, 2 * SECOND_NS},
};

static struct {
    const struct scene *scene;
    const char *data;
    uint64_t skus, orders, seconds, orders_max;
    uint32_t partitions;
    long cpu;
} asked = {.scene = &scenes[0], .skus = 1 << 20, .partitions = 256, .cpu = -1};

static struct hf_node node;
static struct hf_shard shard;
static uint64_t random_state = UINT64_C(88172645463325252);
static _Alignas(8) uint8_t commands[TURN][COMMAND_BYTES];
static _Alignas(8) uint8_t answers[2][HF_BATCH_MAX][ANSWER_BYTES];

_Noreturn static void fail(const char *what, const char *why)
{
    fprintf(stderr, "step_bench: %s: %s\n", what, why);
    exit(1);
}

/* Marsaglia, "Xorshift RNGs" (2003), the 64-bit triple 13, 7, 17. */
static uint64_t draw(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* ---- the bench's clock: engine time runs only while it is not held ---- */

static uint64_t skipped_ns, skip_began_ns, skipped_cpu_ns, skip_began_cpu_ns;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * SECOND_NS + (uint64_t)at.tv_nsec;
}

static uint64_t real_ns(void *context)
{
    (void)context;
    return clock_ns(CLOCK_MONOTONIC);
}

/* The core's own time: what a run would have taken with the core to itself. */
static uint64_t cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID) - skipped_cpu_ns;
}

/* Pages that were not there yet: what prefaulting should have spared the timed part. */
static uint64_t page_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_minflt;
}

static void clock_hold(void)
{
    skip_began_ns = real_ns(NULL);
    skip_began_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void clock_go_on(void)
{
    skipped_ns += real_ns(NULL) - skip_began_ns;
    skipped_cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - skip_began_cpu_ns;
}

static uint64_t bench_ns(void *context)
{
    return real_ns(context) - skipped_ns;
}

static uint64_t start_wall_ns, start_bench_ns;

static uint64_t bench_wall_ns(void *context)
{
    return start_wall_ns + bench_ns(context) - start_bench_ns;
}

static const struct hf_clock bench_clock = {bench_wall_ns, bench_ns, NULL};

static uint64_t now(void)
{
    shard.now_ns = shard.latest_ns = hf_engine_time_now(&node.time);
    return shard.now_ns;
}

/* ---- commands ---- */

static struct hf_sku sku_numbered(uint64_t number)
{
    char text[32];
    struct hf_sku sku;
    int bytes = snprintf(text, sizeof text, "SKU%06" PRIu64, number);
    if (!hf_sku_from_text(text, (size_t)bytes, &sku))
        fail(text, "no SKU");
    return sku;
}

static struct hf_sku *skus;

static struct hf_command *command_made(void *memory, uint16_t opcode, uint16_t lines, const struct hf_sku *sku)
{
    struct hf_command *command = memory;
    *command = (struct hf_command){.length = (uint32_t)(sizeof *command + lines * sizeof(struct hf_line)), .opcode = opcode};
    command->version = HF_COMMAND_VERSION;
    command->line_count = lines;
    command->id = hf_id_make(sku ? hf_route(sku) : 0, shard.now_ns / 1000000, draw());
    return command;
}

static struct hf_line *lines_of(void *command)
{
    return (struct hf_line *)(void *)((uint8_t *)command + sizeof(struct hf_command));
}

static void place_made(void *memory)
{
    const struct scene *scene = asked.scene;
    uint64_t first = scene->hot ? 0 : draw() % asked.skus;
    struct hf_command *place = command_made(memory, HF_PLACE, (uint16_t)scene->lines, &skus[first]);
    place->arg = scene->ttl_ms;
    place->body.place.customer = 1 + (draw() >> 44);
    place->body.place.channel = HF_CHANNEL_WEB;
    for (uint32_t i = 0; i < scene->lines; i++) {
        uint64_t number = i == 0 ? first : draw() % asked.skus;
        lines_of(place)[i] = (struct hf_line){.sku = skus[number], .location = LOCATION, .quantity = 1, .price = 1999};
    }
}

/* ---- what the shard loop does with them ---- */

static void log_drained(void)
{
    if (hf_log_drain(node.log, shard.now_ns) < 0)
        fail("log", hf_log_error(node.log));
}

static void room_awaited(void)
{
    while (hf_log_watermark(node.log) != 0 || !hf_log_buffer_has_room(node.buffer, 0)) {
        now();
        log_drained();
    }
}

/* As the shard gathers: a batch ahead. */
static void gather_one(struct hf_task *task, uint32_t at)
{
    task->command = (const struct hf_command *)(const void *)commands[at];
    task->answer = (struct hf_answer *)(void *)answers[at / HF_BATCH_MAX % 2][at % HF_BATCH_MAX];
    task->request = NULL;
    task->origin = 0;
    task->home = hf_engine_hint(node.engine, task->command, &task->hint);
}

static uint32_t gather(struct hf_task *tasks, uint32_t first, uint32_t end)
{
    uint32_t count = end - first < HF_BATCH_MAX ? end - first : HF_BATCH_MAX;
    for (uint32_t i = 0; i < count; i++)
        gather_one(&tasks[i], first + i);
    hf_executor_prefetch(shard.executor, tasks, count);
    return count;
}

static void batch_run(const struct hf_task *tasks, uint32_t count)
{
    hf_executor_begin(shard.executor, shard.now_ns, shard.latest_ns, false, 0);
    for (uint32_t i = 0; i < count; i++)
        if (hf_executor_admit(shard.executor, &tasks[i]) != HF_ADMITTED)
            fail("admit", "a word could not be had, with one thread");
    hf_executor_run(shard.executor);
    for (uint32_t i = 0; i < count; i++)
        if (tasks[i].answer->result != HF_OK)
            fail(hf_result_name(tasks[i].answer->result),
                 tasks[i].answer->result == HF_FULL ? hf_table_option(tasks[i].answer->detail) : "the run is void");
}

static void turn(uint32_t count)
{
    struct hf_task tasks[2][HF_BATCH_MAX];
    now();
    uint32_t ahead = gather(tasks[0], 0, count);
    for (uint32_t first = 0, batch = 0; first < count; first += HF_BATCH_MAX, batch++) {
        uint32_t gathered = ahead;
        room_awaited();
        ahead = gather(tasks[(batch + 1) % 2], first + gathered, count);
        batch_run(tasks[batch % 2], gathered);
    }
    hf_sweep_turn(&shard);
    log_drained();
}

static uint64_t places_run(uint64_t orders, uint64_t until_ns)
{
    uint64_t done = 0;
    while (done < orders && bench_ns(NULL) < until_ns) {
        clock_hold();
        for (uint32_t i = 0; i < TURN; i++)
            place_made(commands[i]);
        clock_go_on();
        turn(TURN);
        done += TURN;
    }
    return done;
}

/* ---- the stage ---- */

static void definitions_run(void)
{
    now();
    struct hf_command *location = command_made(commands[0], HF_DEFINE_LOCATION, 0, NULL);
    location->arg = LOCATION;
    struct hf_task task = {.command = location, .answer = (struct hf_answer *)(void *)answers[0][0]};
    hf_executor_begin(shard.executor, shard.now_ns, shard.latest_ns, false, 0);
    if (hf_executor_admit_class(shard.executor, &task, 1, 0) != HF_ADMITTED)
        fail("location", "its words could not be had");
    hf_executor_run(shard.executor);
    if (task.answer->result != HF_OK)
        fail("location", hf_result_name(task.answer->result));
    for (uint64_t number = 0; number < asked.skus; number += HF_BATCH_MAX / 2) {
        uint32_t count = 0;
        for (uint64_t at = number; at < number + HF_BATCH_MAX / 2 && at < asked.skus; at++) {
            struct hf_command *define = command_made(commands[count++], HF_DEFINE_SKU, 1, &skus[at]);
            *lines_of(define) = (struct hf_line){.sku = skus[at]};
            struct hf_command *receive = command_made(commands[count++], HF_RECEIVE, 1, &skus[at]);
            *lines_of(receive) = (struct hf_line){.sku = skus[at], .location = LOCATION, .quantity = STOCK};
        }
        turn(count);
    }
}

static void log_opened(void)
{
    start_wall_ns = clock_ns(CLOCK_REALTIME);
    start_bench_ns = bench_ns(NULL);
    struct hf_log_options options = {
        .dir = asked.data ? asked.data : "null",
        .backend = asked.data ? HF_LOG_FILE : HF_LOG_NULL,
        .partitions = asked.partitions,
        .shards = 1,
        .batch_bytes_max = hf_executor_batch_bytes_max(HF_BLOCK_BYTES_MAX),
        .wall_ns = start_wall_ns,
        .max_clock_gap_ns = 3600 * SECOND_NS,
    };
    if (hf_log_open(&options, &node.log, &node.info) != 0)
        fail("log", hf_log_error(NULL));
    if (hf_log_recover(node.log, NULL, NULL, NULL, UINT64_MAX, &node.info) != 0 || hf_log_start(node.log, &node.buffer, &node.term) != 0)
        fail("log", hf_log_error(node.log));
    hf_engine_time_start(&node.time, &bench_clock, 0);
}

static void engine_made(void)
{
    const struct scene *scene = asked.scene;
    struct hf_engine_options options = {
        .partitions = asked.partitions,
        .skus_max = asked.skus,
        .cells_max = asked.skus,
        .orders_max = asked.orders_max,
        .lines_max = asked.orders_max * scene->lines,
        .command_ids_max = 2 * asked.skus + 1,
        .limits_max = 1024,
        .retention_ns = scene->retention_ns,
        .prefault = true,
        .key = {draw(), draw()},
    };
    if (hf_engine_create(&options, &node.engine) != 0)
        fail("engine", "no memory for its tables");
    node.words = aligned_alloc(sizeof *node.words, asked.partitions * sizeof *node.words);
    if (!node.words)
        fail("words", "no memory");
    for (uint32_t i = 0; i < asked.partitions; i++)
        hf_word_init(&node.words[i], 0, 0, 0, 0);
    struct hf_executor_options executor = {
        .engine = node.engine,
        .words = node.words,
        .partitions = asked.partitions,
        .buffer = node.buffer,
        .claim_bytes_max = hf_log_buffer_claim_max(node.buffer),
    };
    if (hf_executor_create(&executor, &shard.executor) != 0)
        fail("executor", "no memory");
    shard.executor->quota.spare = hf_engine_take_spare(node.engine);
    int64_t *left = shard.executor->quota.left;
    left[HF_TABLE_SKUS] = (int64_t)options.skus_max;
    left[HF_TABLE_CELLS] = (int64_t)options.cells_max;
    left[HF_TABLE_ORDERS] = (int64_t)options.orders_max;
    left[HF_TABLE_LINES] = (int64_t)options.lines_max;
    left[HF_TABLE_COMMAND_IDS] = (int64_t)options.command_ids_max;
    left[HF_TABLE_LIMITS] = (int64_t)options.limits_max;
    left[HF_TABLE_LOCATIONS] = 65536;
}

static void shard_made(void)
{
    node.partitions = asked.partitions;
    node.shard_count = 1;
    node.options.retention_ns = asked.scene->retention_ns;
    shard.node = &node;
    shard.lanes = hf_lanes_create(asked.partitions, HF_BATCH_MAX);
    shard.sweep_command = aligned_alloc(64, (HF_COMMAND_BYTES_MAX + 63) / 64 * 64);
    shard.sweep_answer = aligned_alloc(64, (HF_ADMIN_ANSWER_BYTES_MAX + 63) / 64 * 64);
    skus = malloc(asked.skus * sizeof *skus);
    if (!shard.lanes || !shard.sweep_command || !shard.sweep_answer || !skus)
        fail("shard", "no memory");
    for (uint64_t i = 0; i < asked.skus; i++)
        skus[i] = sku_numbered(i + 1);
}

static void pin(void)
{
    if (asked.cpu < 0)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)asked.cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        fail("--cpu", strerror(errno));
}

static void report(uint64_t orders, uint64_t took_ns, uint64_t took_cpu_ns, uint64_t record_bytes, uint64_t faults)
{
    double rate = (double)orders / (double)took_ns * 1e9;
    struct hf_log_status log;
    hf_log_status(node.log, &log);
    printf("{\"case\":\"step/%s\",\"value\":%.0f,\"unit\":\"orders/s\",\"ns_per_order\":%.1f,\"cpu_ns_per_order\":%.1f,\"orders\":%" PRIu64
           ",\"seconds\":%.3f,"
           "\"skus\":%" PRIu64 ",\"lines\":%" PRIu32 ",\"ttl_ms\":%" PRIu32 ",\"retention_s\":%" PRIu64 ",\"max_orders\":%" PRIu64
           ",\"batch\":%d,\"record_bytes_per_order\":%.1f,\"page_faults\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"records\":%" PRIu64
           ",\"swept\":%" PRIu64 ",\"forgotten\":%" PRIu64 ",\"marks\":%" PRIu64 ",\"sweep_lag_ms\":%.1f,\"orders_kept\":%" PRIu64
           ",\"log\":\"%s\"}\n",
           asked.scene->name, rate, 1e9 / rate, (double)took_cpu_ns / (double)orders, orders, (double)took_ns / 1e9, asked.skus,
           asked.scene->lines, asked.scene->ttl_ms, asked.scene->retention_ns / SECOND_NS, asked.orders_max, HF_BATCH_MAX,
           (double)record_bytes / (double)orders, faults, log.blocks, shard.executor->counters.records, shard.counters.expired,
           shard.counters.forgotten, shard.counters.marks, (double)shard.counters.sweep_lag_ns_max / 1e6,
           hf_engine_rows(node.engine, HF_TABLE_ORDERS), asked.data ? "file" : "null");
}

static void run(void)
{
    shard_made();
    log_opened();
    engine_made();
    definitions_run();
    places_run(WARM_TURNS * TURN, UINT64_MAX);
    uint64_t bytes_before = shard.executor->counters.record_bytes, began = bench_ns(NULL), began_cpu = cpu_ns();
    uint64_t faults_before = page_faults();
    uint64_t orders = places_run(asked.orders, asked.seconds ? began + asked.seconds * SECOND_NS : UINT64_MAX);
    report(orders, bench_ns(NULL) - began, cpu_ns() - began_cpu, shard.executor->counters.record_bytes - bytes_before,
           page_faults() - faults_before);
    if (hf_log_stop(node.log) != 0)
        fail("log", hf_log_error(node.log));
    hf_log_close(node.log);
}

/* ---- options ---- */

static uint64_t number(const char *text, const char *option, uint64_t least)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value < least) {
        fprintf(stderr, "step_bench: --%s wants a number of at least %" PRIu64 ", not '%s'\n", option, least, text);
        exit(2);
    }
    return value;
}

static const struct scene *scene_named(const char *name)
{
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++)
        if (strcmp(scenes[i].name, name) == 0)
            return &scenes[i];
    fprintf(stderr, "step_bench: --case wants 1m-skus, three-line, hot-sku or steady, not '%s'\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"case", required_argument, NULL, 'c'}, {"orders", required_argument, NULL, 'o'},     {"seconds", required_argument, NULL, 's'},
        {"skus", required_argument, NULL, 'k'}, {"max-orders", required_argument, NULL, 'm'}, {"data", required_argument, NULL, 'd'},
        {"cpu", required_argument, NULL, 'p'},  {"partitions", required_argument, NULL, 'P'}, {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'c')
            asked.scene = scene_named(optarg);
        else if (c == 'o')
            asked.orders = number(optarg, "orders", 1);
        else if (c == 's')
            asked.seconds = number(optarg, "seconds", 1);
        else if (c == 'k')
            asked.skus = number(optarg, "skus", 1);
        else if (c == 'm')
            asked.orders_max = number(optarg, "max-orders", 1);
        else if (c == 'd')
            asked.data = optarg;
        else if (c == 'P')
            asked.partitions = (uint32_t)number(optarg, "partitions", 1);
        else if (c == 'p')
            asked.cpu = (long)number(optarg, "cpu", 0);
        else
            return 2;
    }
    if (optind < argc) {
        fprintf(stderr, "step_bench: unexpected '%s'\n", argv[optind]);
        return 2;
    }
    if (asked.orders == 0)
        asked.orders = asked.seconds ? UINT64_MAX : 14000000;
    if (asked.orders_max == 0)
        asked.orders_max = asked.seconds ? 32000000 : asked.orders + (WARM_TURNS + 2) * TURN;
    pin();
    run();
    return 0;
}

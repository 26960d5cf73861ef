#include "server/node.h"

#include "control/api/control.h"
#include "server/board.h"
#include "server/listen.h"
#include "server/log_line.h"
#include "server/memory.h"
#include "server/replay.h"
#include "server/service.h"
#include "server/shard.h"
#include "server/slow_log.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    LOCK_WAIT_MS = 5000,
    STOP_WAIT_MS = 10000,
    CHANNEL_TASKS = 16384,
    SERVICE_TASKS = 1024,
    REQUESTS_MAX = 16384,
    PARKED_MAX = 65536,
    LOG_BUFFER_BYTES = 32 << 20,
};

static void fill_world(struct hf_node *node)
{
    struct hf_node_world *world = &node->world;
    world->log_buffer_bytes = world->log_buffer_bytes ? world->log_buffer_bytes : (uint64_t)LOG_BUFFER_BYTES << (node->shard_count > 6);
    world->channel_tasks = world->channel_tasks ? world->channel_tasks : CHANNEL_TASKS;
    world->service_tasks = world->service_tasks ? world->service_tasks : SERVICE_TASKS;
    world->requests_max = world->requests_max ? world->requests_max : REQUESTS_MAX;
    world->parked_max = world->parked_max ? world->parked_max : PARKED_MAX;
}

static int fail(int code, char *error, size_t error_bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, error_bytes, format, arguments);
    va_end(arguments);
    return code;
}

uint64_t hf_node_latest_ns(const struct hf_node *node, uint64_t now_ns)
{
    uint64_t wall_ns = node->time.clock->wall_ns(node->time.clock->context);
    return wall_ns > now_ns ? wall_ns : now_ns;
}

void hf_node_fatal(struct hf_node *node, int error, const char *what)
{
    hf_log_line_write(HF_LEVEL_ERROR, what, (struct hf_log_line_field[]){hf_field_text("reason", hf_log_error(node->log))}, 1);
    _exit(hf_error_exit(error));
}

/* ---- quotas ---- */

static int64_t take_from_pool(struct hf_row_pool *pool, uint64_t wanted)
{
    uint64_t left = hf_load_relaxed_u64(&pool->left), got;
    do
        got = wanted < left ? wanted : left;
    while (got != 0 && !hf_cas_weak_acq_rel_u64(&pool->left, &left, left - got));
    return (int64_t)got;
}

void hf_node_even_quota(struct hf_node *node, struct hf_quota *quota)
{
    for (unsigned table = 1; table < HF_TABLE_COUNT; table++) {
        struct hf_row_pool *pool = &node->pools[table];
        int64_t share = (int64_t)pool->share, *left = &quota->left[table];
        if (*left < (share + 1) / 2) {
            *left += take_from_pool(pool, (uint64_t)(share - *left));
            if (*left < (share + 1) / 2)
                hf_store_relaxed_u32(&pool->missed, 1);
        } else if (*left > 2 * share || hf_load_relaxed_u32(&pool->missed) != 0) {
            int64_t given = *left > 2 * share ? *left - share : *left / 2;
            hf_store_relaxed_u32(&pool->missed, 0);
            hf_add_relaxed_u64(&pool->left, (uint64_t)given);
            *left -= given;
        }
    }
}

bool hf_node_take_rows(struct hf_node *node, struct hf_quota *quota, unsigned table, uint64_t rows)
{
    struct hf_row_pool *pool = &node->pools[table];
    int64_t got = take_from_pool(pool, rows);
    quota->left[table] += got;
    if (got == 0)
        hf_store_relaxed_u32(&pool->missed, 1);
    return got != 0;
}

bool hf_node_find_rows(void *context, struct hf_quota *quota, unsigned table)
{
    struct hf_node *node = context;
    uint64_t share = node->pools[table].share;
    return hf_node_take_rows(node, quota, table, share > 2 * HF_LINES_MAX ? share : 2 * HF_LINES_MAX);
}

/* Shares are small, so that what is left is found by whoever needs it. */
static void fill_pools(struct hf_node *node, const struct hf_quota *after_replay)
{
    struct hf_quota all;
    hf_replay_quotas(&node->sizes, &all, 1);
    for (unsigned table = 1; table < HF_TABLE_COUNT; table++) {
        struct hf_row_pool *pool = &node->pools[table];
        uint64_t rows = (uint64_t)all.left[table], shards = node->shard_count;
        pool->rows_max = rows;
        pool->share = rows / (shards * 32) + 1;
        hf_store_relaxed_u64(&pool->left, after_replay->left[table] > 0 ? (uint64_t)after_replay->left[table] : 0);
    }
}

/* ---- start ---- */

int hf_node_make_executor(struct hf_node *node, unsigned taker, struct hf_executor **out)
{
    struct hf_executor_options options = {
        .engine = node->engine,
        .words = node->words,
        .partitions = node->partitions,
        .buffer = node->buffer,
        .claim_bytes_max = node->claim_bytes_max,
        .taker = taker,
        .find_rows = hf_node_find_rows,
        .context = node,
    };
    int code = hf_executor_create(&options, out);
    if (code == 0 && taker < node->shard_count)
        (*out)->quota.spare = hf_spare_part(node->spare, taker, node->shard_count);
    return code;
}

static int open_log(struct hf_node *node, char *error, size_t error_bytes)
{
    const struct hf_server_options *options = &node->options;
    uint32_t block_max = options->block_max_bytes ? (uint32_t)options->block_max_bytes : HF_BLOCK_BYTES_MAX;
    struct hf_log_options log = {
        .dir = options->data,
        .backend = node->world.disk != NULL                     ? HF_LOG_SIM
                   : options->log_backend == HF_LOG_CHOICE_NULL ? HF_LOG_NULL
                                                                : HF_LOG_FILE,
        .backend_options = node->world.disk,
        .partitions = options->partitions,
        .block_max = block_max,
        .segment_bytes = options->segment_bytes,
        .ahead_bytes = options->log_ahead_bytes,
        .buffer_bytes = node->world.log_buffer_bytes,
        .shards = node->shard_count + 1,
        .batch_bytes_max = hf_executor_batch_bytes_max(HF_BLOCK_BYTES_MAX),
        .wall_ns = hf_clock_system.wall_ns(NULL),
        .max_clock_gap_ns = options->clock_gap_max_ns,
        .accept_clock = options->accept_clock,
        .lock_wait_ms = LOCK_WAIT_MS,
    };
    int code = hf_log_open(&log, &node->log, &node->info);
    if (code != 0)
        return fail(code, error, error_bytes, "%s", hf_log_error(NULL));
    node->partitions = node->info.partitions;
    node->claim_bytes_max = node->info.block_max - HF_BLOCK_HEADER_BYTES;
    if (options->partitions != 0 && options->partitions != node->partitions)
        return fail(HF_E_USAGE, error, error_bytes,
                    "%s was formatted with --partitions %u, not %u; leave the option out or give that number", options->data,
                    node->partitions, options->partitions);
    if (node->shard_count > node->partitions)
        return fail(HF_E_USAGE, error, error_bytes, "%u shards cannot share %u partitions: give --shards %u or fewer", node->shard_count,
                    node->partitions, node->partitions);
    return 0;
}

static int recover(struct hf_node *node, char *error, size_t error_bytes)
{
    const struct hf_server_options *options = &node->options;
    struct hf_engine_options *sizes = &node->sizes;
    *sizes = (struct hf_engine_options){
        .partitions = node->partitions,
        .skus_max = options->skus_max,
        .cells_max = options->cells_max,
        .orders_max = options->orders_max,
        .lines_max = options->lines_max,
        .command_ids_max = options->command_ids_max,
        .limits_max = options->limits_max,
        .request_keys_max = options->request_keys_max,
        .retention_ns = options->retention_ns,
        .prefault = options->prefault,
    };
    if (getrandom(sizes->key, sizeof sizes->key, 0) != sizeof sizes->key)
        return fail(HF_E_IO, error, error_bytes, "no random bytes from the kernel for the table keys");
    int code = hf_engine_create(sizes, &node->engine);
    if (code != 0)
        return fail(code, error, error_bytes, "the tables could not be reserved: give smaller --max-* sizes or allow more address space");
    struct hf_quota quota;
    struct hf_replay_result replay = {0};
    hf_replay_quotas(sizes, &quota, 1);
    code = hf_replay_run(node->log, node->engine, &quota, 1, UINT64_MAX, &replay);
    if (code != 0)
        return fail(code, error, error_bytes, "%s", replay.error[0] ? replay.error : hf_log_error(node->log));
    node->info = replay.info;
    node->replay_ns = replay.time_ns;
    fill_pools(node, &quota);
    node->spare = quota.spare;

    node->words = hf_memory_zeroed(node->partitions * sizeof *node->words);
    if (!node->words)
        return fail(HF_E_MEMORY, error, error_bytes, "no memory for %u partition words", node->partitions);
    for (uint32_t i = 0; i < node->partitions; i++)
        hf_word_init(&node->words[i], i % node->shard_count, replay.position, 0, 0);
    code = hf_log_start(node->log, &node->buffer, &node->term);
    if (code != 0)
        return fail(code, error, error_bytes, "%s", hf_log_error(node->log));
    uint64_t last_ns = hf_engine_last_time_ns(node->engine);
    hf_engine_time_start(&node->time, &hf_clock_system, last_ns > node->info.last_time_ns ? last_ns : node->info.last_time_ns);
    return 0;
}

static struct hf_spsc *make_ring(uint32_t capacity, size_t element_bytes)
{
    void *memory = hf_memory_zeroed(hf_spsc_bytes(capacity, element_bytes));
    return memory ? hf_spsc_init(memory, capacity, element_bytes, 0) : NULL;
}

static int connect_channel(struct hf_channel *channel, uint32_t tasks)
{
    channel->tasks = make_ring(tasks, sizeof(struct hf_task));
    channel->done = make_ring(tasks, sizeof(struct hf_done));
    return channel->tasks && channel->done ? 0 : HF_E_MEMORY;
}

static int connect_shards(struct hf_node *node)
{
    for (unsigned from = 0; from < node->shard_count; from++) {
        if (connect_channel(&node->shards[from]->service, node->world.service_tasks) != 0)
            return HF_E_MEMORY;
        for (unsigned to = 0; to < node->shard_count; to++)
            if (from != to && connect_channel(&node->shards[from]->to[to], node->world.channel_tasks) != 0)
                return HF_E_MEMORY;
    }
    return 0;
}

/* What one shard listens on: every given address (SO_REUSEPORT; a unix path is shard 0's alone), and with several shards of each kind one
 * that is its own. On a DPDK device each shard has its own port anyhow. */
struct addresses {
    const char *all[HF_LISTEN_MAX + HF_CARRIERS];
    char own[HF_CARRIERS][HF_LISTEN_BYTES];
    unsigned count, own_number[HF_CARRIERS]; /* from 1; 0: none of this kind */
};

static void list_addresses(const struct hf_node *node, unsigned number, struct addresses *out)
{
    const struct hf_server_options *options = &node->options;
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < options->listen_count; i++) {
        enum hf_carrier carrier = hf_carrier_of(options->listen[i]);
        if (number == 0 || carrier != HF_CARRIER_UNIX)
            out->all[out->count++] = options->listen[i];
        if (carrier == HF_CARRIER_DPDK && node->shard_count > 1 && !out->own_number[carrier])
            out->own_number[carrier] = out->count;
    }
    for (unsigned i = 0; i < options->listen_count && node->shard_count > 1; i++) {
        enum hf_carrier carrier = hf_carrier_of(options->listen[i]);
        if (out->own_number[carrier] || (carrier == HF_CARRIER_UNIX && number == 0))
            continue;
        hf_listen_own(options->listen[i], number, out->own[carrier]);
        out->all[out->count++] = out->own[carrier];
        out->own_number[carrier] = out->count;
    }
}

/* Shard 0 settles what was left open: the others share its ports. */
static void settle_addresses(struct hf_node *node)
{
    const struct hf_net *net = node->shards[0]->net;
    for (unsigned i = 0; i < node->options.listen_count; i++)
        hf_listen_settle(node->options.listen[i], hf_net_port(net, i), hf_net_path(net, i));
}

static int open_port(struct hf_node *node, unsigned number, uint16_t ports[HF_CARRIERS][HF_SHARDS_MAX])
{
    struct hf_server_options *options = &node->options;
    struct addresses listen;
    list_addresses(node, number, &listen);
    struct hf_net_options net = {
        .listen = listen.all,
        .listen_count = listen.count,
        .insecure_listen = options->insecure_listen,
        .shared_port = node->shard_count > 1,
        .shard = number,
        .shard_count = node->shard_count,
        .partitions = node->partitions,
        .retention_ms = options->retention_ns / 1000000,
        .session_idle_ns = options->session_idle_ns,
        .term = node->term,
        .sessions_max = node->world.sessions_max,
        .requests_max = node->world.requests_max,
        .credits_max = node->world.credits_max,
        .answer_cache_bytes = node->world.answer_cache_bytes,
        .async_durability = options->durability == HF_DURABILITY_ASYNC,
        .dpdk_arguments = options->dpdk_eal[0] ? options->dpdk_eal : NULL,
    };
    int code = hf_net_create(&net, &node->shards[number]->net);
    if (code != 0)
        return code;
    for (unsigned carrier = 0; carrier < HF_CARRIERS; carrier++)
        if (listen.own_number[carrier])
            ports[carrier][number] = hf_net_port(node->shards[number]->net, listen.own_number[carrier] - 1);
    if (number == 0)
        settle_addresses(node);
    return 0;
}

static int open_ports(struct hf_node *node)
{
    uint16_t ports[HF_CARRIERS][HF_SHARDS_MAX] = {{0}};
    for (unsigned i = 0; i < node->shard_count; i++) {
        int code = open_port(node, i, ports);
        if (code != 0)
            return code;
    }
    for (unsigned i = 0; i < node->shard_count; i++)
        for (unsigned carrier = 0; carrier < HF_CARRIERS; carrier++)
            hf_net_set_ports(node->shards[i]->net, (enum hf_carrier)carrier, ports[carrier], node->shard_count);
    int event_fd = hf_log_event_fd(node->log);
    return event_fd < 0 ? 0 : hf_net_watch(node->shards[0]->net, event_fd);
}

/* Shards get the CPUs that were named, in order; else the last ones of the machine, so that the first is left to everybody else. With more
 * shards than CPUs none is pinned and none spins. */
static void place_shards(struct hf_node *node)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned named = node->options.cpu_count, shards = node->shard_count;
    if ((named != 0 && named < shards) || (long)shards > online) {
        node->options.idle = HF_IDLE_SLEEP;
        return;
    }
    for (unsigned i = 0; i < shards; i++)
        node->shards[i]->cpu = named != 0              ? (int)node->options.cpus[i]
                               : (long)shards < online ? (int)(online - (long)shards + (long)i)
                                                       : -1;
}

static int make_shards(struct hf_node *node, char *error, size_t error_bytes)
{
    int code = 0;
    for (unsigned i = 0; i < node->shard_count && code == 0; i++)
        code = hf_shard_create(node, i, &node->shards[i]);
    if (code == 0)
        code = connect_shards(node);
    if (code == 0)
        code = hf_service_create(node, &node->service);
    if (code == 0)
        code = hf_board_create(node->shard_count, &node->board);
    if (code != 0)
        return fail(code, error, error_bytes, "no memory for %u shards", node->shard_count);
    code = open_ports(node);
    return code == 0 ? 0 : fail(code, error, error_bytes, "%s", hf_net_error());
}

/* ---- the control plane ---- */

static uint64_t control_now_ns(void *context)
{
    return hf_engine_time_now(&((struct hf_node *)context)->time);
}

/* The thread that waits for SIGTERM ends the node. */
static void control_drain(void *context)
{
    (void)context;
    kill(getpid(), SIGTERM);
}

static unsigned control_numbers(void *context, struct hf_counter_item *out, unsigned max)
{
    return hf_board_read(((struct hf_node *)context)->board, out, max);
}

static int control_log_level(void *context, int level)
{
    enum hf_log_level before = hf_log_line_level();
    (void)context;
    if (level >= HF_LEVEL_DEBUG && level <= HF_LEVEL_WARN && level != (int)before) {
        hf_log_line_set_level((enum hf_log_level)level);
        hf_log_line_write(HF_LEVEL_WARN, "log level changed",
                          (struct hf_log_line_field[]){hf_field_number("from", before), hf_field_number("to", (uint64_t)level)}, 2);
    }
    return (int)before;
}

static uint64_t control_durable(void *context, uint64_t *term)
{
    const struct hf_node *node = context;
    *term = node->term;
    return hf_log_durable(node->log);
}

/* Where its threads may run: where no shard is pinned. False: anywhere. */
static bool control_cpus(const struct hf_node *node, cpu_set_t *out)
{
    bool pinned = false;
    if (sched_getaffinity(0, sizeof *out, out) != 0)
        return false;
    for (unsigned i = 0; i < node->shard_count; i++) {
        if (node->shards[i]->cpu < 0)
            continue;
        pinned = true;
        CPU_CLR((unsigned)node->shards[i]->cpu, out);
    }
    return pinned && CPU_COUNT(out) > 0;
}

static int make_control(struct hf_node *node)
{
    const char *listen[HF_LISTEN_MAX];
    struct hf_control_options options = {
        .listen = listen,
        .listen_count = node->options.control_count,
        .shard_count = node->shard_count,
        .partitions = node->partitions,
        .now_ns = control_now_ns,
        .numbers = control_numbers,
        .durable = control_durable,
        .slow = {.threshold_ns = node->options.slow_request_ms * 1000000ull, .report = hf_slow_log_write},
        .follower_stall_ms = (unsigned)(node->options.follower_stall_ns / 1000000),
        .drain = control_drain,
        .log_level = control_log_level,
        .context = node,
    };
    if (node->options.control_count == 0)
        return 0;
    for (unsigned i = 0; i < node->options.control_count; i++)
        listen[i] = node->options.control[i];
    options.pinned = control_cpus(node, &options.cpus);
    int code = hf_control_create(&options, &node->control);
    for (unsigned i = 0; i < node->shard_count && code == 0; i++)
        node->shards[i]->exchange = hf_control_exchange(node->control);
    return code;
}

static int start_control(struct hf_node *node, char *error, size_t error_bytes)
{
    if (!node->control)
        return 0;
    int code = hf_control_start(node->control);
    if (code != 0 && !node->options.control_chosen && code == HF_E_USAGE) {
        hf_log_line_write(HF_LEVEL_WARN, "no control socket: its path is too long; give --control",
                          (struct hf_log_line_field[]){hf_field_text("address", node->options.control[0])}, 1);
        return 0;
    }
    if (code != 0)
        return fail(code, error, error_bytes, "--control %s: %s", node->options.control[0],
                    code == HF_E_USAGE ? "cannot be listened on; a path has at most 107 bytes" : strerror(errno));
    for (unsigned i = 0; i < node->options.control_count; i++) {
        hf_listen_settle(node->options.control[i], hf_control_port(node->control, i), NULL);
        hf_log_line_write(HF_LEVEL_INFO, "control listening",
                          (struct hf_log_line_field[]){hf_field_text("address", node->options.control[i])}, 1);
    }
    return 0;
}

void hf_node_ready(struct hf_node *node)
{
    if (node->control)
        hf_control_ready(node->control);
}

static void *drainer_main(void *context)
{
    struct hf_node *node = context;
    pthread_setname_np(pthread_self(), "hf-drainer");
    while (hf_load_acquire_u32(&node->finished) == 0) {
        int work = hf_log_drain(node->log, hf_engine_time_now(&node->time));
        if (work < 0)
            hf_node_fatal(node, work, "the log could not be written");
        if (work == 0)
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    return NULL;
}

static int start_threads(struct hf_node *node)
{
    if (node->options.drainer == HF_DRAINER_THREAD) {
        if (pthread_create(&node->drainer, NULL, drainer_main, node) != 0)
            return HF_E_MEMORY;
        node->drainer_started = true;
    }
    int code = hf_service_start(node->service);
    for (unsigned i = 0; i < node->shard_count && code == 0; i++)
        code = hf_shard_start(node->shards[i]);
    return code;
}

static void say_started(const struct hf_node *node)
{
    for (unsigned i = 0; i < node->options.listen_count; i++)
        hf_log_line_write(HF_LEVEL_INFO, "listening", (struct hf_log_line_field[]){hf_field_text("address", node->options.listen[i])}, 1);
    if (node->info.clock_behind)
        hf_log_line_write(HF_LEVEL_WARN, "the wall clock is behind the log: time goes on from the log's", NULL, 0);
    if (!node->info.direct && node->options.log_backend == HF_LOG_CHOICE_FILE)
        hf_log_line_write(HF_LEVEL_WARN, "O_DIRECT is refused here: the log uses buffered writes and fdatasync", NULL, 0);
    if (node->options.durability == HF_DURABILITY_ASYNC)
        hf_log_line_write(HF_LEVEL_WARN, "--durability=async: answers do not wait for the disk, a crash can take back what was answered",
                          NULL, 0);
    if (node->info.torn_tail_bytes != 0)
        hf_log_line_write(HF_LEVEL_WARN, "a torn tail was cut: it held nothing that was acknowledged",
                          (struct hf_log_line_field[]){hf_field_number("bytes", node->info.torn_tail_bytes)}, 1);
    hf_log_line_write(HF_LEVEL_INFO, "started",
                      (struct hf_log_line_field[]){
                          hf_field_text("data", node->options.data), hf_field_number("term", node->term),
                          hf_field_number("shards", node->shard_count), hf_field_number("partitions", node->partitions),
                          hf_field_number("recovered_records", node->info.records), hf_field_number("replay_ms", node->replay_ns / 1000000),
                          hf_field_number("position", node->info.end_position)},
                      7);
}

/* Ends every thread before anything is freed: shards read each other's rings, and the service claims log space like a shard. */
static void end_threads(struct hf_node *node)
{
    hf_store_release_u32(&node->finished, 1);
    for (unsigned i = 0; i < node->shard_count; i++)
        if (node->shards[i])
            hf_shard_join(node->shards[i]);
    hf_service_destroy(node->service);
    node->service = NULL;
    hf_control_destroy(node->control);
    node->control = NULL;
    if (node->drainer_started)
        pthread_join(node->drainer, NULL);
    node->drainer_started = false;
}

void hf_node_destroy(struct hf_node *node)
{
    end_threads(node);
    for (unsigned i = 0; i < node->shard_count; i++)
        hf_shard_destroy(node->shards[i]);
    hf_board_destroy(node->board);
    hf_engine_destroy(node->engine);
    if (node->log)
        hf_log_close(node->log);
    hf_memory_free(node->words);
}

int hf_node_start(struct hf_node *node, const struct hf_server_options *options, char *error, size_t error_bytes)
{
    node->options = *options;
    node->shard_count = options->shards;
    fill_world(node);
    struct hf_cycles_mark began = hf_cycles_mark();
    int code = open_log(node, error, error_bytes);
    if (code == 0)
        code = recover(node, error, error_bytes);
    if (code == 0)
        code = make_shards(node, error, error_bytes);
    if (code != 0) {
        hf_node_destroy(node);
        return code;
    }
    place_shards(node);
    node->ns_per_cycle = hf_cycles_rate(&began);
    for (unsigned i = 0; i < node->shard_count; i++)
        node->shards[i]->stages.ns_per_cycle = node->ns_per_cycle;
    code = make_control(node);
    if (code == 0)
        code = start_threads(node);
    if (code != 0) {
        hf_node_destroy(node);
        return fail(code, error, error_bytes, "threads could not be started");
    }
    code = start_control(node, error, error_bytes);
    if (code != 0) {
        hf_node_destroy(node);
        return code;
    }
    say_started(node);
    return 0;
}

/* ---- stop ---- */

int hf_node_stop(struct hf_node *node, char *error, size_t error_bytes)
{
    hf_store_release_u32(&node->stopping, 1);
    if (node->control)
        hf_control_drain(node->control);
    for (int waited = 0; hf_load_acquire_u32(&node->drained) < node->shard_count && waited < STOP_WAIT_MS; waited++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (hf_load_acquire_u32(&node->drained) < node->shard_count)
        hf_log_line_write(HF_LEVEL_WARN, "stopping although answers are still unsent: their clients do not read", NULL, 0);
    end_threads(node);
    int code = hf_log_stop(node->log);
    if (code != 0)
        fail(code, error, error_bytes, "%s", hf_log_error(node->log));
    hf_node_destroy(node);
    return code;
}

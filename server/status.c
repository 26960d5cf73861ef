#include "server/status.h"

#include "control/api/control.h"
#include "server/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

enum { DEVICE_COUNTERS_MAX = 400 };

struct items {
    struct hf_answer *answer;
    uint32_t shard;
    bool full;
};

/* Adds a number; what would not fit the answer is left out, and said. */
static void add(struct items *items, const char *name, uint64_t value)
{
    struct hf_answer *answer = items->answer;
    if (answer->length + sizeof(struct hf_counter_item) > HF_ADMIN_ANSWER_BYTES_MAX) {
        items->full = true;
        return;
    }
    struct hf_counter_item *item = (struct hf_counter_item *)(void *)((uint8_t *)answer + answer->length);
    *item = (struct hf_counter_item){.shard = items->shard, .value = value};
    snprintf(item->name, sizeof item->name, "%.39s", name);
    answer->length += (uint32_t)sizeof *item;
    answer->item_count++;
}

/* The program's own, which need not be that of the tool that asks. */
static void add_version(struct items *items)
{
    static const char *const parts[] = {"version.major", "version.minor", "version.patch"};
    const char *at = HF_VERSION;
    for (unsigned i = 0; i < 3; i++) {
        char *end;
        add(items, parts[i], strtoul(at, &end, 10));
        at = *end == '.' ? end + 1 : end;
    }
}

/* Of the file system where the log lies; 0: not known. */
static uint64_t free_bytes(const struct hf_node *node)
{
    struct statvfs at;
    if (node->world.disk || statvfs(node->options.data, &at) != 0)
        return 0;
    return (uint64_t)at.f_bavail * at.f_frsize;
}

static void add_log(struct items *items, const struct hf_node *node, const struct hf_executor_counters *sum)
{
    struct hf_log_status log;
    hf_log_status(node->log, &log);
    add(items, "position", log.position);
    add(items, "durable_position", log.durable);
    add(items, "term", node->term);
    add(items, "log.bytes", log.bytes);
    add(items, "log.lag_bytes", log.position > log.durable ? log.position - log.durable : 0);
    add(items, "log.free_bytes", free_bytes(node));
    add(items, "log.segments", log.segments);
    add(items, "log.records", log.records);
    add(items, "log.bytes_per_order", sum->granted ? sum->granted_bytes / sum->granted : 0);
    add(items, "log.bytes_per_record", log.records ? log.bytes / log.records : 0);
    add(items, "log.blocks", log.blocks);
    add(items, "log.writes", log.writes);
    add(items, "log.write_us_mean", log.writes ? log.write_ns_sum / log.writes / 1000 : 0);
    add(items, "log.write_us_max", log.write_ns_max / 1000);
    add(items, "log.inflight_max", log.inflight_max);
    add(items, "log.padding_bytes", log.padding_bytes);
    add(items, "log.seals", log.seals);
    add(items, "log.ahead_bytes", log.ahead_bytes);
    add(items, "log.direct", log.direct);
    add(items, "log.dsync", log.dsync);
    add(items, "log.watermark", (uint64_t)log.watermark);
    add(items, "log.records_since_start", sum->records);
    add(items, "log.orders_since_start", sum->granted);
}

/* The count that bounds a table which has rows of its own. */
static unsigned table_of(const char *name)
{
    static const char *const names[HF_TABLE_COUNT] = {
        [HF_TABLE_SKUS] = "skus",           [HF_TABLE_CELLS] = "cells",
        [HF_TABLE_ORDERS] = "orders",       [HF_TABLE_LINES] = "lines",
        [HF_TABLE_LIMITS] = "limits",       [HF_TABLE_COMMAND_IDS] = "command_ids",
        [HF_TABLE_LOCATIONS] = "locations", [HF_TABLE_REQUEST_KEYS] = "request_keys",
    };
    for (unsigned table = 1; table < HF_TABLE_COUNT; table++)
        if (names[table] && strcmp(names[table], name) == 0)
            return table;
    return 0;
}

/* Rows that move between a pool and a quota meanwhile are counted twice or not at all. */
static uint64_t rows_used(const struct hf_node *node, const struct hf_quota *quotas, unsigned table)
{
    const struct hf_row_pool *pool = &node->pools[table];
    int64_t used = (int64_t)pool->rows_max - (int64_t)hf_load_relaxed_u64(&pool->left) - quotas->left[table];
    return used > 0 ? (uint64_t)used : 0;
}

/* The engine's own counts belong to whoever holds the words; `quotas`: what all threads have of each table. */
static void add_memory(struct items *items, const struct hf_node *node, const struct hf_quota *quotas)
{
    struct hf_engine_size sizes[HF_TABLE_COUNT * 2];
    unsigned count = hf_engine_sizes(NULL, &node->sizes, sizes, HF_TABLE_COUNT * 2);
    for (unsigned i = 0; i < count; i++) {
        char name[40];
        snprintf(name, sizeof name, "tables.%s.rows_max", sizes[i].table);
        add(items, name, sizes[i].rows_max);
        unsigned table = table_of(sizes[i].table);
        snprintf(name, sizeof name, "tables.%s.rows_used", sizes[i].table);
        if (table != 0)
            add(items, name, rows_used(node, quotas, table));
        snprintf(name, sizeof name, "tables.%s.bytes_max", sizes[i].table);
        add(items, name, sizes[i].bytes_max);
        if (strcmp(sizes[i].table, "cells") == 0)
            add(items, "memory.cell_bytes", sizes[i].row_bytes);
        else if (strcmp(sizes[i].table, "orders") == 0)
            add(items, "memory.order_bytes", sizes[i].row_bytes);
    }
}

static void add_results(struct items *items, const struct hf_executor_counters *executor)
{
    for (unsigned code = 0; code < HF_RESULT_COUNT; code++) {
        if (executor->results[code] == 0)
            continue;
        char name[40];
        snprintf(name, sizeof name, "results.%s", hf_result_name(code));
        add(items, name, executor->results[code]);
    }
}

static void add_loop(struct items *items, const struct hf_shard_counters *counters)
{
    add(items, "turns", counters->turns);
    add(items, "idle_waits", counters->idle_waits);
    add(items, "commands", counters->commands);
    add(items, "malformed", counters->malformed);
    add(items, "forwarded", counters->forwarded);
    add(items, "taken_over", counters->taken_over);
    add(items, "parked", counters->parked);
    add(items, "busy", counters->busy);
    add(items, "sweeps", counters->sweeps);
    add(items, "expired", counters->expired);
    add(items, "forgotten", counters->forgotten);
    add(items, "marks", counters->marks);
    add(items, "sweep_lag_us_max", counters->sweep_lag_ns_max / 1000);
    add(items, "answers", counters->answers);
    add(items, "answer_wait_us_sum", counters->answer_wait_ns_sum / 1000);
    add(items, "answer_wait_us_mean", counters->answers ? counters->answer_wait_ns_sum / counters->answers / 1000 : 0);
}

static const char *stage_name(unsigned stage)
{
    static const char *const names[HF_STAGE_IDLE + 1] = {"receive", "run", "sweep", "drain", "answer", "flush", "turn", "idle"};
    return names[stage];
}

/* Buckets are not cumulative, and empty ones left out. */
static void add_stages(struct items *items, const struct hf_stage_counters *stages, uint64_t ns_per_cycle)
{
    static const char *const bounds[HF_STAGE_BUCKETS] = {"le_1us", "le_4us",  "le_16us", "le_66us",  "le_262us",  "le_1ms",
                                                         "le_4ms", "le_17ms", "le_67ms", "le_268ms", "le_1074ms", "more"};
    char name[40];
    for (unsigned stage = 0; stage < HF_STAGE_KINDS; stage++) {
        const struct hf_stage_counters *from = &stages[stage];
        snprintf(name, sizeof name, "stages.%s.ns_sum", stage_name(stage));
        add(items, name, hf_cycles_to_ns(from->sum_cycles, ns_per_cycle));
        snprintf(name, sizeof name, "stages.%s.ns_max", stage_name(stage));
        add(items, name, hf_cycles_to_ns(from->max_cycles, ns_per_cycle));
        snprintf(name, sizeof name, "stages.%s.max_at_ms", stage_name(stage));
        add(items, name, from->max_at_ns / 1000000);
        for (unsigned bucket = 0; bucket < HF_STAGE_BUCKETS; bucket++) {
            snprintf(name, sizeof name, "stages.%s.%s", stage_name(stage), bounds[bucket]);
            if (from->buckets[bucket] != 0)
                add(items, name, from->buckets[bucket]);
        }
    }
    add(items, "turn_us_max", hf_cycles_to_ns(stages[HF_STAGE_TURN].max_cycles, ns_per_cycle) / 1000);
}

/* Where the loop is at this moment, whether it answers or not; an enum hf_stage, 7: between two turns. */
static void add_whereabouts(struct items *items, const struct hf_node *node, const struct hf_shard *shard)
{
    uint64_t at = hf_load_relaxed_u64(&shard->stages.at), now = hf_cycles();
    add(items, "stage_now", at & 7);
    add(items, "stage_now_us", now > at ? hf_cycles_to_ns(now - at, node->ns_per_cycle) / 1000 : 0);
}

static void add_net(struct items *items, const struct hf_net_status *net)
{
    add(items, "net.connections", net->connections);
    add(items, "net.sessions", net->sessions);
    add(items, "net.accepted", net->accepted);
    add(items, "net.closed", net->closed);
    add(items, "net.frames_in", net->frames_in);
    add(items, "net.frames_out", net->frames_out);
    add(items, "net.bytes_in", net->bytes_in);
    add(items, "net.bytes_out", net->bytes_out);
    add(items, "net.commands_in", net->commands_in);
    add(items, "net.bad_frame", net->bad_frame);
    add(items, "net.bad_crc", net->bad_crc);
    add(items, "net.bad_version", net->bad_version);
    add(items, "net.too_large", net->too_large);
    add(items, "net.credit_overrun", net->credit_overrun);
    add(items, "net.session_expired", net->session_expired);
    add(items, "net.resend_waiting", net->resend_waiting);
    add(items, "net.resend_answered", net->resend_answered);
    add(items, "net.resend_lost", net->resend_lost);
    add(items, "net.refused_busy", net->refused_busy);
    add(items, "net.refused_sessions", net->refused_sessions);
    add(items, "net.slow_reader", net->slow_reader);
    add(items, "net.half_frame_timeout", net->half_frame_timeout);
    add(items, "net.requests_in_flight", net->requests_in_flight);
    add(items, "net.receive_buffers_short", net->receive_buffers_short);
    add(items, "net.datagrams_in", net->datagrams_in);
    add(items, "net.datagrams_late", net->datagrams_late);
    add(items, "net.datagrams_overrun", net->datagrams_overrun);
    add(items, "net.datagrams_unsent", net->datagrams_unsent);
    add(items, "net.addresses_asked", net->addresses_asked);
    add(items, "net.addresses_changed", net->addresses_changed);
    add(items, "net.answers_too_large", net->answers_too_large);
}

/* Of DPDK devices, so that all that came in and did not is to be found. */
static void add_packets(struct items *items, const struct hf_net_packets *packets)
{
    if (packets->in == 0 && packets->out == 0)
        return;
    add(items, "packets.in", packets->in);
    add(items, "packets.datagrams", packets->datagrams);
    add(items, "packets.arp_answered", packets->arp_answered);
    add(items, "packets.neighbour_answered", packets->neighbour_answered);
    add(items, "packets.echo_answered", packets->echo_answered);
    add(items, "packets.neighbours_told", packets->neighbours_told);
    add(items, "packets.not_ours", packets->not_ours);
    add(items, "packets.malformed", packets->malformed);
    add(items, "packets.bad_checksum", packets->bad_checksum);
    add(items, "packets.fragments", packets->fragments);
    add(items, "packets.unserved", packets->unserved);
    add(items, "packets.held_back", packets->held_back);
    add(items, "packets.out", packets->out);
    add(items, "packets.neighbours_asked", packets->neighbours_asked);
    add(items, "packets.neighbours_confirmed", packets->neighbours_confirmed);
    add(items, "packets.no_neighbour", packets->no_neighbour);
    add(items, "packets.too_long", packets->too_long);
    add(items, "packets.no_buffer", packets->no_buffer);
    add(items, "packets.transmit_full", packets->transmit_full);
    add(items, "packets.handed_on", packets->handed_on);
    add(items, "packets.handed_on_full", packets->handed_on_full);
    add(items, "packets.taken_over", packets->taken_over);
}

static void add_devices(struct items *items)
{
    struct hf_net_counter counters[DEVICE_COUNTERS_MAX];
    unsigned count = hf_net_device_counters(counters, DEVICE_COUNTERS_MAX);
    for (unsigned i = 0; i < count; i++)
        add(items, counters[i].name, counters[i].value);
}

static void add_words(struct items *items, const struct hf_shard_status *status)
{
    add(items, "words.taken", status->words_taken);
    add(items, "words.tried_failed", status->words_tried_failed);
    add(items, "words.waited", status->words_waited);
    add(items, "words.bound_failed", status->words_bound_failed);
    add(items, "words.yielded", status->words_yielded);
    add(items, "words.looked_again", status->executor.looked_again);
    add(items, "parked_now", status->parked_now);
    add(items, "waiting_now", status->waiting_now);
    add(items, "received_now", status->received_now);
    add(items, "forwarded_now", status->forwarded_now);
    add(items, "service_now", status->service_now);
    add(items, "control_now", status->control_now);
    add(items, "batches", status->executor.batches);
    add(items, "records", status->executor.records);
    add(items, "record_bytes", status->executor.record_bytes);
}

/* Asks the shard for its numbers and gives it 100 ms to copy them out. */
static bool ask(struct hf_shard *shard)
{
    uint32_t wanted = hf_load_relaxed_u32(&shard->status_wanted) + 1;
    hf_store_release_u32(&shard->status_wanted, wanted);
    for (int i = 0; i < 1000 && hf_load_relaxed_u32(&shard->node->finished) == 0; i++) {
        if (hf_load_acquire_u32(&shard->status_given) == wanted)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return false;
}

struct sums {
    struct hf_executor_counters executor;
    struct hf_quota quotas;
};

static void add_thread(struct sums *sums, const struct hf_executor_counters *executor, const struct hf_quota *quota)
{
    sums->executor.records += executor->records;
    sums->executor.granted += executor->granted;
    sums->executor.granted_bytes += executor->granted_bytes;
    for (unsigned code = 0; code < HF_RESULT_COUNT; code++)
        sums->executor.results[code] += executor->results[code];
    for (unsigned table = 0; table < HF_TABLE_COUNT; table++)
        sums->quotas.left[table] += quota->left[table];
}

static void add_shard(struct items *items, const struct hf_node *node, unsigned number, bool heard)
{
    const struct hf_shard *shard = node->shards[number];
    const struct hf_shard_status *status = &shard->status;
    items->shard = number;
    add(items, "answers_status", heard);
    add_whereabouts(items, node, shard);
    if (!heard)
        return;
    add_loop(items, &status->counters);
    add_words(items, status);
    add_net(items, &status->net);
    add_packets(items, &status->net.packets);
    add_results(items, &status->executor);
    add_stages(items, status->stages, node->ns_per_cycle);
}

static void add_control(struct items *items, const struct hf_node *node)
{
    const char *name;
    uint64_t value;
    for (unsigned i = 0; node->control && hf_control_number(node->control, i, &name, &value); i++)
        add(items, name, value);
}

static void add_node(struct items *items, const struct hf_node *node, const struct sums *sums)
{
    items->shard = HF_STATUS_NODE;
    add_version(items);
    add_log(items, node, &sums->executor);
    add(items, "shard_count", node->shard_count);
    add(items, "partitions", node->partitions);
    add(items, "recovered_records", node->info.records);
    add(items, "replay_us", node->replay_ns / 1000);
    add(items, "time_ms", hf_engine_time_now(&node->time) / 1000000);
    add_memory(items, node, &sums->quotas);
    add_devices(items);
    add_results(items, &sums->executor);
    add_control(items, node);
}

void hf_status_answer(struct hf_node *node, const struct hf_executor *service, uint32_t first, struct hf_answer *answer)
{
    struct sums sums = {0};
    struct items items = {.answer = answer};
    bool heard[HF_SHARDS_MAX] = {false};
    for (unsigned i = first; i < node->shard_count; i++) {
        heard[i] = ask(node->shards[i]);
        if (heard[i])
            add_thread(&sums, &node->shards[i]->status.executor, &node->shards[i]->status.quota);
    }
    add_thread(&sums, &service->counters, &service->quota);
    *answer = (struct hf_answer){.length = sizeof *answer, .opcode = HF_STATUS, .result = HF_OK};
    if (first == 0)
        add_node(&items, node, &sums);
    for (unsigned i = first; i < node->shard_count; i++) {
        struct hf_answer before = *answer;
        add_shard(&items, node, i, heard[i]);
        if (!items.full || before.length == sizeof *answer)
            continue;
        *answer = before;
        answer->flags |= HF_ANSWER_MORE;
        answer->value = i;
        return;
    }
}

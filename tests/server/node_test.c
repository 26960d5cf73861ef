/* A whole node in this process: what it takes to start one, without a client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "persist/backend_sim.h"
#include "server/log_line.h"
#include "server/memory.h"
#include "server/node.h"
#include "server/service.h"
#include "server/shard.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char directory[64];
static char error[1024];

static struct hf_server_options small_options(uint32_t shards)
{
    struct hf_server_options options;
    hf_server_options_default(&options);
    options.shards = shards;
    options.skus_max = options.cells_max = options.orders_max = options.lines_max = options.command_ids_max = options.limits_max = 4096;
    options.log_backend = HF_LOG_CHOICE_NULL;
    snprintf(options.data, sizeof options.data, "%s", directory);
    snprintf(options.listen[0], sizeof options.listen[0], "tcp://127.0.0.1:0");
    return options;
}

static struct hf_node *start_on(const struct hf_server_options *options, struct hf_sim_disk *disk)
{
    struct hf_node *node = hf_memory_zeroed(sizeof *node);
    assert_non_null(node);
    node->world.disk = disk;
    int code = hf_node_start(node, options, error, sizeof error);
    if (code != 0)
        fail_msg("%d: %s", code, error);
    return node;
}

static struct hf_node *start(const struct hf_server_options *options)
{
    return start_on(options, NULL);
}

static void stop(struct hf_node *node)
{
    assert_int_equal(hf_node_stop(node, error, sizeof error), 0);
    hf_memory_free(node);
}

static void the_most_shards_that_options_allow_do_start(void **state)
{
    (void)state;
    struct hf_server_options options = small_options(HF_SHARDS_MAX);
    stop(start(&options));
}

static void a_port_in_use_is_exit_5_whoever_has_it_and_with_any_number_of_shards(void **state)
{
    (void)state;
    for (uint32_t first_shards = 1; first_shards <= 2; first_shards++) {
        struct hf_server_options options = small_options(first_shards);
        struct hf_node *first = start(&options), *second = hf_memory_zeroed(sizeof *second);
        assert_non_null(second);
        struct hf_server_options taken = small_options(3 - first_shards);
        memcpy(taken.listen[0], first->options.listen[0], sizeof taken.listen[0]);
        int code = hf_node_start(second, &taken, error, sizeof error);
        assert_int_equal(hf_error_exit(code), 5);
        assert_non_null(strstr(error, "in use"));
        hf_memory_free(second);
        stop(first);
    }
}

/* ---- a shard turned by hand ---- */

enum {
    DEFINITIONS = 1500,
    DEFINITION_BYTES = sizeof(struct hf_command) + sizeof(struct hf_line),
    ANSWER_BYTES = sizeof(struct hf_answer),
    FILL_BYTES = 64 * 1024,
    LATER_MS = 200
};

static uint64_t hand_ns = 1800000000000000000u;

static uint64_t hand_clock(void *context)
{
    (void)context;
    return hand_ns;
}

static const struct hf_clock hand = {.wall_ns = hand_clock, .monotonic_ns = hand_clock};

/* Ends the threads that would turn the shard and drain its log, and gives it a port of this thread's and a clock that stands. */
static struct hf_shard *take_over(struct hf_node *node)
{
    struct hf_shard *shard = node->shards[0];
    hf_store_release_u32(&node->finished, 1);
    hf_shard_join(shard);
    hf_service_destroy(node->service);
    node->service = NULL;
    pthread_join(node->drainer, NULL);
    node->drainer_started = false;
    hf_net_destroy(shard->net);
    const char *listen = "tcp://127.0.0.1:0";
    struct hf_net_options net = {
        .listen = &listen, .listen_count = 1, .shard_count = 1, .partitions = node->partitions, .term = node->term};
    assert_int_equal(hf_net_create(&net, &shard->net), 0);
    hf_engine_time_start(&node->time, &hand, hf_engine_last_time_ns(node->engine));
    return shard;
}

static struct hf_request definitions_of_one_sku(void)
{
    struct hf_request request = {.commands = calloc(DEFINITIONS, DEFINITION_BYTES), .answers = calloc(DEFINITIONS, ANSWER_BYTES)};
    struct hf_sku sku = {{0, 0}};
    assert_true(request.commands && request.answers && hf_sku_from_text("apple", 5, &sku));
    for (unsigned i = 0; i < DEFINITIONS; i++) {
        struct hf_command *command = (struct hf_command *)(void *)(request.commands + i * DEFINITION_BYTES);
        *command = (struct hf_command){.length = DEFINITION_BYTES,
                                       .opcode = HF_DEFINE_SKU,
                                       .version = HF_COMMAND_VERSION,
                                       .id = hf_id_make(hf_route(&sku), hand_ns / 1000000, i + 1),
                                       .line_count = 1};
        *(struct hf_line *)(void *)(command + 1) = (struct hf_line){.sku = sku};
    }
    request.command_bytes = DEFINITIONS * DEFINITION_BYTES;
    request.command_count = DEFINITIONS;
    request.left = DEFINITIONS + 1; /* no port lent it: it never gets its last answer, so that none will send it */
    return request;
}

/* Uses up the log's space, on a disk that gives no more. */
static void fill_log(struct hf_node *node, struct hf_sim_disk *disk)
{
    hf_sim_disk_set_capacity(disk, 1);
    while (hf_log_watermark(node->log) < 2) {
        struct hf_log_claim claim = hf_log_buffer_claim(node->buffer, FILL_BYTES);
        memset(claim.memory, 0, claim.bytes);
        *(struct hf_record *)(void *)claim.memory = (struct hf_record){.length = FILL_BYTES};
        hf_log_buffer_commit(node->buffer, &claim);
        assert_true(hf_log_drain(node->log, hand_ns) >= 0);
    }
}

/* A batch is gathered before the log fills up and would be run after it: what would write is answered, never stepped. */
static void commands_gathered_before_the_log_was_full_are_refused_when_it_stays_full(void **state)
{
    (void)state;
    struct hf_server_options options = small_options(1);
    options.drainer = HF_DRAINER_THREAD;
    options.log_ahead_bytes = 1 << 20;
    struct hf_sim_disk *disk = hf_sim_disk_new(&(struct hf_sim_options){.seed = 1});
    struct hf_node *node = start_on(&options, disk);
    struct hf_shard *shard = take_over(node);
    struct hf_request request = definitions_of_one_sku();
    shard->received = (struct hf_queue){.first = &request, .last = &request, .count = 1};
    hf_shard_turn(shard);
    fill_log(node, disk);
    uint64_t records = shard->executor->counters.records, position = hf_log_buffer_position(node->buffer);
    hf_shard_turn(shard);
    assert_true(records > 0 && shard->ahead_count > 0 && shard->received.count == 1 && shard->counters.busy == 0);
    hand_ns += LATER_MS * UINT64_C(1000000);
    hf_shard_turn(shard);
    assert_int_equal(request.left, 1);
    assert_int_equal(shard->executor->counters.records, records);
    assert_true(hf_log_buffer_position(node->buffer) == position);
    assert_int_equal(shard->executor->counters.results[HF_OK] + shard->counters.busy, DEFINITIONS);
    free(request.commands);
    free(request.answers);
    hf_node_destroy(node);
    hf_memory_free(node);
    hf_sim_disk_free(disk);
}

static int make_directory(void **state)
{
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%.40s/hf-node-XXXXXX", parent ? parent : "/tmp");
    hf_log_line_set_level(HF_LEVEL_ERROR);
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_shards_that_options_allow_do_start),
        cmocka_unit_test(a_port_in_use_is_exit_5_whoever_has_it_and_with_any_number_of_shards),
        cmocka_unit_test(commands_gathered_before_the_log_was_full_are_refused_when_it_stays_full),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

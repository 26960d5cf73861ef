/* A whole node in this process: what it takes to start one, without a client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/log_line.h"
#include "server/memory.h"
#include "server/node.h"

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

static struct hf_node *start(const struct hf_server_options *options)
{
    struct hf_node *node = hf_memory_zeroed(sizeof *node);
    assert_non_null(node);
    int code = hf_node_start(node, options, error, sizeof error);
    if (code != 0)
        fail_msg("%d: %s", code, error);
    return node;
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
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

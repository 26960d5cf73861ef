#include "server/log_line.h"
#include "server/options.h"

#include "wire/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct hf_server_options options;
static char error[512];
static char config_path[64];

enum { ARGS_MAX = 64 };

/* Parses one line of arguments, split at spaces. */
static int parse(const char *line)
{
    char copy[2048], *argv[ARGS_MAX] = {"holdfastd"}, *at = copy;
    int argc = 1;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word; (word = strsep(&at, " ")) != NULL;)
        if (*word != '\0' && argc < ARGS_MAX)
            argv[argc++] = word;
    return hf_server_options_parse(argc, argv, &options, error, sizeof error);
}

static void config_write(const char *text)
{
    FILE *file = fopen(config_path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int parse_with_file(const char *text, const char *flags)
{
    char line[512];
    config_write(text);
    snprintf(line, sizeof line, "--config %s %s", config_path, flags);
    return parse(line);
}

static void assert_refused(int status, const char *part)
{
    assert_int_equal(status, HF_E_USAGE);
    if (!strstr(error, part))
        fail_msg("'%s' does not say '%s'", error, part);
}

static int config_make(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(config_path, sizeof config_path, "%.32s/holdfast-options-XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(config_path);
    if (fd < 0)
        return -1;
    return close(fd);
}

static int config_remove(void **state)
{
    (void)state;
    return unlink(config_path);
}

static void defaults_hold_a_million_skus_and_sixteen_million_orders(void **state)
{
    (void)state;
    assert_int_equal(parse("--data d"), 0);
    assert_string_equal(options.data, "d");
    assert_int_equal(options.listen_count, 1);
    assert_string_equal(options.listen[0], "tcp://127.0.0.1:7420");
    assert_int_equal(options.skus_max, 1 << 20);
    assert_int_equal(options.orders_max, 1 << 24);
    assert_int_equal(options.cells_max, 1 << 21);
    assert_int_equal(options.retention_ns, 600000000000ull);
    assert_int_equal(options.clock_gap_max_ns, 3600000000000ull);
    assert_int_equal(options.session_idle_ns, 60000000000ull);
    assert_int_equal(options.log_ahead_bytes, 128 << 20);
    assert_int_equal(options.idle, HF_IDLE_SLEEP);
    assert_int_equal(options.drainer, HF_DRAINER_INLINE);
    assert_int_equal(options.durability, HF_DURABILITY_SYNC);
    assert_true(options.shards >= 1);
}

static void every_flag_lands_in_its_field(void **state)
{
    (void)state;
    assert_int_equal(
        parse("--data d --listen tcp://127.0.0.1:1 --listen=tcp://[::1]:0 --shards 2 --cpus 0,4-5 --partitions 512 --durability async "
              "--max-skus 1 --max-orders 2 --max-cells 3 --max-lines 4 --max-command-ids 5 --max-limits 6 --max-request-keys 7 --retention "
              "0.5 "
              "--log-ahead 64M --drainer thread --idle spin --prefault --max-clock-gap 1.25 --accept-clock --insecure-listen "
              "--log-backend null --log-level warn --segment-bytes 8M --block-max 256K --session-idle 1.5"),
        0);
    assert_int_equal(options.listen_count, 2);
    assert_string_equal(options.listen[1], "tcp://[::1]:0");
    assert_int_equal(options.shards, 2);
    assert_int_equal(options.cpu_count, 3);
    assert_int_equal(options.cpus[2], 5);
    assert_int_equal(options.partitions, 512);
    assert_int_equal(options.durability, HF_DURABILITY_ASYNC);
    assert_int_equal(options.skus_max, 1);
    assert_int_equal(options.orders_max, 2);
    assert_int_equal(options.cells_max, 3);
    assert_int_equal(options.lines_max, 4);
    assert_int_equal(options.command_ids_max, 5);
    assert_int_equal(options.limits_max, 6);
    assert_int_equal(options.request_keys_max, 7);
    assert_int_equal(options.retention_ns, 500000000);
    assert_int_equal(options.log_ahead_bytes, 64 << 20);
    assert_int_equal(options.drainer, HF_DRAINER_THREAD);
    assert_int_equal(options.idle, HF_IDLE_SPIN);
    assert_true(options.prefault && options.accept_clock && options.insecure_listen);
    assert_int_equal(options.clock_gap_max_ns, 1250000000);
    assert_int_equal(options.session_idle_ns, 1500000000);
    assert_int_equal(options.log_backend, HF_LOG_CHOICE_NULL);
    assert_int_equal(options.log_level, HF_LEVEL_WARN);
    assert_int_equal(options.segment_bytes, 8 << 20);
    assert_int_equal(options.block_max_bytes, 256 << 10);
}

static void an_address_leaves_room_for_the_port_that_the_kernel_chooses(void **state)
{
    (void)state;
    char line[HF_LISTEN_BYTES + 256];
    for (int zeros = HF_LISTEN_BYTES - 60; zeros < HF_LISTEN_BYTES + 10; zeros++) {
        snprintf(line, sizeof line, "--data d --listen tcp://127.0.0.1:%0*d", zeros, 0);
        int status = parse(line);
        assert_int_equal(status, strlen("tcp://127.0.0.1:") + (size_t)zeros + strlen("65535") <= HF_LISTEN_BYTES ? 0 : HF_E_USAGE);
    }
}

static void a_bad_flag_is_named_with_what_was_expected(void **state)
{
    static const char *const cases[][2] = {
        {"", "--data is missing"},
        {"--data d --shard 2", "unknown argument '--shard'"},
        {"--data d extra", "unknown argument 'extra'"},
        {"--data", "--data needs DIR"},
        {"--data d --shards 0", "--shards: expected a whole number from 1 to 16"},
        {"--data d --shards 17", "--shards: expected a whole number from 1 to 16"},
        {"--data d --shards -1", "got '-1'"},
        {"--data d --shards 2x", "got '2x'"},
        {"--data d --max-orders 99999999999999999999999", "--max-orders: expected"},
        {"--data d --partitions 300", "power of two"},
        {"--data d --partitions 1 --shards 2", "at most one shard a partition"},
        {"--data d --durability maybe", "expected sync|async"},
        {"--data d --retention 1.", "seconds"},
        {"--data d --retention -3", "seconds"},
        {"--data d --log-ahead 12Q", "suffix K, M or G"},
        {"--data d --log-ahead 99999999999999999G", "--log-ahead"},
        {"--data d --block-max 48K", "power of two"},
        {"--data d --segment-bytes 1536K", "no multiple of block-max"},
        {"--data d --cpus 1,1", "none twice"},
        {"--data d --cpus 3-1", "core numbers"},
        {"--data d --cpus 1, --shards 1", "core numbers"},
        {"--data d --cpus 1 --shards 2", "name one for each shard"},
        {"--data d --prefault=maybe", "true or false"},
        {"--data d --listen 127.0.0.1:7420", "tcp://"},
        {"--data d --listen tcp://127.0.0.1", "tcp://"},
        {"--data d --listen tcp://127.0.0.1:70000", "tcp://"},
        {"--data d --listen tcp://nowhere:1", "tcp://"},
        {"--data d --listen tcp://0.0.0.0:7420", "say --insecure-listen"},
        {"--data d --listen tcp://[::]:7420", "say --insecure-listen"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(parse(cases[i][0]), cases[i][1]);
}

static void help_and_version_need_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(parse("--help --nonsense"), 0);
    assert_true(options.help);
    assert_int_equal(parse("--version"), 0);
    assert_true(options.version);
}

static void the_help_names_every_flag(void **state)
{
    static const char *const names[] = {"data",
                                        "listen",
                                        "shards",
                                        "cpus",
                                        "partitions",
                                        "durability",
                                        "max-skus",
                                        "max-orders",
                                        "max-cells",
                                        "max-lines",
                                        "max-command-ids",
                                        "max-limits",
                                        "retention",
                                        "log-ahead",
                                        "drainer",
                                        "idle",
                                        "prefault",
                                        "max-clock-gap",
                                        "accept-clock",
                                        "config",
                                        "check-config",
                                        "version",
                                        "help",
                                        "insecure-listen",
                                        "log-backend",
                                        "log-level",
                                        "segment-bytes",
                                        "block-max",
                                        "session-idle",
                                        "max-request-keys",
                                        "follower-stall",
                                        "slow-request-ms"};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    (void)state;
    assert_non_null(out);
    hf_server_options_help(out);
    fclose(out);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char flag[40];
        snprintf(flag, sizeof flag, "\n  --%s ", names[i]);
        assert_non_null(strstr(text, flag));
    }
    free(text);
}

static void a_file_sets_what_flags_do_not(void **state)
{
    (void)state;
    assert_int_equal(parse_with_file("# sizes\ndata: here\nmax-skus: 7\nmax-orders: 8\nprefault: true\nretention: 2.5\nlog-ahead: 16M\n"
                                     "idle: pause\nlisten: tcp://127.0.0.1:5\ncpus: [2, 3]\nshards: 2\n",
                                     "--max-orders 9 --prefault=false"),
                     0);
    assert_string_equal(options.data, "here");
    assert_int_equal(options.skus_max, 7);
    assert_int_equal(options.orders_max, 9);
    assert_false(options.prefault);
    assert_int_equal(options.retention_ns, 2500000000ull);
    assert_int_equal(options.idle, HF_IDLE_PAUSE);
    assert_int_equal(options.listen_count, 1);
    assert_string_equal(options.listen[0], "tcp://127.0.0.1:5");
    assert_int_equal(options.cpu_count, 2);
    assert_int_equal(options.cpus[1], 3);
}

static void listen_flags_replace_the_list_of_the_file(void **state)
{
    (void)state;
    const char *list = "listen:\n  - tcp://127.0.0.1:1\n  - tcp://127.0.0.1:2\n";
    assert_int_equal(parse_with_file(list, "--data d"), 0);
    assert_int_equal(options.listen_count, 2);
    assert_int_equal(parse_with_file(list, "--data d --listen tcp://127.0.0.1:3"), 0);
    assert_int_equal(options.listen_count, 1);
    assert_string_equal(options.listen[0], "tcp://127.0.0.1:3");
}

static void an_empty_file_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(parse_with_file("", "--data d"), 0);
    assert_int_equal(parse_with_file("# only a comment\n", "--data d"), 0);
    assert_int_equal(options.skus_max, 1 << 20);
}

static void a_bad_file_is_refused_with_its_line(void **state)
{
    static const char *const cases[][2] = {
        {"data: d\nmax-sku: 3\n", ":2: max-sku: unknown key"},
        {"data: d\nshards: 2\nshards: 2\n", ":3: shards: stands here a second time"},
        {"shards: many\n", ":1: shards: expected a whole number"},
        {"shards: [1, 2]\n", ":1: shards: expected one value, got a list"},
        {"shards: {a: 1}\n", ":1: shards: expected one value"},
        {"prefault: 1\n", ":1: prefault: expected true or false"},
        {"listen:\n  - [a]\n", ":2: listen: expected a list of plain values"},
        {"listen:\n  - tcp://127.0.0.1:1\n  - here\n", ":3: listen: expected an address"},
        {"config: other\n", ":1: config: can only be a flag"},
        {"- a\n", ":1: expected lines of the form"},
        {"just text\n", ":1: expected lines of the form"},
        {"a: [\n", ":1: a: unknown key"},
        {"shards: 1\nidle: [\n", ":2: idle"},
        {"shards: 1\n---\nshards: 2\n", ":2: a second document"},
        {"data:\n", ":1: data: expected a path"},
        {"? [a]\n: b\n", ":1: expected an option's name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(parse_with_file(cases[i][0], "--data d"), cases[i][1]);
    assert_refused(parse("--data d --config /nonexistent/x.yaml"), "cannot be read");
}

static void checking_a_configuration_needs_no_directory(void **state)
{
    (void)state;
    assert_int_equal(parse_with_file("shards: 1\n", "--check-config"), 0);
    assert_int_equal(hf_server_options_act(&options, 0, error, "1"), 0);
    assert_int_equal(parse_with_file("shards: x\n", "--check-config"), HF_E_USAGE);
    assert_int_equal(hf_server_options_act(&options, HF_E_USAGE, error, "1"), 2);
    assert_int_equal(parse("--data d"), 0);
    assert_int_equal(hf_server_options_act(&options, 0, error, "1"), -1);
}

static void a_log_line_is_one_json_object(void **state)
{
    char out[512];
    const struct hf_log_line_field fields[] = {
        hf_field_text("text", "a\"b\\c\n\xff\xc3\xa9"),
        hf_field_number("n", UINT64_MAX),
        hf_field_signed("s", -5),
        hf_field_real("r", 0.25),
        hf_field_bool("yes", true),
        hf_field_hex("digest", 255),
        hf_field_text("none", NULL),
    };
    (void)state;
    size_t bytes = hf_log_line_format(out, sizeof out, 1767323045678000000ull, HF_LEVEL_INFO, "ready", fields, 7);
    out[bytes] = '\0';
    assert_string_equal(
        out, "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"info\",\"msg\":\"ready\",\"text\":\"a\\\"b\\\\c\\u000a\\ufffd\xc3\xa9\","
             "\"n\":18446744073709551615,\"s\":-5,\"r\":0.25,\"yes\":true,\"digest\":\"00000000000000ff\",\"none\":null}\n");
}

static void a_log_line_that_is_too_long_is_cut_and_still_json(void **state)
{
    char out[256 + 1], text[1024];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    const struct hf_log_line_field fields[] = {hf_field_text("text", text), hf_field_number("n", 1), hf_field_number("m", 2)};
    for (size_t room = 200; room <= 256; room++) {
        size_t bytes = hf_log_line_format(out, room, 0, HF_LEVEL_WARN, "m", fields, 3);
        assert_true(bytes <= room);
        assert_memory_equal(out + bytes - 6, "...\"}\n", 6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_a_million_skus_and_sixteen_million_orders),
        cmocka_unit_test(every_flag_lands_in_its_field),
        cmocka_unit_test(an_address_leaves_room_for_the_port_that_the_kernel_chooses),
        cmocka_unit_test(a_bad_flag_is_named_with_what_was_expected),
        cmocka_unit_test(help_and_version_need_nothing_else),
        cmocka_unit_test(the_help_names_every_flag),
        cmocka_unit_test(a_file_sets_what_flags_do_not),
        cmocka_unit_test(listen_flags_replace_the_list_of_the_file),
        cmocka_unit_test(an_empty_file_changes_nothing),
        cmocka_unit_test(a_bad_file_is_refused_with_its_line),
        cmocka_unit_test(checking_a_configuration_needs_no_directory),
        cmocka_unit_test(a_log_line_is_one_json_object),
        cmocka_unit_test(a_log_line_that_is_too_long_is_cut_and_still_json),
    };
    return cmocka_run_group_tests(tests, config_make, config_remove);
}

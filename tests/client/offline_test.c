/* `holdfast journal` and `holdfast audit --data` on a directory that engine and log made here. The tool's path is in $HOLDFAST. */
#include "engine/engine.h"
#include "persist/log.h"

#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

enum { PARTITIONS = 16, SKUS = 20, ORDERS = 300, OUTPUT_BYTES = 1 << 20 };

/* A directory and what its makers know of it. */
static struct {
    char dir[96], acked[112];
    struct hf_log *log;
    struct hf_log_buffer *buffer;
    struct hf_engine *engine;
    struct hf_quota quota;
    uint64_t now_ns, serial, records, position, told;
    uint64_t middle_position, middle_records;
    uint64_t middle_digest, digest;
    FILE *told_file;
    struct hf_id orders[ORDERS];
} made;

static char output[OUTPUT_BYTES], errors[4096];

/* --- making --- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static struct hf_sku sku_of(unsigned number)
{
    char text[17];
    struct hf_sku sku;
    int bytes = snprintf(text, sizeof text, "SKU%06u", number);
    assert_true(hf_sku_from_text(text, (size_t)bytes, &sku));
    return sku;
}

static struct hf_command *command_begin(uint8_t *room, uint16_t opcode, uint16_t lines)
{
    struct hf_command *command = (struct hf_command *)(void *)room;
    memset(room, 0, sizeof *command + lines * sizeof(struct hf_line));
    command->length = (uint32_t)(sizeof *command + lines * sizeof(struct hf_line));
    command->opcode = opcode;
    command->version = HF_COMMAND_VERSION;
    command->line_count = lines;
    return command;
}

static struct hf_line *lines_of(struct hf_command *command)
{
    return (struct hf_line *)(void *)(command + 1);
}

static struct hf_id id_make(uint16_t route)
{
    return hf_id_make(route, made.now_ns / 1000000, ++made.serial * 0x9e3779b97f4a7c15ull);
}

/* Steps and, when something changed, logs. The result. */
static unsigned apply(const struct hf_command *command)
{
    static _Alignas(8) uint8_t record_room[HF_RECORD_BYTES_MAX], answer_room[HF_ADMIN_ANSWER_BYTES_MAX];
    struct hf_step step = {.command = command,
                           .now_ns = made.now_ns,
                           .latest_ns = made.now_ns,
                           .quota = &made.quota,
                           .record = (struct hf_record *)(void *)record_room,
                           .answer = (struct hf_answer *)(void *)answer_room};
    made.now_ns += 10000;
    hf_engine_step(made.engine, &step);
    if (step.outcome_bytes == 0)
        return step.answer->result;
    while (!hf_log_buffer_has_room(made.buffer, 0))
        assert_true(hf_log_drain(made.log, made.now_ns) >= 0);
    struct hf_log_claim claim = hf_log_buffer_claim(made.buffer, step.record->length);
    memcpy(claim.memory, record_room, step.outcome_bytes);
    memcpy(claim.memory + step.outcome_bytes, command, command->length);
    hf_log_buffer_commit(made.buffer, &claim);
    made.records++;
    made.position = claim.position + claim.bytes;
    assert_true(hf_log_drain(made.log, made.now_ns) >= 0);
    return step.answer->result;
}

static void told(struct hf_id id, const char *verb, unsigned result)
{
    fprintf(made.told_file, "%016llx%016llx%s%s %s\n", (unsigned long long)id.high, (unsigned long long)id.low, verb ? " " : "",
            verb ? verb : "", hf_result_name(result));
    made.told += result == HF_OK;
}

static void stock_up(void)
{
    _Alignas(8) uint8_t room[256];
    struct hf_command *command = command_begin(room, HF_DEFINE_LOCATION, 0);
    command->id = id_make(0);
    command->arg = 1;
    assert_int_equal(apply(command), HF_OK);
    for (unsigned i = 0; i < SKUS; i++) {
        struct hf_sku sku = sku_of(i);
        command = command_begin(room, HF_DEFINE_SKU, 1);
        command->id = id_make(hf_route(&sku));
        lines_of(command)->sku = sku;
        assert_int_equal(apply(command), HF_OK);
        command = command_begin(room, HF_RECEIVE, 1);
        command->id = id_make(hf_route(&sku));
        *lines_of(command) = (struct hf_line){.sku = sku, .location = 1, .quantity = 60};
        assert_int_equal(apply(command), HF_OK);
    }
    struct hf_sku limited = sku_of(0);
    command = command_begin(room, HF_DEFINE_POLICY, 1);
    command->id = id_make(hf_route(&limited));
    lines_of(command)->sku = limited;
    command->body.policy.per_customer = 3;
    command->body.policy.safety_stock = 5;
    assert_int_equal(apply(command), HF_OK);
}

static void place(unsigned number)
{
    _Alignas(8) uint8_t room[512];
    unsigned lines = 1 + number % 4;
    struct hf_command *command = command_begin(room, HF_PLACE, (uint16_t)lines);
    for (unsigned i = 0; i < lines; i++)
        lines_of(command)[i] = (struct hf_line){
            .sku = sku_of((number * 7 + i * 3) % SKUS), .location = 1, .quantity = 1 + (number + i) % 3};
    made.orders[number] = command->id = id_make(hf_route(&lines_of(command)[0].sku));
    command->arg = number % 3 == 0 ? 50 : 60000;
    command->body.place.customer = number % 9;
    command->body.place.channel = HF_CHANNEL_WEB;
    told(command->id, NULL, apply(command));
}

static void verb(uint16_t opcode, unsigned number, const char *name)
{
    _Alignas(8) uint8_t room[128];
    struct hf_command *command = command_begin(room, opcode, 0);
    command->id = id_make(hf_id_route(made.orders[number]));
    command->body.verb.order = made.orders[number];
    if (opcode == HF_SETTLE || opcode == HF_PAYMENT_RESULT) {
        command->body.verb.amount = 1000;
        memcpy(command->body.verb.currency, "EUR", 3);
    }
    if (opcode == HF_PAYMENT_RESULT) {
        command->arg = 1;
        command->body.verb.status = HF_STATUS_CAPTURED;
    }
    if (opcode == HF_EXTEND)
        command->arg = 120000;
    told(made.orders[number], name, apply(command));
}

static void sweep(void)
{
    static _Alignas(8) uint8_t room[HF_COMMAND_BYTES_MAX];
    for (uint32_t p = 0; p < PARTITIONS; p++)
        while (hf_engine_sweep(made.engine, p, made.now_ns, 16, (struct hf_command *)(void *)room))
            apply((struct hf_command *)(void *)room);
}

static void mark(uint64_t mark_ms)
{
    _Alignas(8) uint8_t room[128];
    struct hf_command *command = command_begin(room, HF_MARK, 0);
    command->body.mark.mark_ms = mark_ms;
    command->body.mark.modulus = 1;
    apply(command);
}

static void trade(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        place(i);
        if (i % 5 == 1)
            verb(HF_EXTEND, i, "extend");
        if (i % 5 < 2) {
            verb(HF_SETTLE, i, "settle");
            verb(HF_PAYMENT_RESULT, i, "result");
            verb(HF_SHIP, i, "ship");
        } else if (i % 5 == 2) {
            verb(HF_CANCEL, i, "cancel");
        }
    }
    made.now_ns += 100000000;
    sweep();
    for (unsigned i = from; i < to; i += 6)
        verb(HF_SETTLE, i, "settle"); /* of what expired: held again, or lost */
}

static void open_both(void)
{
    struct hf_log_options options = {.dir = made.dir,
                                     .partitions = PARTITIONS,
                                     .block_max = 16384,
                                     .segment_bytes = 65536,
                                     .ahead_bytes = 262144,
                                     .buffer_bytes = 1 << 20,
                                     .shards = 1,
                                     .batch_bytes_max = HF_RECORD_BYTES_MAX,
                                     .wall_ns = made.now_ns,
                                     .accept_clock = true,
                                     .lock_wait_ms = 1000};
    struct hf_engine_options engine = {.partitions = PARTITIONS,
                                       .skus_max = 100,
                                       .cells_max = 100,
                                       .orders_max = 1000,
                                       .lines_max = 4000,
                                       .command_ids_max = 4000,
                                       .limits_max = 1000,
                                       .retention_ns = 1000000000,
                                       .key = {1, 2}};
    struct hf_log_info info;
    uint64_t term;
    assert_int_equal(hf_log_open(&options, &made.log, &info), 0);
    assert_int_equal(hf_log_recover(made.log, NULL, NULL, NULL, UINT64_MAX, &info), 0);
    assert_int_equal(hf_log_start(made.log, &made.buffer, &term), 0);
    assert_int_equal(hf_engine_create(&engine, &made.engine), 0);
    for (unsigned table = 0; table < HF_TABLE_COUNT; table++)
        made.quota.left[table] = table == HF_TABLE_ORDERS || table == HF_TABLE_LIMITS ? 1000 : table < HF_TABLE_ORDERS ? 100 : 4000;
}

static int make_directory(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(made.dir, sizeof made.dir, "%.32s/holdfast-offline-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(made.dir))
        return -1;
    snprintf(made.acked, sizeof made.acked, "%s.acked", made.dir);
    made.told_file = fopen(made.acked, "w");
    made.now_ns = 1700000000000000000ull;
    open_both();
    stock_up();
    trade(0, ORDERS / 2);
    made.middle_position = made.position;
    made.middle_records = made.records;
    made.middle_digest = hf_engine_digest(made.engine);
    made.now_ns += 2000000000;
    mark(made.now_ns / 1000000 - 1000);
    sweep();
    trade(ORDERS / 2, ORDERS);
    made.digest = hf_engine_digest(made.engine);
    hf_engine_destroy(made.engine);
    int stopped = hf_log_stop(made.log);
    hf_log_close(made.log);
    return stopped | fclose(made.told_file);
}

static int remove_directory(void **state)
{
    (void)state;
    return nftw(made.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) | remove(made.acked);
}

/* --- running the tool --- */

static size_t read_all(int fd, char *to, size_t room)
{
    size_t used = 0;
    for (ssize_t bytes; (bytes = read(fd, to + used, room - 1 - used)) > 0;)
        used += (size_t)bytes;
    to[used] = '\0';
    close(fd);
    return used;
}

/* Runs `holdfast` with words split at spaces, %D for the directory and %A for the file of what was told. Its exit status. */
static int run(const char *line)
{
    static char copy[1024];
    char *argv[32] = {getenv("HOLDFAST")}, *at = copy;
    int argc = 1, out[2], err[2], status;
    pid_t child;
    posix_spawn_file_actions_t actions;
    assert_non_null(argv[0]);
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word; (word = strsep(&at, " ")) != NULL;)
        argv[argc++] = strcmp(word, "%D") == 0 ? made.dir : strcmp(word, "%A") == 0 ? made.acked : word;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    assert_int_equal(posix_spawn(&child, argv[0], &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
    read_all(out[0], output, sizeof output);
    read_all(err[0], errors, sizeof errors);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static json_t *printed(void)
{
    json_error_t error;
    json_t *object = json_loads(output, JSON_DECODE_ANY, &error);
    if (!object)
        fail_msg("not JSON: %s (stderr: %s)", output, errors);
    return object;
}

static void assert_number(json_t *object, const char *key, uint64_t value)
{
    json_t *found = json_object_get(object, key);
    if (!json_is_integer(found) || (uint64_t)json_integer_value(found) != value)
        fail_msg("%s is not %llu in %s", key, (unsigned long long)value, output);
}

static void assert_digest(json_t *object, uint64_t digest)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)digest);
    assert_string_equal(json_string_value(json_object_get(object, "digest")), text);
}

/* --- tests --- */

static void a_replay_reaches_the_state_that_was_with_any_number_of_shards(void **state)
{
    (void)state;
    for (unsigned shards = 1; shards <= 5; shards++) {
        char line[128];
        snprintf(line, sizeof line, "journal replay --data %%D --json --shards %u", shards);
        assert_int_equal(run(line), 0);
        json_t *object = printed();
        assert_number(object, "records", made.records);
        assert_number(object, "position", made.position);
        assert_digest(object, made.digest);
        assert_true(json_is_number(json_object_get(object, "seconds")) && json_is_number(json_object_get(object, "records_per_s")));
        json_decref(object);
    }
}

static void a_replay_until_a_position_reaches_the_state_of_then(void **state)
{
    (void)state;
    char line[128];
    snprintf(line, sizeof line, "journal replay --data %%D --json --shards 3 --until %llu", (unsigned long long)made.middle_position);
    assert_int_equal(run(line), 0);
    json_t *object = printed();
    assert_number(object, "records", made.middle_records);
    assert_number(object, "position", made.middle_position);
    assert_digest(object, made.middle_digest);
    json_decref(object);
}

static void quotas_of_shards_are_one_sum(void **state)
{
    (void)state;
    /* One row to spare for all: no shard's own share would do. */
    assert_int_equal(
        run("journal replay --data %D --json --prefault --shards 7 --max-skus 20 --max-cells 20 --max-orders 300 --max-lines 1000 "
            "--max-command-ids 2000 --max-limits 100"),
        0);
    json_t *object = printed();
    assert_digest(object, made.digest);
    json_decref(object);
}

static void sizes_that_are_too_small_are_refused_with_their_option(void **state)
{
    (void)state;
    assert_int_equal(run("journal replay --data %D --json --max-orders 10"), 2);
    assert_non_null(strstr(errors, "--max-orders"));
    const char *least = strstr(errors, "--max-orders ");
    unsigned long orders = strtoul(least + strlen("--max-orders "), NULL, 10);
    char line[128];
    snprintf(line, sizeof line, "journal replay --data %%D --json --max-orders %lu", orders);
    assert_int_equal(run(line), 0);
    snprintf(line, sizeof line, "journal replay --data %%D --json --max-orders %lu", orders - 1);
    assert_int_equal(run(line), 2);
    assert_int_equal(run("journal replay --data %D --json --shards 2 --max-skus 19"), 2);
    assert_non_null(strstr(errors, "--max-skus 20"));
    assert_int_equal(run("journal replay --data %D --json --max-skus 19 --max-command-ids 30"), 2);
    assert_non_null(strstr(errors, "--max-skus"));
}

static void a_sound_log_is_verified(void **state)
{
    (void)state;
    assert_int_equal(run("journal verify --data %D --json"), 0);
    json_t *object = printed();
    assert_number(object, "records", made.records);
    assert_number(object, "torn_tail_bytes", 0);
    assert_true(json_is_null(json_object_get(object, "damaged")));
    json_decref(object);
    assert_int_equal(run("journal info --data %D --json"), 0);
    object = printed();
    assert_number(object, "partitions", PARTITIONS);
    assert_number(object, "term", 1);
    json_decref(object);
}

static void a_dump_has_a_line_for_every_record(void **state)
{
    uint64_t lines = 0;
    (void)state;
    assert_int_equal(run("journal dump --data %D"), 0);
    for (const char *at = output; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, made.records);
}

static void an_audit_finds_nothing_wrong_and_all_that_was_told(void **state)
{
    (void)state;
    assert_int_equal(run("audit --data %D --acked %A --json"), 0);
    json_t *object = printed();
    assert_number(object, "violations", 0);
    assert_number(object, "oversold_cells", 0);
    assert_number(object, "acked", made.told);
    assert_number(object, "acked_missing", 0);
    assert_number(object, "acked_wrong", 0);
    assert_number(object, "acked_unreadable", 0);
    assert_number(object, "position", made.position);
    assert_digest(object, made.digest);
    json_decref(object);
}

static void an_audit_names_what_was_told_and_is_not_there(void **state)
{
    (void)state;
    FILE *file = fopen(made.acked, "a");
    assert_non_null(file);
    fprintf(file, "00000000000000000000000000000001 OK\n");
    fclose(file);
    assert_int_equal(run("audit --data %D --acked %A --json"), 1);
    json_t *object = printed();
    assert_number(object, "acked", made.told + 1);
    assert_number(object, "acked_missing", 1);
    assert_number(object, "violations", 0);
    json_decref(object);
}

static void a_directory_in_use_is_refused(void **state)
{
    (void)state;
    struct hf_log_options options = {.dir = made.dir, .wall_ns = made.now_ns, .lock_wait_ms = 1000};
    struct hf_log_info info;
    struct hf_log *log;
    assert_int_equal(hf_log_open(&options, &log, &info), 0);
    assert_int_equal(run("journal replay --data %D --json"), 3);
    assert_int_equal(run("audit --data %D --json"), 3);
    hf_log_close(log);
}

static void a_directory_that_is_none_is_refused(void **state)
{
    (void)state;
    assert_int_not_equal(run("journal verify --data /nonexistent/dir --json"), 0);
    assert_non_null(strstr(errors, "/nonexistent/dir"));
    assert_int_equal(run("journal replay --json"), 2);
    assert_int_equal(run("journal whirl --data %D"), 2);
}

/* Last: it damages the directory. */
static void a_damaged_block_is_named_with_its_position(void **state)
{
    char path[160];
    uint8_t byte;
    (void)state;
    snprintf(path, sizeof path, "%s/log-%016x.seg", made.dir, 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 200), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, 200), 1);
    close(fd);
    assert_int_equal(run("journal verify --data %D --json"), 4);
    json_t *object = printed();
    assert_number(object, "damaged", 0);
    json_decref(object);
    assert_int_equal(run("journal replay --data %D --json"), 4);
    assert_int_equal(run("audit --data %D --json"), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replay_reaches_the_state_that_was_with_any_number_of_shards),
        cmocka_unit_test(a_replay_until_a_position_reaches_the_state_of_then),
        cmocka_unit_test(quotas_of_shards_are_one_sum),
        cmocka_unit_test(sizes_that_are_too_small_are_refused_with_their_option),
        cmocka_unit_test(a_sound_log_is_verified),
        cmocka_unit_test(a_dump_has_a_line_for_every_record),
        cmocka_unit_test(an_audit_finds_nothing_wrong_and_all_that_was_told),
        cmocka_unit_test(an_audit_names_what_was_told_and_is_not_there),
        cmocka_unit_test(a_directory_in_use_is_refused),
        cmocka_unit_test(a_directory_that_is_none_is_refused),
        cmocka_unit_test(a_damaged_block_is_named_with_its_position),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

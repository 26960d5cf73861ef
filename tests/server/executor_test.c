#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/executor.h"
#include "server/lanes.h"

#include <pthread.h>
#include <sched.h>

enum {
    PARTITIONS = 8,
    SKUS = 40,
    TAKERS = 2,
    ROWS = 20000,
    COMMAND_BYTES = 1024,
    ANSWER_BYTES = 512,
    BLOCK_MAX = 64 * 1024,
    BUFFER_BYTES = 16 << 20,
    LOG_BYTES = 64 << 20,
};

#define START_NS 1800000000000000000ull
#define MS_NS    1000000ull

/* What all threads share, and the log as the drainer has taken it out of the buffer. */
struct bench {
    struct hf_engine *engine;
    struct hf_word *words;
    struct hf_log_buffer *buffer;
    void *memory;
    struct hf_executor *executors[TAKERS];
    uint8_t *log;
    size_t log_bytes;
    uint64_t drained; /* end of the last block taken out */
    struct hf_atomic_u32 running;
};

static struct hf_engine_options engine_options(void)
{
    return (struct hf_engine_options){.partitions = PARTITIONS,
                                      .skus_max = ROWS,
                                      .cells_max = ROWS,
                                      .orders_max = ROWS * 4,
                                      .lines_max = ROWS * 16,
                                      .command_ids_max = ROWS * 4,
                                      .limits_max = ROWS,
                                      .request_keys_max = ROWS * 4,
                                      .retention_ns = 1000 * MS_NS,
                                      .key = {11, 22}};
}

static struct hf_quota all_rows(void)
{
    struct hf_engine_options o = engine_options();
    return (struct hf_quota){.left = {[HF_TABLE_SKUS] = (int64_t)o.skus_max,
                                      [HF_TABLE_CELLS] = (int64_t)o.cells_max,
                                      [HF_TABLE_ORDERS] = (int64_t)o.orders_max,
                                      [HF_TABLE_LINES] = (int64_t)o.lines_max,
                                      [HF_TABLE_COMMAND_IDS] = (int64_t)o.command_ids_max,
                                      [HF_TABLE_LIMITS] = (int64_t)o.limits_max,
                                      [HF_TABLE_LOCATIONS] = 100,
                                      [HF_TABLE_REQUEST_KEYS] = (int64_t)o.request_keys_max}};
}

/* ---- commands ---- */

static uint64_t draw(uint64_t *random)
{
    uint64_t z = *random += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

static struct hf_sku sku_of(unsigned number)
{
    char text[17];
    struct hf_sku sku = {{0, 0}};
    int bytes = snprintf(text, sizeof text, "SKU%06u", number);
    assert_true(hf_sku_from_text(text, (size_t)bytes, &sku));
    return sku;
}

static uint32_t partition_of(unsigned sku)
{
    struct hf_sku key = sku_of(sku);
    return hf_partition(hf_route(&key), PARTITIONS);
}

/* The first SKU from `from` on that lives in the partition. */
static unsigned sku_in(uint32_t partition, unsigned from)
{
    while (partition_of(from) != partition)
        from++;
    assert_true(from < SKUS);
    return from;
}

static struct hf_command *command_begin(void *memory, uint16_t opcode, uint16_t route, uint64_t now_ns, uint64_t *random)
{
    struct hf_command *command = memory;
    *command = (struct hf_command){
        .length = sizeof *command, .opcode = opcode, .version = HF_COMMAND_VERSION, .id = hf_id_make(route, now_ns / MS_NS, draw(random))};
    return command;
}

static void add_line(struct hf_command *command, unsigned sku, uint32_t location, uint32_t quantity)
{
    struct hf_line *line = (struct hf_line *)(void *)(command + 1) + command->line_count++;
    *line = (struct hf_line){.sku = sku_of(sku), .location = location, .quantity = quantity};
    command->length += (uint32_t)sizeof *line;
    assert_true(command->length <= COMMAND_BYTES);
}

static void add_name(struct hf_command *command)
{
    uint16_t item[4] = {HF_EXT_NAME, 2, 0x4141, 0};
    memcpy((uint8_t *)command + command->length, item, sizeof item);
    command->ext_bytes = sizeof item;
    command->length += (uint32_t)sizeof item;
}

static uint32_t partition_of_key(uint64_t number)
{
    const struct hf_request_key key = {{number, 0}};
    return hf_partition(hf_request_key_route(&key), PARTITIONS);
}

/* After the lines. */
static void add_key(struct hf_command *command, uint64_t number)
{
    const struct hf_request_key key = {{number, 0}};
    uint16_t head[2] = {HF_EXT_IDEMPOTENCY_KEY, sizeof key};
    uint8_t *at = (uint8_t *)command + command->length;
    memset(at, 0, HF_REQUEST_KEY_EXTENSION_BYTES);
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, &key, sizeof key);
    command->ext_bytes = HF_REQUEST_KEY_EXTENSION_BYTES;
    command->length += HF_REQUEST_KEY_EXTENSION_BYTES;
    assert_true(command->length <= COMMAND_BYTES);
}

static struct hf_command *place_begin(void *memory, unsigned first_sku, uint32_t ttl_ms, uint64_t now_ns, uint64_t *random)
{
    struct hf_sku sku = sku_of(first_sku);
    struct hf_command *command = command_begin(memory, HF_PLACE, hf_route(&sku), now_ns, random);
    command->arg = ttl_ms;
    command->body.place.customer = 1 + draw(random) % 50;
    command->body.place.channel = HF_CHANNEL_WEB;
    return command;
}

/* ---- one command at a time ---- */

struct one {
    _Alignas(8) uint8_t command[COMMAND_BYTES], answer[ANSWER_BYTES];
};

static struct hf_task task_in(const struct bench *bench, struct one *one)
{
    struct hf_task task = {.command = (const struct hf_command *)(const void *)one->command,
                           .answer = (struct hf_answer *)(void *)one->answer};
    task.home = hf_engine_home(bench->engine, task.command);
    return task;
}

static unsigned run_one(struct bench *bench, unsigned taker, struct one *one)
{
    struct hf_executor *executor = bench->executors[taker];
    struct hf_task task = task_in(bench, one);
    hf_executor_begin(executor, START_NS, START_NS, false, 0);
    if (task.command->opcode == HF_DEFINE_LOCATION)
        assert_int_equal(hf_executor_admit_class(executor, &task, 1, 0), HF_ADMITTED);
    else
        assert_int_equal(hf_executor_admit(executor, &task), HF_ADMITTED);
    hf_executor_run(executor);
    return task.answer->result;
}

static void stock_all(struct bench *bench)
{
    struct one one;
    uint64_t random = 1;
    struct hf_command *command = command_begin(one.command, HF_DEFINE_LOCATION, 0, START_NS, &random);
    command->arg = 1;
    add_name(command);
    assert_int_equal(run_one(bench, 0, &one), HF_OK);
    for (unsigned sku = 0; sku < SKUS; sku++) {
        struct hf_sku key = sku_of(sku);
        command = command_begin(one.command, HF_DEFINE_SKU, hf_route(&key), START_NS, &random);
        add_line(command, sku, 0, 0);
        add_name(command);
        assert_int_equal(run_one(bench, 0, &one), HF_OK);
        command = command_begin(one.command, HF_RECEIVE, hf_route(&key), START_NS, &random);
        add_line(command, sku, 1, 500);
        assert_int_equal(run_one(bench, 0, &one), HF_OK);
    }
}

/* ---- the drainer ---- */

static void drain(struct bench *bench)
{
    struct hf_log_block block;
    hf_log_buffer_close(bench->buffer, false);
    while (hf_log_buffer_next(bench->buffer, &block)) {
        uint32_t bytes = block.length - HF_BLOCK_HEADER_BYTES;
        assert_true(bench->log_bytes + bytes <= LOG_BYTES);
        memcpy(bench->log + bench->log_bytes, block.memory + HF_BLOCK_HEADER_BYTES, bytes);
        bench->log_bytes += bytes;
        bench->drained = block.position + block.length;
        hf_log_buffer_release(bench->buffer, block.next_position);
    }
}

static void replay_and_compare(struct bench *bench)
{
    struct hf_engine_options options = engine_options();
    struct hf_quota quota = all_rows();
    struct hf_engine *replayed;
    struct hf_audit_item audit = {0};
    unsigned table;
    options.key[0] = 33;
    assert_int_equal(hf_engine_create(&options, &replayed), 0);
    for (size_t at = 0; at < bench->log_bytes;) {
        const struct hf_record *record = (const struct hf_record *)(const void *)(bench->log + at);
        assert_int_equal(hf_engine_replay(replayed, record, record->length, &quota, &table), 0);
        at += record->length;
    }
    assert_true(hf_engine_digest(replayed) == hf_engine_digest(bench->engine));
    hf_engine_audit(bench->engine, &audit);
    assert_int_equal(audit.violations, 0);
    assert_int_equal(audit.oversold_cells, 0);
    hf_engine_destroy(replayed);
}

/* ---- set-up ---- */

static int make(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct hf_engine_options options = engine_options();
    struct hf_log_buffer_options log = {.size_bytes = BUFFER_BYTES,
                                        .block_max_bytes = BLOCK_MAX,
                                        .header_bytes = HF_BLOCK_HEADER_BYTES,
                                        .shards = TAKERS,
                                        .batch_bytes_max = hf_executor_batch_bytes_max(BLOCK_MAX),
                                        .batch_claims_max = HF_BATCH_MAX};
    size_t bytes = hf_log_buffer_memory_bytes(&log);
    if (!bench || hf_engine_create(&options, &bench->engine) != 0 || bytes == 0)
        return -1;
    bench->memory = aligned_alloc(HF_LOG_BUFFER_ALIGN, bytes);
    bench->words = aligned_alloc(HF_WORD_BYTES, PARTITIONS * sizeof *bench->words);
    bench->log = malloc(LOG_BYTES);
    if (!bench->memory || !bench->words || !bench->log)
        return -1;
    bench->buffer = hf_log_buffer_init(bench->memory, &log);
    for (uint32_t i = 0; i < PARTITIONS; i++)
        hf_word_init(&bench->words[i], i % TAKERS, 0, 0, 0);
    for (unsigned i = 0; i < TAKERS; i++) {
        struct hf_executor_options executor = {.engine = bench->engine,
                                               .words = bench->words,
                                               .partitions = PARTITIONS,
                                               .buffer = bench->buffer,
                                               .claim_bytes_max = hf_log_buffer_claim_max(bench->buffer),
                                               .taker = i};
        if (hf_executor_create(&executor, &bench->executors[i]) != 0)
            return -1;
        bench->executors[i]->quota = all_rows();
        for (unsigned table = 0; table < HF_TABLE_COUNT; table++)
            bench->executors[i]->quota.left[table] /= TAKERS;
    }
    *state = bench;
    stock_all(bench);
    return 0;
}

static int destroy(void **state)
{
    struct bench *bench = *state;
    for (unsigned i = 0; i < TAKERS; i++)
        hf_executor_destroy(bench->executors[i]);
    hf_engine_destroy(bench->engine);
    free(bench->memory);
    free(bench->words);
    free(bench->log);
    free(bench);
    return 0;
}

/* ---- words ---- */

static bool is_wanted(const struct bench *bench, uint32_t partition)
{
    return hf_load_relaxed_u64(&bench->words[partition].wanted) != 0;
}

/* An order over the two partitions. */
static struct hf_task place_over(const struct bench *bench, struct one *one, uint32_t home, uint32_t other, uint64_t *random)
{
    struct hf_command *command = place_begin(one->command, sku_in(home, 0), 60000, START_NS, random);
    add_line(command, sku_in(home, 0), 1, 1);
    add_line(command, sku_in(other, 0), 1, 1);
    return task_in(bench, one);
}

static void what_lacks_a_word_is_not_admitted_keeps_none_and_wants_that_one(void **state)
{
    struct bench *bench = *state;
    struct hf_executor *holder = bench->executors[0], *executor = bench->executors[1];
    struct one first, second;
    uint64_t random = 3;
    hf_executor_begin(holder, START_NS, START_NS, false, 0);
    assert_true(hf_executor_hold(holder, 4));
    hf_executor_begin(executor, START_NS, START_NS, false, 0);
    struct hf_task fits = place_over(bench, &first, 1, 3, &random), lacks = place_over(bench, &second, 5, 4, &random);
    assert_int_equal(hf_executor_admit(executor, &fits), HF_ADMITTED);
    assert_int_equal(hf_executor_admit(executor, &lacks), HF_NOT_NOW);
    assert_int_equal(executor->lacking, 4);
    assert_int_equal(executor->held_count, 2);
    assert_true(is_wanted(bench, 4));
    assert_false(is_wanted(bench, 5));
    hf_executor_run(executor);
    assert_int_equal(fits.answer->result, HF_OK);
    assert_int_equal(executor->held_count, 0);
    hf_executor_run(holder);
    assert_int_equal(run_one(bench, 1, &second), HF_OK);
    assert_false(is_wanted(bench, 4));
}

static void giving_up_leaves_no_want_behind(void **state)
{
    struct bench *bench = *state;
    struct hf_executor *holder = bench->executors[0], *executor = bench->executors[1];
    hf_executor_begin(holder, START_NS, START_NS, false, 0);
    assert_true(hf_executor_hold(holder, 6));
    assert_false(hf_executor_take_all(executor, 3));
    assert_true(is_wanted(bench, 6));
    assert_int_equal(executor->held_count, 0);
    hf_executor_give_up(executor);
    for (uint32_t i = 0; i < PARTITIONS; i++)
        assert_false(is_wanted(bench, i));
    hf_executor_run(holder);
    assert_true(hf_executor_take_all(executor, 3));
    hf_executor_release_all(executor);
}

/* The order's lines are found under its home's word; the words of the lines lie below and above it. */
static void a_command_that_looks_its_words_up_takes_them_in_order_after_a_failed_try(void **state)
{
    struct bench *bench = *state;
    struct hf_executor *holder = bench->executors[0], *executor = bench->executors[1];
    struct one place, cancel = {{0}};
    uint64_t random = 4;
    struct hf_task placed = place_over(bench, &place, 5, 2, &random);
    assert_int_equal(run_one(bench, 1, &place), HF_OK);
    struct hf_command *command = command_begin(cancel.command, HF_CANCEL, hf_id_route(placed.command->id), START_NS, &random);
    command->body.verb.order = placed.command->id;
    struct hf_task task = task_in(bench, &cancel);
    hf_executor_begin(holder, START_NS, START_NS, false, 0);
    assert_true(hf_executor_hold(holder, 2));
    hf_executor_begin(executor, START_NS, START_NS, false, 0);
    assert_int_equal(hf_executor_admit(executor, &task), HF_NOT_NOW);
    assert_int_equal(executor->counters.looked_again, 1);
    assert_int_equal(executor->held_count, 0);
    assert_true(is_wanted(bench, 2));
    hf_executor_run(holder);
    assert_int_equal(run_one(bench, 1, &cancel), HF_OK);
    assert_int_equal(task.answer->order, HF_CANCELLED);
    drain(bench);
    replay_and_compare(bench);
}

/* ---- positions ---- */

static void an_answer_waits_for_its_record_and_a_repeat_for_the_last_of_its_home(void **state)
{
    struct bench *bench = *state;
    struct one first, second;
    uint64_t random = 5;
    struct hf_task one = place_over(bench, &first, 1, 3, &random), two = place_over(bench, &second, 1, 3, &random);
    assert_int_equal(run_one(bench, 1, &first), HF_OK);
    uint64_t position = one.answer->position;
    assert_true(position == hf_log_buffer_position(bench->buffer));
    assert_int_equal(run_one(bench, 1, &second), HF_OK);
    assert_true(two.answer->position > position);
    assert_int_equal(run_one(bench, 1, &first), HF_OK);
    assert_true(one.answer->flags & HF_ANSWER_REPEATED);
    assert_true(one.answer->position == two.answer->position);
    drain(bench);
    assert_true(bench->drained == two.answer->position);
}

/* The refusal rests on a record of which the word of its own home knows nothing. */
static void another_body_under_a_key_waits_for_the_record_that_the_key_came_with(void **state)
{
    struct bench *bench = *state;
    struct one first, second;
    uint64_t random = 15, number = 0;
    while (partition_of_key(number) != 6)
        number++;
    struct hf_command *command = place_begin(first.command, sku_in(1, 0), 60000, START_NS, &random);
    add_line(command, sku_in(1, 0), 1, 1);
    add_key(command, number);
    command = place_begin(second.command, sku_in(4, 0), 60000, START_NS, &random);
    add_line(command, sku_in(4, 0), 1, 1);
    add_key(command, number);
    assert_int_equal(run_one(bench, 1, &first), HF_OK);
    assert_int_equal(run_one(bench, 0, &second), HF_ID_REUSED);
    assert_true(hf_word_position(&bench->words[6]) == task_in(bench, &first).answer->position);
    assert_true(task_in(bench, &second).answer->position == task_in(bench, &first).answer->position);
    drain(bench);
    replay_and_compare(bench);
}

static void what_rests_on_nothing_waits_for_nothing(void **state)
{
    struct bench *bench = *state;
    struct one one;
    uint64_t random = 6, before = hf_log_buffer_position(bench->buffer);
    struct hf_command *command = place_begin(one.command, sku_in(1, 0), 60000, START_NS, &random);
    add_line(command, sku_in(1, 0), 1, 1000000);
    assert_int_equal(run_one(bench, 1, &one), HF_SHORT);
    assert_int_equal(task_in(bench, &one).answer->position, 0);
    assert_true(hf_log_buffer_position(bench->buffer) == before);
}

/* With room for one record a claim, every record of a batch is claimed apart and all words are held to the end. */
static void a_batch_beyond_one_claim_is_claimed_in_parts_and_in_order(void **state)
{
    struct bench *bench = *state;
    struct hf_executor *executor = bench->executors[0];
    struct one ones[8];
    uint64_t random = 7, last = 0;
    executor->claim_bytes_max = 14000;
    hf_executor_begin(executor, START_NS, START_NS, false, 0);
    for (unsigned i = 0; i < 8; i++) {
        struct hf_command *command = place_begin(ones[i].command, sku_in(2, 0), 60000, START_NS, &random);
        for (unsigned line = 0; line < 25; line++)
            add_line(command, sku_in(2, 0), 1, 1);
        struct hf_task task = task_in(bench, &ones[i]);
        assert_int_equal(hf_executor_admit(executor, &task), HF_ADMITTED);
    }
    hf_executor_run(executor);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(executor->slots[i].task.answer->result, HF_OK);
        assert_true(executor->slots[i].position > last);
        last = executor->slots[i].position;
    }
    assert_true(hf_word_position(&bench->words[2]) == last);
    drain(bench);
    replay_and_compare(bench);
}

/* A batch whose staging was full claims in the middle, and takes another word only then: that partition's last record may be newer than
 * the claim. What reads it waits for that record, and the word never says less than it did. */
static void a_word_taken_after_a_claim_in_the_middle_keeps_its_newer_position(void **state)
{
    struct bench *bench = *state;
    struct hf_executor *executor = bench->executors[1];
    struct one first = {{0}}, again, other = {{0}}, cancel = {{0}};
    uint64_t random = 9;
    struct hf_command *command = place_begin(first.command, sku_in(2, 0), 60000, START_NS, &random);
    for (unsigned line = 0; line < 25; line++)
        add_line(command, sku_in(2, 0), 1, 1);
    again = first;
    command = command_begin(cancel.command, HF_CANCEL, hf_id_route(command->id), START_NS, &random);
    command->body.verb.order = hf_id_make(hf_id_route(command->id), START_NS / MS_NS, 1);
    struct hf_task granted = task_in(bench, &first), repeat = task_in(bench, &again), unknown = task_in(bench, &cancel);
    struct hf_task read = place_over(bench, &other, 4, 4, &random);
    executor->claim_bytes_max = 14000;
    hf_executor_begin(executor, START_NS, START_NS, false, 0);
    assert_int_equal(hf_executor_admit(executor, &granted), HF_ADMITTED);
    assert_int_equal(hf_executor_admit(executor, &repeat), HF_ADMITTED);
    assert_int_equal(hf_executor_admit(executor, &unknown), HF_ADMITTED);
    assert_true(executor->claimed_end != 0);
    assert_int_equal(run_one(bench, 0, &other), HF_OK);
    uint64_t newer = read.answer->position;
    assert_int_equal(hf_executor_admit(executor, &read), HF_ADMITTED);
    hf_executor_run(executor);
    assert_true(read.answer->flags & HF_ANSWER_REPEATED);
    assert_true(read.answer->position == newer);
    assert_true(repeat.answer->position >= granted.answer->position && granted.answer->position != 0);
    assert_int_equal(unknown.answer->result, HF_UNKNOWN_ORDER);
    assert_true(unknown.answer->position >= granted.answer->position);
    assert_true(hf_word_position(&bench->words[4]) == newer);
    assert_true(hf_word_position(&bench->words[2]) == granted.answer->position);
}

/* ---- rows ---- */

static bool find_one_row(void *context, struct hf_quota *quota, unsigned table)
{
    unsigned *rows = context;
    if (table != HF_TABLE_ORDERS || *rows == 0)
        return false;
    --*rows;
    quota->left[table]++;
    return true;
}

static void full_is_answered_only_when_no_more_rows_are_found(void **state)
{
    struct bench *bench = *state;
    struct hf_executor *executor = bench->executors[1];
    unsigned rows = 2;
    uint64_t random = 8;
    executor->quota.left[HF_TABLE_ORDERS] = 1;
    executor->find_rows = find_one_row;
    executor->context = &rows;
    for (unsigned i = 0; i < 5; i++) {
        struct one one;
        place_over(bench, &one, 1, 3, &random);
        assert_int_equal(run_one(bench, 1, &one), i < 3 ? HF_OK : HF_FULL);
    }
    assert_int_equal(executor->counters.results[HF_FULL], 2);
}

/* ---- two threads ---- */

enum { ROUNDS = 1200, BATCH = 12, MEMORIES = 256, KNOWN = 64 };

struct worker {
    struct bench *bench;
    struct hf_executor *executor;
    struct hf_lanes *lanes;
    unsigned number;
    uint64_t random, now_ns;
    struct one *memories;
    uint32_t free[MEMORIES], free_count;
    struct hf_id known[KNOWN];
    unsigned known_count;
    uint8_t *sweep_command;
    struct hf_answer sweep_answer;
    uint64_t granted, swept;
    pthread_t thread;
};

static unsigned own_sku(struct worker *worker)
{
    unsigned sku;
    do
        sku = (unsigned)(draw(&worker->random) % SKUS);
    while (partition_of(sku) % TAKERS != worker->number);
    return sku;
}

static void make_place(struct worker *worker, struct one *one)
{
    unsigned first = own_sku(worker), lines = (unsigned)(draw(&worker->random) % 5);
    uint32_t ttl_ms = 20 + (uint32_t)(draw(&worker->random) % 200);
    struct hf_command *command = place_begin(one->command, first, ttl_ms, worker->now_ns, &worker->random);
    add_line(command, first, 1, 1 + (uint32_t)(draw(&worker->random) % 5));
    for (unsigned i = 0; i < lines; i++)
        add_line(command, (unsigned)(draw(&worker->random) % SKUS), 1, 1);
    if (draw(&worker->random) % 3 == 0)
        add_key(command, draw(&worker->random) % 4096);
}

static void make_verb(struct worker *worker, struct one *one, uint16_t opcode)
{
    struct hf_id order = worker->known[draw(&worker->random) % worker->known_count];
    struct hf_command *command = command_begin(one->command, opcode, hf_id_route(order), worker->now_ns, &worker->random);
    command->body.verb.order = order;
    if (opcode == HF_EXTEND)
        command->arg = 100;
}

static struct hf_task make_task(struct worker *worker)
{
    struct one *one = &worker->memories[worker->free[--worker->free_count]];
    uint64_t choice = draw(&worker->random) % 10;
    if (choice < 7 || worker->known_count == 0)
        make_place(worker, one);
    else
        make_verb(worker, one, choice < 9 ? HF_CANCEL : HF_EXTEND);
    return task_in(worker->bench, one);
}

static void set_lacking(struct worker *worker, uint32_t home, uint32_t lacking)
{
    uint32_t before = hf_lanes_lacking(worker->lanes, home);
    if (before != HF_LANES_NONE && before != lacking)
        hf_word_unwant(&worker->bench->words[before], &worker->executor->taker);
    hf_lanes_set_lacking(worker->lanes, home, lacking);
}

static void admit_or_park(struct worker *worker, const struct hf_task *task)
{
    bool waits = hf_lanes_busy(worker->lanes, task->home);
    if (!waits && hf_executor_admit(worker->executor, task) == HF_ADMITTED)
        return;
    if (!waits)
        set_lacking(worker, task->home, worker->executor->lacking);
    assert(hf_lanes_park(worker->lanes, task));
}

/* Asserts are the C library's here: cmocka's belong to its own thread. */
static void run(struct worker *worker)
{
    struct hf_executor *executor = worker->executor;
    hf_executor_run(executor);
    for (uint32_t i = 0; i < executor->count; i++) {
        const struct hf_slot *slot = &executor->slots[i];
        const struct hf_command *command = slot->task.command;
        assert(slot->task.answer->result != HF_FULL && slot->task.answer->result != HF_UNKNOWN_SKU);
        assert((slot->outcome_bytes == 0 && !slot->reads_state) || slot->position != 0);
        if (command->opcode == HF_PLACE && slot->task.answer->result == HF_OK) {
            worker->known[worker->granted++ % KNOWN] = command->id;
            worker->known_count = worker->granted < KNOWN ? (unsigned)worker->granted : KNOWN;
        }
        if ((const uint8_t *)command != worker->sweep_command)
            worker->free[worker->free_count++] = (uint32_t)((const struct one *)(const void *)command - worker->memories);
    }
}

static void begin(struct worker *worker)
{
    while (!hf_log_buffer_has_room(worker->bench->buffer, 0))
        sched_yield();
    hf_executor_begin(worker->executor, worker->now_ns, worker->now_ns, false, 0);
}

static void run_lanes(struct worker *worker)
{
    for (uint32_t i = hf_lanes_count(worker->lanes); i-- > 0;) {
        uint32_t home = hf_lanes_home(worker->lanes, i);
        const struct hf_task *task;
        begin(worker);
        while ((task = hf_lanes_first(worker->lanes, home)) != NULL) {
            enum hf_admission admission = hf_executor_admit(worker->executor, task);
            if (admission != HF_BATCH_FULL)
                set_lacking(worker, home, admission == HF_ADMITTED ? HF_LANES_NONE : worker->executor->lacking);
            if (admission != HF_ADMITTED)
                break;
            hf_lanes_take(worker->lanes, home);
        }
        run(worker);
    }
}

static void sweep(struct worker *worker, uint32_t partition)
{
    struct hf_engine *engine = worker->bench->engine;
    struct hf_task task = {
        .command = (const struct hf_command *)(const void *)worker->sweep_command, .answer = &worker->sweep_answer, .home = partition};
    if (hf_engine_due(engine, partition) > worker->now_ns || hf_lanes_busy(worker->lanes, partition))
        return;
    begin(worker);
    bool held = hf_executor_hold(worker->executor, partition);
    bool made = held && hf_engine_sweep(engine, partition, worker->now_ns, 16, (struct hf_command *)(void *)worker->sweep_command);
    bool admitted = made && hf_executor_admit(worker->executor, &task) == HF_ADMITTED;
    set_lacking(worker, partition, held && made == admitted ? HF_LANES_NONE : worker->executor->lacking);
    worker->swept += admitted;
    run(worker);
}

static void mark(struct worker *worker)
{
    struct hf_command *command = (struct hf_command *)(void *)worker->sweep_command;
    struct hf_task task = {.command = command, .answer = &worker->sweep_answer, .home = worker->number};
    *command = (struct hf_command){.length = sizeof *command, .opcode = HF_MARK, .version = HF_COMMAND_VERSION};
    command->body.mark.mark_ms = worker->now_ns / MS_NS - 1000;
    command->body.mark.modulus = TAKERS;
    command->body.mark.residue = worker->number;
    begin(worker);
    if (hf_executor_admit_class(worker->executor, &task, TAKERS, worker->number) == HF_ADMITTED)
        run(worker);
}

/* Rounds in which the other thread slept with a word in hand got nowhere: what was done ends the run, not the rounds alone. */
static bool is_done(const struct worker *worker, int rounds)
{
    return rounds >= ROUNDS && worker->granted > ROUNDS && worker->swept > 0;
}

static void *worker_main(void *context)
{
    struct worker *worker = context;
    for (int round = 0; !is_done(worker, round); round++) {
        worker->now_ns += 2 * MS_NS;
        run_lanes(worker);
        if (worker->free_count == 0)
            sched_yield();
        begin(worker);
        for (int i = 0; i < BATCH && worker->free_count > 0; i++) {
            struct hf_task task = make_task(worker);
            admit_or_park(worker, &task);
        }
        run(worker);
        for (uint32_t partition = worker->number; partition < PARTITIONS; partition += TAKERS)
            sweep(worker, partition);
        if (round % 100 == 99)
            mark(worker);
    }
    while (hf_lanes_parked(worker->lanes) > 0) {
        run_lanes(worker);
        sched_yield();
    }
    for (uint32_t home = 0; home < PARTITIONS; home++)
        set_lacking(worker, home, HF_LANES_NONE);
    hf_add_release_u32(&worker->bench->running, UINT32_MAX);
    return NULL;
}

static void worker_make(struct worker *worker, struct bench *bench, unsigned number)
{
    *worker = (struct worker){.bench = bench,
                              .executor = bench->executors[number],
                              .number = number,
                              .random = 100 + number,
                              .now_ns = START_NS,
                              .free_count = MEMORIES};
    worker->lanes = hf_lanes_create(PARTITIONS, MEMORIES);
    worker->memories = calloc(MEMORIES, sizeof *worker->memories);
    worker->sweep_command = aligned_alloc(64, (HF_COMMAND_BYTES_MAX + 63) / 64 * 64);
    assert_true(worker->lanes && worker->memories && worker->sweep_command);
    for (uint32_t i = 0; i < MEMORIES; i++)
        worker->free[i] = i;
}

static void worker_destroy(struct worker *worker)
{
    hf_lanes_destroy(worker->lanes);
    free(worker->memories);
    free(worker->sweep_command);
}

static void two_threads_over_the_same_words_leave_a_log_that_replays_to_their_state(void **state)
{
    struct bench *bench = *state;
    struct worker workers[TAKERS];
    hf_store_relaxed_u32(&bench->running, TAKERS);
    for (unsigned i = 0; i < TAKERS; i++)
        worker_make(&workers[i], bench, i);
    for (unsigned i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    while (hf_load_acquire_u32(&bench->running) != 0) {
        drain(bench);
        sched_yield();
    }
    for (unsigned i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    drain(bench);
    assert_false(hf_log_buffer_pending(bench->buffer));
    for (uint32_t i = 0; i < PARTITIONS; i++)
        assert_int_equal(hf_load_relaxed_u64(&bench->words[i].wanted) & ~(UINT64_C(1) << (i % TAKERS)), 0);
    for (unsigned i = 0; i < TAKERS; i++) {
        assert_int_equal(workers[i].free_count, MEMORIES);
        worker_destroy(&workers[i]);
    }
    replay_and_compare(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_lacks_a_word_is_not_admitted_keeps_none_and_wants_that_one, make, destroy),
        cmocka_unit_test_setup_teardown(giving_up_leaves_no_want_behind, make, destroy),
        cmocka_unit_test_setup_teardown(a_command_that_looks_its_words_up_takes_them_in_order_after_a_failed_try, make, destroy),
        cmocka_unit_test_setup_teardown(an_answer_waits_for_its_record_and_a_repeat_for_the_last_of_its_home, make, destroy),
        cmocka_unit_test_setup_teardown(another_body_under_a_key_waits_for_the_record_that_the_key_came_with, make, destroy),
        cmocka_unit_test_setup_teardown(what_rests_on_nothing_waits_for_nothing, make, destroy),
        cmocka_unit_test_setup_teardown(a_batch_beyond_one_claim_is_claimed_in_parts_and_in_order, make, destroy),
        cmocka_unit_test_setup_teardown(a_word_taken_after_a_claim_in_the_middle_keeps_its_newer_position, make, destroy),
        cmocka_unit_test_setup_teardown(full_is_answered_only_when_no_more_rows_are_found, make, destroy),
        cmocka_unit_test_setup_teardown(two_threads_over_the_same_words_leave_a_log_that_replays_to_their_state, make, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

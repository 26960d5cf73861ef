#include "tests/property/world.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* Timers tick: a hold may be looked at so much after its time. */
#define DUE_LATE_NS  (5 * MS_NS)
/* The longest ttl, in ms of 32 bits, and some. */
#define LAST_HOLD_NS (5000000000ull * MS_NS)

enum { ROWS_PLENTY = 1 << 16, ROWS_SMALL = 24 };

static void *more(void *memory, size_t *room, size_t needed, size_t item_bytes)
{
    if (needed <= *room)
        return memory;
    *room = *room * 2 > needed ? *room * 2 : needed + 1024;
    memory = realloc(memory, *room * item_bytes);
    if (!memory)
        abort();
    return memory;
}

void hf_script_add(struct hf_script *script, const struct hf_deed *deed, const struct hf_command *command)
{
    script->deed = more(script->deed, &script->room, script->count + 1, sizeof *script->deed);
    struct hf_deed *added = &script->deed[script->count++];
    *added = *deed;
    added->command = script->used;
    if (!command)
        return;
    script->bytes = more(script->bytes, &script->bytes_room, script->used + command->length, 1);
    memcpy(script->bytes + script->used, command, command->length);
    script->used += command->length;
}

const struct hf_command *hf_script_command(const struct hf_script *script, const struct hf_deed *deed)
{
    return (const struct hf_command *)(const void *)(script->bytes + deed->command);
}

void hf_script_clear(struct hf_script *script)
{
    script->count = script->used = 0;
}

void hf_script_end(struct hf_script *script)
{
    free(script->deed);
    free(script->bytes);
    *script = (struct hf_script){.count = 0};
}

static struct hf_quota full_quota(const struct hf_engine_options *options)
{
    return (struct hf_quota){.left = {[HF_TABLE_SKUS] = (int64_t)options->skus_max,
                                      [HF_TABLE_CELLS] = (int64_t)options->cells_max,
                                      [HF_TABLE_ORDERS] = (int64_t)options->orders_max,
                                      [HF_TABLE_LINES] = (int64_t)options->lines_max,
                                      [HF_TABLE_COMMAND_IDS] = (int64_t)options->command_ids_max,
                                      [HF_TABLE_LIMITS] = (int64_t)options->limits_max,
                                      [HF_TABLE_LOCATIONS] = 65536,
                                      [HF_TABLE_REQUEST_KEYS] = (int64_t)options->request_keys_max}};
}

static struct hf_engine_options engine_options(const struct hf_setting *setting, uint64_t rows)
{
    return (struct hf_engine_options){.partitions = setting->partitions,
                                      .skus_max = rows,
                                      .cells_max = rows,
                                      .orders_max = rows * 4,
                                      .lines_max = rows * 16,
                                      .command_ids_max = rows * 16,
                                      .limits_max = rows,
                                      .request_keys_max = rows,
                                      .retention_ns = setting->retention_ms * MS_NS,
                                      .key = {setting->key[0], setting->key[1]}};
}

bool hf_world_open(struct hf_world *world, const struct hf_setting *setting)
{
    world->setting = *setting;
    world->options = engine_options(setting, setting->small ? ROWS_SMALL : ROWS_PLENTY);
    world->quota = full_quota(&world->options);
    world->position = world->commands = world->records = world->deeds = world->acknowledged = world->crashes = 0;
    world->log_bytes = 0;
    world->fault[0] = 0;
    world->altered = world->refused = false;
    struct hf_oracle_options options = {.partitions = setting->partitions,
                                        .retention_ms = setting->retention_ms,
                                        .wall_clock_differs = setting->wall_differs,
                                        .history = setting->history};
    for (int table = 0; table < HF_TABLE_COUNT; table++)
        options.full_from[table] = setting->small ? 0 : UINT64_MAX;
    world->oracle = hf_oracle_create(&options);
    world->late = calloc(HF_LATE_MAX, sizeof *world->late);
    return world->oracle && world->late && hf_engine_create(&world->options, &world->engine) == 0;
}

void hf_world_close(struct hf_world *world)
{
    hf_oracle_destroy(world->oracle);
    hf_engine_destroy(world->engine);
    free(world->late);
    free(world->log);
    world->late = NULL;
    world->log = NULL;
    world->log_room = 0;
}

const struct hf_answer *hf_world_answer(const struct hf_world *world)
{
    return (const struct hf_answer *)(const void *)world->answer;
}

static bool differs(struct hf_world *world, const char *what)
{
    snprintf(world->fault, sizeof world->fault, "%s", what);
    return false;
}

static bool by_oracle(struct hf_world *world)
{
    return differs(world, hf_oracle_fault(world->oracle));
}

/* Of these commands the text leaves the payment's state open: one that there is may be as good as another. */
static bool may_be_as_good(const struct hf_world *world, const struct hf_command *command, uint32_t bit)
{
    const struct hf_record *record = (const struct hf_record *)(const void *)world->record;
    return (command->opcode == HF_CANCEL || command->opcode == HF_PAYMENT_RESULT) && bit / 8 == offsetof(struct hf_record, payment) &&
           (record->payment ^ 1u << bit % 8) <= HF_PAY_UNKNOWN;
}

/* Flips a bit of the outcome: not of its length, and not of its time, of which a later one is as good. */
static void alter(struct hf_world *world, uint32_t outcome_bytes)
{
    const struct hf_command *command = (const struct hf_command *)(const void *)(world->record + outcome_bytes);
    uint32_t bit;
    do {
        bit = (uint32_t)(world->alter_draw % (outcome_bytes * 8));
        world->alter_draw = world->alter_draw * 6364136223846793005u + 1442695040888963407u;
        bit ^= (uint32_t)(world->alter_draw >> 61);
    } while (bit / 8 < 4 || (bit / 8 >= 8 && bit / 8 < 16) || may_be_as_good(world, command, bit));
    world->record[bit / 8] ^= (uint8_t)(1u << bit % 8);
    world->alter_bit = bit;
    world->altered = true;
}

/* What the shell does with an outcome: the record goes to the log, with its command behind it. */
static bool log_outcome(struct hf_world *world, const struct hf_command *command, uint32_t outcome_bytes)
{
    struct hf_record *record = (struct hf_record *)(void *)world->record;
    if (record->length != outcome_bytes + command->length)
        return differs(world, "the record's length is not that of outcome and command");
    memcpy(world->record + outcome_bytes, command, command->length);
    world->position += record->length;
    world->records++;
    world->log = more(world->log, &world->log_room, world->log_bytes + record->length, 1);
    memcpy(world->log + world->log_bytes, record, record->length);
    world->log_bytes += record->length;
    if (world->records == world->alter_at) {
        alter(world, outcome_bytes);
        world->refused = !hf_oracle_record(world->oracle, record, record->length, world->position);
        return by_oracle(world);
    }
    return hf_oracle_record(world->oracle, record, record->length, world->position) || by_oracle(world);
}

static uint32_t step(struct hf_world *world, const struct hf_deed *deed, const struct hf_command *command, bool *reads_state)
{
    struct hf_hint hint;
    uint32_t reached[HF_REACH_MAX];
    if (deed->hint)
        hf_engine_hint(world->engine, command, &hint);
    if (command->opcode != HF_MARK)
        hf_engine_reach(world->engine, command, reached);
    struct hf_step asked = {.command = command,
                            .now_ns = deed->now_ns,
                            .latest_ns = deed->latest_ns,
                            .shed = deed->shed != 0,
                            .shed_result = deed->shed,
                            .record = (struct hf_record *)(void *)world->record,
                            .answer = (struct hf_answer *)(void *)world->answer,
                            .quota = &world->quota,
                            .hint = deed->hint ? &hint : NULL};
    hf_engine_step(world->engine, &asked);
    *reads_state = asked.reads_state;
    return asked.outcome_bytes;
}

static bool do_internal(struct hf_world *world, const struct hf_deed *deed, const struct hf_command *command)
{
    bool reads_state;
    uint32_t outcome = step(world, deed, command, &reads_state);
    if (outcome == 0 && command->opcode == HF_MARK)
        return true; /* not later than what is there */
    if (outcome == 0 && command->opcode == HF_PURGE_KEYS)
        return true; /* the ids of all are still known */
    if (outcome == 0)
        return differs(world, "an own command of the engine changed nothing");
    return log_outcome(world, command, outcome);
}

/* What is swept holds nothing that is due, and the engine knows when it will. */
static bool due_check(struct hf_world *world, uint32_t partition, uint64_t now_ns)
{
    uint64_t due = hf_oracle_next_due_ns(world->oracle, partition);
    if (due + DUE_LATE_NS <= now_ns && due != UINT64_MAX)
        return differs(world, "a sweep left a hold whose time was over");
    return due == UINT64_MAX || hf_engine_due(world->engine, partition) <= due + DUE_LATE_NS ||
           differs(world, "the engine would look later than the next hold ends");
}

static bool do_sweep(struct hf_world *world, const struct hf_deed *deed)
{
    struct hf_command *command = (struct hf_command *)(void *)world->command;
    for (int turn = 0; hf_engine_sweep(world->engine, deed->partition, deed->now_ns, deed->ids_max, command); turn++) {
        if (turn > 100000)
            return differs(world, "a sweep does not end");
        if (!do_internal(world, deed, command))
            return false;
    }
    return !deed->digest || due_check(world, deed->partition, deed->now_ns);
}

/* New orders are refused with the shell's code, but what the id alone decides comes first. */
static bool shed_check(struct hf_world *world, const struct hf_oracle_allowed *predicted, uint32_t outcome)
{
    uint64_t ids = 1ull << HF_ID_REUSED | 1ull << HF_ID_IN_FUTURE | 1ull << HF_WRONG_ROUTE;
    if (outcome != 0)
        return differs(world, "a new order was taken though new orders are refused");
    if (predicted->repeated || (predicted->results & ~ids) == 0)
        return differs(world, "shed, though its id decides before that");
    return true;
}

/* FULL is for a table that has no room for the command. */
static bool full_check(struct hf_world *world, const struct hf_command *command, int64_t left)
{
    int64_t rows = command->opcode == HF_PLACE ? 2 * command->line_count + 2 : 2 * HF_LINES_MAX;
    return left < rows || differs(world, "FULL, though the table has room");
}

/* Makes an answer a lie, in one thing that only its own state makes true. False: this one is no good for it. */
static bool lie(struct hf_world *world, const struct hf_command *command, struct hf_answer *answer)
{
    static const uint16_t refusals[] = {HF_SHORT, HF_UNKNOWN_SKU, HF_BAD_STATE, HF_BUSY};
    uint64_t draw = world->alter_draw;
    bool order = hf_opcode_family(command->opcode) == HF_FAMILY_ORDER && !(answer->flags & HF_ANSWER_REPEATED);
    if (answer->result == HF_SHORT)
        answer->result = HF_OK;
    else if (answer->result != HF_OK || hf_opcode_family(command->opcode) == HF_FAMILY_ADMIN)
        return false;
    else if (hf_opcode_family(command->opcode) == HF_FAMILY_QUERY && answer->item_count > 0)
        ((struct hf_cell_item *)(void *)(answer + 1))->location ^= 1u << draw % 32; /* in an order's item: its customer */
    else if (order && draw % 4 == 0)
        answer->version ^= 1ull << draw / 4 % 64;
    else if (order && draw % 4 == 1)
        *(draw / 4 % 2 ? &answer->order : &answer->payment) ^= (uint8_t)(1u << draw / 8 % 3);
    else if (order && draw % 4 == 2)
        answer->due_ns ^= 1ull << draw / 4 % 64;
    else if (hf_opcode_family(command->opcode) != HF_FAMILY_QUERY && !(answer->flags & HF_ANSWER_REPEATED))
        answer->result = refusals[draw / 4 % 4];
    else
        return false;
    return true;
}

static bool judge_answer(struct hf_world *world, const struct hf_command *command, struct hf_answer *answer,
                         const struct hf_oracle_span *span)
{
    if (answer->position > world->acknowledged)
        world->acknowledged = answer->position;
    if (world->lie_from != 0 && world->commands >= world->lie_from && span->only_sending && lie(world, command, answer)) {
        world->altered = true;
        world->refused = !hf_oracle_answer(world->oracle, command, answer, span);
        return by_oracle(world);
    }
    return hf_oracle_answer(world->oracle, command, answer, span) || by_oracle(world);
}

static bool arrive(struct hf_world *world, struct hf_late *late, uint64_t now_ns)
{
    uint64_t last = hf_oracle_time_ns(world->oracle);
    late->due = 0;
    late->span.to_position = world->position;
    late->span.to_ns = now_ns > late->span.to_ns ? now_ns : late->span.to_ns;
    late->span.to_ns = last > late->span.to_ns ? last : late->span.to_ns;
    return judge_answer(world, (const struct hf_command *)(const void *)late->command, (struct hf_answer *)(void *)late->answer,
                        &late->span);
}

/* Sends the answer on its way; false if there is no room on it. */
static bool send_late(struct hf_world *world, const struct hf_deed *deed, const struct hf_command *command,
                      const struct hf_oracle_span *span)
{
    const struct hf_answer *answer = hf_world_answer(world);
    for (uint32_t i = 0; i < HF_LATE_MAX && answer->length <= sizeof world->late[i].answer; i++) {
        struct hf_late *late = &world->late[i];
        if (late->due != 0)
            continue;
        late->due = world->deeds + deed->late;
        late->span = *span;
        memcpy(late->command, command, command->length);
        memcpy(late->answer, answer, answer->length);
        return true;
    }
    return false;
}

static bool answer_check(struct hf_world *world, const struct hf_deed *deed, const struct hf_command *command, uint64_t before,
                         bool asserts)
{
    struct hf_answer *answer = (struct hf_answer *)(void *)world->answer;
    uint64_t last = hf_oracle_time_ns(world->oracle);
    struct hf_oracle_span span = {before, world->position, deed->now_ns, last > deed->now_ns ? last : deed->now_ns, true};
    for (uint32_t i = 0; i < HF_LATE_MAX; i++) {
        const struct hf_command *other = (const struct hf_command *)(const void *)world->late[i].command;
        if (world->late[i].due != 0 && !hf_id_none(command->id) && hf_id_equal(other->id, command->id))
            world->late[i].span.only_sending = span.only_sending = false;
    }
    answer->position = asserts ? world->position : 0;
    return (deed->late > 0 && send_late(world, deed, command, &span)) || judge_answer(world, command, answer, &span);
}

static bool do_command(struct hf_world *world, const struct hf_deed *deed, const struct hf_command *command)
{
    uint64_t before = world->position, digest = deed->digest ? hf_engine_digest(world->engine) : 0;
    struct hf_oracle_allowed predicted;
    memset(world->answer, 0xee, sizeof(struct hf_answer));
    hf_oracle_predict(world->oracle, command, deed->now_ns, &predicted);
    bool reads_state;
    uint32_t outcome = step(world, deed, command, &reads_state);
    const struct hf_answer *answer = hf_world_answer(world);
    world->commands++;
    /* One that stops takes nothing new; under pressure only new orders are refused. */
    bool sheds = command->opcode == HF_PLACE || deed->shed == HF_DRAINING;
    if (deed->shed != 0 && answer->result == deed->shed && sheds)
        return shed_check(world, &predicted, outcome);
    if (deed->shed != 0 && command->opcode == HF_PLACE && outcome != 0)
        return shed_check(world, &predicted, outcome);
    if (outcome != 0 && !log_outcome(world, command, outcome))
        return false;
    if (outcome == 0 && deed->digest && digest != hf_engine_digest(world->engine))
        return differs(world, "a command that left no record changed the state's digest");
    if (answer->result == HF_FULL && !full_check(world, command, world->quota.left[answer->detail % HF_TABLE_COUNT]))
        return false;
    return answer_check(world, deed, command, before, outcome != 0 || reads_state);
}

/* An engine that has read the log up to `bytes`, or NULL (and world->fault). */
static struct hf_engine *replay(struct hf_world *world, const struct hf_engine_options *options, size_t bytes, struct hf_quota *quota)
{
    struct hf_engine *engine;
    if (hf_engine_create(options, &engine) != 0) {
        differs(world, "no other engine could be made");
        return NULL;
    }
    for (size_t at = 0; at < bytes;) {
        const struct hf_record *record = (const struct hf_record *)(const void *)(world->log + at);
        unsigned table;
        if (hf_engine_replay(engine, record, record->length, quota, &table) != 0) {
            hf_engine_destroy(engine);
            differs(world, "a replay differs from the log");
            return NULL;
        }
        at += record->length;
    }
    return engine;
}

/* Where the log ends after a crash: at any record that ends beyond what was acknowledged, or at what was. */
static size_t cut_at(const struct hf_world *world, uint64_t draw)
{
    size_t ends = 0, at = 0, cut = world->log_bytes;
    for (; at < world->log_bytes; at += ((const struct hf_record *)(const void *)(world->log + at))->length)
        ends += at >= world->acknowledged;
    uint64_t choice = draw % (ends + 1);
    for (at = 0, ends = 0; at < world->log_bytes; at += ((const struct hf_record *)(const void *)(world->log + at))->length)
        if (at >= world->acknowledged && ends++ == choice)
            cut = at;
    return cut;
}

static bool do_crash(struct hf_world *world, const struct hf_deed *deed)
{
    size_t cut = cut_at(world, deed->draw);
    struct hf_quota quota = full_quota(&world->options);
    world->options.key[0] ^= deed->draw;
    struct hf_engine *engine = replay(world, &world->options, cut, &quota);
    if (!engine)
        return false;
    hf_engine_destroy(world->engine);
    world->engine = engine;
    world->quota = quota;
    world->log_bytes = cut;
    world->position = cut;
    world->crashes++;
    for (uint32_t i = 0; i < HF_LATE_MAX; i++)
        world->late[i].due = 0;
    return hf_oracle_restart(world->oracle, cut) || by_oracle(world);
}

bool hf_world_do(struct hf_world *world, const struct hf_script *script, const struct hf_deed *deed)
{
    world->deeds++;
    for (uint32_t i = 0; i < HF_LATE_MAX; i++)
        if (world->late[i].due != 0 && world->late[i].due <= world->deeds && !arrive(world, &world->late[i], deed->now_ns))
            return false;
    switch (deed->kind) {
    case HF_DEED_SWEEP:
        return do_sweep(world, deed);
    case HF_DEED_MARK:
        return do_internal(world, deed, hf_script_command(script, deed));
    case HF_DEED_CRASH:
        return do_crash(world, deed);
    default:
        return do_command(world, deed, hf_script_command(script, deed));
    }
}

/* --- everything ------------------------------------------------------------------------------------------------------------------ */

struct hf_comparing {
    struct hf_world *world;
    struct hf_deed deed;
};

static bool ask(struct hf_comparing *comparing, const struct hf_command *command, unsigned expected)
{
    struct hf_world *world = comparing->world;
    if (!do_command(world, &comparing->deed, command))
        return false;
    return hf_world_answer(world)->result == expected || differs(world, "a query of what there is got another result");
}

static bool ask_order(void *context, struct hf_id order)
{
    struct hf_command command = {.length = sizeof command, .opcode = HF_GET_ORDER, .version = 1, .body.verb.order = order};
    return ask(context, &command, HF_OK);
}

static bool ask_gone(void *context, struct hf_id order)
{
    struct hf_command command = {.length = sizeof command, .opcode = HF_GET_ORDER, .version = 1, .body.verb.order = order};
    return ask(context, &command, HF_UNKNOWN_ORDER);
}

struct hf_one_line {
    struct hf_command head;
    struct hf_line line;
};

static bool ask_cell(void *context, struct hf_sku sku, uint32_t location)
{
    struct hf_one_line query = {{.length = sizeof query, .opcode = HF_GET_CELL, .version = 1, .line_count = 1},
                                {.sku = sku, .location = location}};
    struct hf_comparing *comparing = context;
    return do_command(comparing->world, &comparing->deed, &query.head);
}

static bool ask_sku(void *context, struct hf_sku sku)
{
    struct hf_one_line query = {{.length = sizeof query, .opcode = HF_GET_SKU, .version = 1, .line_count = 1}, {.sku = sku}};
    return ask(context, &query.head, HF_OK);
}

static bool replay_check(struct hf_world *world)
{
    struct hf_setting other = world->setting;
    other.key[0] ^= 0x5555555555555555ull;
    struct hf_engine_options options = engine_options(&other, ROWS_PLENTY);
    struct hf_quota quota = full_quota(&options);
    struct hf_engine *engine = replay(world, &options, world->log_bytes, &quota);
    if (!engine)
        return false;
    bool good = hf_engine_digest(engine) == hf_engine_digest(world->engine) || differs(world, "a replay gives another digest");
    hf_engine_destroy(engine);
    return good;
}

/* Time goes on until all holds are over and all ids old, with marks and sweeps as the shell makes them. */
static bool wind_down(struct hf_world *world, uint64_t now_ns)
{
    struct hf_deed deed = {.ids_max = 64, .digest = true};
    struct hf_command mark = {.length = sizeof mark, .opcode = HF_MARK, .version = 1, .body.mark.modulus = 1};
    for (int turn = 0; turn < 4; turn++) {
        now_ns += LAST_HOLD_NS;
        deed.now_ns = now_ns;
        mark.body.mark.mark_ms = now_ns / MS_NS - world->setting.retention_ms;
        if (!do_internal(world, &deed, &mark))
            return false;
        for (deed.partition = 0; deed.partition < world->setting.partitions; deed.partition++)
            if (!do_sweep(world, &deed))
                return false;
    }
    return hf_oracle_all_forgotten(world->oracle) || by_oracle(world);
}

/* The engine uses as many rows as there are things. */
static bool rows_check(struct hf_world *world)
{
    struct hf_oracle_counts counts;
    hf_oracle_counts(world->oracle, &counts);
    if (hf_engine_rows(world->engine, HF_TABLE_SKUS) != counts.skus || hf_engine_rows(world->engine, HF_TABLE_CELLS) != counts.cells ||
        hf_engine_rows(world->engine, HF_TABLE_ORDERS) != counts.orders ||
        hf_engine_rows(world->engine, HF_TABLE_REQUEST_KEYS) != counts.keys)
        return differs(world, "the engine uses another number of rows for SKUs, cells, orders or request keys than there are");
    return true;
}

bool hf_world_compare(struct hf_world *world, uint64_t now_ns)
{
    struct hf_comparing comparing = {world, {.now_ns = now_ns, .latest_ns = now_ns}};
    struct hf_audit_item audit;
    uint64_t commands = world->commands;
    for (uint32_t i = 0; i < HF_LATE_MAX; i++)
        if (world->late[i].due != 0 && !arrive(world, &world->late[i], now_ns))
            return false;
    if (!hf_oracle_invariants(world->oracle))
        return by_oracle(world);
    if (!hf_oracle_each_order(world->oracle, ask_order, &comparing) || !hf_oracle_each_gone(world->oracle, ask_gone, &comparing) ||
        !hf_oracle_each_cell(world->oracle, ask_cell, &comparing) || !hf_oracle_each_sku(world->oracle, ask_sku, &comparing))
        return false;
    world->commands = commands;
    hf_engine_audit(world->engine, &audit);
    if (audit.violations != 0)
        return differs(world, "the engine's own audit finds violations");
    return rows_check(world) && wind_down(world, now_ns) && hf_oracle_invariants(world->oracle) && rows_check(world) && replay_check(world);
}

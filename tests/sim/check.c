#include "tests/sim/check.h"

#include "client/audit.h"
#include "engine/engine.h"
#include "server/replay.h"
#include "tests/sim/history.h"
#include "tests/sim/memory.h"
#include "tests/sim/process.h"
#include "tests/sim/sim.h"

#ifdef SIM_ORACLE
#include "tests/oracle/oracle.h"
#endif

#include "wire/command_check.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RESTARTS_MAX = 256, FOLLOWER_ROWS = 1 << 15, WAITING_MAX = 1 << 10 };

static struct sim_check_options options;
static struct hf_engine *follower;
static struct hf_quota quota;
static unsigned restarts;
/* Of each restart: where its log ended and its time began. What was sent before may have been stepped as early as that. */
static struct {
    uint64_t position, engine_ns;
} floors[RESTARTS_MAX];
/* An answer that needs no record may rest on a claim whose word was let go before its bytes were there: it is judged once they are. */
static struct waiting {
    struct hf_command *command;
    struct hf_answer *answer;
    uint64_t from_position, from_ns, to_ns;
} waiting[WAITING_MAX];
static unsigned waiting_count;
static unsigned torn; /* the last restart whose process died with such a claim: what was answered then may rest on what never was */
#ifdef SIM_ORACLE
static struct hf_oracle *oracle;
#endif

static void make_follower(void)
{
    struct hf_engine_options sizes = {
        .partitions = options.partitions,
        .skus_max = FOLLOWER_ROWS,
        .cells_max = FOLLOWER_ROWS,
        .orders_max = FOLLOWER_ROWS,
        .lines_max = 4 * FOLLOWER_ROWS,
        .command_ids_max = FOLLOWER_ROWS,
        .limits_max = FOLLOWER_ROWS,
        .request_keys_max = FOLLOWER_ROWS,
        .retention_ns = options.retention_ns,
        .key = {sim.seed + 1, ~sim.seed},
    };
    int failed = hf_engine_create(&sizes, &follower);
    assert(failed == 0);
    (void)failed;
    hf_replay_quotas(&sizes, &quota, 1);
}

static void follow(const struct hf_record *record, uint64_t end_position)
{
    unsigned table = 0;
    int code = hf_engine_replay(follower, record, record->length, &quota, &table);
    if (code != 0)
        sim_fail("the record that ends at %" PRIu64 " does not replay: %d", end_position, code);
}

void sim_check_begin(const struct sim_check_options *wanted)
{
    options = *wanted;
    restarts = torn = waiting_count = 0;
    floors[0].position = floors[0].engine_ns = 0;
    make_follower();
#ifdef SIM_ORACLE
    struct hf_oracle_options ask = {
        .partitions = options.partitions,
        .retention_ms = options.retention_ns / 1000000,
        .allowed_from_client = 1ull << HF_BUSY | 1ull << HF_NO_SPACE | 1ull << HF_DRAINING,
        .wall_clock_differs = true,
        .history = true,
    };
    oracle = hf_oracle_create(&ask);
    assert(oracle);
#endif
}

static void forget_waiting(void)
{
    while (waiting_count > 0) {
        free(waiting[--waiting_count].command);
        free(waiting[waiting_count].answer);
    }
}

void sim_check_end(void)
{
    forget_waiting();
    hf_engine_destroy(follower);
    follower = NULL;
#ifdef SIM_ORACLE
    hf_oracle_destroy(oracle);
    oracle = NULL;
#endif
}

void sim_check_record(const struct hf_record *record, uint64_t end_position)
{
    follow(record, end_position);
#ifdef SIM_ORACLE
    if (!sim.failed && !hf_oracle_record(oracle, record, record->length, end_position))
        sim_fail("oracle: %s", hf_oracle_fault(oracle));
#endif
}

void sim_check_cut(void)
{
    uint64_t count = sim_history_count();
    hf_engine_destroy(follower);
    make_follower();
    for (uint64_t i = 0; i < count; i++)
        follow(sim_history_record(i), sim_history_entry(i)->end_position);
#ifdef SIM_ORACLE
    if (!sim.failed && !hf_oracle_restart(oracle, sim_history_position()))
        sim_fail("oracle: %s", hf_oracle_fault(oracle));
#endif
}

/* No shard is within a batch: every word is free, and what was claimed is committed. */
static bool at_rest(const struct hf_node *node)
{
    for (uint32_t i = 0; i < node->partitions; i++)
        if (hf_load_relaxed_u32(&node->words[i].owner) != 0)
            return false;
    return sim_history_is_whole();
}

static void check_rows(const struct hf_node *node)
{
    struct hf_engine_size sizes[16];
    for (unsigned table = HF_TABLE_SKUS; table < HF_TABLE_COUNT; table++) {
        uint64_t live = hf_engine_rows(node->engine, table), replayed = hf_engine_rows(follower, table);
        if (live != replayed)
            sim_fail("table %u has %" PRIu64 " rows, by its log %" PRIu64, table, live, replayed);
    }
    unsigned count = hf_engine_sizes(node->engine, NULL, sizes, sim.steps / 2 % (sizeof sizes / sizeof sizes[0]));
    for (unsigned i = 0; i < count; i++)
        if (sizes[i].rows_used > sizes[i].rows_max)
            sim_fail("table %s has %" PRIu64 " rows of %" PRIu64, sizes[i].table, sizes[i].rows_used, sizes[i].rows_max);
}

/* An audit that cannot have the memory to look must not say that all is well. */
static void check_audit(const struct hf_node *node)
{
    struct hf_audit_item found;
    hf_engine_audit(node->engine, &found);
    if (found.violations != 0)
        sim_fail("the engine's audit finds %" PRIu64 " violations at position %" PRIu64, found.violations, sim_history_position());
    sim_memory_refuse(1 + sim.steps % (2 * node->partitions + 2));
    hf_engine_audit(node->engine, &found);
    sim_memory_refuse(0);
    if (found.violations != UINT64_MAX)
        sim_fail("an audit without memory finds %" PRIu64 " violations", found.violations);
}

void sim_check_state(bool audit)
{
    const struct hf_node *node = sim_process_node();
    if (sim_process_state() != SIM_UP || !at_rest(node))
        return;
    uint64_t live = hf_engine_digest(node->engine), replayed = hf_engine_digest(follower);
    if (live != replayed)
        sim_fail("digest %016" PRIx64 " is not that of its log's replay, %016" PRIx64 ", at position %" PRIu64, live, replayed,
                 sim_history_position());
    check_rows(node);
    if (audit)
        check_audit(node);
}

void sim_check_restarted(void)
{
    assert(restarts + 1 < RESTARTS_MAX);
    restarts++;
    floors[restarts].position = sim_history_position();
    floors[restarts].engine_ns = hf_engine_last_time_ns(follower);
    sim_check_state(true);
}

void sim_check_log(void)
{
    struct hf_audit *audit;
    const struct hf_audit_report *report;
    int failed = hf_audit_create(options.partitions, NULL, &audit);
    assert(failed == 0);
    for (uint64_t i = 0; i < sim_history_count() && failed == 0; i++) {
        const struct hf_record *record = sim_history_record(i);
        const struct sim_entry *entry = sim_history_entry(i);
        failed = hf_audit_feed(audit, record, record->length, entry->end_position, entry->term);
    }
    failed = failed != 0 ? failed : hf_audit_finish(audit, &report);
    assert(failed == 0);
    (void)failed;
    if (report->violations != 0)
        sim_fail("the auditor finds %" PRIu64 " violations, the first (%s) at position %" PRIu64 ": %s", report->violations,
                 hf_audit_kind_name(report->notes[0].kind), report->notes[0].position, report->notes[0].what);
    hf_audit_destroy(audit);
#ifdef SIM_ORACLE
    if (!sim.failed && !hf_oracle_invariants(oracle))
        sim_fail("oracle: %s", hf_oracle_fault(oracle));
#endif
}

void sim_check_keep_from(uint64_t position)
{
    for (unsigned i = 0; i < waiting_count; i++)
        position = waiting[i].from_position < position ? waiting[i].from_position : position;
#ifdef SIM_ORACLE
    hf_oracle_keep_from(oracle, position);
#else
    (void)position;
#endif
}

/* ---- answers ---- */

struct sim_sent sim_check_sent(void)
{
    return (struct sim_sent){.position = sim_history_position(), .engine_ns = sim_process_engine_ns(), .restarts = restarts};
}

static bool is_write(const struct hf_command *command)
{
    unsigned family = hf_opcode_family(command->opcode);
    return family >= HF_FAMILY_DEFINE && family <= HF_FAMILY_ORDER && !hf_id_none(command->id);
}

static bool accepted(uint16_t result)
{
    return result == HF_OK || result == HF_STOCK_LOST || result == HF_REFUND_DUE;
}

/* Index of the first record that ends beyond a position. */
static uint64_t index_beyond(uint64_t position)
{
    uint64_t low = 0, high = sim_history_count();
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (sim_history_entry(middle)->end_position > position)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void sim_check_followed(const struct hf_command *command, const struct hf_answer *answer)
{
    const uint8_t *at = (const uint8_t *)(answer + 1), *end = (const uint8_t *)answer + answer->length;
    uint64_t last = command->body.follow.position;
    for (uint64_t i = index_beyond(last); at < end; i++) {
        const struct hf_follow_head *head = (const struct hf_follow_head *)(const void *)at;
        const struct hf_record *record = (const struct hf_record *)(const void *)(head + 1);
        const struct sim_entry *entry = i < sim_history_count() ? sim_history_entry(i) : NULL;
        if (!entry || head->end_position != entry->end_position || record->length != sim_history_record(i)->length ||
            memcmp(record, sim_history_record(i), record->length) != 0 || head->end_position > answer->version) {
            sim_fail("a follower got another record at %" PRIu64 " than the log has", head->end_position);
            return;
        }
        last = head->end_position;
        sim_history_acknowledged(last);
        at += sizeof *head + record->length;
    }
    if (answer->value != last)
        sim_fail("a follower at %" PRIu64 " is told to go on at %" PRIu64, last, answer->value);
}

/* Refusals that are given without looking whether the id ran before. */
static bool may_follow_a_record(uint16_t result)
{
    return result == HF_ID_REUSED || result == HF_ID_TOO_OLD || result == HF_BUSY || result == HF_NO_SPACE || result == HF_DRAINING;
}

static void answer_fails(const struct hf_command *command, const struct hf_answer *answer, const char *what)
{
    sim_fail("%s: opcode %04x id %016" PRIx64 "%016" PRIx64 " answered %s flags %x position %" PRIu64, what, command->opcode,
             command->id.high, command->id.low, hf_result_name(answer->result), answer->flags, answer->position);
}

/* What a client was told of a write against what the log says. */
static void check_write(const struct hf_command *command, const struct hf_answer *answer, uint64_t from_position, bool async)
{
    uint64_t index;
    struct hf_id id = hf_answer_command_id(answer, command);
    const struct hf_record *record = sim_history_find(id, &index);
    _Alignas(8) uint8_t first[HF_COMMAND_BYTES_MAX];
    if (!hf_id_equal(id, command->id)) { /* by its request key, it is another's repeat */
        memcpy(first, command, command->length);
        ((struct hf_command *)(void *)first)->id = id;
        command = (const struct hf_command *)(const void *)first;
    }
    if (accepted(answer->result)) {
        if (!record) {
            if (!async)
                answer_fails(command, answer, "accepted, but no record has its id");
            return;
        }
        const struct hf_command *logged = sim_history_command(record);
        if (hf_command_digest(logged) != hf_command_digest(command) || record->result != answer->result)
            answer_fails(command, answer, "accepted, but its id's record says otherwise");
        if (!async)
            sim_history_acknowledged(sim_history_entry(index)->end_position);
    } else if (record && sim_history_entry(index)->end_position <= from_position && !may_follow_a_record(answer->result)) {
        const struct hf_command *logged = sim_history_command(record);
        if (hf_command_digest(logged) == hf_command_digest(command))
            answer_fails(command, answer, "refused, but it had run before it was sent");
    }
}

/* What was sent before a restart may have been stepped on what that left. */
static struct sim_sent floor_of(struct sim_sent sent)
{
    for (unsigned i = sent.restarts + 1; i <= restarts; i++) {
        sent.position = floors[i].position < sent.position ? floors[i].position : sent.position;
        sent.engine_ns = floors[i].engine_ns < sent.engine_ns ? floors[i].engine_ns : sent.engine_ns;
    }
    return sent;
}

static void judge(const struct hf_command *command, const struct hf_answer *answer, const struct waiting *when)
{
#ifdef SIM_ORACLE
    struct hf_oracle_span span = {
        .from_position = when->from_position, .to_position = sim_history_position(), .from_ns = when->from_ns, .to_ns = when->to_ns};
    if (!sim.failed && !hf_oracle_answer(oracle, command, answer, &span))
        sim_fail("oracle: %s", hf_oracle_fault(oracle));
#else
    (void)command, (void)answer, (void)when;
#endif
}

static void *copied(const void *from, uint32_t bytes)
{
    void *copy = malloc(bytes);
    assert(copy);
    return memcpy(copy, from, bytes);
}

void sim_check_answer(const struct hf_command *command, const struct hf_answer *answer, struct sim_sent sent, bool async)
{
    bool before_torn = sent.restarts < torn;
    sent = floor_of(sent);
    if (is_write(command))
        check_write(command, answer, sent.position, async);
    if (hf_opcode_family(command->opcode) == HF_FAMILY_ADMIN || (before_torn && answer->position == 0))
        return;
    struct waiting when = {.from_position = sent.position, .from_ns = sent.engine_ns, .to_ns = sim_process_latest_ns()};
    if (sim_history_is_whole()) {
        judge(command, answer, &when);
        return;
    }
    assert(waiting_count < WAITING_MAX);
    when.command = copied(command, command->length);
    when.answer = copied(answer, answer->length);
    waiting[waiting_count++] = when;
}

void sim_check_whole(void)
{
    for (unsigned i = 0; i < waiting_count; i++)
        judge(waiting[i].command, waiting[i].answer, &waiting[i]);
    forget_waiting();
}

void sim_check_torn(void)
{
    torn = restarts + 1;
    forget_waiting();
}

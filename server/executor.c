#include "server/executor.h"

#include "server/memory.h"

#include <stdlib.h>

enum {
    WORD_SPINS_MAX = 2000, /* about as long as another shard's batch takes */
    WORD_POLLS_MAX = 64,   /* batches in which a shard keeps off its own word for somebody who wants it */
    OUTCOME_BYTES_MAX = HF_RECORD_BYTES_MAX - HF_COMMAND_BYTES_MAX,
    LEAD = HF_PREFETCH_LEAD,
    BURST = HF_PREFETCH_BURST,
    OUTCOMES_BYTES = 512 * 1024,
};

uint32_t hf_executor_batch_bytes_max(uint32_t block_max)
{
    uint32_t claim = block_max - HF_BLOCK_HEADER_BYTES;
    return HF_BATCH_MAX * (claim < HF_RECORD_BYTES_MAX ? claim : (uint32_t)HF_RECORD_BYTES_MAX);
}

int hf_executor_create(const struct hf_executor_options *options, struct hf_executor **out)
{
    size_t bits = (options->partitions + 63) / 64 * sizeof(uint64_t), held = options->partitions * sizeof(uint32_t);
    struct hf_executor *executor = hf_memory_zeroed(sizeof *executor);
    if (!executor)
        return HF_E_MEMORY;
    executor->held = hf_memory_zeroed(held);
    executor->held_bits = hf_memory_zeroed(bits);
    executor->outcomes = hf_memory_zeroed(OUTCOMES_BYTES);
    if (!executor->held || !executor->held_bits || !executor->outcomes) {
        hf_executor_destroy(executor);
        return HF_E_MEMORY;
    }
    executor->engine = options->engine;
    executor->words = options->words;
    executor->buffer = options->buffer;
    executor->claim_bytes_max = options->claim_bytes_max;
    executor->find_rows = options->find_rows;
    executor->context = options->context;
    hf_word_taker_init(&executor->taker, options->taker, WORD_POLLS_MAX);
    *out = executor;
    return 0;
}

void hf_executor_destroy(struct hf_executor *executor)
{
    if (!executor)
        return;
    hf_memory_free(executor->held);
    hf_memory_free(executor->held_bits);
    hf_memory_free(executor->outcomes);
    hf_memory_free(executor);
}

void hf_executor_begin(struct hf_executor *executor, uint64_t now_ns, uint64_t latest_ns, bool shed, uint16_t shed_result)
{
    assert(executor->held_count == 0);
    executor->step = (struct hf_step){
        .now_ns = now_ns, .latest_ns = latest_ns, .shed = shed, .shed_result = shed_result, .quota = &executor->quota};
    executor->count = executor->stepped = executor->flushed = executor->unlogged = 0;
    executor->staged_bytes = executor->outcomes_used = 0;
    executor->claimed_end = 0;
    executor->highest = 0;
}

/* ---- words ---- */

static bool is_held(const struct hf_executor *executor, uint32_t partition)
{
    return executor->held_bits[partition / 64] >> (partition % 64) & 1;
}

/* Notes what is lacking on failure; whether it is wanted is for those to say who will come again. */
static bool take_word(struct hf_executor *executor, uint32_t partition)
{
    struct hf_word *word = &executor->words[partition];
    bool upward = partition >= executor->highest;
    if (!(upward ? hf_word_take(word, &executor->taker, WORD_SPINS_MAX) : hf_word_try(word, &executor->taker))) {
        executor->lacking = partition;
        return false;
    }
    executor->held[executor->held_count++] = partition;
    executor->held_bits[partition / 64] |= UINT64_C(1) << (partition % 64);
    if (upward)
        executor->highest = partition + 1;
    return true;
}

bool hf_executor_hold(struct hf_executor *executor, uint32_t partition)
{
    if (take_word(executor, partition))
        return true;
    hf_word_want(&executor->words[partition], &executor->taker);
    return false;
}

void hf_executor_give_up(struct hf_executor *executor)
{
    for (uint32_t partition = 0; partition < hf_engine_partitions(executor->engine); partition++)
        hf_word_unwant(&executor->words[partition], &executor->taker);
}

/* Lets go of the words that were taken last, down to `keep` of them. */
static void let_go(struct hf_executor *executor, uint32_t keep, uint32_t highest)
{
    while (executor->held_count > keep) {
        uint32_t partition = executor->held[--executor->held_count];
        executor->held_bits[partition / 64] &= ~(UINT64_C(1) << (partition % 64));
        hf_word_release(&executor->words[partition], &executor->taker);
    }
    executor->highest = highest;
}

static bool hold_each(struct hf_executor *executor, const uint32_t *partitions, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!is_held(executor, partitions[i]) && !take_word(executor, partitions[i]))
            return false;
    return true;
}

static void step_admitted(struct hf_executor *executor);

/* The partitions are learned by looking under the home's word. With nothing else held a failed try is made good by taking the whole set
 * ascending and looking again; what the second look wants beyond it waits for another batch. */
static bool hold_looked_up(struct hf_executor *executor, const struct hf_task *task)
{
    uint32_t set[HF_REACH_MAX], count;
    if (!is_held(executor, task->home) && !take_word(executor, task->home))
        return false;
    count = hf_engine_reach(executor->engine, task->command, set);
    if (hold_each(executor, set, count))
        return true;
    if (executor->count > 0)
        return false;
    executor->counters.looked_again++;
    let_go(executor, 0, 0);
    if (hold_each(executor, set, count)) {
        count = hf_engine_reach(executor->engine, task->command, set);
        if (hold_each(executor, set, count))
            return true;
    }
    let_go(executor, 0, 0);
    return false;
}

static bool hold_words(struct hf_executor *executor, const struct hf_task *task)
{
    if (task->hint.plain)
        return is_held(executor, task->home) || take_word(executor, task->home);
    if (!hf_engine_reach_known(task->command)) {
        /* What is looked at must be what the step will see: everything admitted before it comes first. */
        step_admitted(executor);
        return hold_looked_up(executor, task);
    }
    uint32_t set[HF_REACH_MAX];
    return hold_each(executor, set, hf_engine_reach(executor->engine, task->command, set));
}

/* ---- the batch ---- */

static struct hf_slot *add_slot(struct hf_executor *executor, const struct hf_task *task)
{
    struct hf_slot *slot = &executor->slots[executor->count++];
    slot->task = *task;
    slot->position = 0;
    slot->outcome_bytes = 0;
    return slot;
}

enum hf_admission hf_executor_admit(struct hf_executor *executor, const struct hf_task *task)
{
    if (executor->count == HF_BATCH_MAX)
        return HF_BATCH_FULL;
    uint32_t keep = executor->held_count, highest = executor->highest;
    if (!hold_words(executor, task)) {
        if (executor->held_count >= keep)
            let_go(executor, keep, highest);
        hf_word_want(&executor->words[executor->lacking], &executor->taker);
        executor->counters.not_admitted++;
        return HF_NOT_NOW;
    }
    add_slot(executor, task);
    return HF_ADMITTED;
}

enum hf_admission hf_executor_admit_class(struct hf_executor *executor, const struct hf_task *task, uint32_t modulus, uint32_t residue)
{
    assert(executor->count == 0 && executor->held_count == 0);
    uint32_t partitions = hf_engine_partitions(executor->engine);
    for (uint32_t partition = residue; partition < partitions; partition += modulus)
        if (!hf_executor_hold(executor, partition)) {
            let_go(executor, 0, 0);
            return HF_NOT_NOW;
        }
    add_slot(executor, task);
    return HF_ADMITTED;
}

/* Claims log space for every staged record and fills it. The words are still held. */
static struct hf_log_claim claim_staged(struct hf_executor *executor)
{
    struct hf_log_claim claim = hf_log_buffer_claim(executor->buffer, executor->staged_bytes);
    executor->claimed_end = claim.position + executor->staged_bytes;
    uint64_t end = claim.position;
    for (uint32_t i = executor->flushed; i < executor->stepped; i++) {
        struct hf_slot *slot = &executor->slots[i];
        if (slot->outcome_bytes == 0)
            continue;
        end += slot->record->length;
        slot->position = slot->task.answer->position = end;
    }
    return claim;
}

/* What is copied here is a few lines long and of whole words: a call of memcpy() costs more than the copying. */
static inline uint8_t *copy_words(uint8_t *to, const void *from, uint32_t bytes)
{
    const uint8_t *at = from;
    for (; bytes >= 32; at += 32, to += 32, bytes -= 32)
        memcpy(to, at, 32);
    for (; bytes > 0; at += 8, to += 8, bytes -= 8)
        memcpy(to, at, 8);
    return to;
}

static void copy_staged(struct hf_executor *executor, struct hf_log_claim claim)
{
    uint8_t *at = claim.memory;
    for (uint32_t i = executor->flushed; i < executor->stepped; i++) {
        const struct hf_slot *slot = &executor->slots[i];
        if (slot->outcome_bytes == 0)
            continue;
        at = copy_words(at, slot->record, slot->outcome_bytes);
        at = copy_words(at, slot->task.command, slot->task.command->length);
    }
    executor->flushed = executor->stepped;
    executor->staged_bytes = executor->outcomes_used = 0;
    hf_log_buffer_commit(executor->buffer, &claim);
}

static void count_record(struct hf_executor *executor, const struct hf_slot *slot)
{
    struct hf_executor_counters *counters = &executor->counters;
    counters->records++;
    counters->record_bytes += slot->record->length;
    if (slot->task.command->opcode == HF_PLACE && slot->task.answer->result == HF_OK) {
        counters->granted++;
        counters->granted_bytes += slot->record->length;
    }
}

static void step_slot(struct hf_executor *executor, struct hf_slot *slot)
{
    struct hf_step *step = &executor->step;
    step->command = slot->task.command;
    step->answer = slot->task.answer;
    step->hint = &slot->task.hint;
    step->record = slot->record = (struct hf_record *)(void *)(executor->outcomes + executor->outcomes_used);
    hf_engine_step(executor->engine, step);
    while (step->answer->result == HF_FULL && executor->find_rows &&
           executor->find_rows(executor->context, &executor->quota, step->answer->detail))
        hf_engine_step(executor->engine, step);
    slot->outcome_bytes = step->outcome_bytes;
    slot->reads_state = step->reads_state;
    executor->counters.results[step->answer->result % HF_RESULT_COUNT]++;
    if (step->outcome_bytes == 0) {
        executor->unlogged++;
        return;
    }
    executor->staged_bytes += slot->record->length;
    executor->outcomes_used += step->outcome_bytes;
    count_record(executor, slot);
}

static bool staging_is_full(const struct hf_executor *executor, const struct hf_command *next)
{
    return executor->staged_bytes + OUTCOME_BYTES_MAX + next->length > executor->claim_bytes_max ||
           executor->outcomes_used + OUTCOME_BYTES_MAX > OUTCOMES_BYTES;
}

static void step_next(struct hf_executor *executor)
{
    struct hf_slot *slot = &executor->slots[executor->stepped];
    if (executor->staged_bytes > 0 && staging_is_full(executor, slot->task.command))
        copy_staged(executor, claim_staged(executor));
    step_slot(executor, slot);
    executor->stepped++;
}

static void prefetch(struct hf_executor *executor, uint32_t first, uint32_t end, int stage)
{
    for (uint32_t i = first; i < end && i < executor->count; i++)
        hf_engine_prefetch(executor->engine, executor->slots[i].task.command, &executor->slots[i].task.hint, stage);
}

static void step_admitted(struct hf_executor *executor)
{
    uint32_t first = executor->stepped;
    prefetch(executor, first, first + BURST, 1);
    for (uint32_t at = first; at < executor->count; at += BURST) {
        prefetch(executor, at + BURST + LEAD, at + 2 * BURST + LEAD, 0);
        prefetch(executor, at + BURST, at + 2 * BURST, 1);
        while (executor->stepped < executor->count && executor->stepped < at + BURST)
            step_next(executor);
    }
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The last record of all that an answer without a record of its own can have looked at: its home, and where its request key lives. */
static uint64_t position_read(const struct hf_executor *executor, const struct hf_task *task)
{
    uint64_t position = hf_word_position(&executor->words[task->home]);
    struct hf_request_key key;
    if (!hf_command_request_key(task->command, &key))
        return position;
    uint32_t partition = hf_request_key_route(&key) & (hf_engine_partitions(executor->engine) - 1);
    return later(position, hf_word_position(&executor->words[partition]));
}

/* An answer that asserts existing state waits for the last record of its home, made by whomever; the word still held makes that exact. The
 * home's word may have been taken after the batch's last claim, with a newer record behind it. */
static void settle_unlogged(struct hf_executor *executor)
{
    for (uint32_t i = 0; i < executor->count && executor->unlogged > 0; i++) {
        struct hf_slot *slot = &executor->slots[i];
        if (slot->outcome_bytes != 0)
            continue;
        executor->unlogged--;
        if (slot->reads_state)
            slot->position = later(executor->claimed_end, position_read(executor, &slot->task));
        slot->task.answer->position = slot->position;
    }
}

static void let_all_go(struct hf_executor *executor)
{
    settle_unlogged(executor);
    for (uint32_t i = 0; executor->claimed_end != 0 && i < executor->held_count; i++) {
        struct hf_word *word = &executor->words[executor->held[i]];
        hf_word_set_position(word, later(executor->claimed_end, hf_word_position(word)));
    }
    let_go(executor, 0, 0);
}

void hf_executor_prefetch(const struct hf_executor *executor, struct hf_task *tasks, uint32_t count)
{
    for (uint32_t i = 0; i < count && i < LEAD + BURST; i++)
        hf_engine_prefetch(executor->engine, tasks[i].command, &tasks[i].hint, 0);
}

void hf_executor_run(struct hf_executor *executor)
{
    step_admitted(executor);
    if (executor->staged_bytes > 0) {
        struct hf_log_claim claim = claim_staged(executor);
        let_all_go(executor);
        copy_staged(executor, claim);
    } else {
        let_all_go(executor);
    }
    executor->counters.batches++;
    executor->counters.steps += executor->count;
}

bool hf_executor_take_all(struct hf_executor *executor, uint32_t spins)
{
    uint32_t partitions = hf_engine_partitions(executor->engine);
    for (uint32_t partition = 0; partition < partitions; partition++)
        while (!hf_executor_hold(executor, partition))
            if (spins-- == 0) {
                let_go(executor, 0, 0);
                return false;
            }
    return true;
}

void hf_executor_release_all(struct hf_executor *executor)
{
    let_go(executor, 0, 0);
}

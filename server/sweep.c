#include "server/sweep.h"

enum {
    SWEPT_A_TURN = 4096,    /* ids: about as long as the turn's own batches take */
    SWEEPS_A_PARTITION = 8, /* in a row: one that is flooded does not keep the others waiting */
    SWEEP_IDS_MAX = 128,
    SWEEP_INTERVAL_NS = 2000000, /* a fifth of the 10 ms within which holds are given back */
    MARK_INTERVAL_NS = 1000000000,
};

/* Results are counted for clients. */
static void run(struct hf_shard *shard)
{
    const struct hf_answer *answer = shard->sweep_answer;
    hf_executor_run(shard->executor);
    if (shard->executor->count > 0)
        shard->executor->counters.results[answer->result % HF_RESULT_COUNT]--;
}

static void count_sweep(struct hf_shard *shard, uint64_t due_ns)
{
    const struct hf_command *command = shard->sweep_command;
    shard->counters.sweeps++;
    if (command->opcode == HF_EXPIRE) {
        shard->counters.expired += command->body.sweep.count;
        if (shard->now_ns > due_ns && shard->now_ns - due_ns > shard->counters.sweep_lag_ns_max)
            shard->counters.sweep_lag_ns_max = shard->now_ns - due_ns;
    } else if (command->opcode == HF_FORGET) {
        shard->counters.forgotten += command->body.sweep.count;
    }
}

/* A lane of this home has a want of its own, which goes first. */
static void note_lacking(struct hf_shard *shard, uint32_t partition, uint32_t lacking)
{
    if (!hf_lanes_busy(shard->lanes, partition))
        hf_shard_set_lacking(shard, partition, lacking);
    else if (lacking != HF_LANES_NONE)
        hf_word_unwant(&shard->node->words[lacking], &shard->executor->taker);
}

/* One sweep command of the partition: made under its word, then stepped with the words of all that it touches. Returns how many ids
 * it swept. */
static uint32_t sweep_partition(struct hf_shard *shard, uint32_t partition, uint64_t due_ns)
{
    struct hf_executor *executor = shard->executor;
    struct hf_task task = {.command = shard->sweep_command, .answer = shard->sweep_answer, .home = partition, .origin = shard->number};
    hf_executor_begin(executor, shard->now_ns, shard->latest_ns, false, 0);
    bool held = hf_executor_hold(executor, partition);
    bool made = held && hf_engine_sweep(shard->node->engine, partition, shard->now_ns, SWEEP_IDS_MAX, shard->sweep_command);
    bool admitted = made && hf_executor_admit(executor, &task) == HF_ADMITTED;
    note_lacking(shard, partition, held && made == admitted ? HF_LANES_NONE : executor->lacking);
    if (admitted)
        count_sweep(shard, due_ns);
    run(shard);
    return admitted ? shard->sweep_command->body.sweep.count : 0;
}

/* What is due in the partition, bounded; returns how many ids were swept, and whether the bound ended it. */
static unsigned sweep_due(struct hf_shard *shard, uint32_t partition, bool *left_over)
{
    unsigned swept = 0;
    for (int sweeps = 0; hf_shard_has_room(shard); sweeps++) {
        uint64_t due_ns = hf_engine_due(shard->node->engine, partition);
        if (due_ns > shard->now_ns) {
            note_lacking(shard, partition, HF_LANES_NONE);
            break;
        }
        shard->was_due = true;
        if (sweeps == SWEEPS_A_PARTITION) {
            *left_over = true;
            break;
        }
        uint32_t ids = sweep_partition(shard, partition, due_ns);
        if (ids == 0)
            break;
        swept += ids;
    }
    return swept;
}

/* Moves the mark of every partition of this shard on, once a second while there is something to forget it for. */
static unsigned move_mark(struct hf_shard *shard)
{
    struct hf_node *node = shard->node;
    uint64_t steps = shard->executor->counters.steps, retention = node->options.retention_ns;
    uint64_t wall = node->time.clock->wall_ns(node->time.clock->context), earlier = wall < shard->now_ns ? wall : shard->now_ns;
    if (shard->now_ns < shard->next_mark_ns || (steps == shard->steps_at_mark && !shard->was_due && shard->next_mark_ns != 0) ||
        earlier < retention)
        return 0;
    struct hf_command *mark = shard->sweep_command;
    *mark = (struct hf_command){.length = sizeof *mark, .opcode = HF_MARK, .version = HF_COMMAND_VERSION};
    mark->body.mark.mark_ms = (earlier - retention) / 1000000;
    mark->body.mark.modulus = node->shard_count;
    mark->body.mark.residue = shard->number;
    struct hf_task task = {.command = mark, .answer = shard->sweep_answer, .home = shard->number, .origin = shard->number};
    hf_executor_begin(shard->executor, shard->now_ns, shard->latest_ns, false, 0);
    if (hf_executor_admit_class(shard->executor, &task, node->shard_count, shard->number) != HF_ADMITTED)
        return 0;
    run(shard);
    shard->counters.marks++;
    shard->was_due = false;
    shard->steps_at_mark = shard->executor->counters.steps;
    shard->next_mark_ns = shard->now_ns + MARK_INTERVAL_NS;
    return 1;
}

unsigned hf_sweep_turn(struct hf_shard *shard)
{
    struct hf_node *node = shard->node;
    if (shard->now_ns < shard->next_sweep_ns || !hf_shard_has_room(shard))
        return 0;
    unsigned work = move_mark(shard);
    bool left_over = false;
    uint32_t stride = node->shard_count, own = (node->partitions - shard->number + stride - 1) / stride, looked = 0;
    for (; looked < own && work < SWEPT_A_TURN && hf_shard_has_room(shard); looked++)
        work += sweep_due(shard, shard->number + (shard->sweep_cursor + looked) % own * stride, &left_over);
    shard->sweep_cursor = own == 0 ? 0 : (shard->sweep_cursor + looked) % own;
    if (looked == own && !left_over)
        shard->next_sweep_ns = shard->now_ns + SWEEP_INTERVAL_NS;
    return work;
}

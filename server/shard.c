#include "server/shard.h"

#include "control/api/exchange.h"
#include "server/log_line.h"
#include "server/memory.h"
#include "server/service.h"
#include "server/sweep.h"
#include "wire/command_check.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

enum {
    REQUESTS_A_TURN = 256,
    CONTROL_A_TURN = 64,
    BATCHES_A_TURN = 16,
    LANES_A_TURN = 32,
    IDLE_TURNS_SPUN = 4,
    IDLE_WAIT_NS = 50000,
    LOG_FULL_NS = 100000000, /* log space that is merely late comes within this */
    STEPPED_NS = 0,          /* which of a request's words says when its last answer was made */
};

static void notice_full_log(struct hf_shard *shard);
static unsigned drain_log(struct hf_shard *shard);
static unsigned answer_durable(struct hf_shard *shard);
static unsigned receive(struct hf_shard *shard);
static unsigned take_completions(struct hf_shard *shard);
static unsigned run_forwarded(struct hf_shard *shard);
static unsigned run_parked(struct hf_shard *shard);
static unsigned run_received(struct hf_shard *shard);
static void publish_status(struct hf_shard *shard);

unsigned hf_shard_turn(struct hf_shard *shard)
{
    struct hf_node *node = shard->node;
    struct hf_stages *stages = &shard->stages;
    unsigned work = 0;
    hf_stages_enter(stages, HF_STAGE_RECEIVE);
    shard->now_ns = hf_engine_time_now(&node->time);
    shard->latest_ns = hf_node_latest_ns(node, shard->now_ns);
    hf_node_even_quota(node, &shard->executor->quota);

    work += receive(shard);
    work += take_completions(shard);
    notice_full_log(shard);
    bool paused = hf_load_acquire_u32(&node->paused) != 0;
    hf_stages_enter(stages, HF_STAGE_RUN);
    if (!paused) {
        work += run_parked(shard);
        work += run_forwarded(shard);
        work += run_received(shard);
    }
    hf_stages_enter(stages, HF_STAGE_SWEEP);
    if (!paused)
        work += hf_sweep_turn(shard);
    hf_stages_enter(stages, HF_STAGE_DRAIN);
    work += drain_log(shard);
    hf_stages_enter(stages, HF_STAGE_ANSWER);
    work += answer_durable(shard);
    hf_stages_enter(stages, HF_STAGE_FLUSH);
    work += hf_net_flush(shard->net);
    publish_status(shard);
    hf_stages_enter(stages, HF_STAGE_IDLE);
    if (work != 0)
        hf_stages_count(stages, shard->now_ns);
    shard->counters.turns++;
    return work;
}

/* ---- answers ---- */

static void push(struct hf_queue *queue, struct hf_request *request)
{
    request->next = NULL;
    if (queue->last)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
    queue->count++;
}

static struct hf_request *pop(struct hf_queue *queue)
{
    struct hf_request *request = queue->first;
    queue->first = request->next;
    if (!queue->first)
        queue->last = NULL;
    queue->count--;
    return request;
}

/* Closes the gaps that answers shorter than their bound have left. Returns the bytes. */
static uint32_t pack_answers(struct hf_request *request)
{
    const uint8_t *command = request->commands;
    uint32_t from = 0, to = 0;
    for (uint16_t i = 0; i < request->command_count; i++) {
        const struct hf_command *asked = (const struct hf_command *)(const void *)command;
        uint32_t bytes;
        memcpy(&bytes, request->answers + from, sizeof bytes);
        if (from != to)
            memmove(request->answers + to, request->answers + from, bytes);
        to += bytes;
        from += hf_answer_bytes_max(asked);
        command += asked->length;
    }
    return to;
}

/* No session has the number 0: the request is the control plane's, with one command, and stands in its item. */
static void answer_control(struct hf_shard *shard, struct hf_request *request)
{
    struct hf_exchange_item *item = (struct hf_exchange_item *)(void *)((char *)request - offsetof(struct hf_exchange_item, engine));
    item->taken_ns = request->received_ns;
    item->stepped_ns = request->shard_words[STEPPED_NS];
    item->given_ns = shard->now_ns;
    shard->from_control--;
    hf_exchange_give(shard->exchange, item);
}

static void send_answer(struct hf_shard *shard, struct hf_request *request)
{
    shard->counters.answers += request->command_count;
    shard->counters.answer_wait_ns_sum += shard->now_ns - request->received_ns;
    if (request->session == 0) {
        answer_control(shard, request);
        return;
    }
    hf_net_answer(shard->net, request, pack_answers(request));
}

/* One command of the request has its answer, which waits for `position`. */
static void answered(struct hf_shard *shard, struct hf_request *request, uint64_t position)
{
    if (position > request->position)
        request->position = position;
    assert(request->left > 0);
    if (--request->left == 0) {
        request->shard_words[STEPPED_NS] = shard->now_ns;
        push(&shard->waiting, request);
    }
}

static unsigned answer_durable(struct hf_shard *shard)
{
    uint64_t durable = hf_log_durable(shard->node->log);
    bool wait = shard->node->options.durability == HF_DURABILITY_SYNC;
    unsigned sent = 0;
    while (shard->waiting.first && (!wait || shard->waiting.first->position <= durable)) {
        send_answer(shard, pop(&shard->waiting));
        sent++;
    }
    return sent;
}

/* An answer that says no and rests on nothing. */
static void refuse(struct hf_shard *shard, const struct hf_task *task, uint16_t result, uint16_t detail)
{
    *task->answer = (struct hf_answer){
        .length = sizeof *task->answer,
        .opcode = task->command->opcode,
        .result = result,
        .detail = detail,
    };
    shard->executor->counters.results[result % HF_RESULT_COUNT]++;
}

/* The task's answer is there: tells the shard that received it. */
static void finish(struct hf_shard *shard, const struct hf_task *task, uint64_t position)
{
    if (shard->node->options.durability == HF_DURABILITY_ASYNC && position != 0)
        task->answer->flags |= HF_ANSWER_ASYNC;
    if (task->origin == shard->number) {
        answered(shard, task->request, position);
        return;
    }
    struct hf_done done = {task->request, position};
    uint32_t put = hf_spsc_put(shard->node->shards[task->origin]->to[shard->number].done, &done, 1, sizeof done);
    assert(put == 1); /* room was reserved by the sender's `outstanding` */
    (void)put;
}

static void finish_batch(struct hf_shard *shard)
{
    struct hf_executor *executor = shard->executor;
    for (uint32_t i = 0; i < executor->count; i++)
        finish(shard, &executor->slots[i].task, executor->slots[i].position);
}

static unsigned take_completions_of(struct hf_shard *shard, struct hf_channel *channel)
{
    struct hf_done done[64];
    uint32_t count = hf_spsc_get(channel->done, done, 64, sizeof done[0]);
    for (uint32_t i = 0; i < count; i++)
        answered(shard, done[i].request, done[i].position);
    channel->outstanding -= count;
    return count;
}

static unsigned take_completions(struct hf_shard *shard)
{
    unsigned work = take_completions_of(shard, &shard->service);
    for (unsigned other = 0; other < shard->node->shard_count; other++)
        if (other != shard->number)
            work += take_completions_of(shard, &shard->to[other]);
    return work;
}

/* ---- batches ---- */

bool hf_shard_has_room(const struct hf_shard *shard)
{
    return hf_log_has_room(shard->node->log);
}

static void notice_full_log(struct hf_shard *shard)
{
    if (hf_log_watermark(shard->node->log) < 2)
        shard->log_full_since_ns = 0;
    else if (shard->log_full_since_ns == 0)
        shard->log_full_since_ns = shard->now_ns;
    shard->log_full = shard->log_full_since_ns != 0 && shard->now_ns - shard->log_full_since_ns >= LOG_FULL_NS;
}

/* Commands may be taken: they can be logged, or are about to be told that they cannot. */
static bool may_take(const struct hf_shard *shard)
{
    return shard->log_full || hf_shard_has_room(shard);
}

/* True: the log is full and the task would write to it, so it was answered. */
static bool refuse_full(struct hf_shard *shard, const struct hf_task *task)
{
    unsigned family = hf_opcode_family(task->command->opcode);
    if (!shard->log_full || family == HF_FAMILY_QUERY || family == HF_FAMILY_ADMIN)
        return false;
    refuse(shard, task, HF_BUSY, 0);
    shard->counters.busy++;
    finish(shard, task, 0);
    return true;
}

static void begin(struct hf_shard *shard)
{
    bool no_space = hf_log_watermark(shard->node->log) >= 1;
    hf_executor_begin(shard->executor, shard->now_ns, shard->latest_ns, no_space, HF_NO_SPACE);
}

/* False: no room, the task was answered. */
static bool park(struct hf_shard *shard, const struct hf_task *task)
{
    if (hf_lanes_park(shard->lanes, task)) {
        shard->counters.parked++;
        return true;
    }
    refuse(shard, task, HF_BUSY, 0);
    shard->counters.busy++;
    finish(shard, task, 0);
    return false;
}

void hf_shard_set_lacking(struct hf_shard *shard, uint32_t home, uint32_t partition)
{
    uint32_t before = hf_lanes_lacking(shard->lanes, home);
    if (before != HF_LANES_NONE && before != partition)
        hf_word_unwant(&shard->node->words[before], &shard->executor->taker);
    hf_lanes_set_lacking(shard->lanes, home, partition);
}

/* The head of a lane is parked and lacks a word; without room to park it nobody will come for that word. */
static void park_lacking(struct hf_shard *shard, const struct hf_task *task)
{
    hf_shard_set_lacking(shard, task->home, shard->executor->lacking);
    if (!park(shard, task))
        hf_shard_set_lacking(shard, task->home, HF_LANES_NONE);
}

/* Admits the task to the batch, or parks it behind those of its home. */
static void admit(struct hf_shard *shard, const struct hf_task *task)
{
    if (hf_lanes_busy(shard->lanes, task->home))
        park(shard, task);
    else if (hf_executor_admit(shard->executor, task) == HF_NOT_NOW)
        park_lacking(shard, task);
}

static void run_admitted(struct hf_shard *shard)
{
    hf_executor_run(shard->executor);
    finish_batch(shard);
}

/* Tries the head of one lane with nothing else held; when it gets through, as many behind it as do. */
static unsigned run_lane(struct hf_shard *shard, uint32_t home)
{
    begin(shard);
    const struct hf_task *task;
    while ((task = hf_lanes_first(shard->lanes, home)) != NULL) {
        if (refuse_full(shard, task)) {
            hf_shard_set_lacking(shard, home, HF_LANES_NONE);
            hf_lanes_take(shard->lanes, home);
            continue;
        }
        enum hf_admission admission = hf_executor_admit(shard->executor, task);
        if (admission == HF_NOT_NOW)
            hf_shard_set_lacking(shard, home, shard->executor->lacking);
        if (admission != HF_ADMITTED)
            break;
        hf_shard_set_lacking(shard, home, HF_LANES_NONE);
        hf_lanes_take(shard->lanes, home);
    }
    unsigned ran = shard->executor->count;
    run_admitted(shard);
    return ran;
}

static unsigned run_parked(struct hf_shard *shard)
{
    unsigned work = 0;
    uint32_t lanes = hf_lanes_count(shard->lanes), tries = lanes < LANES_A_TURN ? lanes : LANES_A_TURN;
    for (uint32_t i = 0; i < tries && may_take(shard); i++) {
        lanes = hf_lanes_count(shard->lanes);
        if (lanes == 0)
            break;
        work += run_lane(shard, hf_lanes_home(shard->lanes, shard->lane_cursor++ % lanes));
    }
    return work;
}

static unsigned run_forwarded(struct hf_shard *shard)
{
    unsigned work = 0;
    for (unsigned other = 0; other < shard->node->shard_count; other++) {
        if (other == shard->number || !may_take(shard))
            continue;
        struct hf_task tasks[HF_BATCH_MAX];
        uint32_t count = hf_spsc_get(shard->node->shards[other]->to[shard->number].tasks, tasks, HF_BATCH_MAX, sizeof tasks[0]);
        if (count == 0)
            continue;
        shard->counters.taken_over += count;
        work += count;
        hf_executor_prefetch(shard->executor, tasks, count);
        begin(shard);
        for (uint32_t i = 0; i < count; i++)
            if (!refuse_full(shard, &tasks[i]))
                admit(shard, &tasks[i]);
        run_admitted(shard);
    }
    return work;
}

/* ---- requests ---- */

_Static_assert(sizeof(struct hf_request) <= HF_EXCHANGE_ENGINE_BYTES, "a request stands in its item");

static unsigned receive_control(struct hf_shard *shard, bool accept)
{
    struct hf_exchange_item *items[CONTROL_A_TURN];
    unsigned count = shard->exchange ? hf_exchange_take(shard->exchange, shard->number, items, CONTROL_A_TURN) : 0;
    for (unsigned i = 0; i < count; i++) {
        struct hf_request *request = (struct hf_request *)(void *)items[i]->engine;
        *request = (struct hf_request){
            .commands = (uint8_t *)items[i]->command,
            .command_bytes = items[i]->command->length,
            .command_count = 1,
            .left = 1,
            .answers = (uint8_t *)items[i]->answer,
            .received_ns = shard->now_ns,
        };
        shard->from_control++;
        if (accept) {
            push(&shard->received, request);
            continue;
        }
        refuse(shard, &(struct hf_task){.command = items[i]->command, .answer = items[i]->answer}, HF_DRAINING, 0);
        answer_control(shard, request);
    }
    return count;
}

static unsigned receive(struct hf_shard *shard)
{
    struct hf_request *requests[REQUESTS_A_TURN];
    bool stopping = hf_load_acquire_u32(&shard->node->stopping) != 0;
    unsigned count = hf_net_receive(shard->net, shard->now_ns, !stopping, HF_DRAINING, requests, REQUESTS_A_TURN);
    for (unsigned i = 0; i < count; i++)
        push(&shard->received, requests[i]);
    count += receive_control(shard, !stopping);
    return count;
}

static void send_away(struct hf_shard *shard, struct hf_channel *channel, const struct hf_task *task)
{
    if (channel->outstanding < hf_spsc_capacity(channel->done) && hf_spsc_put(channel->tasks, task, 1, sizeof *task) == 1) {
        channel->outstanding++;
        shard->counters.forwarded++;
        return;
    }
    refuse(shard, task, HF_BUSY, 0);
    shard->counters.busy++;
    finish(shard, task, 0);
}

/* Where a well-formed command is executed: true: in this shard's next batch; else it was sent where it belongs. */
static bool is_ours(struct hf_shard *shard, const struct hf_task *task)
{
    struct hf_node *node = shard->node;
    unsigned family = hf_opcode_family(task->command->opcode);
    /* Locations are listed by whom they are defined: a session's list comes behind its definition. */
    uint16_t opcode = task->command->opcode;
    if (family == HF_FAMILY_ADMIN || opcode == HF_DEFINE_LOCATION || opcode == HF_LIST_LOCATIONS) {
        send_away(shard, &shard->service, task);
        return false;
    }
    unsigned owner = task->home % node->shard_count;
    if (owner == shard->number)
        return true;
    send_away(shard, &shard->to[owner], task);
    return false;
}

/* The next command of the oldest request; false when there is none. Its answer gets the place behind those before it. */
static bool next_command(struct hf_shard *shard, struct hf_task *task)
{
    struct hf_request *request = shard->received.first;
    if (!request)
        return false;
    const struct hf_command *command = (const struct hf_command *)(const void *)(request->commands + shard->at_byte);
    *task = (struct hf_task){
        .command = command,
        .answer = (struct hf_answer *)(void *)(request->answers + shard->at_answer),
        .request = request,
        .origin = shard->number,
    };
    shard->at_byte += command->length;
    shard->at_answer += hf_answer_bytes_max(command);
    if (++shard->at_command == request->command_count) {
        shard->at_command = shard->at_byte = shard->at_answer = 0;
        pop(&shard->received);
    }
    return true;
}

/* What one claim could not hold is refused at the door: only a directory with small blocks meets it. */
static int check(const struct hf_shard *shard, const struct hf_command *command, uint16_t *detail)
{
    int result = hf_command_check(command, command->length, detail);
    uint32_t worst = command->length + (uint32_t)sizeof(struct hf_record) + command->line_count * (uint32_t)sizeof(struct hf_named_touch) +
                     HF_INTENTS_MAX * (uint32_t)sizeof(struct hf_intent);
    return result == HF_OK && worst + HF_EXTENSION_BYTES_MAX > shard->node->claim_bytes_max ? HF_TOO_LARGE : result;
}

/* Adds the next command to the batch ahead; one that is another's goes where it belongs, a malformed one gets its answer. False: there is
 * none. */
static bool gather_one(struct hf_shard *shard)
{
    struct hf_task *task = &shard->ahead[shard->ahead_count];
    uint16_t detail = 0;
    if (shard->ahead_count == HF_BATCH_MAX || !next_command(shard, task))
        return false;
    int result = check(shard, task->command, &detail);
    shard->counters.commands++;
    if (result != HF_OK) {
        shard->counters.malformed++;
        refuse(shard, task, (uint16_t)result, detail);
        finish(shard, task, 0);
        return true;
    }
    task->home = hf_engine_hint(shard->node->engine, task->command, &task->hint);
    if (!refuse_full(shard, task) && is_ours(shard, task))
        shard->ahead_count++;
    return true;
}

static void gather(struct hf_shard *shard)
{
    while (gather_one(shard))
        ;
    hf_executor_prefetch(shard->executor, shard->ahead, shard->ahead_count);
}

/* Gathers the next batch and runs the one before: what the next will touch is on its way to the cache meanwhile. */
static void run_ahead(struct hf_shard *shard)
{
    struct hf_task tasks[HF_BATCH_MAX];
    uint32_t count = shard->ahead_count;
    memcpy(tasks, shard->ahead, count * sizeof tasks[0]);
    shard->ahead_count = 0;
    gather(shard);
    begin(shard);
    for (uint32_t i = 0; i < count; i++)
        if (!refuse_full(shard, &tasks[i])) /* gathered, perhaps, before the log was full */
            admit(shard, &tasks[i]);
    run_admitted(shard);
}

static unsigned run_received(struct hf_shard *shard)
{
    unsigned batches = 0;
    for (; batches < BATCHES_A_TURN && may_take(shard); batches++) {
        gather(shard);
        if (shard->ahead_count == 0)
            break;
        run_ahead(shard);
    }
    return batches;
}

/* ---- the log, the loop, its life ---- */

static unsigned drain_log(struct hf_shard *shard)
{
    struct hf_node *node = shard->node;
    if (shard->number != 0 || node->options.drainer != HF_DRAINER_INLINE || hf_load_relaxed_u32(&node->finished) != 0)
        return 0;
    int work = hf_log_drain(node->log, shard->now_ns);
    if (work < 0)
        hf_node_fatal(node, work, "the log could not be written");
    return (unsigned)work;
}

static void publish_status(struct hf_shard *shard)
{
    uint32_t wanted = hf_load_acquire_u32(&shard->status_wanted);
    if (wanted == hf_load_relaxed_u32(&shard->status_given))
        return;
    struct hf_shard_status *status = &shard->status;
    status->counters = shard->counters;
    memcpy(status->stages, shard->stages.counters, sizeof status->stages);
    status->executor = shard->executor->counters;
    status->quota = shard->executor->quota;
    hf_net_status(shard->net, &status->net);
    const struct hf_word_taker *taker = &shard->executor->taker;
    status->words_taken = hf_load_relaxed_u64(&taker->taken);
    status->words_tried_failed = hf_load_relaxed_u64(&taker->tried_failed);
    status->words_waited = hf_load_relaxed_u64(&taker->waited);
    status->words_bound_failed = hf_load_relaxed_u64(&taker->bound_failed);
    status->words_yielded = hf_load_relaxed_u64(&taker->yielded);
    status->parked_now = hf_lanes_parked(shard->lanes);
    status->waiting_now = shard->waiting.count;
    status->received_now = shard->received.count;
    status->control_now = shard->from_control;
    status->service_now = shard->service.outstanding;
    status->forwarded_now = 0;
    for (unsigned other = 0; other < shard->node->shard_count; other++)
        status->forwarded_now += shard->to[other].outstanding;
    hf_store_release_u32(&shard->status_given, wanted);
}

static void pause_for_long(void)
{
    for (int i = 0; i < 64; i++)
        hf_cpu_pause();
}

static void idle(struct hf_shard *shard)
{
    enum hf_idle strategy = shard->node->options.idle;
    if (strategy == HF_IDLE_SPIN || ++shard->idle_turns <= IDLE_TURNS_SPUN) {
        hf_cpu_pause();
        return;
    }
    /* A parked task waits for a word that comes back within a batch's time, long before a wait in the kernel ends. */
    if (strategy == HF_IDLE_PAUSE || hf_lanes_parked(shard->lanes) > 0) {
        pause_for_long();
        if (strategy != HF_IDLE_PAUSE && shard->cpu < 0)
            sched_yield();
        return;
    }
    shard->counters.idle_waits++;
    hf_net_wait(shard->net, IDLE_WAIT_NS);
}

static bool nothing_in_flight(struct hf_shard *shard)
{
    uint32_t outstanding = shard->service.outstanding + shard->from_control;
    for (unsigned other = 0; other < shard->node->shard_count; other++)
        outstanding += shard->to[other].outstanding;
    return outstanding == 0 && !shard->received.first && shard->ahead_count == 0 && !shard->waiting.first &&
           hf_lanes_parked(shard->lanes) == 0 && hf_net_quiet(shard->net);
}

/* While draining: tells the node once that nothing is in flight here. The loop goes on for the others' sake until the log has been stopped.
 */
static void note_drained(struct hf_shard *shard)
{
    if (shard->drained || hf_load_acquire_u32(&shard->node->stopping) == 0 || !nothing_in_flight(shard))
        return;
    shard->drained = true;
    hf_add_release_u32(&shard->node->drained, 1);
}

static void pin(const struct hf_shard *shard)
{
    if (shard->cpu < 0)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)shard->cpu, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
        hf_log_line_write(HF_LEVEL_WARN, "shard could not be pinned",
                          (struct hf_log_line_field[]){hf_field_number("shard", shard->number), hf_field_signed("cpu", shard->cpu)}, 2);
}

static void *shard_main(void *context)
{
    struct hf_shard *shard = context;
    struct hf_node *node = shard->node;
    char name[16];
    snprintf(name, sizeof name, "hf-shard-%u", shard->number % 1000);
    pthread_setname_np(pthread_self(), name);
    pin(shard);
    bool stopped_accepting = false;
    while (hf_load_acquire_u32(&node->finished) == 0) {
        if (!stopped_accepting && hf_load_acquire_u32(&node->stopping) != 0) {
            hf_net_stop_accepting(shard->net);
            stopped_accepting = true;
        }
        if (hf_shard_turn(shard) == 0)
            idle(shard);
        else
            shard->idle_turns = 0;
        note_drained(shard);
    }
    return NULL;
}

int hf_shard_start(struct hf_shard *shard)
{
    if (pthread_create(&shard->thread, NULL, shard_main, shard) != 0)
        return HF_E_MEMORY;
    shard->started = true;
    return 0;
}

void hf_shard_join(struct hf_shard *shard)
{
    if (shard->started)
        pthread_join(shard->thread, NULL);
    shard->started = false;
}

static void free_channel(struct hf_channel *channel)
{
    hf_memory_free(channel->tasks);
    hf_memory_free(channel->done);
}

int hf_shard_create(struct hf_node *node, unsigned number, struct hf_shard **out)
{
    struct hf_shard *shard = hf_memory_zeroed(sizeof *shard);
    if (!shard)
        return HF_E_MEMORY;
    *out = shard;
    shard->node = node;
    shard->number = number;
    shard->cpu = -1;
    hf_store_relaxed_u64(&shard->stages.at, (hf_cycles() & ~(uint64_t)7) | HF_STAGE_IDLE);
    shard->lanes = hf_lanes_create(node->partitions, node->world.parked_max);
    shard->sweep_command = hf_memory_zeroed(HF_COMMAND_BYTES_MAX);
    shard->sweep_answer = hf_memory_zeroed(HF_ADMIN_ANSWER_BYTES_MAX);
    if (!shard->lanes || !shard->sweep_command || !shard->sweep_answer || hf_node_make_executor(node, number, &shard->executor) != 0)
        return HF_E_MEMORY;
    return 0;
}

void hf_shard_destroy(struct hf_shard *shard)
{
    if (!shard)
        return;
    hf_shard_join(shard);
    if (shard->net)
        hf_net_destroy(shard->net);
    for (unsigned i = 0; i < HF_SHARDS_MAX; i++)
        free_channel(&shard->to[i]);
    free_channel(&shard->service);
    hf_executor_destroy(shard->executor);
    hf_lanes_destroy(shard->lanes);
    hf_memory_free(shard->sweep_command);
    hf_memory_free(shard->sweep_answer);
    hf_memory_free(shard);
}

#include "server/service.h"

#include "server/board.h"
#include "server/log_line.h"
#include "server/memory.h"
#include "server/shard.h"
#include "server/status.h"

#include <stdio.h>
#include <time.h>

enum {
    IDLE_NS = 200000,
    IDLE_TURNS_SHORT = 100, /* then it wakes more seldom: it shares a core with others */
    IDLE_LONG_NS = 2000000,
    REFRESH_NS = 1000000000,
    QUOTA_ROWS = 4,
    QUOTA_TURNS_MAX = 50,
    SHARDS_RUN_NS_MAX = 100000000,
    TAKE_TRIES = 1000,       /* of a command's words */
    TAKE_ALL_TRIES = 100000, /* words; each try waits within the word's own bound */
    READERS = 4,             /* followers at so many places go on where they stood */
    REGION_BYTES = 1 << 20,  /* as much as a reader holds */
};

/* A reader that goes on where it stood reads only what is new; one that is sent elsewhere reads up to a region of the log again. */
struct hf_service_reader {
    struct hf_log_reader *reader;
    uint64_t next, used; /* position where it stands; when it was last asked, as a count */
};

struct hf_service {
    struct hf_node *node;
    struct hf_executor *executor;
    struct hf_service_reader readers[READERS];
    uint64_t reads, damaged; /* position of damage that was said already */
    struct hf_atomic_u32 stop;
    pthread_t thread;
    bool started;
    uint64_t next_walk_ns;    /* monotonic; not before it */
    uint64_t next_refresh_ns; /* monotonic */
};

static void nap(uint64_t ns)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

static void answer_plain(const struct hf_task *task, uint16_t result)
{
    *task->answer = (struct hf_answer){.length = sizeof *task->answer, .opcode = task->command->opcode, .result = result};
}

static void *item_of(const struct hf_task *task, uint32_t bytes)
{
    task->answer->item_count = 1;
    task->answer->length = (uint32_t)sizeof *task->answer + bytes;
    return task->answer + 1;
}

/* Keeps shards from starting batches, so that every word is had within a batch's time. */
static bool take_every_word(struct hf_service *service)
{
    hf_store_release_u32(&service->node->paused, 1);
    return hf_executor_take_all(service->executor, TAKE_ALL_TRIES);
}

static void give_every_word(struct hf_service *service)
{
    hf_executor_release_all(service->executor);
    hf_store_release_u32(&service->node->paused, 0);
}

/* Walks that queue up would leave shards no time between them: they get as long as the last walk held their words, within a bound. */
static void let_shards_run(struct hf_service *service)
{
    const struct hf_clock *clock = service->node->time.clock;
    while (clock->monotonic_ns(clock->context) < service->next_walk_ns && hf_load_acquire_u32(&service->stop) == 0)
        nap(IDLE_NS);
}

static void set_next_walk(struct hf_service *service, uint64_t began_ns, uint64_t ended_ns)
{
    uint64_t held_ns = ended_ns - began_ns;
    service->next_walk_ns = ended_ns + (held_ns < SHARDS_RUN_NS_MAX ? held_ns : SHARDS_RUN_NS_MAX);
}

/* Where the state ends: the last record of any partition. All words are held. */
static uint64_t state_position(const struct hf_node *node)
{
    uint64_t last = 0;
    for (uint32_t partition = 0; partition < node->partitions; partition++) {
        uint64_t position = hf_word_position(&node->words[partition]);
        last = position > last ? position : last;
    }
    return last;
}

/* ---- the commands ---- */

static uint64_t serve_walk(struct hf_service *service, const struct hf_task *task)
{
    struct hf_node *node = service->node;
    const struct hf_clock *clock = node->time.clock;
    let_shards_run(service);
    uint64_t began = clock->monotonic_ns(clock->context);
    answer_plain(task, HF_BUSY);
    if (!take_every_word(service)) {
        hf_executor_give_up(service->executor);
        give_every_word(service);
        set_next_walk(service, began, clock->monotonic_ns(clock->context));
        return 0;
    }
    struct hf_audit_item audit = {0};
    if (task->command->opcode == HF_AUDIT)
        hf_engine_audit(node->engine, &audit);
    audit.digest = hf_engine_digest(node->engine);
    uint64_t position = state_position(node);
    give_every_word(service);
    uint64_t ended = clock->monotonic_ns(clock->context);
    set_next_walk(service, began, ended);
    audit.held_ns = ended - began;
    hf_log_line_write(HF_LEVEL_DEBUG, "every shard stood still for a walk",
                      (struct hf_log_line_field[]){hf_field_number("opcode", task->command->opcode),
                                                   hf_field_number("held_us", audit.held_ns / 1000), hf_field_number("position", position)},
                      3);
    answer_plain(task, HF_OK);
    if (task->command->opcode == HF_AUDIT)
        *(struct hf_audit_item *)item_of(task, sizeof audit) = audit;
    else
        *(struct hf_digest_item *)item_of(task, sizeof(struct hf_digest_item)) = (struct hf_digest_item){.digest = audit.digest,
                                                                                                         .held_ns = audit.held_ns};
    task->answer->position = position;
    return position;
}

/* The one that stands at `position`, else one that has read its surroundings, else the one that was not asked for longest. NULL: the log
 * keeps nothing. */
static struct hf_service_reader *reader_at(struct hf_service *service, uint64_t position)
{
    struct hf_service_reader *oldest = &service->readers[0], *near = NULL;
    for (unsigned i = 0; i < READERS; i++) {
        struct hf_service_reader *reader = &service->readers[i];
        if (reader->used != 0 && reader->next == position)
            return reader;
        near = reader->used != 0 && reader->next / REGION_BYTES == position / REGION_BYTES ? reader : near;
        oldest = reader->used < oldest->used ? reader : oldest;
    }
    near = near ? near : oldest;
    return near->reader ? near : NULL;
}

/* Said once for each place: followers ask again. */
static uint16_t follow_refused(struct hf_service *service, int error, uint64_t position)
{
    if (error == HF_E_USAGE)
        return HF_BAD_ARGUMENT;
    if (error == HF_E_ABSENT)
        return HF_NOT_RETAINED;
    if (service->damaged != position + 1)
        hf_log_line_write(HF_LEVEL_WARN, "the log cannot be followed",
                          (struct hf_log_line_field[]){hf_field_number("position", position), hf_field_text("error", hf_log_error(NULL))},
                          2);
    service->damaged = position + 1;
    return error == HF_E_DAMAGED ? HF_LOG_DAMAGED : HF_BUSY;
}

static uint64_t serve_follow(struct hf_service *service, const struct hf_task *task)
{
    uint32_t room = HF_ADMIN_ANSWER_BYTES_MAX - (uint32_t)sizeof *task->answer, bytes = task->command->arg;
    uint64_t position = task->command->body.follow.position, next = position;
    struct hf_service_reader *reader = reader_at(service, position);
    bytes = bytes == 0 || bytes > room ? room : bytes;
    if (!reader) {
        answer_plain(task, HF_NOT_FOUND);
        return 0;
    }
    uint64_t durable = hf_log_durable(service->node->log);
    int error = hf_log_reader_read(reader->reader, position, task->answer + 1, &bytes, &next);
    reader->used = ++service->reads;
    reader->next = next;
    if (error != 0) {
        answer_plain(task, follow_refused(service, error, position));
        return 0;
    }
    answer_plain(task, HF_OK);
    task->answer->length += bytes;
    task->answer->value = next;
    task->answer->version = durable;
    return 0;
}

/* Shards that hold the last rows give some back when they are told that these are missed: a few turns of their loops. */
static void gather_quota(struct hf_service *service)
{
    static const unsigned tables[] = {HF_TABLE_LOCATIONS, HF_TABLE_COMMAND_IDS};
    struct hf_quota *quota = &service->executor->quota;
    for (unsigned i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (int turn = 0; quota->left[tables[i]] < 1 && turn < QUOTA_TURNS_MAX; turn++)
            if (!hf_node_take_rows(service->node, quota, tables[i], QUOTA_ROWS))
                nap(IDLE_NS);
}

/* A definition that concerns all partitions: every word for an instant, one record. */
static uint64_t serve_location(struct hf_service *service, const struct hf_task *task)
{
    struct hf_node *node = service->node;
    struct hf_executor *executor = service->executor;
    uint64_t now = hf_engine_time_now(&node->time), position = 0;
    answer_plain(task, HF_BUSY);
    if (hf_log_watermark(node->log) >= 1) {
        answer_plain(task, HF_NO_SPACE);
        return 0;
    }
    if (!hf_log_buffer_has_room(node->buffer, 0))
        return 0;
    gather_quota(service);
    hf_store_release_u32(&node->paused, 1);
    for (int tries = 0; tries < TAKE_TRIES; tries++) {
        hf_executor_begin(executor, now, hf_node_latest_ns(node, now), false, 0);
        if (hf_executor_admit_class(executor, task, 1, 0) == HF_ADMITTED) {
            hf_executor_run(executor);
            position = executor->slots[0].position;
            break;
        }
    }
    hf_executor_give_up(executor);
    hf_store_release_u32(&node->paused, 0);
    return position;
}

/* Only this thread defines locations, so that the word of the list's home is enough. */
static uint64_t serve_list(struct hf_service *service, const struct hf_task *task)
{
    struct hf_executor *executor = service->executor;
    uint64_t now = hf_engine_time_now(&service->node->time), position = 0;
    answer_plain(task, HF_BUSY);
    for (int tries = 0; tries < TAKE_TRIES; tries++) {
        hf_executor_begin(executor, now, hf_node_latest_ns(service->node, now), false, 0);
        if (hf_executor_admit(executor, task) == HF_ADMITTED) {
            hf_executor_run(executor);
            position = executor->slots[0].position;
            break;
        }
    }
    hf_executor_give_up(executor);
    return position;
}

static uint64_t serve(struct hf_service *service, const struct hf_task *task)
{
    switch (task->command->opcode) {
    case HF_STATUS:
        hf_status_answer(service->node, service->executor, task->command->arg, task->answer);
        return 0;
    case HF_DIGEST:
    case HF_AUDIT:
        return serve_walk(service, task);
    case HF_FOLLOW:
        return serve_follow(service, task);
    case HF_LIST_LOCATIONS:
        return serve_list(service, task);
    default:
        return serve_location(service, task);
    }
}

static unsigned serve_shard(struct hf_service *service, struct hf_shard *shard)
{
    struct hf_task task;
    unsigned served = 0;
    while (hf_spsc_get(shard->service.tasks, &task, 1, sizeof task) == 1) {
        uint64_t steps = service->executor->counters.steps;
        struct hf_done done = {task.request, serve(service, &task)};
        if (service->executor->counters.steps == steps)
            service->executor->counters.results[task.answer->result % HF_RESULT_COUNT]++; /* what was stepped is counted already */
        if (service->node->options.durability == HF_DURABILITY_ASYNC && done.position != 0)
            task.answer->flags |= HF_ANSWER_ASYNC;
        uint32_t put = hf_spsc_put(shard->service.done, &done, 1, sizeof done);
        assert(put == 1); /* room was reserved by the shard's `outstanding` */
        (void)put;
        served++;
    }
    return served;
}

/* A second old is new enough for metrics, and costs the shards nothing. */
static void refresh(struct hf_service *service)
{
    const struct hf_clock *clock = service->node->time.clock;
    uint64_t now = clock->monotonic_ns(clock->context);
    if (now < service->next_refresh_ns || hf_load_relaxed_u32(&service->node->finished) != 0)
        return;
    service->next_refresh_ns = now + REFRESH_NS;
    hf_board_refresh(service->node->board, service->node, service->executor);
}

static void *service_main(void *context)
{
    struct hf_service *service = context;
    struct hf_node *node = service->node;
    pthread_setname_np(pthread_self(), "hf-service");
    for (unsigned idle = 0; hf_load_acquire_u32(&service->stop) == 0; idle++) {
        unsigned served = 0;
        for (unsigned i = 0; i < node->shard_count; i++)
            served += serve_shard(service, node->shards[i]);
        refresh(service);
        if (served != 0)
            idle = 0;
        else
            nap(idle < IDLE_TURNS_SHORT ? IDLE_NS : IDLE_LONG_NS);
    }
    return NULL;
}

int hf_service_create(struct hf_node *node, struct hf_service **out)
{
    struct hf_service *service = hf_memory_zeroed(sizeof *service);
    if (!service)
        return HF_E_MEMORY;
    *out = service;
    service->node = node;
    int error = hf_node_make_executor(node, node->shard_count, &service->executor);
    for (unsigned i = 0; i < READERS && error == 0 && node->options.log_backend == HF_LOG_CHOICE_FILE; i++)
        error = hf_log_reader_open(node->log, &service->readers[i].reader);
    return error;
}

int hf_service_start(struct hf_service *service)
{
    if (pthread_create(&service->thread, NULL, service_main, service) != 0)
        return HF_E_MEMORY;
    service->started = true;
    return 0;
}

void hf_service_destroy(struct hf_service *service)
{
    if (!service)
        return;
    hf_store_release_u32(&service->stop, 1);
    if (service->started)
        pthread_join(service->thread, NULL);
    for (unsigned i = 0; i < READERS; i++)
        if (service->readers[i].reader)
            hf_log_reader_close(service->readers[i].reader);
    hf_executor_destroy(service->executor);
    hf_memory_free(service);
}

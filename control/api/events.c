#include "control/api/events.h"

#include "control/api/event_cache.h"
#include "control/api/follower.h"
#include "control/api/verbs.h"
#include "control/grpc/loop.h"
#include "ring/atomics.h"
#include "wire/error.h"
#include "wire/result.h"

#include "holdfast/v1/events.pb-c.h"

#include <stdlib.h>

enum {
    HF_FOLLOWERS_MAX = 2048,
    HF_TAIL_CHUNKS = 128,
    HF_BEHIND_CHUNKS = 16,
    HF_EVENTS_MESSAGE_BYTES = 16 << 10, /* a message may exceed it by one event */
    HF_EVENTS_TURN_MESSAGES = 64,       /* then other calls have their turn */
    HF_EVENTS_TURN_ENTRIES = 8192,
    HF_EVENTS_TOLD_BYTES = 1 << 20, /* of log left out by a filter, then its follower gets a cursor */
    HF_EVENTS_STALL_MS = 30000,
    HF_BEHIND_CROWD = 16, /* so many behind the end, and each read waits a little for the next */
};
#define HF_EVENTS_TICK_NS       5000000ull
#define HF_EVENTS_PACE_NS       100000ull /* between two reads at the end, for each follower: one read serves them all */
#define HF_EVENTS_PACE_MAX_NS   250000000ull
#define HF_EVENTS_CROWD_PACE_NS 2000000ull

/* One FOLLOW at a time, and those who wait for it. */
struct hf_events_lane {
    struct hf_exchange_item item;
    struct hf_events *events;
    struct hf_follower_list waiting;
    struct hf_event_cache cache;
    struct hf_command *command;
    bool out;
    uint64_t not_before_ns;
};

struct hf_events {
    struct hf_events_options options;
    struct hf_grpc_method methods[1];
    struct hf_grpc_service service;
    struct hf_grpc_loop *loop; /* NULL: nobody has followed yet */
    struct hf_grpc_timer tick;
    struct hf_grpc_task turn;
    bool turn_posted;
    struct hf_follower_list ready, full;
    struct hf_events_lane tail, behind;
    uint64_t head;    /* where those at the end stand */
    uint64_t checked; /* durable end up to which nothing is behind the head */
    unsigned follower_count;
    uint8_t *message; /* room for one */
    size_t message_room;
    struct hf_atomic_u32 draining;
    struct hf_atomic_u64 counters[HF_EVENTS_COUNTERS];
};

static void hf_events_post_turn(struct hf_events *events);

static void hf_events_bump(struct hf_events *events, enum hf_events_counter counter, uint64_t many)
{
    hf_bump_relaxed_u64(&events->counters[counter], many);
}

/* ---- the end of following ---- */

static void hf_events_gone(struct hf_events *events)
{
    events->follower_count--;
    hf_store_relaxed_u64(&events->counters[HF_EVENTS_FOLLOWERS], events->follower_count);
}

/* What is queued for it still goes out before the status. */
static void hf_follower_end(struct hf_events *events, struct hf_follower *follower, enum hf_grpc_code code, const char *reason,
                            const char *message)
{
    char cursor[HF_CURSOR_TEXT_BYTES];
    hf_cursor_write(follower->term, follower->position, cursor);
    hf_follower_leave(follower);
    hf_events_gone(events);
    hf_follow_finish(follower->call, code, reason, message, cursor);
}

static void hf_follower_end_result(struct hf_events *events, struct hf_follower *follower, uint16_t result)
{
    hf_events_bump(events, HF_EVENTS_REFUSED, 1);
    switch (result) {
    case HF_BAD_ARGUMENT:
        hf_follower_end(events, follower, HF_GRPC_INVALID_ARGUMENT, "BAD_CURSOR", "no event of this log ends there");
        break;
    case HF_NOT_RETAINED:
        hf_follower_end(events, follower, HF_GRPC_OUT_OF_RANGE, "NOT_RETAINED", "the log there is not kept any more");
        break;
    case HF_NOT_FOUND:
        hf_follower_end(events, follower, HF_GRPC_FAILED_PRECONDITION, "NO_LOG", "the engine keeps no log");
        break;
    case HF_DRAINING:
        hf_follower_end(events, follower, HF_GRPC_UNAVAILABLE, "DRAINING", "the engine stops; follow on from the cursor when it is back");
        break;
    default:
        hf_follower_end(events, follower, HF_GRPC_DATA_LOSS, "LOG_DAMAGED", "what is on disk behind the cursor does not check");
    }
}

static void hf_events_end_list(struct hf_events *events, struct hf_follower_list *list, uint16_t result)
{
    while (list->first)
        hf_follower_end_result(events, list->first, result);
}

static void hf_events_end_all(struct hf_events *events)
{
    hf_events_end_list(events, &events->ready, HF_DRAINING);
    hf_events_end_list(events, &events->full, HF_DRAINING);
    hf_events_end_list(events, &events->tail.waiting, HF_DRAINING);
    hf_events_end_list(events, &events->behind.waiting, HF_DRAINING);
}

/* ---- reading ---- */

static void hf_events_answered(struct hf_grpc_task *task);

/* Shard 0 hands it to the service thread at once. False: not now. */
static bool hf_lane_ask(struct hf_events_lane *lane, uint64_t position)
{
    struct hf_events *events = lane->events;
    *lane->command = (struct hf_command){
        .length = sizeof *lane->command, .opcode = HF_FOLLOW, .version = HF_COMMAND_VERSION, .body.follow.position = position};
    lane->item.task.run = hf_events_answered;
    lane->item.call = lane->waiting.first->call;
    lane->item.command = lane->command;
    lane->item.shard = 0;
    lane->item.posted = false;
    uint16_t result = hf_exchange_submit(events->options.exchange, &lane->item);
    if (result == HF_DRAINING)
        hf_events_end_all(events);
    lane->out = result == HF_OK;
    hf_events_bump(events, lane == &events->tail ? HF_EVENTS_READS : HF_EVENTS_READS_BEHIND, lane->out);
    return lane->out;
}

static void hf_events_ask(struct hf_events *events)
{
    uint64_t now = hf_grpc_loop_now_ns(events->loop), term;
    struct hf_events_lane *tail = &events->tail, *behind = &events->behind;
    if (tail->waiting.first && !tail->out && now >= tail->not_before_ns) {
        uint64_t durable = events->options.durable(events->options.context, &term);
        if (durable > events->head && durable > events->checked)
            hf_lane_ask(tail, events->head);
    }
    if (behind->waiting.first && !behind->out && now >= behind->not_before_ns)
        hf_lane_ask(behind, behind->waiting.first->position);
}

/* Everybody in the list has a reason to look again. */
static void hf_events_wake(struct hf_events *events, struct hf_follower_list *list)
{
    while (list->first)
        hf_follower_join(list->first, &events->ready);
    hf_events_post_turn(events);
}

/* Nothing durable is behind `position`, up to where the read looked. Who came with a cursor of padding stands at the end like all. */
static void hf_lane_nothing(struct hf_events_lane *lane, uint64_t position, uint64_t durable)
{
    struct hf_events *events = lane->events;
    if (lane == &events->tail) {
        events->checked = durable;
        return;
    }
    for (struct hf_follower *each = lane->waiting.first, *next; each; each = next) {
        next = each->next;
        if (each->position != position)
            continue;
        if (events->head <= durable && events->head > position)
            each->position = events->head;
        else if (events->head < position)
            events->head = position;
    }
    hf_events_wake(events, &lane->waiting);
}

static void hf_lane_failed(struct hf_events_lane *lane, uint64_t position, uint16_t result)
{
    struct hf_events *events = lane->events;
    for (struct hf_follower *each = lane->waiting.first, *next; each; each = next) {
        next = each->next;
        if (each->position == position)
            hf_follower_end_result(events, each, result);
    }
    /* The others may stand well: they come with their own places. */
    if (lane == &events->tail)
        events->head = lane->waiting.first ? lane->waiting.first->position : 0;
    events->checked = 0;
    hf_events_wake(events, &lane->waiting);
}

static void hf_lane_read(struct hf_events_lane *lane, uint64_t position, const struct hf_answer *answer)
{
    struct hf_events *events = lane->events;
    if (answer->length == sizeof *answer) {
        hf_lane_nothing(lane, position, answer->version);
        return;
    }
    int failed = hf_event_cache_add(&lane->cache, position, answer);
    uint64_t to = lane->cache.newest ? lane->cache.newest->to : position;
    if (failed == HF_E_DAMAGED && to <= position) {
        hf_lane_failed(lane, position, HF_LOG_DAMAGED);
        return;
    }
    if (lane == &events->tail && to > events->head)
        events->head = to;
    hf_events_wake(events, &lane->waiting);
}

/* One read at the end serves all who stand there, so the more they are the longer it waits for more to come; unless there is much to read.
 */
static uint64_t hf_lane_pace_ns(const struct hf_events_lane *lane)
{
    const struct hf_events *events = lane->events;
    if (lane == &events->behind)
        return lane->waiting.count > HF_BEHIND_CROWD ? HF_EVENTS_CROWD_PACE_NS : 0;
    if (lane->item.answer->length > HF_EVENT_RAW_BYTES / 2)
        return 0;
    uint64_t pace = events->follower_count * HF_EVENTS_PACE_NS;
    return pace < HF_EVENTS_TICK_NS ? HF_EVENTS_TICK_NS : pace > HF_EVENTS_PACE_MAX_NS ? HF_EVENTS_PACE_MAX_NS : pace;
}

static void hf_events_answered(struct hf_grpc_task *task)
{
    struct hf_events_lane *lane = (struct hf_events_lane *)(void *)((char *)task - offsetof(struct hf_events_lane, item.task));
    struct hf_events *events = lane->events;
    const struct hf_answer *answer = lane->item.answer;
    uint64_t position = lane->command->body.follow.position;
    lane->out = false;
    lane->not_before_ns = hf_grpc_loop_now_ns(events->loop) + (answer->result == HF_OK ? hf_lane_pace_ns(lane) : HF_EVENTS_TICK_NS);
    if (answer->result == HF_OK)
        hf_lane_read(lane, position, answer);
    else if (answer->result == HF_DRAINING)
        hf_events_end_all(events);
    else if (answer->result != HF_BUSY)
        hf_lane_failed(lane, position, answer->result);
    hf_exchange_finished(events->options.exchange, &lane->item);
}

/* ---- telling ---- */

/* The follower's place behind whatever the message has. */
static size_t hf_events_put_cursor(uint8_t *out, uint64_t term, uint64_t position)
{
    Holdfast__V1__FollowResponse response = HOLDFAST__V1__FOLLOW_RESPONSE__INIT;
    char cursor[HF_CURSOR_TEXT_BYTES];
    hf_cursor_write(term, position, cursor);
    response.cursor = cursor;
    return holdfast__v1__follow_response__pack(&response, out);
}

static bool hf_events_room(struct hf_events *events, size_t bytes)
{
    if (bytes <= events->message_room)
        return true;
    uint8_t *grown = realloc(events->message, 2 * bytes);
    if (!grown)
        return false;
    events->message = grown;
    events->message_room = 2 * bytes;
    return true;
}

/* What the follower wants of a chunk, up to one message. */
struct hf_follower_part {
    size_t bytes;
    unsigned events, looked;
    uint64_t term, position;
    bool no_memory;
};

static struct hf_follower_part hf_events_gather(struct hf_events *events, const struct hf_follower *follower,
                                                const struct hf_event_chunk *chunk)
{
    struct hf_follower_part part = {.term = follower->term, .position = follower->position};
    for (uint32_t i = hf_event_chunk_after(chunk, follower->position); i < chunk->count; i++) {
        const struct hf_event_entry *entry = &chunk->entries[i];
        if (hf_event_chunk_wanted(chunk, entry, &follower->filter)) {
            if (part.bytes > 0 && part.bytes + entry->bytes > HF_EVENTS_MESSAGE_BYTES)
                break;
            part.no_memory = !hf_events_room(events, part.bytes + entry->bytes + 2 * HF_CURSOR_TEXT_BYTES);
            if (part.no_memory)
                break;
            memcpy(events->message + part.bytes, chunk->packed + entry->at, entry->bytes);
            part.bytes += entry->bytes;
            part.events++;
        }
        part.looked++;
        part.term = entry->term;
        part.position = entry->end;
    }
    return part;
}

/* Nothing more goes to it until it has taken something, or there is memory; how often it was tried in vain does not count. */
static void hf_follower_wait(struct hf_events *events, struct hf_follower *follower, bool memory)
{
    if (follower->full_since_ns == 0)
        follower->full_since_ns = hf_grpc_loop_now_ns(events->loop);
    follower->waits_memory = memory;
    hf_follower_join(follower, &events->full);
}

static void hf_follower_told(struct hf_events *events, struct hf_follower *follower, const struct hf_follower_part *part)
{
    follower->term = part->term;
    follower->position = follower->told = part->position;
    follower->full_since_ns = 0;
    hf_events_bump(events, HF_EVENTS_TOLD, part->events);
    hf_events_bump(events, HF_EVENTS_MESSAGES, 1);
    hf_follower_join(follower, &events->ready);
}

static void hf_follower_tell(struct hf_events *events, struct hf_follower *follower, struct hf_follower_part *part)
{
    size_t bytes = part->bytes + hf_events_put_cursor(events->message + part->bytes, part->term, part->position);
    switch (hf_grpc_send_packed(follower->call, events->message, bytes)) {
    case 0:
        hf_follower_told(events, follower, part);
        break;
    case HF_GRPC_E_FULL:
        hf_follower_wait(events, follower, false);
        break;
    case HF_GRPC_E_ENDED:
        /* `done` is on its way. */
        hf_follower_leave(follower);
        hf_events_gone(events);
        break;
    default:
        hf_follower_wait(events, follower, true);
    }
}

/* Where it waits for what is not read yet. */
static void hf_follower_starve(struct hf_events *events, struct hf_follower *follower)
{
    if (follower->position > events->head && !events->tail.waiting.first && !events->tail.out)
        events->head = follower->position;
    hf_follower_join(follower, follower->position >= events->head ? &events->tail.waiting : &events->behind.waiting);
}

static struct hf_event_chunk *hf_events_find(struct hf_events *events, uint64_t position)
{
    struct hf_event_chunk *chunk = hf_event_cache_find(&events->tail.cache, position);
    return chunk ? chunk : hf_event_cache_find(&events->behind.cache, position);
}

/* Returns how many records it looked at. */
static unsigned hf_follower_serve(struct hf_events *events, struct hf_follower *follower)
{
    const struct hf_event_chunk *chunk = hf_events_find(events, follower->position);
    if (!chunk) {
        hf_follower_starve(events, follower);
        return 0;
    }
    if (hf_event_chunk_splits(chunk, follower->position)) {
        hf_follower_end_result(events, follower, HF_BAD_ARGUMENT);
        return 0;
    }
    if (hf_event_chunk_term(chunk, follower->position) < follower->asked_term) {
        hf_events_bump(events, HF_EVENTS_REFUSED, 1);
        hf_follower_end(events, follower, HF_GRPC_OUT_OF_RANGE, "BEYOND_LOG", "the cursor is of another history than this log");
        return 0;
    }
    struct hf_follower_part part = hf_events_gather(events, follower, chunk);
    if (part.bytes > 0 || part.position - follower->told > HF_EVENTS_TOLD_BYTES) {
        hf_follower_tell(events, follower, &part);
    } else if (part.no_memory) {
        hf_follower_wait(events, follower, true);
    } else {
        follower->term = part.term;
        follower->position = part.position;
        hf_follower_join(follower, &events->ready);
    }
    return part.looked;
}

static void hf_events_turn(struct hf_grpc_task *task)
{
    struct hf_events *events = (struct hf_events *)(void *)((char *)task - offsetof(struct hf_events, turn));
    unsigned looked = 0;
    events->turn_posted = false;
    for (unsigned i = 0; events->ready.first && i < HF_EVENTS_TURN_MESSAGES && looked < HF_EVENTS_TURN_ENTRIES; i++)
        looked += hf_follower_serve(events, events->ready.first);
    if (events->ready.first)
        hf_events_post_turn(events);
    hf_events_ask(events);
}

static void hf_events_post_turn(struct hf_events *events)
{
    if (events->turn_posted)
        return;
    events->turn_posted = true;
    hf_grpc_loop_post(events->loop, &events->turn);
}

/* ---- time ---- */

static void hf_events_check_full(struct hf_events *events)
{
    uint64_t now = hf_grpc_loop_now_ns(events->loop), most = events->options.stall_ms * 1000000ull;
    for (struct hf_follower *each = events->full.first, *next; each; each = next) {
        next = each->next;
        if (now - each->full_since_ns >= most) {
            hf_events_bump(events, HF_EVENTS_SLOW_DROPPED, 1);
            hf_follower_end(events, each, HF_GRPC_RESOURCE_EXHAUSTED, "SLOW_READER",
                            "too little was taken for too long; follow on from the cursor");
        } else if (each->waits_memory) {
            hf_follower_join(each, &events->ready);
            hf_events_post_turn(events);
        }
    }
}

static void hf_events_tick(struct hf_grpc_timer *timer)
{
    struct hf_events *events = (struct hf_events *)(void *)((char *)timer - offsetof(struct hf_events, tick));
    if (hf_load_acquire_u32(&events->draining) != 0)
        hf_events_end_all(events);
    hf_events_check_full(events);
    hf_events_ask(events);
    if (events->follower_count > 0)
        hf_grpc_loop_set_timer(events->loop, &events->tick, hf_grpc_loop_now_ns(events->loop) + HF_EVENTS_TICK_NS);
}

/* ---- a call ---- */

static bool hf_events_greet(struct hf_events *events, struct hf_follower *follower)
{
    struct hf_follower_part nothing = {.term = follower->term, .position = follower->position};
    hf_follower_tell(events, follower, &nothing);
    return follower->list != NULL;
}

static void hf_events_message(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct hf_events *events = context;
    const Holdfast__V1__FollowRequest *request = (const Holdfast__V1__FollowRequest *)(const void *)message;
    struct hf_follower *follower = hf_grpc_alloc(call, sizeof *follower);
    if (!follower || events->follower_count == HF_FOLLOWERS_MAX) {
        hf_events_bump(events, HF_EVENTS_REFUSED, 1);
        if (!follower)
            hf_answer_no_memory(call);
        else
            hf_follow_finish(call, HF_GRPC_RESOURCE_EXHAUSTED, "TOO_MANY_FOLLOWERS", "try again when others have left", NULL);
        return;
    }
    if (hf_load_acquire_u32(&events->draining) != 0) {
        hf_follow_finish(call, HF_GRPC_UNAVAILABLE, "DRAINING", "the engine stops", NULL);
        return;
    }
    follower->call = call;
    uint64_t term, durable = events->options.durable(events->options.context, &term);
    if (!hf_follower_filter(call, request, &follower->filter) || !hf_follower_place(call, request, durable, term, follower)) {
        hf_events_bump(events, HF_EVENTS_REFUSED, 1);
        return;
    }
    events->loop = hf_grpc_call_loop(call);
    hf_grpc_set_user(call, follower);
    events->follower_count++;
    hf_store_relaxed_u64(&events->counters[HF_EVENTS_FOLLOWERS], events->follower_count);
    hf_events_bump(events, HF_EVENTS_FOLLOWS, 1);
    if (hf_events_greet(events, follower))
        hf_events_post_turn(events);
    if (events->tick.place == HF_GRPC_TIMER_OFF)
        hf_grpc_loop_set_timer(events->loop, &events->tick, hf_grpc_loop_now_ns(events->loop) + HF_EVENTS_TICK_NS);
}

static void hf_events_writable(struct hf_grpc_call *call, void *context)
{
    struct hf_events *events = context;
    struct hf_follower *follower = hf_grpc_user(call);
    if (follower && follower->list == &events->full) {
        follower->full_since_ns = 0;
        hf_follower_join(follower, &events->ready);
        hf_events_post_turn(events);
    }
}

static void hf_events_done(struct hf_grpc_call *call, enum hf_grpc_code code, void *context)
{
    struct hf_follower *follower = hf_grpc_user(call);
    (void)code;
    if (follower && follower->list) {
        hf_follower_leave(follower);
        hf_events_gone(context);
    }
}

/* ---- life ---- */

static int hf_lane_create(struct hf_events *events, struct hf_events_lane *lane, unsigned chunks)
{
    lane->events = events;
    lane->command = calloc(1, sizeof *lane->command);
    lane->item.answer = aligned_alloc(8, HF_ADMIN_ANSWER_BYTES_MAX);
    int failed = hf_event_cache_create(&lane->cache, chunks);
    return lane->command && lane->item.answer ? failed : HF_E_MEMORY;
}

int hf_events_create(const struct hf_events_options *options, struct hf_events **out)
{
    struct hf_events *events = aligned_alloc(_Alignof(struct hf_events), sizeof *events);
    if (!events)
        return HF_E_MEMORY;
    memset(events, 0, sizeof *events);
    events->options = *options;
    if (events->options.stall_ms == 0)
        events->options.stall_ms = HF_EVENTS_STALL_MS;
    events->tick = (struct hf_grpc_timer){.place = HF_GRPC_TIMER_OFF, .fire = hf_events_tick};
    events->turn.run = hf_events_turn;
    events->methods[0] = (struct hf_grpc_method){
        .name = "Follow", .message = hf_events_message, .writable = hf_events_writable, .done = hf_events_done};
    events->service = (struct hf_grpc_service){
        .descriptor = &holdfast__v1__events__descriptor, .methods = events->methods, .method_count = 1, .context = events};
    if (hf_lane_create(events, &events->tail, HF_TAIL_CHUNKS) != 0 || hf_lane_create(events, &events->behind, HF_BEHIND_CHUNKS) != 0 ||
        !hf_events_room(events, HF_EVENTS_MESSAGE_BYTES)) {
        hf_events_destroy(events);
        return HF_E_MEMORY;
    }
    *out = events;
    return 0;
}

static void hf_lane_destroy(struct hf_events_lane *lane)
{
    hf_event_cache_destroy(&lane->cache);
    free(lane->item.answer);
    free(lane->command);
}

void hf_events_destroy(struct hf_events *events)
{
    if (!events)
        return;
    hf_lane_destroy(&events->tail);
    hf_lane_destroy(&events->behind);
    free(events->message);
    free(events);
}

const struct hf_grpc_service *hf_events_service(const struct hf_events *events)
{
    return &events->service;
}

void hf_events_drain(struct hf_events *events)
{
    hf_store_release_u32(&events->draining, 1);
}

/* ---- counters ---- */

static const struct {
    const char *name, *help;
} HF_EVENTS_COUNTER_TEXTS[HF_EVENTS_COUNTERS] = {
    [HF_EVENTS_FOLLOWERS] = {"control.events.followers", "Calls of Events.Follow that are open."},
    [HF_EVENTS_FOLLOWS] = {"control.events.follows", "Calls of Events.Follow begun."},
    [HF_EVENTS_TOLD] = {"control.events.told", "Events queued to followers."},
    [HF_EVENTS_MESSAGES] = {"control.events.messages", "Messages queued to followers."},
    [HF_EVENTS_READS] = {"control.events.reads", "Reads at the log's end, for all who stand there."},
    [HF_EVENTS_READS_BEHIND] = {"control.events.reads_behind", "Reads for followers behind the log's end."},
    [HF_EVENTS_SLOW_DROPPED] = {"control.events.slow_dropped", "Followers dropped because they took too little for too long."},
    [HF_EVENTS_REFUSED] = {"control.events.refused", "Followers refused or ended by the engine, other than the slow."},
};

uint64_t hf_events_count(const struct hf_events *events, enum hf_events_counter counter)
{
    return hf_load_relaxed_u64(&events->counters[counter]);
}

const char *hf_events_counter_name(enum hf_events_counter counter)
{
    return HF_EVENTS_COUNTER_TEXTS[counter].name;
}

const char *hf_events_counter_help(enum hf_events_counter counter)
{
    return HF_EVENTS_COUNTER_TEXTS[counter].help;
}

/* What falls due by itself: holds that end, rows that may be forgotten, counters of past windows; and the records that do it. */
#include "engine/engine_p.h"

#include <limits.h>

enum {
    BUDGET = 2048, /* timers touched by one call */
    SWEEP_IDS_MAX = 2 * HF_LINES_MAX,
    SWEEP_KEYS_MAX = 64, /* each may want the word of another partition */
};

static uint64_t timer_time_ns(const void *owner, uint32_t kind, uint32_t slot)
{
    const struct hf_engine *engine = ((const struct hf_engine *const *)owner)[0];
    const struct hf_partition *p = ((const struct hf_partition *const *)owner)[1];
    if (kind == HF_TABLE_ORDERS) {
        const struct hf_order *order = hf_order_at(p, slot);
        return order->order == HF_HELD ? order->due_ns : hf_order_look_ns(engine, order);
    }
    if (kind == HF_TABLE_COMMAND_IDS)
        return hf_ms_to_ns(hf_id_ms(hf_remembered_at(p, slot)->id)) + engine->retention_ns;
    if (kind == HF_TABLE_REQUEST_KEYS)
        return hf_key_at(p, slot)->look_ns;
    return hf_ms_to_ns(hf_limit_at(p, slot)->ends_ms);
}

/* Timers of limits and keys are also set by other threads that hold the word; a stale answer is corrected by the next call. Hence no
 * sanitizer. */
__attribute__((no_sanitize("thread"))) uint64_t hf_engine_due(const struct hf_engine *engine, uint32_t partition)
{
    const struct hf_partition *p = &engine->partitions[partition];
    uint64_t due = hf_timer_due_ns(&p->order_timers), other = hf_timer_due_ns(&p->remembered_timers);
    due = other < due ? other : due;
    other = hf_timer_due_ns(&p->limit_timers);
    due = other < due ? other : due;
    other = hf_timer_due_ns(&p->key_timers);
    return other < due ? other : due;
}

/* --- making sweep commands --- */

struct due {
    uint64_t due_ns;
    struct hf_id id;
};

struct gathering {
    struct due expire[HF_LINES_MAX];
    struct hf_id forget[SWEEP_IDS_MAX];
    unsigned expires, forgets, lines;
};

static void sort_due(struct due *list, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        struct due one = list[i];
        unsigned at = i;
        for (; at > 0 &&
               (list[at - 1].due_ns > one.due_ns || (list[at - 1].due_ns == one.due_ns && hf_id_compare(list[at - 1].id, one.id) > 0));
             at--)
            list[at] = list[at - 1];
        list[at] = one;
    }
}

static void command_start(struct hf_command *command, uint16_t opcode, uint32_t partition, uint32_t count, uint32_t lines)
{
    *command = (struct hf_command){.length = (uint32_t)(sizeof *command + lines * sizeof(struct hf_line)),
                                   .opcode = opcode,
                                   .version = HF_COMMAND_VERSION,
                                   .line_count = (uint16_t)lines};
    command->body.sweep.partition = partition;
    command->body.sweep.count = count;
}

/* Two ids a line; an odd last place stays zero. */
static void command_ids(struct hf_command *command, uint16_t opcode, uint32_t partition, const uint8_t *first, size_t stride,
                        uint32_t count)
{
    uint32_t lines = (count + 1) / 2;
    command_start(command, opcode, partition, count, lines);
    struct hf_id *out = (struct hf_id *)(void *)(command + 1);
    memset(out, 0, lines * sizeof(struct hf_line));
    for (uint32_t i = 0; i < count; i++)
        memcpy(&out[i], first + i * stride, sizeof *out);
}

/* Sorts a fired list into holds that end, rows that may go, and rows to be looked at again later. Stops when a record is full. */
static void gather_orders(struct hf_engine *engine, struct hf_partition *p, uint32_t slot, uint64_t now_ns, uint32_t ids_max,
                          uint32_t *budget, struct gathering *found)
{
    while (slot != 0 && *budget > 0 && found->expires < ids_max && found->forgets < SWEEP_IDS_MAX) {
        --*budget;
        const struct hf_order *order = hf_order_at(p, slot);
        uint32_t next = order->timer.next;
        if (order->order == HF_HELD) {
            if (found->lines + order->line_count > HF_LINES_MAX)
                return;
            found->lines += order->line_count;
            found->expire[found->expires++] = (struct due){order->due_ns, order->id};
        } else if (hf_order_forgettable(p, order)) {
            found->forget[found->forgets++] = order->id;
        } else {
            hf_timer_remove(&p->order_timers, slot);
            hf_timer_insert(&p->order_timers, slot, hf_later(hf_order_look_ns(engine, order), now_ns + HF_LOOK_AGAIN_NS), now_ns);
        }
        slot = next;
    }
}

static bool sweep_orders(struct hf_engine *engine, uint32_t partition, uint64_t now_ns, uint32_t ids_max, uint32_t *budget,
                         struct hf_command *command)
{
    struct hf_partition *p = &engine->partitions[partition];
    const void *owner[] = {engine, p};
    for (uint32_t slot; (slot = hf_timer_advance(&p->order_timers, now_ns, budget, timer_time_ns, owner)) != 0;) {
        struct gathering found;
        found.expires = found.forgets = found.lines = 0;
        gather_orders(engine, p, slot, now_ns, ids_max, budget, &found);
        if (found.expires > 0) {
            sort_due(found.expire, found.expires);
            command_ids(command, HF_EXPIRE, partition, (const uint8_t *)&found.expire[0].id, sizeof found.expire[0], found.expires);
            return true;
        }
        if (found.forgets > 0) {
            command_ids(command, HF_FORGET, partition, (const uint8_t *)&found.forget[0], sizeof found.forget[0], found.forgets);
            return true;
        }
        if (*budget == 0)
            return false;
    }
    return false;
}

static bool sweep_remembered(struct hf_engine *engine, uint32_t partition, uint64_t now_ns, uint32_t *budget, struct hf_command *command)
{
    struct hf_partition *p = &engine->partitions[partition];
    const void *owner[] = {engine, p};
    struct hf_id ids[SWEEP_IDS_MAX];
    for (uint32_t slot; (slot = hf_timer_advance(&p->remembered_timers, now_ns, budget, timer_time_ns, owner)) != 0;) {
        unsigned count = 0;
        while (slot != 0 && *budget > 0 && count < SWEEP_IDS_MAX) {
            --*budget;
            uint32_t next = hf_remembered_at(p, slot)->timer.next;
            if (hf_id_ms(hf_remembered_at(p, slot)->id) <= p->mark_ms) {
                ids[count++] = hf_remembered_at(p, slot)->id;
            } else {
                hf_timer_remove(&p->remembered_timers, slot);
                hf_timer_insert(&p->remembered_timers, slot,
                                hf_later(timer_time_ns(owner, HF_TABLE_COMMAND_IDS, slot), now_ns + HF_LOOK_AGAIN_NS), now_ns);
            }
            slot = next;
        }
        if (count > 0) {
            command_ids(command, HF_FORGET, partition, (const uint8_t *)ids, sizeof ids[0], count);
            return true;
        }
        if (*budget == 0)
            return false;
    }
    return false;
}

static bool sweep_limits(struct hf_engine *engine, uint32_t partition, uint64_t now_ns, uint32_t *budget, struct hf_command *command)
{
    struct hf_partition *p = &engine->partitions[partition];
    const void *owner[] = {engine, p};
    uint32_t slot = hf_timer_advance(&p->limit_timers, now_ns, budget, timer_time_ns, owner);
    if (slot == 0)
        return false;
    struct hf_line *line = (struct hf_line *)(void *)(command + 1);
    uint32_t count = 0;
    for (; slot != 0 && count < HF_LINES_MAX; slot = hf_limit_at(p, slot)->timer.next) {
        const struct hf_limit *limit = hf_limit_at(p, slot);
        line[count++] = (struct hf_line){.sku = hf_sku_at(p, limit->sku_slot)->sku, .price = limit->customer};
    }
    command_start(command, HF_PURGE_LIMITS, partition, count, count);
    return true;
}

/* Whether their ids are still known is seen by the step, which holds the words for that. */
static bool sweep_keys(struct hf_engine *engine, uint32_t partition, uint64_t now_ns, uint32_t *budget, struct hf_command *command)
{
    struct hf_partition *p = &engine->partitions[partition];
    const void *owner[] = {engine, p};
    struct hf_request_key keys[SWEEP_KEYS_MAX];
    uint32_t slot = hf_timer_advance(&p->key_timers, now_ns, budget, timer_time_ns, owner), count = 0;
    for (; slot != 0 && count < SWEEP_KEYS_MAX; slot = hf_key_at(p, slot)->timer.next)
        keys[count++] = hf_key_at(p, slot)->key;
    if (count > 0)
        command_ids(command, HF_PURGE_KEYS, partition, (const uint8_t *)keys, sizeof keys[0], count);
    return count > 0;
}

bool hf_engine_sweep(struct hf_engine *engine, uint32_t partition, uint64_t now_ns, uint32_t ids_max, struct hf_command *command)
{
    uint32_t budget = BUDGET;
    now_ns = hf_later(now_ns, engine->partitions[partition].last_ns);
    ids_max = ids_max < 1 ? 1 : ids_max > HF_LINES_MAX ? HF_LINES_MAX : ids_max;
    return sweep_orders(engine, partition, now_ns, ids_max, &budget, command) ||
           sweep_remembered(engine, partition, now_ns, &budget, command) || sweep_limits(engine, partition, now_ns, &budget, command) ||
           sweep_keys(engine, partition, now_ns, &budget, command);
}

/* --- executing them --- */

static struct hf_order *swept_order(const struct hf_run *run, uint32_t i, uint32_t *slot)
{
    struct hf_id id = hf_sweep_id(run->command, i);
    *slot = hf_order_find(run->home, hf_hash_id(run->engine, id), id);
    return *slot ? hf_order_at(run->home, *slot) : NULL;
}

static uint64_t expire_time(const struct hf_run *run)
{
    uint64_t now_ns = run->now_ns;
    uint32_t slot;
    for (uint32_t i = 0; i < run->command->body.sweep.count; i++) {
        struct hf_order *order = swept_order(run, i, &slot);
        if (order)
            now_ns = hf_later(now_ns, hf_order_time(run, order));
    }
    return now_ns;
}

/* Ends the holds that are still there and due; the touches are written when all are, so that a cell shows the same in each. */
void hf_step_expire(struct hf_run *run)
{
    uint32_t count = run->command->body.sweep.count, slot, touches = 0;
    uint16_t ended[HF_LINES_MAX];
    unsigned ends = 0;
    run->now_ns = expire_time(run);
    for (uint32_t i = 0; i < count && ends < HF_LINES_MAX; i++) {
        struct hf_order *order = swept_order(run, i, &slot);
        if (!order || order->order != HF_HELD || order->due_ns > run->now_ns || touches + order->line_count > HF_LINES_MAX)
            continue;
        hf_order_move(run, order, HF_MOVE_RELEASE);
        order->order = HF_EXPIRED;
        order->version++;
        order->due_ns = 0;
        order->changed_ns = run->now_ns;
        hf_order_arm(run->engine, run->home, slot, run->now_ns);
        touches += order->line_count;
        ended[ends++] = (uint16_t)i;
    }
    if (ends == 0)
        return;
    struct hf_named_touch *touch = hf_touches(run);
    for (unsigned e = 0; e < ends; e++)
        touch += hf_order_touch(run, swept_order(run, ended[e], &slot), touch, ended[e]);
    hf_outcome_write(run, &(struct hf_outcome){.result = HF_OK, .order = HF_EXPIRED, .touches = (uint16_t)touches});
}

void hf_step_mark(struct hf_run *run)
{
    const struct hf_command *command = run->command;
    struct hf_engine *engine = run->engine;
    uint32_t modulus = command->body.mark.modulus ? command->body.mark.modulus : 1;
    bool moves = false;
    for (uint64_t i = command->body.mark.residue; i <= engine->mask; i += modulus) {
        run->now_ns = hf_later(run->now_ns, engine->partitions[i].last_ns);
        moves |= engine->partitions[i].mark_ms < command->body.mark.mark_ms;
    }
    if (!moves)
        return;
    for (uint64_t i = command->body.mark.residue; i <= engine->mask; i += modulus) {
        struct hf_partition *p = &engine->partitions[i];
        p->mark_ms = hf_later(p->mark_ms, command->body.mark.mark_ms);
        p->last_ns = run->now_ns;
    }
    hf_outcome_write(run, &(struct hf_outcome){.result = HF_OK});
}

void hf_step_forget(struct hf_run *run)
{
    struct hf_partition *home = run->home;
    bool any = false;
    for (uint32_t i = 0; i < run->command->body.sweep.count; i++) {
        struct hf_id id = hf_sweep_id(run->command, i);
        uint32_t slot;
        const struct hf_order *order = swept_order(run, i, &slot);
        if (order && hf_order_forgettable(home, order)) {
            hf_order_forget(run->engine, home, slot, run->step->quota);
            any = true;
        }
        slot = hf_remembered_find(run->engine, home, id);
        if (slot != 0 && hf_id_ms(id) <= home->mark_ms) {
            hf_remembered_forget(run->engine, home, slot);
            run->step->quota->left[HF_TABLE_COMMAND_IDS]++;
            any = true;
        }
    }
    if (any)
        hf_outcome_write(run, &(struct hf_outcome){.result = HF_OK});
}

void hf_step_purge_limits(struct hf_run *run)
{
    struct hf_partition *home = run->home;
    const struct hf_line *line = hf_command_lines(run->command);
    bool any = false;
    for (uint32_t i = 0; i < run->command->line_count; i++) {
        uint32_t sku = hf_sku_find(run->engine, home, &line[i].sku);
        uint32_t slot = sku ? hf_limit_find(run->engine, home, line[i].price, sku) : 0;
        if (slot == 0 || hf_limit_at(home, slot)->ends_ms == 0 || hf_limit_at(home, slot)->ends_ms > run->now_ns / HF_MS_NS)
            continue;
        hf_limit_drop(run->engine, home, slot, run->step->quota);
        any = true;
    }
    if (any)
        hf_outcome_write(run, &(struct hf_outcome){.result = HF_OK});
}

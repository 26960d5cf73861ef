/* The way in: where a command lives, what it reaches, what to prefetch, and which function executes it; and what all of these share. */
#include "engine/engine_p.h"

/* --- looking up --- */

uint32_t hf_sku_find(const struct hf_engine *engine, const struct hf_partition *p, const struct hf_sku *sku)
{
    struct hf_index_cursor cursor;
    uint32_t slot = hf_index_first(&p->sku_index, hf_hash_words(engine, sku->word[0], sku->word[1]), &cursor);
    while (slot != 0 && !hf_sku_equal(&hf_sku_at(p, slot)->sku, sku))
        slot = hf_index_next(&p->sku_index, &cursor);
    return slot;
}

uint32_t hf_remembered_find(const struct hf_engine *engine, const struct hf_partition *p, struct hf_id id)
{
    struct hf_index_cursor cursor;
    uint32_t slot = hf_index_first(&p->remembered_index, hf_hash_id(engine, id), &cursor);
    while (slot != 0 && !hf_id_equal(hf_remembered_at(p, slot)->id, id))
        slot = hf_index_next(&p->remembered_index, &cursor);
    return slot;
}

/* --- answering --- */

bool hf_refuse(struct hf_run *run, unsigned result, unsigned detail)
{
    run->answer->result = (uint16_t)result;
    run->answer->detail = (uint16_t)detail;
    switch (result) {
    case HF_ID_REUSED:
    case HF_ID_TOO_OLD:
    case HF_TOO_MANY:
    case HF_UNKNOWN_ORDER:
    case HF_BAD_STATE:
    case HF_STALE_VERSION:
    case HF_NOT_APPLIED:
    case HF_BELOW_ZERO:
    case HF_UNKNOWN_INTENT:
    case HF_AMOUNT_MISMATCH:
        run->step->reads_state = true;
        break;
    default: /* rests on nothing that could be taken back */
        break;
    }
    return false;
}

void hf_answer_order(struct hf_answer *answer, const struct hf_order *order)
{
    answer->order = order->order;
    answer->payment = order->payment;
    answer->fulfilment = order->fulfilment;
    answer->version = order->version;
    answer->due_ns = order->due_ns;
}

void hf_cell_item_fill(struct hf_cell_item *item, const struct hf_cell *cell)
{
    *item = (struct hf_cell_item){.sku = cell->sku,
                                  .location = cell->location,
                                  .sellable = cell->sellable,
                                  .damaged = cell->damaged,
                                  .quality_control = cell->quality_control,
                                  .reserved = cell->reserved,
                                  .allocated = cell->allocated,
                                  .safety_stock = cell->safety,
                                  .available = hf_cell_available(cell),
                                  .version = hf_cell_version(cell),
                                  .oversold = cell->stamp & HF_CELL_OVERSOLD ? 1 : 0};
}

void hf_outcome_write(struct hf_run *run, const struct hf_outcome *outcome)
{
    struct hf_record *record = run->step->record;
    bool place = run->command->opcode == HF_PLACE;
    *record = (struct hf_record){.result = outcome->result,
                                 .version = HF_RECORD_VERSION,
                                 .time_ns = run->now_ns,
                                 .order = outcome->order,
                                 .payment = outcome->payment,
                                 .fulfilment = outcome->fulfilment,
                                 .intent_count = outcome->intent ? 1 : 0,
                                 .line_count = outcome->touches,
                                 .home = (uint16_t)run->home_number,
                                 .due_ns = outcome->due_ns,
                                 .state_version = outcome->state_version};
    uint32_t bytes = hf_outcome_bytes(record, place);
    if (outcome->intent)
        memcpy((uint8_t *)record + bytes - sizeof *outcome->intent, outcome->intent, sizeof *outcome->intent);
    record->length = bytes + run->command->length;
    run->step->outcome_bytes = bytes;
    run->answer->result = outcome->result;
}

/* --- judging ids --- */

bool hf_id_judge(struct hf_run *run, uint16_t route)
{
    struct hf_id id = run->command->id;
    const struct hf_step *step = run->step;
    uint64_t ms = hf_id_ms(id), latest_ms = step->latest_ns / HF_MS_NS;
    if (ms <= run->home->mark_ms)
        return hf_refuse(run, HF_ID_TOO_OLD, 0);
    if (ms > latest_ms && ms - latest_ms > HF_FUTURE_MS_MAX)
        return hf_refuse(run, HF_ID_IN_FUTURE, 0);
    if (hf_id_route(id) != route)
        return hf_refuse(run, HF_WRONG_ROUTE, 0);
    if (step->shed && (run->command->opcode == HF_PLACE || step->shed_result == HF_DRAINING))
        return hf_refuse(run, step->shed_result, 0);
    return true;
}

/* What a repeat of a stock command says of the cell now. */
static void answer_cell_now(struct hf_run *run)
{
    if (hf_opcode_family(run->command->opcode) != HF_FAMILY_STOCK)
        return;
    const struct hf_line *line = hf_command_lines(run->command);
    uint32_t slot = hf_cell_find(run->home, hf_hash_cell(run->engine, &line->sku, line->location), &line->sku, line->location);
    if (slot == 0)
        return;
    const struct hf_cell *cell = hf_cell_at(run->home, slot);
    run->answer->version = hf_cell_version(cell);
    run->answer->value = (uint64_t)((int64_t)cell->sellable + cell->damaged + cell->quality_control);
    hf_cell_item_fill((struct hf_cell_item *)(void *)(run->answer + 1), cell);
    run->answer->item_count = 1;
    run->answer->length += (uint32_t)sizeof(struct hf_cell_item);
}

bool hf_command_id_judge(struct hf_run *run, uint16_t route)
{
    run->digest = hf_command_digest(run->command);
    uint32_t slot = hf_remembered_find(run->engine, run->home, run->command->id);
    if (slot != 0) {
        const struct hf_remembered *known = hf_remembered_at(run->home, slot);
        if (known->digest != run->digest)
            return hf_refuse(run, HF_ID_REUSED, 0);
        run->step->reads_state = true;
        run->answer->flags |= HF_ANSWER_REPEATED;
        run->answer->result = known->result;
        run->answer->value = known->value;
        run->answer->payment = known->result == HF_REFUND_DUE ? HF_PAY_REFUND_DUE : 0;
        answer_cell_now(run);
        return false;
    }
    if (hf_order_find(run->home, hf_hash_id(run->engine, run->command->id), run->command->id) != 0)
        return hf_refuse(run, HF_ID_REUSED, 0);
    return hf_id_judge(run, route);
}

static uint64_t remembered_look_ns(const struct hf_engine *engine, const struct hf_remembered *known)
{
    return hf_ms_to_ns(hf_id_ms(known->id)) + engine->retention_ns;
}

void hf_command_remember(struct hf_run *run, unsigned result, uint64_t value)
{
    struct hf_partition *p = run->home;
    uint32_t slot = hf_pool_take(&p->remembered, run->step->quota);
    struct hf_remembered *known = hf_remembered_at(p, slot);
    *known = (struct hf_remembered){
        .id = run->command->id, .digest = run->digest, .value = value, .opcode = run->command->opcode, .result = (uint16_t)result};
    hf_index_insert(&p->remembered_index, hf_hash_id(run->engine, known->id), slot);
    hf_timer_insert(&p->remembered_timers, slot, remembered_look_ns(run->engine, known), run->now_ns);
    run->step->quota->left[HF_TABLE_COMMAND_IDS]--;
}

void hf_remembered_forget(struct hf_engine *engine, struct hf_partition *p, uint32_t slot)
{
    hf_timer_remove(&p->remembered_timers, slot);
    hf_index_erase(&p->remembered_index, hf_hash_id(engine, hf_remembered_at(p, slot)->id), slot);
    hf_pool_give(&p->remembered, slot);
}

/* --- where a command belongs --- */

uint32_t hf_engine_home(const struct hf_engine *engine, const struct hf_command *command)
{
    switch (command->opcode) {
    case HF_PLACE:
        return hf_partition_of_id(engine, command->id);
    case HF_DEFINE_LOCATION:
    case HF_LIST_LOCATIONS:
    case HF_MARK:
        return 0;
    case HF_EXPIRE:
    case HF_FORGET:
    case HF_PURGE_LIMITS:
    case HF_PURGE_KEYS:
        return command->body.sweep.partition & engine->mask;
    case HF_GET_ORDER:
        return hf_partition_of_id(engine, command->body.verb.order);
    default:
        break;
    }
    if (hf_opcode_family(command->opcode) == HF_FAMILY_ORDER)
        return hf_partition_of_id(engine, command->body.verb.order);
    if (hf_opcode_family(command->opcode) == HF_FAMILY_ADMIN)
        return 0;
    return hf_partition_of_sku(engine, &hf_command_lines(command)->sku);
}

bool hf_engine_reach_known(const struct hf_command *command)
{
    switch (command->opcode) {
    case HF_SETTLE:
    case HF_SHIP:
    case HF_CANCEL:
    case HF_EXPIRE:
    case HF_PURGE_KEYS:
        return false;
    default:
        return true;
    }
}

/* Adds a number to an ascending list without repeats. */
static unsigned reach_add(uint32_t *list, unsigned count, uint32_t number)
{
    unsigned at = count;
    while (at > 0 && list[at - 1] > number)
        at--;
    if (at > 0 && list[at - 1] == number)
        return count;
    memmove(&list[at + 1], &list[at], (count - at) * sizeof *list);
    list[at] = number;
    return count + 1;
}

static unsigned reach_order(const struct hf_engine *engine, const struct hf_partition *home, struct hf_id id, uint32_t *list,
                            unsigned count)
{
    uint32_t slot = hf_order_find(home, hf_hash_id(engine, id), id);
    if (slot == 0)
        return count;
    struct hf_order_walk walk;
    const struct hf_order_line *line = hf_order_line_first(&walk, home, hf_order_at(home, slot));
    for (; line && count < HF_REACH_MAX; line = hf_order_line_next(&walk))
        count = reach_add(list, count, line->place & 0xffff);
    return count;
}

unsigned hf_engine_reach(const struct hf_engine *engine, const struct hf_command *command, uint32_t *partitions)
{
    if (command->opcode == HF_DEFINE_LOCATION || command->opcode == HF_DIGEST || command->opcode == HF_AUDIT)
        return 0;
    uint32_t number = hf_engine_home(engine, command);
    const struct hf_partition *home = &engine->partitions[number];
    struct hf_request_key key;
    unsigned count = 1;
    partitions[0] = number;
    if (command->opcode == HF_PLACE) {
        const struct hf_line *line = hf_command_lines(command);
        for (unsigned i = 0; i < command->line_count; i++)
            count = reach_add(partitions, count, hf_partition_of_sku(engine, &line[i].sku));
    } else if (command->opcode == HF_EXPIRE) {
        for (uint32_t i = 0; i < command->body.sweep.count; i++)
            count = reach_order(engine, home, hf_sweep_id(command, i), partitions, count);
    } else if (command->opcode == HF_PURGE_KEYS) {
        for (uint32_t i = 0; i < command->body.sweep.count; i++)
            count = reach_add(partitions, count, hf_key_home(engine, command, i));
    } else if (!hf_engine_reach_known(command)) {
        count = reach_order(engine, home, command->body.verb.order, partitions, count);
    }
    if (__builtin_expect(command->ext_bytes != 0, 0) && hf_command_request_key(command, &key))
        count = reach_add(partitions, count, hf_request_key_route(&key) & engine->mask);
    return count;
}

/* --- prefetching --- */

enum { LINES_AHEAD = 8 }; /* of one order: more would drive out what others wait for */

/* gcc takes a function that does nothing but prefetch for one without any effect, and drops the calls of it: hence always inline. */
#define PREFETCH static inline __attribute__((always_inline)) void

PREFETCH prefetch_bucket(const struct hf_index *index, uint32_t hash)
{
    __builtin_prefetch(hf_index_hint(index, hash), 1);
}

PREFETCH prefetch_row(const struct hf_pool *pool, uint32_t slot)
{
    const uint8_t *row = pool->rows + (size_t)slot * pool->row_bytes;
    __builtin_prefetch(row, 1);
    if (pool->row_bytes > 64)
        __builtin_prefetch(row + 64, 1);
}

/* The row that is taken as the nth from now, from 0. */
PREFETCH prefetch_nth(const struct hf_pool *pool, uint32_t n)
{
    prefetch_row(pool, pool->free_count > n ? pool->free[pool->free_count - 1 - n] : pool->used + 1 + n - pool->free_count);
}

PREFETCH prefetch_fresh(const struct hf_pool *pool)
{
    prefetch_nth(pool, 0);
}

/* The first row with this hash: nearly always the only one. 0: there is none. */
static inline uint32_t candidate(const struct hf_index *index, uint32_t hash)
{
    struct hf_index_cursor cursor;
    return hf_index_first(index, hash, &cursor);
}

PREFETCH prefetch_key(const struct hf_index *index, const struct hf_pool *pool, uint32_t hash, int stage)
{
    uint32_t slot;
    if (stage == 0)
        prefetch_bucket(index, hash);
    else if ((slot = candidate(index, hash)) != 0)
        prefetch_row(pool, slot);
}

uint32_t hf_engine_hint(const struct hf_engine *engine, const struct hf_command *command, struct hf_hint *hint)
{
    hint->cell_slot = 0;
    hint->plain = false;
    if (command->opcode != HF_PLACE || command->line_count != 1)
        return hf_engine_home(engine, command);
    const struct hf_line *line = hf_command_lines(command);
    uint32_t route = hf_route(&line->sku), home = hf_id_route(command->id);
    hint->id_hash = hf_hash_id(engine, command->id);
    hint->cell_hash = hf_hash_cell(engine, &line->sku, line->location);
    hint->partition = route & engine->mask;
    hint->plain = home == route && (command->ext_bytes == 0 || !hf_command_request_key(command, &(struct hf_request_key){{0}}));
    return home & engine->mask;
}

PREFETCH prefetch_timer(const struct hf_partition *home, const struct hf_command *place)
{
    __builtin_prefetch(hf_timer_link(&home->order_timers, hf_timer_hint(&home->order_timers, place->arg * HF_MS_NS)), 1);
}

PREFETCH prefetch_plain(const struct hf_partition *home, const struct hf_command *command, struct hf_hint *hint, int stage)
{
    if (stage == 0) {
        prefetch_bucket(&home->cell_index, hint->cell_hash);
        prefetch_bucket(&home->order_index, hint->id_hash);
        return;
    }
    hint->cell_slot = candidate(&home->cell_index, hint->cell_hash);
    prefetch_row(&home->cells, hint->cell_slot);
    prefetch_fresh(&home->orders);
    prefetch_timer(home, command);
}

/* Line 0 lives where the id says, or the place will be refused. */
PREFETCH prefetch_place(const struct hf_engine *engine, const struct hf_command *command, int stage)
{
    const struct hf_line *line = hf_command_lines(command);
    const struct hf_partition *home = &engine->partitions[hf_partition_of_id(engine, command->id)], *p = home;
    for (unsigned i = 0; i < command->line_count; i++) {
        if (i > 0)
            p = &engine->partitions[hf_partition_of_sku(engine, &line[i].sku)];
        prefetch_key(&p->cell_index, &p->cells, hf_hash_cell(engine, &line[i].sku, line[i].location), stage);
    }
    if (stage == 0) {
        prefetch_bucket(&home->order_index, hf_hash_id(engine, command->id));
        return;
    }
    prefetch_fresh(&home->orders);
    prefetch_timer(home, command);
    for (uint32_t i = 1; i < command->line_count && i <= LINES_AHEAD; i++)
        prefetch_nth(&home->lines, i - 1);
}

/* A definition or a stock command: its SKU, its cell, and the id that it will leave behind. */
PREFETCH prefetch_catalogue(const struct hf_engine *engine, const struct hf_partition *home, const struct hf_command *command, int stage)
{
    const struct hf_line *line = hf_command_lines(command);
    uint32_t sku_hash = hf_hash_words(engine, line->sku.word[0], line->sku.word[1]);
    prefetch_key(&home->sku_index, &home->skus, sku_hash, stage);
    if (stage == 0) {
        prefetch_bucket(&home->order_index, hf_hash_id(engine, command->id));
    } else {
        prefetch_fresh(&home->remembered);
        prefetch_fresh(command->opcode == HF_DEFINE_SKU ? &home->skus : &home->cells);
    }
    if (command->opcode != HF_DEFINE_SKU)
        prefetch_key(&home->cell_index, &home->cells, hf_hash_cell(engine, &line->sku, line->location), stage);
}

PREFETCH prefetch_request_key(const struct hf_engine *engine, const struct hf_command *command, int stage)
{
    struct hf_request_key key;
    if (!hf_command_request_key(command, &key))
        return;
    const struct hf_partition *p = &engine->partitions[hf_request_key_route(&key) & engine->mask];
    prefetch_key(&p->key_index, &p->keys, hf_hash_words(engine, key.word[0], key.word[1]), stage);
    if (stage == 1)
        prefetch_fresh(&p->keys);
}

/* Out of the way of the plain ones; the empty assembly is its effect. */
static __attribute__((noinline)) void prefetch_other(const struct hf_engine *engine, const struct hf_command *command, int stage)
{
    __asm__ volatile("");
    const struct hf_partition *home = &engine->partitions[hf_engine_home(engine, command)];
    unsigned family = hf_opcode_family(command->opcode);
    if (command->ext_bytes != 0)
        prefetch_request_key(engine, command, stage);
    if (command->opcode == HF_PLACE) {
        prefetch_place(engine, command, stage);
        return;
    }
    if (stage == 0 && !hf_id_none(command->id))
        prefetch_bucket(&home->remembered_index, hf_hash_id(engine, command->id));
    if (family == HF_FAMILY_ORDER || command->opcode == HF_GET_ORDER) {
        prefetch_key(&home->order_index, &home->orders, hf_hash_id(engine, command->body.verb.order), stage);
    } else if (family == HF_FAMILY_STOCK || command->opcode == HF_DEFINE_SKU) {
        prefetch_catalogue(engine, home, command, stage);
    } else if (command->opcode == HF_GET_CELL) {
        const struct hf_line *line = hf_command_lines(command);
        prefetch_key(&home->cell_index, &home->cells, hf_hash_cell(engine, &line->sku, line->location), stage);
    } else if (command->opcode == HF_EXPIRE || command->opcode == HF_FORGET) {
        for (uint32_t i = 0; i < command->body.sweep.count; i++)
            prefetch_key(&home->order_index, &home->orders, hf_hash_id(engine, hf_sweep_id(command, i)), stage);
    }
}

void hf_engine_prefetch(const struct hf_engine *engine, const struct hf_command *command, struct hf_hint *hint, int stage)
{
    if (hint->plain)
        prefetch_plain(&engine->partitions[hint->partition], command, hint, stage);
    else
        prefetch_other(engine, command, stage);
}

/* --- executing --- */

static void step_other(struct hf_run *run)
{
    hf_refuse(run, HF_UNKNOWN_OPCODE, 0);
}

static void (*verb_of(uint16_t opcode))(struct hf_run *)
{
    static void (*const internal[])(struct hf_run *) = {NULL,           hf_step_expire,       hf_step_mark,
                                                        hf_step_forget, hf_step_purge_limits, hf_step_purge_keys};
    static void (*const define[])(struct hf_run *) = {NULL, hf_step_define_sku, hf_step_define_location, hf_step_define_policy};
    switch (opcode) {
    case HF_PLACE:
        return hf_step_place;
    case HF_DEFINE_SKU:
    case HF_DEFINE_LOCATION:
    case HF_DEFINE_POLICY:
        return define[opcode & 0xff];
    case HF_EXPIRE:
    case HF_MARK:
    case HF_FORGET:
    case HF_PURGE_LIMITS:
    case HF_PURGE_KEYS:
        return internal[opcode & 0xff];
    default:
        break;
    }
    switch (hf_opcode_family(opcode)) {
    case HF_FAMILY_STOCK:
        return hf_step_stock;
    case HF_FAMILY_ORDER:
        return hf_step_verb;
    case HF_FAMILY_QUERY:
        return hf_step_query;
    default:
        return step_other;
    }
}

void hf_engine_step(struct hf_engine *engine, struct hf_step *step)
{
    if (step->hint && step->hint->plain && hf_place_plain(engine, step))
        return;
    uint32_t number = hf_engine_home(engine, step->command);
    struct hf_request_key key;
    struct hf_run run = {.engine = engine,
                         .step = step,
                         .command = step->command,
                         .answer = step->answer,
                         .home = &engine->partitions[number],
                         .home_number = number};
    /* A mark holds the words of its residue class alone: its home may be somebody else's now. */
    bool at_home = step->command->opcode != HF_MARK;
    run.now_ns = at_home ? hf_later(step->now_ns, run.home->last_ns) : step->now_ns;
    *step->answer = (struct hf_answer){.length = sizeof(struct hf_answer), .opcode = step->command->opcode};
    step->outcome_bytes = 0;
    step->reads_state = false;
    if (__builtin_expect(step->command->ext_bytes != 0, 0) && hf_command_request_key(step->command, &key))
        hf_step_keyed(&run, &key, verb_of(step->command->opcode));
    else if (step->command->opcode == HF_PLACE)
        hf_step_place(&run);
    else
        verb_of(step->command->opcode)(&run);
    if (step->outcome_bytes != 0 && at_home)
        run.home->last_ns = run.now_ns;
}

/* The engine's own records: holds that end, marks, what is forgotten. */
#include "tests/oracle/oracle_p.h"

static const struct hf_m_order *order_of(struct hf_taking *taking, struct hf_id id)
{
    return hf_model_view_order(&taking->before, id);
}

static bool sweep_form(struct hf_taking *taking, uint32_t ids_per_line)
{
    const struct hf_command *command = taking->command;
    uint32_t count = command->body.sweep.count, partition = command->body.sweep.partition;
    if (count == 0 || (count + ids_per_line - 1) / ids_per_line != command->line_count)
        return hf_model_fault(taking->oracle, taking->position, "a sweep of %u in %u lines", count, command->line_count);
    if (partition >= taking->oracle->options.partitions || partition != taking->record->home)
        return hf_model_fault(taking->oracle, taking->position, "a sweep of partition %u with home %u", partition, taking->record->home);
    return true;
}

static bool id_home(struct hf_taking *taking, struct hf_id id)
{
    return hf_partition(hf_id_route(id), taking->oracle->options.partitions) == taking->command->body.sweep.partition;
}

static bool fault_of_id(struct hf_taking *taking, struct hf_id id, const char *what)
{
    return hf_model_fault(taking->oracle, taking->position, "%016llx%016llx: %s", (unsigned long long)id.high, (unsigned long long)id.low,
                          what);
}

static bool may_expire(struct hf_taking *taking, uint32_t i)
{
    struct hf_oracle *oracle = taking->oracle;
    struct hf_id id = hf_sweep_id(taking->command, i);
    const struct hf_m_order *order = order_of(taking, id);
    uint64_t now = taking->record->time_ns, late = oracle->options.expire_late_ns_max;
    if (!order || !id_home(taking, id))
        return fault_of_id(taking, id, "expired, but no order of this home has that id");
    if (order->state != HF_HELD)
        return fault_of_id(taking, id, "expired, but its hold had ended before (I5)");
    if (order->due_ns > now)
        return fault_of_id(taking, id, "expired before its time");
    if (late != 0 && now - order->due_ns > late)
        return fault_of_id(taking, id, "given back too late after its time");
    if (i > 0) {
        struct hf_id before = hf_sweep_id(taking->command, i - 1);
        const struct hf_m_order *earlier = order_of(taking, before);
        if (earlier->due_ns > order->due_ns || (earlier->due_ns == order->due_ns && hf_id_compare(before, id) >= 0))
            return fault_of_id(taking, id, "expired out of the order of (due, id)");
    }
    return true;
}

/* Units that order `index` of the sweep gave back at the cell. */
static int64_t swept_units(struct hf_taking *taking, uint32_t index, const struct hf_sku *sku, uint32_t location)
{
    int64_t units = 0;
    for (uint32_t i = 0; i < taking->record->line_count; i++) {
        struct hf_sku touched;
        struct hf_touch touch = hf_model_taking_touch(taking, i, &touched);
        if (touch.index == index && touch.location == location && hf_sku_equal(&touched, sku))
            units += touch.quantity;
    }
    return units;
}

static int64_t order_units(const struct hf_m_order *order, const struct hf_sku *sku, uint32_t location)
{
    int64_t units = 0;
    for (uint32_t i = 0; i < order->line_count; i++)
        if (order->lines[i].location == location && hf_sku_equal(&order->lines[i].sku, sku))
            units += order->lines[i].quantity;
    return units;
}

/* Each order's lines in the touches, and nothing else. */
static bool swept_touches(struct hf_taking *taking)
{
    uint32_t count = taking->command->body.sweep.count;
    for (uint32_t i = 0; i < count; i++) {
        struct hf_id id = hf_sweep_id(taking->command, i);
        const struct hf_m_order *order = order_of(taking, id);
        for (uint32_t k = 0; k < order->line_count; k++) {
            const struct hf_m_line *line = &order->lines[k];
            if (swept_units(taking, i, &line->sku, line->location) != order_units(order, &line->sku, line->location))
                return fault_of_id(taking, id, "the touches do not give back what its lines hold");
        }
    }
    for (uint32_t i = 0; i < taking->record->line_count; i++) {
        struct hf_sku sku;
        struct hf_touch touch = hf_model_taking_touch(taking, i, &sku);
        if (touch.index >= count)
            return hf_model_fault(taking->oracle, taking->position, "touch %u is of no swept order", i);
        struct hf_id id = hf_sweep_id(taking->command, touch.index);
        if (order_units(order_of(taking, id), &sku, touch.location) == 0)
            return fault_of_id(taking, id, "a touch gives back what no line holds");
        if (!hf_model_taking_touch_check(taking, i))
            return false;
    }
    return true;
}

static bool take_expire(struct hf_taking *taking)
{
    uint32_t count = taking->command->body.sweep.count;
    if (!sweep_form(taking, 2))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!may_expire(taking, i))
            return false;
    for (uint32_t i = 0; i < count; i++) {
        struct hf_m_order *order = hf_model_write_order(taking->oracle, hf_sweep_id(taking->command, i));
        hf_model_release_order(taking->oracle, order, HF_EXPIRED, taking->record->time_ns);
        order->version++;
        order->changed_ns = taking->record->time_ns;
    }
    return swept_touches(taking);
}

static bool take_mark(struct hf_taking *taking)
{
    struct hf_oracle *oracle = taking->oracle;
    uint64_t mark_ms = taking->command->body.mark.mark_ms, now_ms = taking->record->time_ns / 1000000;
    uint32_t modulus = taking->command->body.mark.modulus, residue = taking->command->body.mark.residue;
    if (taking->record->home != 0 || taking->record->line_count != 0)
        return hf_model_fault(oracle, taking->position, "a mark with home %u and %u touched lines", taking->record->home,
                              taking->record->line_count);
    if (modulus == 0 || residue >= modulus)
        return hf_model_fault(oracle, taking->position, "a mark of residue %u modulo %u", residue, modulus);
    if (mark_ms + oracle->options.retention_ms > now_ms)
        return hf_model_fault(oracle, taking->position, "mark %llu is not %llu ms behind engine time %llu", (unsigned long long)mark_ms,
                              (unsigned long long)oracle->options.retention_ms, (unsigned long long)now_ms);
    for (uint32_t p = residue; p < oracle->options.partitions; p += modulus) {
        struct hf_key key = hf_model_key_number(p);
        const struct hf_m_partition *old = hf_model_store_at(&oracle->store[HF_PARTITIONS], &key, HF_NEWEST);
        if (!old || old->mark_ms < mark_ms)
            ((struct hf_m_partition *)hf_model_store_write(&oracle->store[HF_PARTITIONS], &key))->mark_ms = mark_ms;
    }
    return true;
}

/* NULL if the order may be forgotten, else why not. */
const char *hf_model_order_kept(const struct hf_m_order *order, uint64_t mark)
{
    if (!hf_model_order_terminal(order))
        return "forgotten, but it is not terminal";
    for (uint32_t i = 0; i < order->command_count; i++)
        if (order->command_ms[i] > mark)
            return "forgotten, though the id of a command of it is newer than the mark";
    return order->changed_ns / 1000000 > mark ? "forgotten, though its last change is newer than the mark" : NULL;
}

static void forget_order(struct hf_oracle *oracle, const struct hf_m_order *order)
{
    struct hf_key key = hf_model_key_id(order->id);
    oracle->counts.lines -= order->line_count;
    hf_model_store_remove(&oracle->store[HF_ORDERS], &key);
    hf_model_store_remove(&oracle->store[HF_IDS], &key);
}

static bool forget_id(struct hf_taking *taking, struct hf_id id)
{
    struct hf_oracle *oracle = taking->oracle;
    const struct hf_m_order *order = order_of(taking, id);
    const struct hf_m_seen *seen = hf_model_view_seen(&taking->before, id);
    uint64_t mark = hf_model_view_mark(&taking->before, hf_id_route(id));
    bool table = seen && seen->in_table;
    struct hf_key key = table ? seen->table : (struct hf_key){{0}};
    if ((!order && !table) || !id_home(taking, id))
        return fault_of_id(taking, id, "forgotten, but this home knows no such id");
    if (hf_id_ms(id) > mark)
        return fault_of_id(taking, id, "forgotten, though its time is newer than the mark");
    /* One id may stand for an order and for a command in the table: the one that may go is meant, or both. */
    const char *kept = order ? hf_model_order_kept(order, mark) : NULL;
    if (kept && !table)
        return fault_of_id(taking, id, kept);
    if (order && !kept) {
        forget_order(oracle, order);
        if (table)
            ((struct hf_m_id *)hf_model_store_write(&oracle->store[HF_IDS], &key))->maybe_gone = true;
        return true;
    }
    struct hf_key bare = hf_model_key_id(id);
    hf_model_store_remove(&oracle->store[HF_IDS], &key);
    hf_model_store_remove(&oracle->store[HF_SEEN], &bare);
    return true;
}

static bool take_forget(struct hf_taking *taking)
{
    if (!sweep_form(taking, 2))
        return false;
    for (uint32_t i = 0; i < taking->command->body.sweep.count; i++)
        if (!forget_id(taking, hf_sweep_id(taking->command, i)))
            return false;
    return taking->record->line_count == 0 ||
           hf_model_fault(taking->oracle, taking->position, "forgetting touched %u lines", taking->record->line_count);
}

static bool take_purge(struct hf_taking *taking)
{
    struct hf_oracle *oracle = taking->oracle;
    if (!sweep_form(taking, 1))
        return false;
    for (uint32_t i = 0; i < taking->command->line_count; i++) {
        const struct hf_line *line = hf_command_lines(taking->command) + i;
        if (!hf_model_limit_purge(oracle, line->price, &line->sku, taking->record->time_ns))
            return hf_model_fault(oracle, taking->position, "a counter of customer %llu is purged, but all are of the current window (I6)",
                                  (unsigned long long)line->price);
    }
    return taking->record->line_count == 0 ||
           hf_model_fault(oracle, taking->position, "purging touched %u lines", taking->record->line_count);
}

/* Keys whose id is still known stay; a record is worth one that goes. */
static bool take_purge_keys(struct hf_taking *taking)
{
    struct hf_oracle *oracle = taking->oracle;
    bool any = false;
    if (!sweep_form(taking, 2))
        return false;
    for (uint32_t i = 0; i < taking->command->body.sweep.count; i++) {
        struct hf_id id = hf_sweep_id(taking->command, i);
        struct hf_request_key request = {{id.high, id.low}};
        struct hf_key key = hf_model_key_request(&request);
        const struct hf_m_key *known = hf_model_view_key(&taking->before, &request);
        if (hf_partition(hf_request_key_route(&request), oracle->options.partitions) != taking->record->home)
            return fault_of_id(taking, id, "a key of another home is purged");
        if (!known || hf_model_view_key_held(&taking->before, known))
            continue;
        hf_model_store_remove(&oracle->store[HF_KEYS], &key);
        any = true;
    }
    if (!any)
        return hf_model_fault(oracle, taking->position, "keys are purged, but the ids of all are still known");
    return taking->record->line_count == 0 ||
           hf_model_fault(oracle, taking->position, "purging touched %u lines", taking->record->line_count);
}

/* What the head of an own record says: that orders expired, or nothing. */
static bool head_check(struct hf_taking *taking)
{
    const struct hf_record *record = taking->record;
    uint8_t order = taking->command->opcode == HF_EXPIRE ? HF_EXPIRED : HF_ORDER_NONE;
    if (record->result != HF_OK || record->order != order || (record->payment | record->fulfilment | record->intent_count) != 0 ||
        record->due_ns != 0 || record->state_version != 0)
        return hf_model_fault(taking->oracle, taking->position, "expected OK, order %u and nothing else, seen %s, %u, %u, %u, version %llu",
                              order, hf_result_name(record->result), record->order, record->payment, record->fulfilment,
                              (unsigned long long)record->state_version);
    return true;
}

bool hf_model_taking_internal(struct hf_taking *taking)
{
    if (!head_check(taking))
        return false;
    switch (taking->command->opcode) {
    case HF_EXPIRE:
        return take_expire(taking);
    case HF_MARK:
        return take_mark(taking);
    case HF_FORGET:
        return take_forget(taking);
    case HF_PURGE_LIMITS:
        return take_purge(taking);
    case HF_PURGE_KEYS:
        return take_purge_keys(taking);
    default:
        return hf_model_fault(taking->oracle, taking->position, "a record of an opcode that has none: %04x", taking->command->opcode);
    }
}

/* Request keys: of two writes under one key only the first has an effect, whatever their ids.
 *
 * A key lives in the partition of its own route, one word more for its command, and comes into being in the record of its command's effect:
 * a refusal leaves no trace of it. It names the id that the command had and the digest of its body under that id. A later command of the
 * same key is judged as if it carried that id, by the very functions that judge a repeated id; with another body it is refused. So a key is
 * held as long as its id: while the order is in its table, or the command id is newer than the mark of its home. Then it is free, also
 * before a purge has taken its row away. */
#include "engine/engine_p.h"

static uint32_t key_hash(const struct hf_engine *engine, const struct hf_request_key *key)
{
    return hf_hash_words(engine, key->word[0], key->word[1]);
}

static uint32_t key_find(const struct hf_engine *engine, const struct hf_partition *p, const struct hf_request_key *key)
{
    struct hf_index_cursor cursor;
    uint32_t slot = hf_index_first(&p->key_index, key_hash(engine, key), &cursor);
    while (slot != 0 && memcmp(&hf_key_at(p, slot)->key, key, sizeof *key) != 0)
        slot = hf_index_next(&p->key_index, &cursor);
    return slot;
}

static struct hf_partition *key_partition(const struct hf_engine *engine, const struct hf_request_key *key)
{
    return &engine->partitions[hf_request_key_route(key) & engine->mask];
}

uint32_t hf_key_home(const struct hf_engine *engine, const struct hf_command *command, uint32_t i)
{
    struct hf_id id = hf_sweep_id(command, i);
    const struct hf_request_key key = {{id.high, id.low}};
    const struct hf_partition *p = &engine->partitions[hf_engine_home(engine, command)];
    uint32_t slot = key_find(engine, p, &key);
    return slot ? hf_partition_of_id(engine, hf_key_at(p, slot)->id) : hf_engine_home(engine, command);
}

/* Of an id's own route: the partition in which the command that it stands for was ordered. */
static uint32_t order_of(const struct hf_engine *engine, const struct hf_partition *home, const struct hf_key_row *row)
{
    return hf_order_find(home, hf_hash_id(engine, row->id), row->id);
}

static bool is_held(const struct hf_engine *engine, const struct hf_partition *home, const struct hf_key_row *row)
{
    return row->opcode == HF_PLACE ? order_of(engine, home, row) != 0 : hf_id_ms(row->id) > home->mark_ms;
}

static void arm(struct hf_partition *p, uint32_t slot, uint64_t look_ns, uint64_t now_ns)
{
    hf_timer_remove(&p->key_timers, slot);
    hf_key_at(p, slot)->look_ns = look_ns;
    hf_timer_insert(&p->key_timers, slot, look_ns, now_ns);
}

/* --- a write with a key --- */

/* The command with the id that the key names, in HF_COMMAND_BYTES_MAX bytes, 8-byte aligned. */
static const struct hf_command *shadow_of(uint8_t *shadow, const struct hf_command *command, struct hf_id id)
{
    struct hf_command *copy = (struct hf_command *)(void *)shadow;
    memcpy(copy, command, command->length);
    copy->id = id;
    return copy;
}

static void name_first(struct hf_answer *answer, struct hf_id id)
{
    memcpy((uint8_t *)answer + answer->length, &id, sizeof id);
    answer->length += (uint32_t)sizeof id;
    answer->flags |= HF_ANSWER_KEYED;
}

/* True: answered. False: the key is free, and its row is there to be used again. */
static bool answer_known(struct hf_run *run, const struct hf_key_row *row, void (*verb)(struct hf_run *run))
{
    _Alignas(8) uint8_t shadow[HF_COMMAND_BYTES_MAX];
    const struct hf_command *asked = run->command, *first = shadow_of(shadow, asked, row->id);
    if (row->opcode != asked->opcode || row->digest != hf_command_digest(first)) {
        hf_refuse(run, HF_ID_REUSED, 0);
        return true;
    }
    if (hf_id_route(asked->id) != hf_id_route(row->id)) {
        hf_refuse(run, HF_WRONG_ROUTE, 0);
        return true;
    }
    if (!is_held(run->engine, run->home, row))
        return false;
    run->command = first;
    verb(run);
    run->command = asked;
    if (run->answer->flags & HF_ANSWER_REPEATED)
        name_first(run->answer, row->id);
    return true;
}

static void keep(struct hf_run *run, struct hf_partition *p, uint32_t slot, const struct hf_request_key *key)
{
    const struct hf_command *command = run->command;
    if (slot == 0) {
        slot = hf_pool_take(&p->keys, run->step->quota);
        *hf_key_at(p, slot) = (struct hf_key_row){.key = *key};
        hf_index_insert(&p->key_index, key_hash(run->engine, key), slot);
        run->step->quota->left[HF_TABLE_REQUEST_KEYS]--;
    }
    struct hf_key_row *row = hf_key_at(p, slot);
    row->id = command->id;
    row->digest = hf_command_digest(command);
    row->opcode = command->opcode;
    arm(p, slot, hf_ms_to_ns(hf_id_ms(row->id)) + run->engine->retention_ns, run->now_ns);
    p->last_ns = run->now_ns;
}

/* Precedence: the key is held: ID_REUSED, WRONG_ROUTE, or what the first id's repeat gets; FULL for the table of keys; then the command's
 * own. */
void hf_step_keyed(struct hf_run *run, const struct hf_request_key *key, void (*verb)(struct hf_run *run))
{
    struct hf_partition *p = key_partition(run->engine, key);
    uint32_t slot = key_find(run->engine, p, key);
    if (slot != 0 && answer_known(run, hf_key_at(p, slot), verb))
        return;
    /* An id that is not newer than the mark has no effect any more, but its repeat may still be known. */
    bool new = hf_id_ms(run->command->id) > run->home->mark_ms;
    if (!hf_room(run, HF_TABLE_REQUEST_KEYS, slot == 0 && new ? 1 : 0))
        return;
    run->now_ns = hf_later(run->now_ns, p->last_ns);
    verb(run);
    if (run->step->outcome_bytes != 0)
        keep(run, p, slot, key);
}

/* --- forgetting --- */

static uint64_t look_again_ns(const struct hf_run *run, const struct hf_partition *home, const struct hf_key_row *row)
{
    uint64_t look_ns = hf_ms_to_ns(hf_id_ms(row->id)) + run->engine->retention_ns;
    if (row->opcode == HF_PLACE) {
        const struct hf_order *order = hf_order_at(home, order_of(run->engine, home, row));
        look_ns = hf_order_terminal(home, order) ? hf_order_look_ns(run->engine, order) : run->now_ns + run->engine->retention_ns;
    }
    return hf_later(look_ns, run->now_ns + HF_LOOK_AGAIN_NS);
}

static void drop(struct hf_run *run, uint32_t slot)
{
    struct hf_partition *p = run->home;
    hf_timer_remove(&p->key_timers, slot);
    hf_index_erase(&p->key_index, key_hash(run->engine, &hf_key_at(p, slot)->key), slot);
    hf_pool_give(&p->keys, slot);
    run->step->quota->left[HF_TABLE_REQUEST_KEYS]++;
}

void hf_step_purge_keys(struct hf_run *run)
{
    bool any = false;
    for (uint32_t i = 0; i < run->command->body.sweep.count; i++) {
        struct hf_id id = hf_sweep_id(run->command, i);
        uint32_t slot = key_find(run->engine, run->home, &(struct hf_request_key){{id.high, id.low}});
        if (slot == 0)
            continue;
        const struct hf_key_row *row = hf_key_at(run->home, slot);
        const struct hf_partition *home = &run->engine->partitions[hf_partition_of_id(run->engine, row->id)];
        if (is_held(run->engine, home, row)) {
            arm(run->home, slot, look_again_ns(run, home, row), run->now_ns);
            continue;
        }
        drop(run, slot);
        any = true;
    }
    if (any)
        hf_outcome_write(run, &(struct hf_outcome){.result = HF_OK});
}

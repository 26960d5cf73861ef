/* The state in one number, and whether it keeps the promises of the domain. Both walk every table; all words are held. */
#include "engine/engine_p.h"

#include <stdlib.h>

/* --- digest --- */

/* A row's canonical words; its digest is that of its bytes. */
struct canon {
    uint64_t word[32];
    unsigned count;
};

static void put(struct canon *canon, uint64_t word)
{
    canon->word[canon->count++] = word;
}

static uint64_t canon_digest(uint64_t seed, const struct canon *canon)
{
    return hf_digest_bytes(seed, canon->word, canon->count * sizeof canon->word[0]);
}

static void put_pair(struct canon *canon, int64_t high, int64_t low)
{
    put(canon, (uint64_t)high << 32 | (uint32_t)low);
}

static uint64_t digest_sku(const struct hf_sku_row *sku)
{
    struct canon canon = {.count = 0};
    put(&canon, sku->sku.word[0]);
    put(&canon, sku->sku.word[1]);
    put_pair(&canon, sku->per_order, sku->per_customer);
    put_pair(&canon, sku->window_s, sku->safety);
    put(&canon, sku->opens_ms);
    put(&canon, sku->closes_ms);
    put(&canon, sku->window_serial);
    return hf_digest_bytes(canon_digest(HF_TABLE_SKUS, &canon), sku->name, sku->name_bytes);
}

static uint64_t digest_cell(const struct hf_partition *p, const struct hf_cell *cell)
{
    struct canon canon = {.count = 0};
    bool own = (cell->stamp & HF_CELL_OWN_SAFETY) != 0;
    put(&canon, cell->sku.word[0]);
    put(&canon, cell->sku.word[1]);
    put_pair(&canon, cell->location, cell->sellable);
    put_pair(&canon, cell->damaged, cell->quality_control);
    put_pair(&canon, cell->reserved, cell->allocated);
    put_pair(&canon, own, own ? cell->safety : 0);
    put(&canon, hf_cell_version(cell));
    if (cell->side != 0) {
        put(&canon, hf_source_at(p, cell->side)->source);
        put(&canon, hf_source_at(p, cell->side)->sequence);
    }
    return canon_digest(HF_TABLE_CELLS, &canon);
}

static uint64_t digest_remembered(const struct hf_remembered *known)
{
    struct canon canon = {.count = 0};
    put(&canon, known->id.high);
    put(&canon, known->id.low);
    put(&canon, known->digest);
    put(&canon, known->value);
    put_pair(&canon, known->opcode, known->result);
    return canon_digest(HF_TABLE_COMMAND_IDS, &canon);
}

static uint64_t digest_side(const struct hf_partition *p, uint64_t seed, const struct hf_order_side *side)
{
    struct canon canon = {.count = 0};
    uint64_t remembered = 0;
    put(&canon, (uint64_t)side->authorised);
    put(&canon, (uint64_t)side->captured);
    put(&canon, (uint64_t)side->refunded);
    put(&canon, (uint64_t)side->open_amount);
    put_pair(&canon, side->open_number, side->open_kind);
    put_pair(&canon, side->currency[0], side->currency[1] << 8 | side->currency[2]);
    for (uint32_t at = side->history; at != 0; at = hf_remembered_at(p, at)->next)
        remembered += digest_remembered(hf_remembered_at(p, at));
    put(&canon, remembered);
    return canon_digest(seed, &canon);
}

static uint64_t digest_order(const struct hf_partition *p, struct hf_order *order)
{
    struct canon canon = {.count = 0};
    put(&canon, order->id.high);
    put(&canon, order->id.low);
    put(&canon, order->digest);
    put(&canon, order->customer);
    put(&canon, order->due_ns);
    put(&canon, order->placed_ns);
    put(&canon, order->changed_ns);
    put_pair(&canon, order->version, order->line_count);
    put_pair(&canon, order->order << 8 | order->payment, order->fulfilment << 8 | order->extensions);
    put_pair(&canon, order->intents, order->channel);
    uint64_t h = canon_digest(HF_TABLE_ORDERS, &canon);
    struct hf_order_walk walk;
    for (const struct hf_order_line *line = hf_order_line_first(&walk, p, order); line; line = hf_order_line_next(&walk)) {
        canon.count = 0;
        put(&canon, line->sku.word[0]);
        put(&canon, line->sku.word[1]);
        put_pair(&canon, line->location, line->quantity);
        put(&canon, line->place >> 16);
        put(&canon, line->window);
        h = canon_digest(h, &canon);
    }
    return order->side ? digest_side(p, h, hf_side_at(p, order->side)) : h;
}

static uint64_t digest_limit(const struct hf_partition *p, const struct hf_limit *limit)
{
    const struct hf_sku *sku = &hf_sku_at(p, limit->sku_slot)->sku;
    struct canon canon = {.count = 0};
    put(&canon, limit->customer);
    put(&canon, sku->word[0]);
    put(&canon, sku->word[1]);
    put(&canon, limit->units);
    put(&canon, limit->ends_ms);
    put(&canon, limit->starts_ms);
    put(&canon, limit->serial);
    return canon_digest(HF_TABLE_LIMITS, &canon);
}

static uint64_t digest_key(const struct hf_key_row *row)
{
    struct canon canon = {.count = 0};
    put(&canon, row->key.word[0]);
    put(&canon, row->key.word[1]);
    put(&canon, row->id.high);
    put(&canon, row->id.low);
    put(&canon, row->digest);
    put(&canon, row->opcode);
    return canon_digest(HF_TABLE_REQUEST_KEYS, &canon);
}

/* Calls visit() for every slot of an index. */
typedef void hf_visit(void *context, const struct hf_partition *p, uint32_t slot);

static void index_walk(const struct hf_partition *p, const struct hf_index *index, hf_visit *visit, void *context)
{
    for (uint64_t i = 0; i < index->mask + 1ull + index->split; i++)
        for (const struct hf_index_bucket *b = &index->buckets[i]; b; b = b->next ? &index->overflow[b->next] : NULL)
            for (uint32_t e = 0; e < b->count; e++)
                visit(context, p, b->slot[e]);
}

static void add_sku(void *sum, const struct hf_partition *p, uint32_t slot)
{
    *(uint64_t *)sum += digest_sku(hf_sku_at(p, slot));
}

static void add_cell(void *sum, const struct hf_partition *p, uint32_t slot)
{
    *(uint64_t *)sum += digest_cell(p, hf_cell_at(p, slot));
}

static void add_order(void *sum, const struct hf_partition *p, uint32_t slot)
{
    *(uint64_t *)sum += digest_order(p, hf_order_at(p, slot));
}

static void add_remembered(void *sum, const struct hf_partition *p, uint32_t slot)
{
    *(uint64_t *)sum += digest_remembered(hf_remembered_at(p, slot));
}

static void add_limit(void *sum, const struct hf_partition *p, uint32_t slot)
{
    *(uint64_t *)sum += digest_limit(p, hf_limit_at(p, slot));
}

static void add_key(void *sum, const struct hf_partition *p, uint32_t slot)
{
    *(uint64_t *)sum += digest_key(hf_key_at(p, slot));
}

uint64_t hf_engine_digest(const struct hf_engine *engine)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i <= engine->mask; i++) {
        const struct hf_partition *p = &engine->partitions[i];
        uint64_t mark[2] = {i, p->mark_ms};
        sum += p->mark_ms ? hf_digest_bytes(HF_MARK, mark, sizeof mark) : 0;
        index_walk(p, &p->sku_index, add_sku, &sum);
        index_walk(p, &p->cell_index, add_cell, &sum);
        index_walk(p, &p->order_index, add_order, &sum);
        index_walk(p, &p->remembered_index, add_remembered, &sum);
        index_walk(p, &p->limit_index, add_limit, &sum);
        index_walk(p, &p->key_index, add_key, &sum);
    }
    for (uint32_t i = 0; i < engine->location_count; i++)
        sum += hf_digest_bytes(HF_TABLE_LOCATIONS + ((uint64_t)engine->locations[i].location << 8), engine->locations[i].name,
                               engine->locations[i].name_bytes);
    return sum;
}

/* --- audit --- */

/* Units that live orders promise, by cell slot of each partition: recomputed, then compared with what the cells say. */
struct promised {
    int64_t reserved, allocated;
};

struct audit {
    const struct hf_engine *engine;
    struct hf_audit_item *out;
    struct promised **promised; /* [partition][slot] */
    uint64_t **counted;         /* [partition][limit slot]: units of live and kept orders in the counter's window */
};

static void violate(struct audit *audit, unsigned invariant)
{
    audit->out->violations++;
    audit->out->by_invariant[invariant]++;
}

static void audit_money(struct audit *audit, const struct hf_partition *p, const struct hf_order *order)
{
    const struct hf_order_side *side = order->side ? hf_side_at(p, order->side) : NULL;
    if (side && !(0 <= side->refunded && side->refunded <= side->captured && side->captured <= side->authorised))
        violate(audit, 7);
}

/* A hold is held or has ended in exactly one way, and only a held order has an end before it. */
static void audit_hold(struct audit *audit, const struct hf_order *order)
{
    bool held = order->order == HF_HELD;
    bool known = order->order >= HF_HELD && order->order <= HF_EXPIRED;
    if (!known || held != (order->due_ns != 0) || (held && (order->payment != HF_PAY_NONE || order->timer.prev == 0)))
        violate(audit, 5);
}

static void audit_order(void *context, const struct hf_partition *p, uint32_t slot)
{
    struct audit *audit = context;
    struct hf_order *order = hf_order_at(p, slot);
    struct hf_order_walk walk;
    audit->out->orders++;
    audit_money(audit, p, order);
    audit_hold(audit, order);
    for (const struct hf_order_line *line = hf_order_line_first(&walk, p, order); line; line = hf_order_line_next(&walk)) {
        uint32_t number = line->place & 0xffff;
        const struct hf_partition *at = &audit->engine->partitions[number];
        struct promised *cell = &audit->promised[number][line->cell];
        cell->reserved += order->order == HF_HELD ? line->quantity : 0;
        cell->allocated += order->order == HF_CONFIRMED ? line->quantity : 0;
        if (line->window == HF_WINDOW_NONE)
            continue;
        uint32_t limit = hf_limit_find(audit->engine, at, order->customer, hf_cell_at(at, line->cell)->sku_slot);
        if (limit != 0 && hf_limit_at(at, limit)->serial == line->window)
            audit->counted[number][limit] += line->quantity;
    }
}

static void audit_cell(void *context, const struct hf_partition *p, uint32_t slot)
{
    struct audit *audit = context;
    const struct hf_cell *cell = hf_cell_at(p, slot);
    const struct promised *sum = &audit->promised[p - audit->engine->partitions][slot];
    bool oversold = (cell->stamp & HF_CELL_OVERSOLD) != 0;
    audit->out->cells++;
    audit->out->oversold_cells += oversold;
    if (cell->reserved < 0 || cell->allocated < 0 || (hf_cell_available(cell) < 0) != oversold)
        violate(audit, 1);
    if (cell->reserved != sum->reserved || cell->allocated != sum->allocated)
        violate(audit, 3);
}

/* Forgotten orders count too, so a counter may hold more than the orders that are here, never less. */
static void audit_limit(void *context, const struct hf_partition *p, uint32_t slot)
{
    struct audit *audit = context;
    if (hf_limit_at(p, slot)->units < audit->counted[p - audit->engine->partitions][slot])
        violate(audit, 6);
}

static void audit_free(struct audit *audit)
{
    for (uint32_t i = 0; i <= audit->engine->mask; i++) {
        if (audit->promised)
            free(audit->promised[i]);
        if (audit->counted)
            free(audit->counted[i]);
    }
    free(audit->promised);
    free(audit->counted);
}

static bool audit_alloc(struct audit *audit)
{
    const struct hf_engine *engine = audit->engine;
    /* lint-ok: an audit is asked for by hand, with every word held; no step waits for memory. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    audit->promised = calloc(engine->mask + 1ull, sizeof *audit->promised);
    audit->counted = calloc(engine->mask + 1ull, sizeof *audit->counted); /* lint-ok: as above */
    for (uint32_t i = 0; audit->promised && audit->counted && i <= engine->mask; i++) {
        audit->promised[i] = calloc(engine->partitions[i].cells.used + 1ull, sizeof **audit->promised); /* lint-ok: as above */
        audit->counted[i] = calloc(engine->partitions[i].limits.used + 1ull, sizeof **audit->counted);  /* lint-ok: as above */
        if (!audit->promised[i] || !audit->counted[i])
            return false;
    }
    return audit->promised && audit->counted;
}

void hf_engine_audit(const struct hf_engine *engine, struct hf_audit_item *out)
{
    struct audit audit = {.engine = engine, .out = out};
    *out = (struct hf_audit_item){.digest = hf_engine_digest(engine)};
    if (audit_alloc(&audit)) {
        for (uint32_t i = 0; i <= engine->mask; i++)
            index_walk(&engine->partitions[i], &engine->partitions[i].order_index, audit_order, &audit);
        for (uint32_t i = 0; i <= engine->mask; i++) {
            index_walk(&engine->partitions[i], &engine->partitions[i].cell_index, audit_cell, &audit);
            index_walk(&engine->partitions[i], &engine->partitions[i].limit_index, audit_limit, &audit);
        }
    } else {
        out->violations = UINT64_MAX; /* nothing was shown to be sound */
    }
    audit_free(&audit);
}

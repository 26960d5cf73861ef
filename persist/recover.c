/* The recovery rule (docs/journal.md): follow the chain; at the first place where it does not go on, tell a torn tail from damage. */
#include "persist/block_check.h"
#include "persist/log_p.h"
#include "persist/say.h"
#include "persist/scan.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { WINDOW_RECORDS = 16, PREFETCH_STAGES = 2 };

struct recovery {
    struct hf_log *log;
    const struct hf_recovery_calls *calls;
    struct hf_scan *scan;
    struct hf_log_tip tip;
    uint32_t beginning; /* next in the manifest's list */
    uint64_t torn_end;
    bool missing; /* what was judged last is missing from its segment, or with it, although a later one exists */
    uint64_t records, bytes;
    uint64_t *damaged;
};

static int damage(struct recovery *r, uint64_t position, const char *why)
{
    uint64_t offset = position % r->log->geometry.segment_bytes;
    *r->damaged = position;
    return hf_say(r->log->error, HF_E_DAMAGED,
                  "the log in %s is damaged at position %" PRIu64 " (log-%016" PRIx64 ".seg, offset %" PRIu64
                  "): %s; do not start on it: restore the directory from a copy, or keep it and look with `holdfast journal verify`",
                  r->log->options.dir == NULL ? "(memory)" : r->log->options.dir, position, position - offset, offset, why);
}

static uint64_t room_of(const struct recovery *r, uint64_t position)
{
    return r->log->geometry.block_max - position % r->log->geometry.block_max;
}

static int judge(struct recovery *r, uint64_t position, const uint8_t **at, enum hf_block_verdict *verdict)
{
    int e = hf_scan_at(r->scan, position, at, &r->missing, r->log->error);
    *verdict = e != 0 || *at == NULL ? HF_BLOCK_ABSENT : hf_block_judge(*at, position, room_of(r, position), r->log->manifest.seed);
    return e;
}

/* Terms change only where the manifest says so; terms that left its list are older than all in it. */
static bool term_follows(const struct recovery *r, uint64_t term)
{
    const struct hf_manifest *manifest = &r->log->manifest;
    if (term == r->tip.term)
        return true;
    bool listed = manifest->beginning_count != 0 && term >= manifest->beginnings[0].term;
    return term > r->tip.term && !listed && manifest->beginning_count == HF_MANIFEST_BEGINNINGS_MAX;
}

static bool continues(const struct recovery *r, const struct hf_block *block)
{
    return block->number == r->tip.number && block->previous == r->tip.chain && term_follows(r, block->term);
}

/* The next block of the chain lies at the tip or, when what opened it did not fit there, at the next multiple of block_max. */
static int find_next(struct recovery *r, const uint8_t **at, uint64_t *position, bool *found)
{
    uint64_t places[2] = {r->tip.position, r->tip.position + room_of(r, r->tip.position)};
    unsigned count = r->tip.position % r->log->geometry.block_max == 0 ? 1 : 2;
    *found = false;
    for (unsigned i = 0; i < count && !*found; i++) {
        enum hf_block_verdict verdict;
        int e = judge(r, places[i], at, &verdict);
        if (e != 0)
            return e;
        struct hf_block head;
        if (verdict != HF_BLOCK_ABSENT)
            memcpy(&head, *at, sizeof head);
        if (verdict == HF_BLOCK_NEWER && head.term >= r->tip.term)
            return hf_say(r->log->error, HF_E_NEWER,
                          "the block at position %" PRIu64 " has format %" PRIu32 ", this program knows %d; use a newer one", places[i],
                          head.format, HF_BLOCK_FORMAT);
        *found = verdict == HF_BLOCK_SOUND && continues(r, &head);
        *position = places[i];
    }
    return 0;
}

static int apply_beginnings(struct recovery *r)
{
    const struct hf_manifest *manifest = &r->log->manifest;
    for (; r->beginning < manifest->beginning_count; r->beginning++) {
        const struct hf_beginning *b = &manifest->beginnings[r->beginning];
        if (b->position > r->tip.position)
            return 0;
        if (b->position < r->tip.position || b->number != r->tip.number || b->chain != r->tip.chain)
            return damage(r, b->position, "what stands before a term's beginning is not what the manifest says of it");
        r->tip.term = b->term;
        if (b->position > r->tip.durable)
            r->tip.durable = b->position;
    }
    return 0;
}

static int hand_over(struct recovery *r, const struct hf_record *const *window, const uint64_t *ends, unsigned count, uint64_t term)
{
    for (int stage = 0; r->calls->prefetch != NULL && stage < PREFETCH_STAGES; stage++)
        for (unsigned i = 0; i < count; i++)
            r->calls->prefetch(r->calls->context, window[i], stage);
    for (unsigned i = 0; i < count; i++) {
        if (ends[i] > r->calls->until)
            continue;
        int e = r->calls->visit == NULL ? 0 : r->calls->visit(r->calls->context, window[i], ends[i], term);
        if (e != 0)
            return e;
        r->records++;
        if (window[i]->time_ns > r->tip.time_ns)
            r->tip.time_ns = window[i]->time_ns;
    }
    return 0;
}

static int walk_records(struct recovery *r, const uint8_t *at, const struct hf_block *block)
{
    const struct hf_record *window[WINDOW_RECORDS];
    uint64_t ends[WINDOW_RECORDS];
    unsigned count = 0;
    uint32_t offset = sizeof *block, records = 0;
    while (offset < block->length) {
        const struct hf_record *record = (const struct hf_record *)(const void *)(at + offset);
        uint32_t left = block->length - offset;
        if (left < sizeof *record || record->length < sizeof *record || record->length > left || record->length % 8 != 0)
            return damage(r, block->position + offset, "a block checks but its records do not fill it");
        offset += record->length;
        records++;
        window[count] = record;
        ends[count++] = block->position + offset;
        if (count == WINDOW_RECORDS || offset == block->length) {
            int e = hand_over(r, window, ends, count, block->term);
            if (e != 0)
                return e;
            count = 0;
        }
    }
    return records == block->records ? 0 : damage(r, block->position, "a block checks but has another number of records than it says");
}

static int accept_block(struct recovery *r, const uint8_t *at, uint64_t position)
{
    struct hf_block block;
    memcpy(&block, at, sizeof block);
    assert(block.position == position);
    int e = r->calls->block == NULL ? 0 : r->calls->block(r->calls->context, &block);
    if (e == 0)
        e = walk_records(r, at, &block);
    if (e != 0)
        return e;
    r->tip.position = position + hf_block_padded_bytes(block.length);
    r->tip.number++;
    r->tip.chain = block.checksum;
    r->tip.term = block.term;
    if (block.durable > r->tip.durable)
        r->tip.durable = block.durable;
    if (block.time_ns > r->tip.time_ns)
        r->tip.time_ns = block.time_ns;
    r->bytes = r->tip.position;
    return 0;
}

static bool is_zero(const uint8_t *at)
{
    return at[0] == 0 && memcmp(at, at + 1, HF_BLOCK_ALIGN - 1) == 0;
}

/* A block of this log that stands elsewhere than it says, in a segment that was moved or by a write that went astray: what it says of the
 * durable position was true all the same. */
static bool stray_vouches(const struct recovery *r, const uint8_t *at, uint64_t position)
{
    struct hf_block head;
    memcpy(&head, at, sizeof head);
    return head.position != position && head.term >= r->tip.term && head.durable > r->tip.position &&
           hf_block_judge(at, head.position, room_of(r, position), r->log->manifest.seed) == HF_BLOCK_SOUND;
}

/* Looks at one place behind the hole; *step: bytes to the next place worth a look. */
static int look_at(struct recovery *r, uint64_t position, const uint8_t *at, enum hf_block_verdict verdict, uint64_t *step)
{
    struct hf_block head;
    uint64_t hole = r->tip.position;
    *step = HF_BLOCK_ALIGN;
    if (verdict == HF_BLOCK_ABSENT && stray_vouches(r, at, position))
        return damage(r, hole, "a block that stands in another place than its own says that this place was durable");
    if (verdict == HF_BLOCK_ABSENT) {
        if (position < hole + HF_LOG_TAIL_MOST_BYTES && !is_zero(at))
            r->torn_end = position + HF_BLOCK_ALIGN;
        return 0;
    }
    memcpy(&head, at, sizeof head);
    if (head.term < r->tip.term) {
        *step = hf_block_padded_bytes(head.length);
        return 0;
    }
    if (head.durable > hole)
        return damage(r, hole, "a later block says that this place was durable");
    if (position > hole + HF_LOG_WINDOW_BYTES)
        return damage(r, hole, "a block stands further behind it than one is ever written ahead of the durable position");
    if (position == hole)
        return damage(r, hole, "a whole block of this term stands here and does not continue the chain");
    r->torn_end = position + hf_block_padded_bytes(head.length);
    return 0;
}

/* Looks to the end of the last segment, because zeros may reach further than what is ever under way, and blocks stand behind them. */
static int judge_hole(struct recovery *r)
{
    const struct hf_manifest *manifest = &r->log->manifest;
    uint64_t hole = r->tip.position;
    if (r->beginning < manifest->beginning_count)
        return damage(r, hole, "a term began after this place, so it was whole then");
    if (manifest->clean)
        return damage(r, hole, "the log was stopped cleanly after this place");
    r->torn_end = hole;
    uint64_t step;
    for (uint64_t position = hole;; position += step) {
        const uint8_t *at;
        enum hf_block_verdict verdict;
        int e = judge(r, position, &at, &verdict);
        if (e != 0)
            return e;
        if (at == NULL)
            return 0;
        if (r->missing)
            return damage(r, hole, "a segment is missing or short here or further on, and later ones exist");
        e = look_at(r, position, at, verdict, &step);
        if (e != 0)
            return e;
    }
    return 0;
}

static int check_clean_end(struct recovery *r, bool *ended)
{
    const struct hf_manifest *manifest = &r->log->manifest;
    *ended = manifest->clean && r->beginning == manifest->beginning_count && r->tip.position == manifest->clean_end;
    if (!*ended)
        return 0;
    if (r->tip.chain != manifest->clean_chain)
        return damage(r, r->tip.position, "the log's last block is not the one that the clean stop recorded");
    r->torn_end = r->tip.durable = r->tip.position;
    return 0;
}

static int follow_chain(struct recovery *r)
{
    for (;;) {
        bool ended, found;
        const uint8_t *at;
        uint64_t position;
        int e = apply_beginnings(r);
        if (e == 0)
            e = check_clean_end(r, &ended);
        if (e != 0 || ended)
            return e;
        e = find_next(r, &at, &position, &found);
        if (e != 0)
            return e;
        if (!found)
            return judge_hole(r);
        e = accept_block(r, at, position);
        if (e != 0)
            return e;
    }
}

int hf_recover_run(struct hf_log *log, const struct hf_recovery_calls *calls, uint64_t *damaged)
{
    struct recovery r = {.log = log, .calls = calls, .damaged = damaged, .tip = {.chain = log->manifest.seed}};
    int e = hf_scan_open(log->backend, &log->geometry, 0, &r.scan, log->error);
    if (e != 0)
        return e;
    e = follow_chain(&r);
    hf_scan_close(r.scan);
    log->tip = r.tip;
    log->info.records = r.records;
    log->info.bytes = r.bytes;
    log->info.end_position = r.tip.position;
    log->info.last_time_ns = r.tip.time_ns;
    log->info.torn_tail_bytes = e == 0 ? r.torn_end - r.tip.position : 0;
    return e;
}

static int flush(struct hf_log *log, uint64_t position)
{
    int e = log->backend->ops->flush(log->backend, position);
    return e == 0 ? 0 : hf_say(log->error, e, "%s", log->backend->error);
}

/* A flush that failed and ended an engine leaves pages that look clean and are not on disk: no later flush would write them, so they must
 * not be read. */
static int flush_page_cache(struct hf_log *log)
{
    return log->options.read_only || log->backend->direct ? 0 : flush(log, 0);
}

int hf_log_recover(struct hf_log *log, hf_log_visit *visit, void (*prefetch)(void *context, const struct hf_record *record, int stage),
                   void *context, uint64_t until, struct hf_log_info *info)
{
    assert(!log->started);
    struct hf_recovery_calls calls = {.visit = visit, .prefetch = prefetch, .context = context, .until = until};
    uint64_t damaged;
    int e = flush_page_cache(log);
    if (e == 0)
        e = hf_recover_run(log, &calls, &damaged);
    if (e == 0 && !log->options.read_only && log->tip.durable < log->tip.position)
        e = flush(log, log->tip.durable);
    if (e != 0)
        return e;
    log->info.clock_behind = log->info.last_time_ns > log->options.wall_ns;
    hf_store_release_u64(&log->durable, log->tip.position); /* partner hf_log_durable */
    log->recovered = true;
    *info = log->info;
    return 0;
}

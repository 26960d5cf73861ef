/* Reading a running log by followers: segments, not the log buffer, and never beyond what is durable.
 *
 * A region is block_max bytes at a multiple of block_max. The first block of a region starts with it and each next one either follows
 * directly or is in the next region, so a region can be walked without what came before. Only durable bytes are read, and those never
 * change. */
#include "persist/block_check.h"
#include "persist/log_p.h"
#include "persist/say.h"
#include "wire/answer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct hf_log_reader {
    const struct hf_log *log;
    struct hf_read_cursor cursor;
    uint8_t *memory; /* block_max bytes: the region */
    uint64_t region; /* its position; UINT64_MAX: none yet */
    uint64_t loaded; /* position up to which it was read */
    /* Where the last read ended: the block that holds it and the next byte to look at. */
    uint64_t block;
    uint64_t block_end; /* of its records */
    uint64_t at;
    struct hf_block head;
};

struct output {
    uint8_t *to;
    uint32_t room, used;
    uint64_t next;
};

int hf_log_reader_open(const struct hf_log *log, struct hf_log_reader **out)
{
    struct hf_log_reader *reader = calloc(1, sizeof *reader);
    uint8_t *memory = reader == NULL ? NULL : aligned_alloc(HF_BLOCK_ALIGN, log->geometry.block_max);
    if (memory == NULL) {
        free(reader);
        return hf_say(hf_log_thread_error(), HF_E_MEMORY, "no memory for a reader of the log");
    }
    reader->log = log;
    reader->memory = memory;
    reader->region = UINT64_MAX;
    *out = reader;
    return 0;
}

void hf_log_reader_close(struct hf_log_reader *reader)
{
    if (reader == NULL)
        return;
    reader->log->backend->ops->read_end(reader->log->backend, &reader->cursor);
    free(reader->memory);
    free(reader);
}

/* Reads what became durable of the region since it was last looked at. */
static int load(struct hf_log_reader *reader, uint64_t region, uint64_t durable)
{
    uint64_t end = region + reader->log->geometry.block_max;
    if (reader->region != region) {
        reader->region = reader->loaded = region;
        reader->block = reader->block_end = 0;
    }
    if (durable < end)
        end = durable;
    if (end <= reader->loaded)
        return 0;
    bool absent;
    int e = reader->log->backend->ops->read(reader->log->backend, &reader->cursor, reader->loaded,
                                            reader->memory + (reader->loaded - region), (uint32_t)(end - reader->loaded), &absent);
    if (e != 0)
        return hf_say(hf_log_thread_error(), e, "%s", reader->cursor.error);
    /* What is durable and has no segment was taken away. */
    if (reader->cursor.missing)
        return hf_say(hf_log_thread_error(), HF_E_ABSENT, "the log at position %" PRIu64 " is not kept any more", reader->loaded);
    reader->loaded = end;
    return 0;
}

/* Takes the block at `position` of the loaded region as the current one; false where no sound block starts. */
static bool enter(struct hf_log_reader *reader, uint64_t position, bool chained)
{
    const uint8_t *at = reader->memory + (position - reader->region);
    if (position >= reader->loaded || hf_block_judge(at, position, reader->loaded - position, reader->log->manifest.seed) != HF_BLOCK_SOUND)
        return false;
    struct hf_block head;
    memcpy(&head, at, sizeof head);
    if (chained && (head.number != reader->head.number + 1 || head.previous != reader->head.checksum))
        return false;
    reader->head = head;
    reader->block = position;
    reader->at = position + sizeof head;
    reader->block_end = position + head.length;
    return true;
}

static int damaged(uint64_t position)
{
    return hf_say(hf_log_thread_error(), HF_E_DAMAGED,
                  "the durable block at position %" PRIu64 " does not check when read back; stop the engine and run "
                  "`holdfast journal verify`",
                  position);
}

/* Goes to the block behind the current one, if it is durable. *more: there is one. */
static int advance(struct hf_log_reader *reader, uint64_t durable, bool *more)
{
    uint64_t next = reader->block + hf_block_padded_bytes(reader->head.length);
    uint64_t region_end = reader->region + reader->log->geometry.block_max;
    *more = false;
    int e = next < region_end ? load(reader, reader->region, durable) : 0;
    if (e != 0 || next >= durable)
        return e;
    if (next < region_end && enter(reader, next, true)) {
        *more = true;
        return 0;
    }
    if (region_end >= durable)
        return damaged(next);
    e = load(reader, region_end, durable);
    if (e == 0 && !enter(reader, region_end, true))
        return damaged(region_end);
    *more = e == 0;
    return e;
}

/* Finds the block in whose region `position` lies, or its region's first, by walking from the region's start. */
static int seek(struct hf_log_reader *reader, uint64_t position, uint64_t durable, bool *more)
{
    uint64_t block_max = reader->log->geometry.block_max;
    uint64_t region = position == 0 ? 0 : (position - 1) / block_max * block_max;
    int e = load(reader, region, durable);
    *more = false;
    if (e != 0 || region >= durable)
        return e;
    if (!enter(reader, region, false))
        return damaged(region);
    *more = true;
    while (e == 0 && *more && reader->block_end <= position && reader->block + hf_block_padded_bytes(reader->head.length) <= position)
        e = advance(reader, durable, more);
    return e;
}

/* Copies records that end beyond `position` from the current block. 1: out of room. */
static int copy_records(struct hf_log_reader *reader, uint64_t position, struct output *out)
{
    while (reader->at < reader->block_end) {
        const uint8_t *record = reader->memory + (reader->at - reader->region);
        uint32_t length;
        memcpy(&length, record, sizeof length);
        if (length < sizeof(struct hf_record) || length > reader->block_end - reader->at || length % 8 != 0)
            return damaged(reader->at);
        struct hf_follow_head head = {.end_position = reader->at + length, .term = reader->head.term};
        if (reader->at < position && head.end_position > position)
            return hf_say(hf_log_thread_error(), HF_E_USAGE, "position %" PRIu64 " is no record's end", position);
        if (head.end_position > position) {
            if (out->room - out->used < sizeof head + length)
                return 1;
            memcpy(out->to + out->used, &head, sizeof head);
            memcpy(out->to + out->used + sizeof head, record, length);
            out->used += (uint32_t)sizeof head + length;
            out->next = head.end_position;
        }
        reader->at += length;
    }
    return 0;
}

int hf_log_reader_read(struct hf_log_reader *reader, uint64_t position, void *buf, uint32_t *bytes, uint64_t *next)
{
    struct output out = {.to = buf, .room = *bytes, .next = position};
    uint64_t durable = hf_log_durable(reader->log);
    bool more = true, here = reader->region != UINT64_MAX && reader->block_end != 0 && reader->at == position;
    int e = 0;
    if (position > durable)
        return hf_say(hf_log_thread_error(), HF_E_USAGE, "position %" PRIu64 " is beyond the durable position %" PRIu64, position, durable);
    if (!here)
        e = seek(reader, position, durable, &more);
    while (e == 0 && more) {
        e = copy_records(reader, position, &out);
        if (e == 0)
            e = advance(reader, durable, &more);
    }
    if (e < 0)
        return e;
    *bytes = out.used;
    *next = out.next;
    return 0;
}

/* A record of the log as the message Event, and whether a follower asked for it.
 *
 * Threads: pure; the room is its user's. Memory: everything stands in the room. */
#ifndef HF_CONTROL_API_EVENT_MESSAGE_H
#define HF_CONTROL_API_EVENT_MESSAGE_H

#include "control/api/draft.h"
#include "wire/answer.h"
#include "wire/record.h"
#include "wire/trace.h"

#include "holdfast/v1/events.pb-c.h"

enum { HF_CURSOR_TEXT_BYTES = 48, HF_EVENT_TEXT_BYTES = HF_EXTENSION_BYTES_MAX + 1 };

/* What one message is made of. */
struct hf_event_room {
    Holdfast__V1__Event event;
    Holdfast__V1__CellChange changes[HF_LINES_MAX], *change_pointers[HF_LINES_MAX];
    Holdfast__V1__Intent intents[HF_INTENTS_MAX], *intent_pointers[HF_INTENTS_MAX];
    char skus[HF_LINES_MAX][HF_SKU_TEXT_BYTES];
    char ids[2 * HF_LINES_MAX][HF_ID_TEXT_BYTES], *id_pointers[2 * HF_LINES_MAX];
    char intent_orders[HF_INTENTS_MAX][HF_ID_TEXT_BYTES], currencies[HF_INTENTS_MAX][4];
    char cursor[HF_CURSOR_TEXT_BYTES], id[HF_ID_TEXT_BYTES], order[HF_ID_TEXT_BYTES], sku[HF_SKU_TEXT_BYTES];
    char texts[5][HF_EVENT_TEXT_BYTES], trace[HF_TRACE_TEXT_BYTES];
};

/* What a follower wants. */
struct hf_event_filter {
    uint32_t kinds; /* a bit for each */
    bool by_sku, by_order;
    struct hf_sku sku;
    struct hf_id order;
};

void hf_cursor_write(uint64_t term, uint64_t position, char out[HF_CURSOR_TEXT_BYTES]);
/* False: no cursor. */
bool hf_cursor_read(const char *text, uint64_t *term, uint64_t *position);

Holdfast__V1__EventKind hf_event_kind(const struct hf_command *command);
/* The record has passed hf_record_check(), which gave `command`. */
bool hf_event_wanted(const struct hf_event_filter *filter, const struct hf_record *record, const struct hf_command *command);
/* room->event becomes the record's. False: it has more lines than a record can have. */
bool hf_event_make(struct hf_event_room *room, const struct hf_follow_head *head, const struct hf_record *record,
                   const struct hf_command *command);

#endif

/* A record of the log as the message Event, and whether a follower asked for it.
 *
 * Threads: pure; the room is its user's. Memory: everything stands in the room. */
#ifndef HF_CONTROL_API_EVENT_MESSAGE_H
#define HF_CONTROL_API_EVENT_MESSAGE_H

#include "control/api/draft.h"
#include "wire/answer.h"
#include "wire/record.h"

enum { HF_CURSOR_TEXT_BYTES = 48 };

/* Where one message is made. */
struct hf_event_room;

/* What a follower wants. */
struct hf_event_filter {
    uint32_t kinds; /* a bit for each EventKind */
    bool by_sku, by_order;
    struct hf_sku sku;
    struct hf_id order;
};

void hf_cursor_write(uint64_t term, uint64_t position, char out[HF_CURSOR_TEXT_BYTES]);
/* False: no cursor. */
bool hf_cursor_read(const char *text, uint64_t *term, uint64_t *position);

/* The record has passed hf_record_check(), which gave `command`. */
bool hf_event_wanted(const struct hf_event_filter *filter, const struct hf_record *record, const struct hf_command *command);
/* NULL: no memory. */
struct hf_event_room *hf_event_room_create(void);
void hf_event_room_destroy(struct hf_event_room *room);
/* The room's message becomes the record's. False: it has more lines than a record can have. */
bool hf_event_make(struct hf_event_room *room, const struct hf_follow_head *head, const struct hf_record *record,
                   const struct hf_command *command);
/* Of the message made last: its size, and itself into that many bytes. */
size_t hf_event_bytes(const struct hf_event_room *room);
void hf_event_pack(const struct hf_event_room *room, uint8_t *out);

#endif

#include "control/api/event_message.h"

#include "control/grpc/text.h"
#include "wire/trace.h"

#include "holdfast/v1/events.pb-c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { HF_EVENT_TEXT_BYTES = HF_EXTENSION_BYTES_MAX + 1 };
#define KIND(name) HOLDFAST__V1__EVENT_KIND__EVENT_KIND_##name

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

void hf_cursor_write(uint64_t term, uint64_t position, char out[HF_CURSOR_TEXT_BYTES])
{
    snprintf(out, HF_CURSOR_TEXT_BYTES, "%" PRIu64 "-%" PRIu64, term, position);
}

/* Digits alone, as they are written: strtoull would take signs and spaces too. */
static bool hf_cursor_number(const char *text, const char **end, uint64_t *out)
{
    char *behind;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &behind, 10);
    *end = behind;
    return errno == 0;
}

bool hf_cursor_read(const char *text, uint64_t *term, uint64_t *position)
{
    return hf_cursor_number(text, &text, term) && *text == '-' && hf_cursor_number(text + 1, &text, position) && *text == '\0';
}

static Holdfast__V1__EventKind hf_event_kind(const struct hf_command *command)
{
    switch (command->opcode) {
    case HF_DEFINE_SKU:
        return KIND(SKU_DEFINED);
    case HF_DEFINE_LOCATION:
        return KIND(LOCATION_DEFINED);
    case HF_DEFINE_POLICY:
        return KIND(POLICY_SET);
    case HF_RECEIVE:
        return KIND(RECEIVED);
    case HF_ADJUST:
        return KIND(ADJUSTED);
    case HF_SET:
        return KIND(SET);
    case HF_PLACE:
        return KIND(PLACED);
    case HF_EXTEND:
        return KIND(EXTENDED);
    case HF_SETTLE:
        return KIND(SETTLED);
    case HF_PAYMENT_RESULT:
        return KIND(PAYMENT_REPORTED);
    case HF_SHIP:
        return KIND(SHIPPED);
    case HF_CANCEL:
        return KIND(CANCELLED);
    case HF_EXPIRE:
        return KIND(EXPIRED);
    default:
        return KIND(BOOKKEEPING);
    }
}

/* ---- filters ---- */

/* Touched line i: by name, or in a place's record beside the command's line. */
static void hf_event_touch(const struct hf_record *record, const struct hf_command *command, unsigned i, struct hf_named_touch *out)
{
    const uint8_t *touches = (const uint8_t *)(record + 1);
    if (!hf_record_is_place(record)) {
        memcpy(out, touches + i * sizeof *out, sizeof *out);
        return;
    }
    out->sku = hf_command_lines(command)[i].sku;
    memcpy(&out->touch, touches + i * sizeof out->touch, sizeof out->touch);
}

static bool hf_event_defines_sku(const struct hf_command *command)
{
    return (command->opcode == HF_DEFINE_SKU || command->opcode == HF_DEFINE_POLICY) && command->line_count > 0;
}

static bool hf_event_has_sku(const struct hf_sku *sku, const struct hf_record *record, const struct hf_command *command)
{
    if (hf_event_defines_sku(command) && hf_sku_equal(&hf_command_lines(command)->sku, sku))
        return true;
    for (unsigned i = 0; i < record->line_count; i++) {
        struct hf_named_touch named;
        hf_event_touch(record, command, i, &named);
        if (hf_sku_equal(&named.sku, sku))
            return true;
    }
    return false;
}

static uint32_t hf_event_ids(const struct hf_command *command)
{
    uint32_t most = 2u * command->line_count, count = command->opcode == HF_EXPIRE ? command->body.sweep.count : 0;
    return count < most ? count : most;
}

static bool hf_event_has_order(struct hf_id order, const struct hf_command *command)
{
    if (command->opcode == HF_PLACE)
        return hf_id_equal(command->id, order);
    if (hf_opcode_family(command->opcode) == HF_FAMILY_ORDER)
        return hf_id_equal(command->body.verb.order, order);
    for (uint32_t i = 0; i < hf_event_ids(command); i++)
        if (hf_id_equal(hf_sweep_id(command, i), order))
            return true;
    return false;
}

bool hf_event_wanted(const struct hf_event_filter *filter, const struct hf_record *record, const struct hf_command *command)
{
    return (filter->kinds & 1u << hf_event_kind(command)) != 0 && (!filter->by_order || hf_event_has_order(filter->order, command)) &&
           (!filter->by_sku || hf_event_has_sku(&filter->sku, record, command));
}

/* ---- the message ---- */

static void hf_event_changes(struct hf_event_room *room, const struct hf_record *record, const struct hf_command *command)
{
    for (unsigned i = 0; i < record->line_count; i++) {
        Holdfast__V1__CellChange *change = &room->changes[i];
        struct hf_named_touch named;
        hf_event_touch(record, command, i, &named);
        holdfast__v1__cell_change__init(change);
        hf_sku_write(&named.sku, room->skus[i]);
        change->sku = room->skus[i];
        change->location = named.touch.location;
        change->quantity = named.touch.flags & HF_TOUCH_NEGATIVE ? -(int64_t)named.touch.quantity : (int64_t)named.touch.quantity;
        change->version = named.touch.cell_version;
        change->sellable = named.touch.sellable;
        change->reserved = (uint32_t)named.touch.reserved;
        change->allocated = (uint32_t)named.touch.allocated;
        change->index = named.touch.index;
        change->oversold = (named.touch.flags & HF_TOUCH_OVERSOLD) != 0;
        change->other_bucket = (named.touch.flags & HF_TOUCH_OTHER_BUCKET) != 0;
        room->change_pointers[i] = change;
    }
    room->event.changes = room->change_pointers;
    room->event.n_changes = record->line_count;
}

static void hf_event_intents(struct hf_event_room *room, const struct hf_record *record)
{
    size_t touch_bytes = hf_record_is_place(record) ? sizeof(struct hf_touch) : sizeof(struct hf_named_touch);
    const uint8_t *at = (const uint8_t *)(record + 1) + record->line_count * touch_bytes;
    for (unsigned i = 0; i < record->intent_count; i++, at += sizeof(struct hf_intent)) {
        Holdfast__V1__Intent *out = &room->intents[i];
        struct hf_intent intent;
        memcpy(&intent, at, sizeof intent);
        holdfast__v1__intent__init(out);
        out->number = intent.number;
        out->kind = (Holdfast__V1__IntentKind)intent.kind;
        out->amount = intent.amount;
        if (hf_grpc_is_text(intent.currency, sizeof intent.currency))
            memcpy(room->currencies[i], intent.currency, sizeof intent.currency);
        room->currencies[i][sizeof intent.currency] = '\0';
        out->currency = room->currencies[i];
        hf_id_write(intent.order, room->intent_orders[i]);
        out->order_id = room->intent_orders[i];
        room->intent_pointers[i] = out;
    }
    room->event.intents = room->intent_pointers;
    room->event.n_intents = record->intent_count;
}

/* Clients choose the bytes; what is no text is left out. */
static void hf_event_text(struct hf_event_room *room, const struct hf_command *command, uint16_t type, unsigned place, char **out)
{
    uint16_t bytes = 0;
    const uint8_t *from = hf_command_extension(command, type, &bytes);
    if (!from || bytes >= HF_EVENT_TEXT_BYTES || !hf_grpc_is_text(from, bytes))
        return;
    memcpy(room->texts[place], from, bytes);
    room->texts[place][bytes] = '\0';
    *out = room->texts[place];
}

static void hf_event_texts(struct hf_event_room *room, const struct hf_command *command)
{
    hf_event_text(room, command, HF_EXT_NAME, 0, &room->event.name);
    hf_event_text(room, command, HF_EXT_ACTOR, 1, &room->event.actor);
    hf_event_text(room, command, HF_EXT_REASON, 2, &room->event.reason);
    hf_event_text(room, command, HF_EXT_REFERENCE, 3, &room->event.reference);
    hf_event_text(room, command, HF_EXT_PAYMENT_REFERENCE, 4, &room->event.payment_reference);
    if (hf_trace_of(command, room->trace))
        room->event.traceparent = room->trace;
}

static void hf_event_order(struct hf_event_room *room, const struct hf_record *record, const struct hf_command *command)
{
    Holdfast__V1__Event *event = &room->event;
    bool place = command->opcode == HF_PLACE;
    hf_id_write(place ? command->id : command->body.verb.order, room->order);
    event->order_id = room->order;
    event->state = (Holdfast__V1__OrderState)record->order;
    event->payment = (Holdfast__V1__PaymentState)record->payment;
    event->fulfilment = (Holdfast__V1__FulfilmentState)record->fulfilment;
    event->hold_ends_ns = record->due_ns;
    event->customer = place ? command->body.place.customer : 0;
}

/* What the command itself names: ids, and what it defines. */
static void hf_event_names(struct hf_event_room *room, const struct hf_record *record, const struct hf_command *command)
{
    Holdfast__V1__Event *event = &room->event;
    if (hf_opcode_family(command->opcode) != HF_FAMILY_INTERNAL) {
        hf_id_write(command->id, room->id);
        event->id = room->id;
    }
    if (hf_opcode_family(command->opcode) == HF_FAMILY_ORDER)
        hf_event_order(room, record, command);
    if (hf_event_defines_sku(command)) {
        hf_sku_write(&hf_command_lines(command)->sku, room->sku);
        event->sku = room->sku;
        event->location = hf_command_lines(command)->location;
    }
    if (command->opcode == HF_DEFINE_LOCATION)
        event->location = command->arg;
    event->n_order_ids = hf_event_ids(command);
    event->order_ids = room->id_pointers;
    for (uint32_t i = 0; i < event->n_order_ids; i++) {
        hf_id_write(hf_sweep_id(command, i), room->ids[i]);
        room->id_pointers[i] = room->ids[i];
    }
}

bool hf_event_make(struct hf_event_room *room, const struct hf_follow_head *head, const struct hf_record *record,
                   const struct hf_command *command)
{
    Holdfast__V1__Event *event = &room->event;
    if (record->line_count > HF_LINES_MAX || command->line_count > HF_LINES_MAX)
        return false;
    holdfast__v1__event__init(event);
    hf_cursor_write(head->term, head->end_position, room->cursor);
    event->cursor = room->cursor;
    event->kind = hf_event_kind(command);
    event->time_ns = record->time_ns;
    event->result = (char *)(uintptr_t)hf_result_name(record->result);
    event->version = record->state_version;
    hf_event_names(room, record, command);
    hf_event_changes(room, record, command);
    hf_event_intents(room, record);
    hf_event_texts(room, command);
    return true;
}

struct hf_event_room *hf_event_room_create(void)
{
    return calloc(1, sizeof(struct hf_event_room));
}

void hf_event_room_destroy(struct hf_event_room *room)
{
    free(room);
}

size_t hf_event_bytes(const struct hf_event_room *room)
{
    return holdfast__v1__event__get_packed_size(&room->event);
}

void hf_event_pack(const struct hf_event_room *room, uint8_t *out)
{
    holdfast__v1__event__pack(&room->event, out);
}

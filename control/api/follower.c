#include "control/api/follower.h"

#include "control/api/verbs.h"
#include "control/grpc/status.h"

#include "holdfast/v1/events.pb-c.h"

#include <stdio.h>

void hf_follower_leave(struct hf_follower *follower)
{
    struct hf_follower_list *list = follower->list;
    if (!list)
        return;
    if (follower->previous)
        follower->previous->next = follower->next;
    else
        list->first = follower->next;
    if (follower->next)
        follower->next->previous = follower->previous;
    else
        list->last = follower->previous;
    list->count--;
    follower->list = NULL;
}

void hf_follower_join(struct hf_follower *follower, struct hf_follower_list *list)
{
    hf_follower_leave(follower);
    follower->list = list;
    follower->next = NULL;
    follower->previous = list->last;
    if (list->last)
        list->last->next = follower;
    else
        list->first = follower;
    list->last = follower;
    list->count++;
}

void hf_follow_finish(struct hf_grpc_call *call, enum hf_grpc_code code, const char *reason, const char *message, const char *cursor)
{
    uint8_t info[256];
    const struct hf_grpc_pair pair = {"cursor", cursor};
    size_t bytes = hf_grpc_error_info(reason, "holdfast", &pair, cursor != NULL, info, sizeof info);
    const struct hf_grpc_detail detail = {HF_GRPC_TYPE_ERROR_INFO, {info, bytes}};
    char text[256];
    snprintf(text, sizeof text, "%s: %s", reason, message);
    hf_grpc_finish_status(call, &(struct hf_grpc_status){code, text, &detail, 1});
}

bool hf_follower_filter(struct hf_grpc_call *call, const Holdfast__V1__FollowRequest *request, struct hf_event_filter *filter)
{
    const char *wrong = NULL;
    filter->kinds = request->n_kinds > 0 ? 0 : ~(1u << HOLDFAST__V1__EVENT_KIND__EVENT_KIND_BOOKKEEPING);
    for (size_t i = 0; i < request->n_kinds && !wrong; i++) {
        bool known = request->kinds[i] > 0 && request->kinds[i] <= HOLDFAST__V1__EVENT_KIND__EVENT_KIND_BOOKKEEPING;
        filter->kinds |= known ? 1u << request->kinds[i] : 0;
        wrong = known ? NULL : "kinds: there is no such kind";
    }
    filter->by_sku = request->sku[0] != '\0';
    filter->by_order = request->order_id[0] != '\0';
    if (filter->by_sku && !hf_sku_read(request->sku, &filter->sku))
        wrong = "sku: a SKU has 1 to 16 bytes, or is 0x and 32 hex digits";
    if (filter->by_order && !hf_id_read(request->order_id, &filter->order))
        wrong = "order_id: an id is 32 hex digits, not all zero";
    if (wrong)
        hf_follow_finish(call, HF_GRPC_INVALID_ARGUMENT, "BAD_ARGUMENT", wrong, NULL);
    return !wrong;
}

bool hf_follower_place(struct hf_grpc_call *call, const Holdfast__V1__FollowRequest *request, uint64_t durable, uint64_t term,
                       struct hf_follower *follower)
{
    if (request->cursor[0] == '\0') {
        bool now = request->start == HOLDFAST__V1__FOLLOW_START__FOLLOW_START_NOW;
        follower->position = now ? durable : 0;
        follower->term = now ? term : 0;
    } else if (!hf_cursor_read(request->cursor, &follower->term, &follower->position)) {
        hf_follow_finish(call, HF_GRPC_INVALID_ARGUMENT, "BAD_CURSOR", "a cursor is what an event or an answer had", NULL);
        return false;
    }
    if (follower->position > durable || follower->term > term) {
        hf_follow_finish(call, HF_GRPC_OUT_OF_RANGE, "BEYOND_LOG", "the log does not reach that far", NULL);
        return false;
    }
    follower->asked_term = follower->term;
    follower->told = follower->position;
    return true;
}

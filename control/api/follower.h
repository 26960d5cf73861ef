/* One call of Events.Follow: what it asked for, and where in the log it stands. Threads: the loop's. */
#ifndef HF_CONTROL_API_FOLLOWER_H
#define HF_CONTROL_API_FOLLOWER_H

#include "control/api/event_message.h"
#include "control/grpc/grpc.h"

struct Holdfast__V1__FollowRequest;

/* First come, first served. A follower is in one list, or in none once it was refused or has ended. */
struct hf_follower_list {
    struct hf_follower *first, *last;
    unsigned count;
};

struct hf_follower {
    struct hf_follower *next, *previous;
    struct hf_follower_list *list;
    struct hf_grpc_call *call;
    uint64_t term, position; /* behind what was told or left out */
    uint64_t asked_term;     /* of the cursor it came with; no record behind it is older */
    uint64_t told;           /* the last cursor it got */
    uint64_t full_since_ns;  /* 0: it takes what it gets */
    bool waits_memory;       /* nobody says when there is some again */
    struct hf_event_filter filter;
};

/* To the end of `list`, out of the one where it is. */
void hf_follower_join(struct hf_follower *follower, struct hf_follower_list *list);
/* In none: nothing. */
void hf_follower_leave(struct hf_follower *follower);

/* What the request wants told. False: it can't be read, and the call has been finished. */
bool hf_follower_filter(struct hf_grpc_call *call, const struct Holdfast__V1__FollowRequest *request, struct hf_event_filter *filter);
/* Where the request begins in a log that ends at `durable` within `term`. False: nowhere, and the call has been finished. */
bool hf_follower_place(struct hf_grpc_call *call, const struct Holdfast__V1__FollowRequest *request, uint64_t durable, uint64_t term,
                       struct hf_follower *follower);

/* Finishes the call with `reason` as the text's beginning and in its ErrorInfo. `cursor`: where to follow on from; NULL: none. */
void hf_follow_finish(struct hf_grpc_call *call, enum hf_grpc_code code, const char *reason, const char *message, const char *cursor);

#endif

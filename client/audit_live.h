/* The audit of an engine that runs: its own walk over its tables, and its whole log followed into the model. One thread, blocking. */
#ifndef HF_CLIENT_AUDIT_LIVE_H
#define HF_CLIENT_AUDIT_LIVE_H

#include "client/audit.h"
#include "client/tool.h"

struct hf_audit_live {
    struct hf_audit_item engine; /* its walk, at `position` */
    uint64_t position;
    struct hf_audit *audit; /* fed with every record that ends at or before `position` */
};

/* Connects, asks, follows. `acked` may be NULL. 0 with *out->audit the caller's, or an exit status after a sentence on stderr. */
int hf_audit_live_run(const struct hf_tool *tool, struct hf_audit_acked *acked, struct hf_audit_live *out);

#endif

/* The audit of a log: records in, a report out. It feeds the model and, where there is one, the list of what clients were told.
 *
 * One thread. Records are copied into windows, so that what they will touch comes to the cache before they are applied. */
#ifndef HF_CLIENT_AUDIT_H
#define HF_CLIENT_AUDIT_H

#include "client/audit_acked.h"
#include "client/audit_model.h"

struct hf_audit;

/* acked: may be NULL; stays the caller's and must outlive the audit. 0 or HF_E_MEMORY. */
int hf_audit_create(uint32_t partitions, struct hf_audit_acked *acked, struct hf_audit **out);
void hf_audit_destroy(struct hf_audit *audit);

/* The next record in log order; at most record->length bytes are read, which lie within `bytes`. 0 or HF_E_MEMORY. */
int hf_audit_feed(struct hf_audit *audit, const struct hf_record *record, size_t bytes, uint64_t end_position, uint64_t term);

/* Applies what waits and looks at the whole. The report stays the audit's. 0 or HF_E_MEMORY. */
int hf_audit_finish(struct hf_audit *audit, const struct hf_audit_report **out);

/* For comparing the end state with another one's, after finish. */
const struct hf_audit_model *hf_audit_model_of(const struct hf_audit *audit);
/* A violation found by such a comparison. */
void hf_audit_note(struct hf_audit *audit, enum hf_audit_kind kind, uint64_t position, const char *what);

#endif

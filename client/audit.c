#include "client/audit.h"

#include <stdlib.h>

#include "wire/error.h"
#include "wire/record_check.h"

enum { WINDOW_RECORDS = 32, WINDOW_BYTES = 32 * 1024 };

_Static_assert((int)HF_RECORD_BYTES_MAX <= (int)WINDOW_BYTES, "a window holds the largest record");

struct window {
    uint32_t count, used;
    uint32_t offset[WINDOW_RECORDS];
    uint64_t end_position[WINDOW_RECORDS], term[WINDOW_RECORDS];
    _Alignas(64) uint8_t bytes[WINDOW_BYTES];
};

struct hf_audit {
    struct hf_audit_model model;
    struct hf_audit_acked *acked;
    struct window *filling, *waiting;
    struct window windows[2];
};

int hf_audit_create(uint32_t partitions, struct hf_audit_acked *acked, struct hf_audit **out)
{
    struct hf_audit *audit = aligned_alloc(64, (sizeof *audit + 63) & ~(size_t)63);
    if (!audit)
        return HF_E_MEMORY;
    *audit = (struct hf_audit){.acked = acked};
    audit->filling = &audit->windows[0];
    audit->waiting = &audit->windows[1];
    if (hf_audit_model_create(partitions, &audit->model) != 0) {
        free(audit);
        return HF_E_MEMORY;
    }
    *out = audit;
    return 0;
}

void hf_audit_destroy(struct hf_audit *audit)
{
    if (!audit)
        return;
    hf_audit_model_destroy(&audit->model);
    free(audit);
}

static const struct hf_record *window_record(const struct window *window, uint32_t i)
{
    return (const struct hf_record *)(const void *)(window->bytes + window->offset[i]);
}

static int window_apply(struct hf_audit *audit, struct window *window)
{
    int status = 0;
    for (uint32_t i = 0; i < window->count && status == 0; i++) {
        const struct hf_record *record = window_record(window, i);
        const struct hf_command *command;
        status = hf_audit_model_apply(&audit->model, record, record->length, window->end_position[i], window->term[i]);
        if (audit->acked && hf_record_check(record, record->length, &command))
            hf_audit_acked_see(audit->acked, record, command);
    }
    window->count = window->used = 0;
    return status;
}

static int windows_turn(struct hf_audit *audit)
{
    struct window *full = audit->filling;
    for (uint32_t i = 0; i < full->count; i++)
        hf_audit_model_prefetch(&audit->model, window_record(full, i), 1);
    audit->filling = audit->waiting;
    audit->waiting = full;
    return window_apply(audit, audit->filling);
}

int hf_audit_feed(struct hf_audit *audit, const struct hf_record *record, size_t bytes, uint64_t end_position, uint64_t term)
{
    const struct hf_command *command;
    struct window *window = audit->filling;
    if (!hf_record_check(record, bytes, &command)) {
        audit->model.report.records++;
        hf_audit_model_note(&audit->model, HF_AUDIT_FORM, end_position, (struct hf_id){0, 0}, "not a record of the documented form");
        return 0;
    }
    if (window->count == WINDOW_RECORDS || window->used + record->length > WINDOW_BYTES) {
        int status = windows_turn(audit);
        if (status != 0)
            return status;
        window = audit->filling;
    }
    uint32_t i = window->count++;
    window->offset[i] = window->used;
    window->end_position[i] = end_position;
    window->term[i] = term;
    memcpy(window->bytes + window->used, record, record->length);
    window->used += record->length;
    hf_audit_model_prefetch(&audit->model, window_record(window, i), 0);
    if (audit->acked)
        hf_audit_acked_prefetch(audit->acked, command);
    return 0;
}

int hf_audit_finish(struct hf_audit *audit, const struct hf_audit_report **out)
{
    int status = window_apply(audit, audit->waiting);
    if (status == 0)
        status = window_apply(audit, audit->filling);
    if (status == 0)
        status = hf_audit_model_close(&audit->model);
    *out = &audit->model.report;
    return status;
}

const struct hf_audit_model *hf_audit_model_of(const struct hf_audit *audit)
{
    return &audit->model;
}

void hf_audit_note(struct hf_audit *audit, enum hf_audit_kind kind, uint64_t position, const char *what)
{
    hf_audit_model_note(&audit->model, kind, position, (struct hf_id){0, 0}, what);
}

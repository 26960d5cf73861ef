/* What clients were told, against what the log holds: the lines that `holdfast load --acked FILE` wrote.
 *
 *   ID RESULT          answer to a place
 *   ID VERB RESULT     answer to settle, result, ship, cancel or extend of that order
 *
 * Only OK promises an effect; any other answer can be neither missing nor wrong. A last line without its newline was cut off by a crash and
 * is ignored. One thread; 32 bytes an order. */
#ifndef HF_CLIENT_AUDIT_ACKED_H
#define HF_CLIENT_AUDIT_ACKED_H

#include "wire/record.h"

struct hf_audit_acked;

struct hf_audit_acked_counts {
    uint64_t acked;      /* lines that say OK */
    uint64_t missing;    /* effects without a record */
    uint64_t wrong;      /* effects whose records say otherwise */
    uint64_t unreadable; /* lines of another form */
    unsigned note_count; /* of the first that are missing or wrong */
    struct hf_audit_acked_note {
        struct hf_id id;
        uint8_t verb; /* for hf_audit_verb_name() */
        bool wrong;
    } notes[20];
};

/* Reads the file. 0, HF_E_IO (error[] has the sentence) or HF_E_MEMORY. */
int hf_audit_acked_read(const char *path, struct hf_audit_acked **out, char *error, size_t error_bytes);
void hf_audit_acked_destroy(struct hf_audit_acked *acked);

/* The next record of the log and its command. */
void hf_audit_acked_see(struct hf_audit_acked *acked, const struct hf_record *record, const struct hf_command *command);
/* Hint for a command whose record will be seen soon. */
void hf_audit_acked_prefetch(const struct hf_audit_acked *acked, const struct hf_command *command);

/* After the last record. */
void hf_audit_acked_count(const struct hf_audit_acked *acked, struct hf_audit_acked_counts *out);

/* "place", "settle", ... Static storage. */
const char *hf_audit_verb_name(unsigned verb);

#endif

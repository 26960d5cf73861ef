/* The log as it came to be, record by record, kept outside of the engine: what recovery and clients are held against.
 *
 * Records enter in the order of their claims, as soon as they and all before them are committed. A restart cuts what did not survive. */
#ifndef HF_SIM_HISTORY_H
#define HF_SIM_HISTORY_H

#include "ring/log_buffer.h"
#include "wire/record.h"

struct sim_entry {
    uint64_t end_position, term;
    size_t offset; /* of its bytes */
    struct hf_id id;
};

void sim_history_begin(void);
void sim_history_end(void);

/* From the log buffer: a place was given out; its bytes are whole. */
void sim_history_claimed(const struct hf_log_claim *claim);
void sim_history_committed(const struct hf_log_claim *claim);
/* The process died: what was not committed never will be. */
void sim_history_process_died(void);
/* Nothing is claimed and not committed. */
bool sim_history_is_whole(void);

/* From recovery: it begins, and each record it finds. */
void sim_history_recovery_begins(void);
void sim_history_recovered(const struct hf_record *record, uint64_t end_position);
/* The engine serves: what recovery did not find never was. Returns how many records were cut. */
uint64_t sim_history_restarted(void);

/* A client was told of everything up to there. */
void sim_history_acknowledged(uint64_t position);
uint64_t sim_history_acknowledged_position(void);

uint64_t sim_history_count(void);
uint64_t sim_history_position(void); /* end of the last record */
const struct sim_entry *sim_history_entry(uint64_t index);
const struct hf_record *sim_history_record(uint64_t index);
const struct hf_command *sim_history_command(const struct hf_record *record);
/* The record that an id has, or NULL. *index may be NULL. */
const struct hf_record *sim_history_find(struct hf_id id, uint64_t *index);

#endif

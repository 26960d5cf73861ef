/* What must hold after every step: the oracle's opinion, a follower that replays, digests, and what clients were told. */
#ifndef HF_SIM_CHECK_H
#define HF_SIM_CHECK_H

#include "wire/answer.h"
#include "wire/record.h"

#include <stdbool.h>

struct sim_check_options {
    uint32_t partitions;
    uint64_t retention_ns;
};

void sim_check_begin(const struct sim_check_options *options);
void sim_check_end(void);

/* The next record of the log, as it was claimed. */
void sim_check_record(const struct hf_record *record, uint64_t end_position);
/* The log was cut by a restart to what sim_history holds. */
void sim_check_cut(void);
/* The engine serves again from what sim_history holds. */
void sim_check_restarted(void);
/* The live state against the follower's, where no step is under way; with `audit` also the engine's own audit. */
void sim_check_state(bool audit);
/* At the end of a life: the auditor over the whole log. */
void sim_check_log(void);

/* The records of a FOLLOW's answer are the log's, all of them, in order, and durable. */
void sim_check_followed(const struct hf_command *command, const struct hf_answer *answer);
/* No answer will come for what was sent before the log ended there, nor will a restart end before it. */
void sim_check_keep_from(uint64_t position);

/* When a command was sent: what had happened by then. */
struct sim_sent {
    uint64_t position, engine_ns;
    unsigned restarts;
};
struct sim_sent sim_check_sent(void);
/* A client got this answer. */
void sim_check_answer(const struct hf_command *command, const struct hf_answer *answer, struct sim_sent sent, bool async);
/* Nothing is claimed and not committed any more. */
void sim_check_whole(void);
/* The process died while something was. */
void sim_check_torn(void);

#endif

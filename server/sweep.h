/* What an owner does unasked: expiry, forgetting, purging of limits, and the mark. Shard's thread. */
#ifndef HF_SERVER_SWEEP_H
#define HF_SERVER_SWEEP_H

#include "server/shard.h"

/* A bounded share of the due work of this shard's partitions; returns how many commands it made. */
unsigned hf_sweep_turn(struct hf_shard *shard);

#endif

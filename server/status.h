/* The answer to STATUS: numbers by name, of the node and of each shard. */
#ifndef HF_SERVER_STATUS_H
#define HF_SERVER_STATUS_H

#include "server/executor.h"
#include "server/node.h"
#include "wire/answer.h"

enum { HF_STATUS_NODE = 0xffffffff };

/* Fills the answer (room: HF_ADMIN_ANSWER_BYTES_MAX) with struct hf_counter_item: with `first` 0 the node's, then those of whole shards
 * from `first` on; with HF_ANSWER_MORE `value` is the one to ask from next. Service's thread; asks each shard for its numbers and
 * waits for them within 100 ms; a shard that does not answer in time says only where its loop is. Rows in use are what no pool and no
 * thread's quota has: exact while nothing steps. `service`: the service's own executor, which steps and counts like a shard's. */
void hf_status_answer(struct hf_node *node, const struct hf_executor *service, uint32_t first, struct hf_answer *answer);

#endif

/* The answer to STATUS: numbers by name, of the node and of each shard. */
#ifndef HF_SERVER_STATUS_H
#define HF_SERVER_STATUS_H

#include "server/node.h"
#include "wire/answer.h"

enum { HF_STATUS_NODE = 0xffffffff };

/* Fills the answer (room: HF_ADMIN_ANSWER_BYTES_MAX) with struct hf_counter_item. Service's thread; asks each shard for its numbers and waits for
 * them within 100 ms; a shard that does not answer in time shows its last ones. */
void hf_status_answer(struct hf_node *node, struct hf_answer *answer);

#endif

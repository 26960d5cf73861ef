/*
 * The newest numbers of the node and its shards, kept for whoever may not wait for a shard: the page of metrics.
 *
 * Threads: create, refresh and destroy are the service's; hf_board_read may be called by any thread but a shard's (it takes a lock).
 * Memory: taken at create.
 */
#ifndef HF_SERVER_BOARD_H
#define HF_SERVER_BOARD_H

#include "server/executor.h"
#include "server/node.h"
#include "wire/answer.h"

struct hf_board;

/* 0 or HF_E_MEMORY. */
int hf_board_create(unsigned shard_count, struct hf_board **out);
void hf_board_destroy(struct hf_board *board);
/* Asks every shard, as hf_status_answer() does, and keeps what they say. */
void hf_board_refresh(struct hf_board *board, struct hf_node *node, const struct hf_executor *service);
/* Copies up to `max` of what was kept last, the node's numbers before the shards'; how many there are. */
unsigned hf_board_read(struct hf_board *board, struct hf_counter_item *out, unsigned max);

#endif

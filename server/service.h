/* The slow lane: one thread, off the shards' cores, for what may take long or needs every word: locations, status, digest, audit, follow.
 *
 * Shards send it tasks over a ring each and get completions back over another; it claims log space like a shard. */
#ifndef HF_SERVER_SERVICE_H
#define HF_SERVER_SERVICE_H

#include "server/node.h"

struct hf_service;

/* Makes the service with an executor of its own (taker number = shard count). 0, HF_E_MEMORY, HF_E_IO. */
int hf_service_create(struct hf_node *node, struct hf_service **out);
int hf_service_start(struct hf_service *service);
/* Ends the thread; tasks not yet served stay unanswered. */
void hf_service_destroy(struct hf_service *service);

#endif

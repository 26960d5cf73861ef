/*
 * The page of metrics: Prometheus' text format 0.0.4, from what the engine counts (numbers.h), what the gRPC server counts, and what became
 * of each call, whether gRPC or REST brought it. docs/operations.md lists every name, and a test holds the two together.
 *
 * Threads: hf_metrics_called may be called by any loop; the rest belongs to one loop. Memory: taken at create.
 * Labels are bounded: shards, stages, queues, tables, results, methods and status codes.
 */
#ifndef HF_CONTROL_API_METRICS_H
#define HF_CONTROL_API_METRICS_H

#include "control/api/events.h"
#include "control/api/numbers.h"
#include "control/grpc/grpc.h"

struct hf_metrics;

enum { HF_METRICS_METHODS_MAX = 63 };
#define HF_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct hf_metrics_options {
    unsigned shard_count;
    /* Copies the engine's newest numbers, the node's before the shards', at most `max`; how many there are. Must not block. NULL: none. */
    unsigned (*numbers)(void *context, struct hf_counter_item *out, unsigned max);
    void *context;
    const struct hf_events *events; /* whose counters stand in the page; NULL: none */
};

/* 0 or HF_E_MEMORY. */
int hf_metrics_create(const struct hf_metrics_options *options, struct hf_metrics **out);
void hf_metrics_destroy(struct hf_metrics *metrics);
/* A method that calls will be counted of; the names must outlive the metrics. Before any call; those beyond the bound count as unknown. */
void hf_metrics_add_method(struct hf_metrics *metrics, const char *service, const char *method);
/* A call that ended. */
void hf_metrics_called(struct hf_metrics *metrics, const struct hf_grpc_call_report *report);
/* Whose counters stand in the page; NULL: none. */
void hf_metrics_set_server(struct hf_metrics *metrics, const struct hf_grpc_server *server);

/* Writes up to `room` bytes of the page as snprintf does, without a NUL; returns how many there are. */
size_t hf_metrics_write(struct hf_metrics *metrics, char *out, size_t room);

#endif

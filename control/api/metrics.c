#include "control/api/metrics.h"

#include "control/api/metrics_rows.h"
#include "control/grpc/status.h"
#include "ring/atomics.h"
#include "wire/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HF_METRICS_NODE_ITEMS = 256,
    HF_METRICS_SHARD_ITEMS = 384,
    HF_CALL_BUCKETS = 10, /* up to 65.536 us, each four times the one before, then all beyond */
    HF_CALL_BOUND_FIRST_NS = 1 << 16,
    HF_STAGE_BOUNDS = 11,
};

struct hf_metrics_method {
    const char *service, *method;
    struct hf_atomic_u64 codes[HF_GRPC_CODES], buckets[HF_CALL_BUCKETS], ns_sum;
};

struct hf_metrics {
    struct hf_metrics_options options;
    const struct hf_grpc_server *server;
    unsigned method_count;
    struct hf_metrics_method methods[HF_METRICS_METHODS_MAX + 1]; /* the first: of no known method */
    unsigned items_max;
    struct hf_counter_item items[]; /* scratch of a write */
};

/* ---- what is counted here ---- */

int hf_metrics_create(const struct hf_metrics_options *options, struct hf_metrics **out)
{
    unsigned items_max = HF_METRICS_NODE_ITEMS + options->shard_count * HF_METRICS_SHARD_ITEMS;
    struct hf_metrics *metrics = calloc(1, sizeof *metrics + items_max * sizeof metrics->items[0]);
    if (!metrics)
        return HF_E_MEMORY;
    metrics->options = *options;
    metrics->items_max = items_max;
    metrics->methods[0].service = metrics->methods[0].method = "unknown";
    metrics->method_count = 1;
    *out = metrics;
    return 0;
}

void hf_metrics_destroy(struct hf_metrics *metrics)
{
    free(metrics);
}

void hf_metrics_add_method(struct hf_metrics *metrics, const char *service, const char *method)
{
    if (metrics->method_count > HF_METRICS_METHODS_MAX)
        return;
    metrics->methods[metrics->method_count].service = service;
    metrics->methods[metrics->method_count].method = method;
    metrics->method_count++;
}

void hf_metrics_set_server(struct hf_metrics *metrics, const struct hf_grpc_server *server)
{
    metrics->server = server;
}

static struct hf_metrics_method *hf_metrics_method(struct hf_metrics *metrics, const char *service, const char *method)
{
    for (unsigned i = 1; i < metrics->method_count; i++) {
        struct hf_metrics_method *known = &metrics->methods[i];
        if (strcmp(known->method, method) == 0 && strcmp(known->service, service) == 0)
            return known;
    }
    return &metrics->methods[0];
}

void hf_metrics_called(struct hf_metrics *metrics, const struct hf_grpc_call_report *report)
{
    struct hf_metrics_method *method = hf_metrics_method(metrics, report->service, report->method);
    unsigned bucket = 0;
    for (uint64_t bound = HF_CALL_BOUND_FIRST_NS; bucket < HF_CALL_BUCKETS - 1 && report->duration_ns > bound; bound *= 4)
        bucket++;
    hf_add_relaxed_u64(&method->codes[(unsigned)report->code % HF_GRPC_CODES], 1);
    hf_add_relaxed_u64(&method->buckets[bucket], 1);
    hf_add_relaxed_u64(&method->ns_sum, report->duration_ns);
}

/* ---- the page ---- */

struct hf_page {
    char *out;
    size_t room, used;
};

__attribute__((format(printf, 2, 3))) static void hf_page_put(struct hf_page *page, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    size_t bytes = wanted < 0 ? 0 : (size_t)wanted < sizeof line ? (size_t)wanted : sizeof line - 1;
    if (page->used < page->room)
        memcpy(page->out + page->used, line, bytes < page->room - page->used ? bytes : page->room - page->used);
    page->used += bytes;
}

static void hf_page_head(struct hf_page *page, const char *name, const char *type, const char *help)
{
    hf_page_put(page, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help, name, type);
}

/* Counts stay whole; a unit of fractions is written with all its digits. */
static void hf_page_value(struct hf_page *page, uint64_t value, uint64_t divisor)
{
    if (divisor <= 1)
        hf_page_put(page, " %" PRIu64 "\n", value);
    else
        hf_page_put(page, " %.9g\n", (double)value / (double)divisor);
}

/* The items of one shard or of the node. */
struct hf_span {
    const struct hf_counter_item *items;
    unsigned count;
};

/* Numbers stand in the same order in every span, so that the search begins behind the last find. */
static const struct hf_counter_item *hf_span_find(const struct hf_span *span, const char *name, unsigned *hint)
{
    for (unsigned i = 0; i < span->count; i++) {
        unsigned at = (*hint + i) % span->count;
        if (hf_number_is(&span->items[at], name)) {
            *hint = at;
            return &span->items[at];
        }
    }
    return NULL;
}

struct hf_spans {
    struct hf_span node;
    struct hf_span shards[64];
    unsigned shard_count;
    uint32_t numbers[64];
};

static void hf_spans_cut(const struct hf_counter_item *items, unsigned count, struct hf_spans *out)
{
    *out = (struct hf_spans){.shard_count = 0};
    for (unsigned first = 0, end; first < count; first = end) {
        for (end = first; end < count && items[end].shard == items[first].shard; end++)
            ;
        struct hf_span span = {items + first, end - first};
        if (items[first].shard == HF_NUMBERS_NODE) {
            out->node = span;
        } else if (out->shard_count < 64) {
            out->numbers[out->shard_count] = items[first].shard;
            out->shards[out->shard_count++] = span;
        }
    }
}

static void hf_page_row(struct hf_page *page, const struct hf_spans *spans, const struct hf_metric_row *row)
{
    unsigned hint = 0;
    const struct hf_counter_item *found;
    if (!row->of_shard) {
        found = spans->node.count > 0 ? hf_span_find(&spans->node, row->number, &hint) : NULL;
        if (!found)
            return;
        hf_page_put(page, "holdfast_%s%s%s%s", row->name, row->label ? "{" : "", row->label ? row->label : "", row->label ? "}" : "");
        hf_page_value(page, found->value, row->divisor);
    }
    for (unsigned i = 0; row->of_shard && i < spans->shard_count; i++) {
        found = hf_span_find(&spans->shards[i], row->number, &hint);
        if (!found)
            continue;
        hf_page_put(page, "holdfast_%s{shard=\"%u\"%s%s}", row->name, spans->numbers[i], row->label ? "," : "",
                    row->label ? row->label : "");
        hf_page_value(page, found->value, row->divisor);
    }
}

static void hf_page_rows(struct hf_page *page, const struct hf_spans *spans)
{
    const char *last = "";
    for (const struct hf_metric_row *row = hf_metric_rows; row->name; row++) {
        if (strcmp(row->name, last) != 0)
            hf_page_head(page, row->name, row->type, row->help);
        last = row->name;
        hf_page_row(page, spans, row);
    }
}

/* Numbers whose names begin with `prefix`: the rest of the name is a label's value. */
static void hf_page_named(struct hf_page *page, const struct hf_spans *spans, const char *metric, const char *type, const char *help,
                          const char *label, const char *prefix, const char *suffix)
{
    hf_page_head(page, metric, type, help);
    for (unsigned i = 0; i < spans->node.count; i++) {
        char name[sizeof spans->node.items->name + 1] = {0};
        memcpy(name, spans->node.items[i].name, sizeof spans->node.items->name);
        size_t bytes = strlen(name), before = strlen(prefix), behind = strlen(suffix);
        if (bytes <= before + behind || strncmp(name, prefix, before) != 0 || strcmp(name + bytes - behind, suffix) != 0)
            continue;
        hf_page_put(page, "holdfast_%s{%s=\"%.*s\"}", metric, label, (int)(bytes - before - behind), name + before);
        hf_page_value(page, spans->node.items[i].value, 1);
    }
}

static const char *const hf_stage_names[HF_STAGES] = {HF_STAGE_NAMES};

static uint64_t hf_span_stage(const struct hf_span *span, const char *stage, const char *what, unsigned *hint)
{
    char name[64];
    snprintf(name, sizeof name, "stages.%s.%s", stage, what);
    const struct hf_counter_item *found = hf_span_find(span, name, hint);
    return found ? found->value : 0;
}

/* Cumulative buckets up to the one without a bound, and what they are of. */
static void hf_page_histogram(struct hf_page *page, const char *metric, const char *labels, const uint64_t *buckets, unsigned bound_count,
                              uint64_t bound_ns, uint64_t ns_sum)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < bound_count; i++, bound_ns *= 4) {
        sum += buckets[i];
        hf_page_put(page, "holdfast_%s_bucket{%s,le=\"%.12g\"} %" PRIu64 "\n", metric, labels, (double)bound_ns / 1e9, sum);
    }
    sum += buckets[bound_count];
    hf_page_put(page, "holdfast_%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", metric, labels, sum);
    hf_page_put(page, "holdfast_%s_sum{%s} %.9g\n", metric, labels, (double)ns_sum / 1e9);
    hf_page_put(page, "holdfast_%s_count{%s} %" PRIu64 "\n", metric, labels, sum);
}

static void hf_page_stages(struct hf_page *page, const struct hf_spans *spans)
{
    static const char *const bounds[HF_STAGE_BOUNDS + 1] = {HF_STAGE_BUCKET_NAMES};
    unsigned hint = 0;
    hf_page_head(page, "shard_stage_duration_seconds", "histogram", "Time of each stage of a shard's loop, over turns that found work.");
    for (unsigned i = 0; i < spans->shard_count; i++)
        for (unsigned stage = 0; stage < HF_STAGES; stage++) {
            char labels[64];
            uint64_t buckets[HF_STAGE_BOUNDS + 1], ns_sum = hf_span_stage(&spans->shards[i], hf_stage_names[stage], "ns_sum", &hint);
            for (unsigned b = 0; b <= HF_STAGE_BOUNDS; b++)
                buckets[b] = hf_span_stage(&spans->shards[i], hf_stage_names[stage], bounds[b], &hint);
            snprintf(labels, sizeof labels, "shard=\"%u\",stage=\"%s\"", spans->numbers[i], hf_stage_names[stage]);
            hf_page_histogram(page, "shard_stage_duration_seconds", labels, buckets, HF_STAGE_BOUNDS, HF_STAGE_BOUND_FIRST_NS, ns_sum);
        }
    hf_page_head(page, "shard_stage_longest_seconds", "gauge", "The longest time of each stage of a shard's loop since the start.");
    for (unsigned i = 0; i < spans->shard_count; i++)
        for (unsigned stage = 0; stage < HF_STAGES; stage++) {
            hf_page_put(page, "holdfast_shard_stage_longest_seconds{shard=\"%u\",stage=\"%s\"}", spans->numbers[i], hf_stage_names[stage]);
            hf_page_value(page, hf_span_stage(&spans->shards[i], hf_stage_names[stage], "ns_max", &hint), 1000000000);
        }
}

/* In which stage a loop is: an idle one is in none. */
static void hf_page_stalls(struct hf_page *page, const struct hf_spans *spans)
{
    hf_page_head(page, "shard_stall_seconds", "gauge",
                 "How long a shard's loop has been in the stage where it is; 0 between two turns. Seconds are a stall.");
    for (unsigned i = 0; i < spans->shard_count; i++) {
        const struct hf_span *span = &spans->shards[i];
        uint64_t stage = hf_numbers_get(span->items, span->count, "stage_now");
        hf_page_put(page, "holdfast_shard_stall_seconds{shard=\"%u\"}", spans->numbers[i]);
        hf_page_value(page, stage < HF_STAGES ? hf_numbers_get(span->items, span->count, "stage_now_us") : 0, 1000000);
    }
}

static void hf_page_methods(struct hf_page *page, const struct hf_metrics *metrics)
{
    hf_page_head(page, "method_calls_total", "counter", "Calls of each method by the status they ended with, over gRPC and REST.");
    for (unsigned i = 0; i < metrics->method_count; i++) {
        const struct hf_metrics_method *method = &metrics->methods[i];
        for (unsigned code = 0; code < HF_GRPC_CODES; code++) {
            uint64_t calls = hf_load_relaxed_u64(&method->codes[code]);
            if (calls > 0 || code == HF_GRPC_OK)
                hf_page_put(page, "holdfast_method_calls_total{service=\"%s\",method=\"%s\",code=\"%s\"} %" PRIu64 "\n", method->service,
                            method->method, hf_grpc_code_name(code), calls);
        }
    }
    hf_page_head(page, "method_duration_seconds", "histogram", "Time of each method's calls from their head to their end.");
    for (unsigned i = 0; i < metrics->method_count; i++) {
        const struct hf_metrics_method *method = &metrics->methods[i];
        uint64_t buckets[HF_CALL_BUCKETS];
        char labels[160];
        for (unsigned b = 0; b < HF_CALL_BUCKETS; b++)
            buckets[b] = hf_load_relaxed_u64(&method->buckets[b]);
        snprintf(labels, sizeof labels, "service=\"%s\",method=\"%s\"", method->service, method->method);
        hf_page_histogram(page, "method_duration_seconds", labels, buckets, HF_CALL_BUCKETS - 1, HF_CALL_BOUND_FIRST_NS,
                          hf_load_relaxed_u64(&method->ns_sum));
    }
}

static void hf_page_server(struct hf_page *page, const struct hf_grpc_server *server)
{
    for (unsigned i = 0; server && i < HF_GRPC_COUNTERS; i++) {
        char name[64];
        snprintf(name, sizeof name, "control_%s_total", hf_grpc_counter_name((enum hf_grpc_counter)i));
        hf_page_head(page, name, "counter", hf_grpc_counter_help((enum hf_grpc_counter)i));
        hf_page_put(page, "holdfast_%s %" PRIu64 "\n", name, hf_grpc_server_counter(server, (enum hf_grpc_counter)i));
    }
    if (!server)
        return;
    hf_page_head(page, "control_connections", "gauge", "Open connections of the control plane.");
    hf_page_put(page, "holdfast_control_connections %" PRIu64 "\n", hf_grpc_server_connections(server));
}

/* "control.events.told" becomes holdfast_control_events_told_total. */
static void hf_page_events(struct hf_page *page, const struct hf_events *events)
{
    for (unsigned i = 0; events && i < HF_EVENTS_COUNTERS; i++) {
        char name[64];
        bool gauge = i == HF_EVENTS_FOLLOWERS;
        snprintf(name, sizeof name, "%s%s", hf_events_counter_name((enum hf_events_counter)i), gauge ? "" : "_total");
        for (char *dot = name; (dot = strchr(dot, '.')) != NULL;)
            *dot = '_';
        hf_page_head(page, name, gauge ? "gauge" : "counter", hf_events_counter_help((enum hf_events_counter)i));
        hf_page_put(page, "holdfast_%s %" PRIu64 "\n", name, hf_events_count(events, (enum hf_events_counter)i));
    }
}

static void hf_page_version(struct hf_page *page, const struct hf_spans *spans)
{
    const struct hf_span *node = &spans->node;
    hf_page_head(page, "build_info", "gauge", "1, with the engine's version.");
    hf_page_put(page, "holdfast_build_info{version=\"%" PRIu64 ".%" PRIu64 ".%" PRIu64 "\"} 1\n",
                hf_numbers_get(node->items, node->count, "version.major"), hf_numbers_get(node->items, node->count, "version.minor"),
                hf_numbers_get(node->items, node->count, "version.patch"));
}

size_t hf_metrics_write(struct hf_metrics *metrics, char *out, size_t room)
{
    struct hf_page page = {out, room, 0};
    struct hf_spans spans;
    unsigned count = metrics->options.numbers ? metrics->options.numbers(metrics->options.context, metrics->items, metrics->items_max) : 0;
    hf_spans_cut(metrics->items, count < metrics->items_max ? count : metrics->items_max, &spans);
    hf_page_version(&page, &spans);
    hf_page_rows(&page, &spans);
    hf_page_named(&page, &spans, "results_total", "counter", "Answers to commands by their result.", "result", "results.", "");
    hf_page_named(&page, &spans, "table_rows", "gauge", "Rows in use.", "table", "tables.", ".rows_used");
    hf_page_named(&page, &spans, "table_rows_limit", "gauge", "Rows that fit.", "table", "tables.", ".rows_max");
    hf_page_named(&page, &spans, "table_limit_bytes", "gauge", "Memory that all rows would take.", "table", "tables.", ".bytes_max");
    hf_page_stages(&page, &spans);
    hf_page_stalls(&page, &spans);
    hf_page_methods(&page, metrics);
    hf_page_server(&page, metrics->server);
    hf_page_events(&page, metrics->options.events);
    return page.used;
}

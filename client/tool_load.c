/* `holdfast load`: options and report of the load generator. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/load.h"
#include "client/tool.h"

static volatile int stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

struct arguments {
    const char *trace, *acked;
    uint64_t connections, batch, inflight, ttl_ms, linger_us;
    double warmup_s, patience_s;
    bool has_seed, has_speed, has_synthetic;
    struct hf_load_options load;
};

static int check(const struct hf_tool *tool, struct arguments *a)
{
    struct hf_load_options *load = &a->load;
    if (a->connections < 1 || a->connections > 100000 || a->inflight < 1 || a->inflight > 60000)
        return hf_tool_usage(tool, "--connections is 1 to 100000, --inflight 1 to 60000");
    if (a->batch < 1 || a->batch > HF_FRAME_COMMANDS_MAX)
        return hf_tool_usage(tool, "--batch is 1 to %d", HF_FRAME_COMMANDS_MAX);
    if (load->lines < 1 || load->lines > HF_LINES_MAX || load->lines > load->skus)
        return hf_tool_usage(tool, "--lines is 1 to %d, and no more than --skus, since an order's SKUs differ", HF_LINES_MAX);
    if (load->skus < 1 || load->skus > 1000000000 || load->quantity < 1 || load->quantity > HF_QUANTITY_MAX)
        return hf_tool_usage(tool, "--skus is 1 to 1000000000, --qty 1 to 2147483647");
    if (!(load->zipf >= 0) || !(load->speed > 0) || !isfinite(load->zipf) || !isfinite(load->speed))
        return hf_tool_usage(tool, "--zipf is 0 or more, --speed more than 0");
    if (!(load->rate >= 0) || !(load->seconds >= 0) || load->rate > 1e9 || load->seconds > 1e7 || !(a->warmup_s >= 0) || a->warmup_s > 1e7)
        return hf_tool_usage(tool, "--rate, --seconds and --warmup are 0 or more");
    if (!(a->patience_s >= 0.001) || a->patience_s > 1e7)
        return hf_tool_usage(tool, "--patience is 0.001 to 10000000 seconds");
    if (!(load->settle_percent >= 0) || !(load->cancel_percent >= 0) || load->settle_percent + load->cancel_percent > 100)
        return hf_tool_usage(tool, "--settle and --cancel are percentages of 100 together at most");
    if (a->ttl_ms < 1 || a->ttl_ms > UINT32_MAX)
        return hf_tool_usage(tool, "--ttl is 1 to 4294967295 ms");
    if (a->trace && a->has_synthetic)
        return hf_tool_usage(tool, "a trace has its own orders: leave out --skus, --zipf, --lines and --qty");
    if (!a->trace && !load->has_rate)
        return hf_tool_usage(tool, "without a trace, --rate R (orders/s) or --rate 0 (as fast as answered) is needed");
    if (!a->trace && load->seconds <= 0 && load->orders == 0)
        return hf_tool_usage(tool, "without a trace, --seconds S or --orders N is needed");
    return 0;
}

static void settle_options(const struct hf_tool *tool, struct arguments *a)
{
    struct hf_load_options *load = &a->load;
    load->server = tool->server;
    load->connections = (unsigned)a->connections;
    load->batch = (unsigned)a->batch;
    load->inflight = (unsigned)a->inflight;
    load->ttl_ms = (uint32_t)a->ttl_ms;
    load->linger_ns = a->linger_us * 1000;
    load->warmup_ns = (uint64_t)(a->warmup_s * 1e9);
    load->patience_ns = (uint64_t)(a->patience_s * 1e9);
    load->acked_path = a->acked;
    load->stop = &stopped;
    if (!a->has_seed)
        (void)!getrandom(&load->seed, sizeof load->seed, 0);
}

static json_t *latencies(const struct hf_histogram *histogram)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "p50", (double)hf_histogram_at_ns(histogram, 0.5) / 1e3, "p90",
                     (double)hf_histogram_at_ns(histogram, 0.9) / 1e3, "p99", (double)hf_histogram_at_ns(histogram, 0.99) / 1e3, "p999",
                     (double)hf_histogram_at_ns(histogram, 0.999) / 1e3, "max", (double)histogram->max_ns / 1e3);
}

static json_t *verbs(const struct hf_load_verbs *counts)
{
    return json_pack("{s:I, s:I, s:I}", "sent", (json_int_t)counts->sent, "ok", (json_int_t)counts->ok, "refused",
                     (json_int_t)counts->refused);
}

/* BUSY and its kin stand in `busy` and by name here, SHORT has a field of its own. */
static json_t *refusals(const struct hf_load_report *report)
{
    json_t *object = json_object();
    for (unsigned i = 0; i < HF_RESULT_COUNT; i++)
        if (report->refused[i] && i != HF_BUSY && i != HF_NO_SPACE && i != HF_DRAINING && i != HF_FULL)
            json_object_set_new(object, hf_result_name(i), hf_json_u64(report->refused[i]));
    return object;
}

static json_t *busy_by_code(const struct hf_load_report *report)
{
    static const unsigned codes[] = {HF_BUSY, HF_FULL, HF_NO_SPACE, HF_DRAINING};
    json_t *object = json_object();
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (report->refused[codes[i]])
            json_object_set_new(object, hf_result_name(codes[i]), hf_json_u64(report->refused[codes[i]]));
    return object;
}

static json_t *report_json(const struct hf_load_report *report)
{
    double seconds = report->seconds > 0 ? report->seconds : 1e-9;
    json_t *object = json_pack(
        "{s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:o, s:o, s:o}", "orders", (json_int_t)report->orders, "granted",
        (json_int_t)report->granted, "short", (json_int_t)report->shorted, "busy", (json_int_t)report->busy, "refused", refusals(report),
        "busy_by_code", busy_by_code(report), "repeated", (json_int_t)report->repeated, "errors", (json_int_t)report->errors, "unanswered",
        (json_int_t)report->unanswered, "unsent", (json_int_t)report->unsent, "seconds", report->seconds, "orders_per_s",
        (double)(report->answered - report->busy) / seconds, "granted_per_s", (double)report->granted / seconds, "response_us",
        latencies(&report->response), "service_us", latencies(&report->service), "granted_us", latencies(&report->granted_response));
    json_t *more = json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:s}", "frames", (json_int_t)report->frames, "frames_resent",
                             (json_int_t)report->frames_resent, "connections_made", (json_int_t)report->connections_made,
                             "sessions_resumed", (json_int_t)report->sessions_resumed, "sessions_replaced",
                             (json_int_t)report->sessions_replaced, "settle", verbs(&report->settle), "result", verbs(&report->result),
                             "ship", verbs(&report->ship), "cancel", verbs(&report->cancel), "last_error", report->error);
    json_object_update(object, more);
    json_decref(more);
    return object;
}

static int run(const struct hf_tool *tool, struct arguments *a)
{
    char error[HF_CSV_ERROR_BYTES];
    struct hf_trace trace;
    struct hf_load_report *report = malloc(sizeof *report);
    if (!report)
        return hf_tool_fail(tool, HF_EXIT_USAGE, "no memory");
    if (a->trace && hf_trace_read(a->trace, &trace, error) != 0) {
        free(report);
        return hf_tool_fail(tool, HF_EXIT_USAGE, "%s", error);
    }
    a->load.trace = a->trace ? &trace : NULL;
    settle_options(tool, a);
    catch_signals();
    int failed = hf_load_run(&a->load, report), status = HF_EXIT_DONE;
    if (failed) {
        status = hf_tool_fail(tool, HF_EXIT_USAGE, "%s", report->error);
    } else {
        hf_tool_print(tool, report_json(report));
        if (!report->connected || report->silent)
            status = hf_tool_fail(tool, HF_EXIT_UNREACHABLE, "%s", report->error);
    }
    a->load.trace = NULL;
    if (a->trace)
        hf_trace_free(&trace);
    free(report);
    return status;
}

int hf_tool_load(struct hf_tool *tool, int argc, char **argv)
{
    tool->usage = "load [--trace FILE [--speed X]] | [--skus N --zipf S --lines N --qty N]\n"
                  "            --connections C --batch B --inflight F [--rate R] [--seconds S | --orders N]\n"
                  "            [--settle PCT] [--cancel PCT] [--ttl MS] [--seed N] [--acked FILE] [--linger US] [--warmup S]\n"
                  "            [--patience S]\n"
                  "  --rate R        open loop at R orders/s by intended send times; 0: closed loop; none: a trace's own times / --speed\n"
                  "  --inflight F    frames in flight on each connection, each of up to --batch orders\n"
                  "  --settle PCT    share of granted orders that is settled, captured and shipped; --cancel: that is cancelled\n"
                  "  --acked FILE    appends `id RESULT` (place) and `id VERB RESULT` (others) as answers arrive\n"
                  "  --linger US     how long a frame that is not full waits for more orders (open loop), default 50\n"
                  "  --first-number N  request numbers of each session begin here, and after 2^64 - 1 again at 1\n"
                  "  --warmup S      answers of the first S seconds do not enter the latencies\n"
                  "  --patience S    ends with exit 3 when commands wait and nothing was answered for S seconds, default 30";
    struct arguments a = {.connections = 1, .batch = 1, .inflight = 1, .ttl_ms = 900000, .linger_us = 50, .patience_s = 30};
    a.load = (struct hf_load_options){.speed = 1, .skus = 1000, .lines = 1, .quantity = 1};
    struct hf_load_options *load = &a.load;
    const struct hf_tool_option options[] = {
        {"--trace", HF_KIND_TEXT, &a.trace},
        {"--speed", HF_KIND_REAL, &load->speed, .given = &a.has_speed},
        {"--skus", HF_KIND_U64, &load->skus, .given = &a.has_synthetic},
        {"--zipf", HF_KIND_REAL, &load->zipf, .given = &a.has_synthetic},
        {"--lines", HF_KIND_U64, &load->lines, .given = &a.has_synthetic},
        {"--qty", HF_KIND_U64, &load->quantity, .given = &a.has_synthetic},
        {"--connections", HF_KIND_U64, &a.connections},
        {"--batch", HF_KIND_U64, &a.batch},
        {"--inflight", HF_KIND_U64, &a.inflight},
        {"--rate", HF_KIND_REAL, &load->rate, .given = &load->has_rate},
        {"--seconds", HF_KIND_REAL, &load->seconds},
        {"--orders", HF_KIND_U64, &load->orders},
        {"--settle", HF_KIND_REAL, &load->settle_percent},
        {"--cancel", HF_KIND_REAL, &load->cancel_percent},
        {"--ttl", HF_KIND_U64, &a.ttl_ms},
        {"--first-number", HF_KIND_U64, &load->first_number},
        {"--seed", HF_KIND_U64, &load->seed, .given = &a.has_seed},
        {"--acked", HF_KIND_TEXT, &a.acked},
        {"--linger", HF_KIND_U64, &a.linger_us},
        {"--warmup", HF_KIND_REAL, &a.warmup_s},
        {"--patience", HF_KIND_REAL, &a.patience_s},
    };
    int failed = hf_tool_options(tool, argc, argv, options, sizeof options / sizeof options[0]);
    if (!failed && tool->control)
        failed = hf_tool_usage(tool, "load offers orders to the data port: it takes --server, not --control");
    if (!failed)
        failed = check(tool, &a);
    return failed ? failed < 0 ? 0 : failed : run(tool, &a);
}

/* What `holdfast top` shows: the frame as an object, and the object as lines. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/tool_top.h"

/* ---- the frame ---- */

static uint64_t number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* Counters begin anew with the engine: then all of it is new. */
static uint64_t grown(const json_t *before, const json_t *now, const char *key)
{
    uint64_t was = number(before, key), is = number(now, key);
    return is >= was ? is - was : is;
}

static json_t *rate(const json_t *before, const json_t *now, const char *key, double seconds)
{
    return json_real((double)grown(before, now, key) / seconds);
}

/* Upper bound in us of the bucket that the turn at `share` of all fell into; 0: there was none, or no bound. */
static uint64_t quantile_us(const json_t *before, const json_t *now, double share)
{
    static const struct {
        const char *name;
        uint64_t us;
    } bounds[] = {{"le_1us", 1},    {"le_4us", 4},      {"le_16us", 16},    {"le_66us", 66},      {"le_262us", 262},      {"le_1ms", 1049},
                  {"le_4ms", 4194}, {"le_17ms", 16777}, {"le_67ms", 67109}, {"le_268ms", 268435}, {"le_1074ms", 1073742}, {"more", 0}};
    enum { BOUNDS = sizeof bounds / sizeof bounds[0] };
    uint64_t counts[BOUNDS], all = 0, seen = 0;
    for (unsigned i = 0; i < BOUNDS; i++)
        all += counts[i] = grown(before, now, bounds[i].name);
    for (unsigned i = 0; i < BOUNDS && all > 0; i++) {
        seen += counts[i];
        if ((double)seen >= share * (double)all)
            return bounds[i].us;
    }
    return 0;
}

/* The stage that took longest since the start, the whole turn left out. */
static const char *longest_stage(const json_t *stages, uint64_t *ns)
{
    const char *name, *longest = "";
    json_t *stage;
    *ns = 0;
    json_object_foreach((json_t *)stages, name, stage)
    {
        if (strcmp(name, "turn") == 0 || number(stage, "ns_max") <= *ns)
            continue;
        *ns = number(stage, "ns_max");
        longest = name;
    }
    return longest;
}

static double mean_ms(const json_t *before, const json_t *now)
{
    uint64_t answers = grown(before, now, "answers");
    return answers == 0 ? 0.0 : (double)grown(before, now, "answer_wait_us_sum") / (double)answers / 1000.0;
}

static json_t *shard_frame(const json_t *before, const json_t *now, double seconds)
{
    static const char *const queues[] = {"received_now", "parked_now", "waiting_now", "forwarded_now", "service_now", "control_now"};
    const json_t *stages = json_object_get(now, "stages");
    const json_t *turns_before = json_object_get(json_object_get(before, "stages"), "turn"), *turns = json_object_get(stages, "turn");
    uint64_t longest_ns, stage = number(now, "stage_now");
    const char *longest = longest_stage(stages, &longest_ns);
    json_t *frame = json_pack("{s:O, s:b, s:s, s:I}", "shard", json_object_get(now, "shard"), "responsive",
                              number(now, "answers_status") != 0, "stage", hf_tool_stage_name(now), "stage_us",
                              (json_int_t)number(now, "stage_now_us"));
    json_object_set_new(frame, "stalled_ms", json_real(stage == 7 ? 0.0 : (double)number(now, "stage_now_us") / 1000.0));
    json_object_set_new(frame, "commands_per_s", rate(before, now, "commands", seconds));
    json_object_set_new(frame, "answers_per_s", rate(before, now, "answers", seconds));
    json_object_set_new(frame, "parked_per_s", rate(before, now, "parked", seconds));
    json_object_set_new(frame, "busy_per_s", rate(before, now, "busy", seconds));
    json_object_set_new(frame, "answer_ms_mean", json_real(mean_ms(before, now)));
    json_object_set_new(frame, "turn_us_p50", hf_json_u64(quantile_us(turns_before, turns, 0.5)));
    json_object_set_new(frame, "turn_us_p99", hf_json_u64(quantile_us(turns_before, turns, 0.99)));
    json_object_set_new(frame, "longest_stage", json_string(longest));
    json_object_set_new(frame, "longest_ms", json_real((double)longest_ns / 1e6));
    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++)
        json_object_set_new(frame, queues[i], hf_json_u64(number(now, queues[i])));
    return frame;
}

static json_t *log_frame(const json_t *before, const json_t *now, double seconds)
{
    const json_t *was = json_object_get(before, "log"), *is = json_object_get(now, "log");
    uint64_t position = number(now, "position"), durable = number(now, "durable_position");
    json_t *frame = json_pack("{s:I, s:I}", "durable_position", (json_int_t)durable, "lag_bytes",
                              (json_int_t)(position > durable ? position - durable : 0));
    json_object_set_new(frame, "bytes_per_s", rate(before, now, "durable_position", seconds));
    json_object_set_new(frame, "writes_per_s", rate(was, is, "writes", seconds));
    json_object_set_new(frame, "write_us_mean", hf_json_u64(number(is, "write_us_mean")));
    json_object_set_new(frame, "write_us_max", hf_json_u64(number(is, "write_us_max")));
    json_object_set_new(frame, "ahead_bytes", hf_json_u64(number(is, "ahead_bytes")));
    json_object_set_new(frame, "free_bytes", hf_json_u64(number(is, "free_bytes")));
    json_object_set_new(frame, "watermark", hf_json_u64(number(is, "watermark")));
    return frame;
}

static json_t *hot_frame(const struct hf_sketch *sketch)
{
    struct hf_sketch_row rows[HF_TOP_HOT];
    unsigned count = hf_sketch_top(sketch, rows, HF_TOP_HOT);
    json_t *list = json_array();
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:o, s:I, s:I, s:f}", "sku", hf_json_sku(&rows[i].sku), "lines", (json_int_t)rows[i].hits,
                                              "error", (json_int_t)rows[i].error, "share",
                                              sketch->total ? (double)rows[i].hits / (double)sketch->total : 0.0));
    return list;
}

/* Over all shards. */
static void add_sums(json_t *frame, const json_t *shards)
{
    static const char *const keys[] = {"commands_per_s", "answers_per_s", "parked_per_s", "busy_per_s"};
    double sums[4] = {0}, waits = 0;
    json_t *shard;
    size_t index;
    json_array_foreach((json_t *)shards, index, shard)
    {
        for (size_t i = 0; i < 4; i++)
            sums[i] += json_real_value(json_object_get(shard, keys[i]));
        waits += json_real_value(json_object_get(shard, "answer_ms_mean")) * json_real_value(json_object_get(shard, "answers_per_s"));
    }
    for (size_t i = 0; i < 4; i++)
        json_object_set_new(frame, keys[i], json_real(sums[i]));
    json_object_set_new(frame, "answer_ms_mean", json_real(sums[1] > 0 ? waits / sums[1] : 0.0));
}

static json_t *results_frame(const json_t *before, const json_t *now, double seconds)
{
    const json_t *was = json_object_get(before, "results"), *is = json_object_get(now, "results");
    json_t *rates = json_object(), *value;
    const char *name;
    json_object_foreach((json_t *)is, name, value)
    {
        (void)value;
        if (grown(was, is, name) > 0)
            json_object_set_new(rates, name, rate(was, is, name, seconds));
    }
    return rates;
}

json_t *hf_top_frame(const json_t *before, const json_t *now, double seconds, const struct hf_sketch *sketch)
{
    json_t *frame = json_object(), *shards = json_array(), *shard;
    const json_t *shards_before = json_object_get(before, "shards");
    size_t index;
    json_object_set(frame, "version", json_object_get(now, "version"));
    json_object_set(frame, "term", json_object_get(now, "term"));
    json_object_set(frame, "time_ms", json_object_get(now, "time_ms"));
    json_object_set_new(frame, "seconds", json_real(seconds));
    json_object_set_new(frame, "orders_per_s",
                        rate(json_object_get(before, "log"), json_object_get(now, "log"), "orders_since_start", seconds));
    json_array_foreach(json_object_get(now, "shards"), index, shard)
        json_array_append_new(shards, shard_frame(json_array_get(shards_before, index), shard, seconds));
    add_sums(frame, shards);
    json_object_set_new(frame, "results_per_s", results_frame(before, now, seconds));
    json_object_set_new(frame, "log", log_frame(before, now, seconds));
    json_object_set_new(frame, "shards", shards);
    json_object_set_new(frame, "hot", hot_frame(sketch));
    return frame;
}

/* ---- as lines ---- */

struct canvas {
    FILE *to;
    unsigned columns, lines, drawn;
    const char *line_end;
};

__attribute__((format(printf, 2, 3))) static void line(struct canvas *canvas, const char *format, ...)
{
    char text[512];
    va_list arguments;
    if (canvas->lines != 0 && canvas->drawn == canvas->lines)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (canvas->columns != 0 && canvas->columns < strlen(text))
        text[canvas->columns] = 0;
    fprintf(canvas->to, "%s%s%s", canvas->drawn > 0 ? canvas->line_end : "", text, canvas->lines != 0 ? "\033[K" : "");
    canvas->drawn++;
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* 12.3 k: four significant characters and the power of a thousand. */
static const char *short_number(double value, char out[16])
{
    static const char powers[] = " kMGTP";
    unsigned power = 0;
    while (value >= 999.5 && power < 5) {
        value /= 1000;
        power++;
    }
    snprintf(out, 16, value < 9.95 && (power > 0 || value != (double)(int)value) ? "%.1f%.*s" : "%.0f%.*s", value, power > 0,
             &powers[power]);
    return out;
}

static void draw_head(struct canvas *canvas, const json_t *frame, const char *from)
{
    char a[16], b[16], c[16], d[16], e[16];
    const json_t *log = json_object_get(frame, "log");
    time_t seconds = (time_t)(number(frame, "time_ms") / 1000);
    struct tm tm;
    char when[16] = "";
    if (gmtime_r(&seconds, &tm))
        strftime(when, sizeof when, "%H:%M:%SZ", &tm);
    line(canvas, "holdfast %s  %s  term %" PRIu64 "  %s", json_string_value(json_object_get(frame, "version")), from, number(frame, "term"),
         when);
    line(canvas, "orders/s %s  commands/s %s  answers/s %s  answered in %.2f ms  parked/s %s  busy/s %s",
         short_number(real(frame, "orders_per_s"), a), short_number(real(frame, "commands_per_s"), b),
         short_number(real(frame, "answers_per_s"), c), real(frame, "answer_ms_mean"), short_number(real(frame, "parked_per_s"), d),
         short_number(real(frame, "busy_per_s"), e));
    line(canvas, "log      lag %sB  %sB/s  %s writes/s of %.2f ms (longest %.1f)  ahead %sB  free %s%s%s",
         short_number(real(log, "lag_bytes"), a), short_number(real(log, "bytes_per_s"), b), short_number(real(log, "writes_per_s"), c),
         real(log, "write_us_mean") / 1000, real(log, "write_us_max") / 1000, short_number(real(log, "ahead_bytes"), d),
         number(log, "free_bytes") ? short_number(real(log, "free_bytes"), e) : "?", number(log, "free_bytes") ? "B" : "",
         number(log, "watermark") == 0   ? ""
         : number(log, "watermark") == 1 ? "  NO SPACE FOR ORDERS"
                                         : "  FULL");
}

static void draw_results(struct canvas *canvas, const json_t *frame)
{
    char text[400] = "", value[16];
    const char *name;
    json_t *per_s;
    size_t used = 0;
    json_object_foreach(json_object_get(frame, "results_per_s"), name, per_s)
    {
        int more = snprintf(text + used, sizeof text - used, "  %s %s", name, short_number(json_real_value(per_s), value));
        used += more > 0 && (size_t)more < sizeof text - used ? (size_t)more : 0;
    }
    text[used] = 0;
    line(canvas, "results/s%s", used > 0 ? text : "  none");
}

static void draw_shard(struct canvas *canvas, const json_t *shard)
{
    char a[16], b[16], stall[32] = "";
    double stalled = real(shard, "stalled_ms");
    if (!json_is_true(json_object_get(shard, "responsive")))
        snprintf(stall, sizeof stall, "  STALLED %.0f ms", stalled);
    line(canvas,
         "%5" PRIu64 " %-7s %8s %8s %9.2f %8" PRIu64 " %8" PRIu64 " %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %6" PRIu64 "  %-7s %7.1f%s",
         number(shard, "shard"), json_string_value(json_object_get(shard, "stage")), short_number(real(shard, "commands_per_s"), a),
         short_number(real(shard, "answers_per_s"), b), real(shard, "answer_ms_mean"), number(shard, "turn_us_p50"),
         number(shard, "turn_us_p99"), number(shard, "received_now"), number(shard, "parked_now"), number(shard, "waiting_now"),
         number(shard, "forwarded_now"), json_string_value(json_object_get(shard, "longest_stage")), real(shard, "longest_ms"), stall);
}

void hf_top_draw(const json_t *frame, const char *from, unsigned columns, unsigned lines, const char *line_end, FILE *to)
{
    struct canvas canvas = {.to = to, .columns = columns, .lines = lines, .line_end = line_end};
    json_t *row;
    size_t index;
    draw_head(&canvas, frame, from);
    draw_results(&canvas, frame);
    line(&canvas, "%s", "");
    line(&canvas, "shard stage   command/s answer/s  answer ms turn p50  p99 us  queue parked  disk  others  longest stage, ms");
    json_array_foreach(json_object_get(frame, "shards"), index, row) draw_shard(&canvas, row);
    line(&canvas, "%s", "");
    line(&canvas, "hot SKUs, by lines of placed orders");
    json_array_foreach(json_object_get(frame, "hot"), index, row)
        line(&canvas, "%6.1f %%  %s", 100 * real(row, "share"), json_string_value(json_object_get(row, "sku")));
    if (json_array_size(json_object_get(frame, "hot")) == 0)
        line(&canvas, "  none lately");
    fprintf(to, "%s", lines != 0 ? "\033[J" : line_end);
}

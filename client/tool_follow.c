/* `holdfast follow`: durable records' outcomes, one a line, with a cursor that survives. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/tool.h"
#include "wire/record_check.h"
#include "wire/trace.h"

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

struct follow {
    uint64_t from, position, term, records;
    const char *cursor;
    bool until_end, has_from;
};

static bool parse_number(const char *text, char **end, uint64_t *number)
{
    errno = 0;
    *number = strtoull(text, end, 10);
    return errno == 0 && *end != text;
}

/* The cursor file holds "TERM POSITION". A missing file is the log's beginning. */
static int read_cursor(const struct hf_tool *tool, struct follow *follow)
{
    FILE *file = fopen(follow->cursor, "re");
    if (!file && errno == ENOENT)
        return 0;
    if (!file)
        return hf_tool_fail(tool, HF_EXIT_USAGE, "%s cannot be read: %s", follow->cursor, strerror(errno));
    char text[64], *end = NULL;
    bool found = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    found = found && parse_number(text, &end, &follow->term) && parse_number(end, &end, &follow->position) && strchr("\n", *end);
    return found ? 0 : hf_tool_fail(tool, HF_EXIT_USAGE, "%s is no cursor: it holds a term and a position", follow->cursor);
}

/* What was printed leaves stdout before the cursor says so, and the cursor is replaced in one step. */
static int write_cursor(const struct hf_tool *tool, const struct follow *follow)
{
    char path[4096];
    if (fflush(stdout) != 0)
        return hf_tool_fail(tool, HF_EXIT_USAGE, "stdout cannot be written: %s", strerror(errno));
    if (!follow->cursor)
        return 0;
    snprintf(path, sizeof path, "%s.new", follow->cursor);
    FILE *file = fopen(path, "we");
    bool written = file && fprintf(file, "%" PRIu64 " %" PRIu64 "\n", follow->term, follow->position) > 0 && fflush(file) == 0 &&
                   fdatasync(fileno(file)) == 0;
    if (file)
        written = fclose(file) == 0 && written;
    if (!written || rename(path, follow->cursor) != 0)
        return hf_tool_fail(tool, HF_EXIT_USAGE, "%s cannot be written: %s", follow->cursor, strerror(errno));
    return 0;
}

static json_t *touch_json(const struct hf_sku *sku, const struct hf_touch *touch)
{
    int64_t quantity = touch->flags & HF_TOUCH_NEGATIVE ? -(int64_t)touch->quantity : (int64_t)touch->quantity;
    json_t *object = json_pack("{s:o, s:I, s:I, s:I, s:i, s:i, s:i, s:i}", "sku", hf_json_sku(sku), "location", (json_int_t)touch->location,
                               "quantity", (json_int_t)quantity, "cell_version", (json_int_t)touch->cell_version, "sellable",
                               touch->sellable, "reserved", touch->reserved, "allocated", touch->allocated, "index", touch->index);
    if (touch->flags & HF_TOUCH_OVERSOLD)
        json_object_set_new(object, "oversold", json_true());
    if (touch->flags & HF_TOUCH_OTHER_BUCKET)
        json_object_set_new(object, "other_bucket", json_true());
    return object;
}

static json_t *touches_json(const struct hf_record *record, const struct hf_command *command)
{
    bool place = command->opcode == HF_PLACE;
    const uint8_t *at = (const uint8_t *)(record + 1);
    json_t *list = json_array();
    for (unsigned i = 0; i < record->line_count; i++) {
        struct hf_named_touch named;
        if (place) {
            named.sku = hf_command_lines(command)[i].sku;
            memcpy(&named.touch, at, sizeof named.touch);
        } else {
            memcpy(&named, at, sizeof named);
        }
        at += place ? sizeof named.touch : sizeof named;
        json_array_append_new(list, touch_json(&named.sku, &named.touch));
    }
    return list;
}

static json_t *intents_json(const struct hf_record *record, const uint8_t *at)
{
    static const char *const kinds[] = {"UNKNOWN", "CAPTURE", "VOID", "REFUND"};
    json_t *list = json_array();
    for (unsigned i = 0; i < record->intent_count; i++, at += sizeof(struct hf_intent)) {
        struct hf_intent intent;
        memcpy(&intent, at, sizeof intent);
        json_array_append_new(list, json_pack("{s:I, s:s, s:I, s:s%, s:o}", "number", (json_int_t)intent.number, "kind",
                                              kinds[intent.kind < 4 ? intent.kind : 0], "amount", (json_int_t)intent.amount, "currency",
                                              (const char *)intent.currency, strnlen((const char *)intent.currency, 3), "order",
                                              hf_json_id(intent.order)));
    }
    return list;
}

static void add_ids(json_t *object, const struct hf_command *command)
{
    unsigned family = hf_opcode_family(command->opcode);
    if (family == HF_FAMILY_ORDER && command->opcode != HF_PLACE)
        json_object_set_new(object, "order_id", hf_json_id(command->body.verb.order));
    if (command->opcode == HF_EXPIRE || command->opcode == HF_FORGET) {
        json_t *ids = json_array();
        for (uint32_t i = 0; i < command->body.sweep.count && i < 2u * command->line_count; i++)
            json_array_append_new(ids, hf_json_id(hf_sweep_id(command, i)));
        json_object_set_new(object, "ids", ids);
    } else if (command->opcode == HF_MARK) {
        json_object_set_new(object, "mark_ms", hf_json_u64(command->body.mark.mark_ms));
    } else if (family != HF_FAMILY_INTERNAL) {
        json_object_set_new(object, "id", hf_json_id(command->id));
    }
}

/* The record as an object; `command` is where its counts say. */
static json_t *record_json(const struct hf_follow_head *head, const struct hf_record *record, const struct hf_command *command)
{
    bool place = command->opcode == HF_PLACE;
    json_t *object = json_pack("{s:I, s:I, s:I, s:s, s:s, s:i, s:I}", "position", (json_int_t)head->end_position, "term",
                               (json_int_t)head->term, "time_ms", (json_int_t)(record->time_ns / 1000000), "command",
                               hf_opcode_name(command->opcode), "result", hf_result_name(record->result), "home", record->home, "version",
                               (json_int_t)record->state_version);
    add_ids(object, command);
    if (hf_opcode_family(command->opcode) == HF_FAMILY_ORDER) {
        json_object_set_new(object, "order", json_string(hf_order_state_name(record->order)));
        json_object_set_new(object, "payment", json_string(hf_payment_state_name(record->payment)));
        json_object_set_new(object, "fulfilment", json_string(hf_fulfilment_state_name(record->fulfilment)));
        json_object_set_new(object, "due_ms", hf_json_u64(record->due_ns / 1000000));
    }
    char trace[HF_TRACE_TEXT_BYTES];
    if (hf_trace_of(command, trace))
        json_object_set_new(object, "traceparent", json_string(trace));
    if (place)
        json_object_set_new(object, "customer", hf_json_u64(command->body.place.customer));
    json_object_set_new(object, "lines", touches_json(record, command));
    if (record->intent_count) {
        size_t touch_bytes = place ? sizeof(struct hf_touch) : sizeof(struct hf_named_touch);
        json_object_set_new(object, "intents", intents_json(record, (const uint8_t *)(record + 1) + record->line_count * touch_bytes));
    }
    return object;
}

void hf_tool_print_record(const struct hf_tool *tool, const struct hf_follow_head *head, const struct hf_record *record,
                          const struct hf_command *command)
{
    json_t *object = record_json(head, record, command);
    if (tool->json) {
        hf_tool_print(tool, object);
        return;
    }
    const char *id = json_string_value(json_object_get(object, "order_id"));
    id = id ? id : json_string_value(json_object_get(object, "id"));
    printf("%" JSON_INTEGER_FORMAT " %s %s %s %s %zu lines\n", json_integer_value(json_object_get(object, "position")),
           json_string_value(json_object_get(object, "command")), json_string_value(json_object_get(object, "result")), id ? id : "-",
           json_is_string(json_object_get(object, "order")) ? json_string_value(json_object_get(object, "order")) : "-",
           json_array_size(json_object_get(object, "lines")));
    json_decref(object);
}

static int print_batch(const struct hf_tool *tool, struct follow *follow, const struct hf_answer *answer)
{
    const uint8_t *at = (const uint8_t *)(answer + 1), *end = (const uint8_t *)answer + answer->length;
    while ((size_t)(end - at) > sizeof(struct hf_follow_head)) {
        const struct hf_follow_head *head = (const struct hf_follow_head *)(const void *)at;
        const struct hf_record *record = (const struct hf_record *)(const void *)(head + 1);
        const struct hf_command *command;
        if (!hf_record_check(record, (size_t)(end - at) - sizeof *head, &command))
            return hf_tool_fail(tool, HF_EXIT_REFUSED, "a record behind position %" PRIu64 " is of a form this tool does not know",
                                follow->position);
        hf_tool_print_record(tool, head, record, command);
        follow->term = head->term;
        follow->records++;
        at = (const uint8_t *)record + record->length;
    }
    return 0;
}

/* Asks for at most so many bytes of records, 0: as many as fit. 0 or an exit status. */
static int ask(const struct hf_tool *tool, struct hf_tool_call *call, const struct follow *follow, unsigned bytes)
{
    struct hf_command *command = hf_tool_call_again(call, HF_FOLLOW, 0, 0);
    command->body.follow.position = follow->position;
    command->arg = bytes;
    return hf_tool_call_send(tool, call);
}

/* Over datagrams no more is asked for than the path carries. That nothing came then may mean that the next record is too large for it;
 * asked without a bound, the engine says so. */
static int ask_what_fits(const struct hf_tool *tool, struct hf_tool_call *call, const struct follow *follow)
{
    unsigned most = hf_tool_call_frame_bytes_max(call);
    if (most == HF_FRAME_BYTES_MAX)
        return ask(tool, call, follow, 0);
    int failed = ask(tool, call, follow, most - (unsigned)(sizeof(struct hf_frame) + sizeof(struct hf_answer)));
    bool nothing = !failed && call->answer->result == HF_OK && call->answer->length == sizeof *call->answer;
    return nothing ? ask(tool, call, follow, 0) : failed;
}

/* One question: 0, or an exit status after a sentence; *idle: there was nothing new. */
static int one_batch(const struct hf_tool *tool, struct hf_tool_call *call, struct follow *follow, bool *idle)
{
    int failed = ask_what_fits(tool, call, follow);
    *idle = true;
    if (failed)
        return failed;
    if (call->answer->result == HF_BUSY)
        return 0;
    if (call->answer->result != HF_OK)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "%s: %s", hf_result_name(call->answer->result), hf_result_advice(call->answer->result));
    *idle = call->answer->length == sizeof *call->answer;
    if (!*idle && call->answer->value <= follow->position)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "the records behind position %" PRIu64 " end where they begin", follow->position);
    failed = print_batch(tool, follow, call->answer);
    if (!failed && call->answer->value != follow->position) {
        follow->position = call->answer->value;
        failed = write_cursor(tool, follow);
    }
    return failed;
}

static int run(const struct hf_tool *tool, struct follow *follow)
{
    struct hf_tool_call call;
    bool idle;
    int failed = hf_tool_connect(tool, &call);
    if (failed)
        return failed;
    call.deadline_ns = 60000000000;
    while (!failed && !stopped) {
        failed = one_batch(tool, &call, follow, &idle);
        if (!failed && idle && follow->until_end && call.answer->result == HF_OK)
            break;
        if (!failed && idle)
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    hf_tool_call_close(&call);
    return failed;
}

int hf_tool_follow(struct hf_tool *tool, int argc, char **argv)
{
    struct follow follow = {0};
    const struct hf_tool_option options[] = {
        {"--from", HF_KIND_U64, &follow.from, .given = &follow.has_from},
        {"--cursor", HF_KIND_TEXT, &follow.cursor},
        {"--until-end", HF_KIND_FLAG, &follow.until_end},
    };
    struct sigaction action = {.sa_handler = on_signal};
    tool->usage = "follow [--from POSITION] [--cursor FILE] [--until-end]\n"
                  "  --from POSITION   records that end beyond it; else the cursor's position, else the log's beginning\n"
                  "  --cursor FILE     holds term and position of the last record printed; replaced after each batch\n"
                  "  --until-end       ends when nothing new is there";
    int failed = hf_tool_options(tool, argc, argv, options, sizeof options / sizeof options[0]);
    if (failed)
        return failed < 0 ? 0 : failed;
    if (follow.cursor)
        failed = read_cursor(tool, &follow);
    if (follow.has_from)
        follow.position = follow.from;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return failed ? failed : run(tool, &follow);
}

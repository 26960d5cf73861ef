/* Refusals: a gRPC status, with what google.rpc's details say, as problem details (RFC 9457). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/grpc/status.h"
#include "control/rest/rest_p.h"

/* ---- Reading protobuf's wire format, for the few messages of google.rpc ---- */

struct hf_wire {
    const uint8_t *at, *end;
};

static bool hf_wire_number(struct hf_wire *wire, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; wire->at < wire->end && shift < 64; shift += 7) {
        value |= (uint64_t)(*wire->at & 0x7f) << shift;
        if (!(*wire->at++ & 0x80)) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* The next field: a number, or bytes. False: none, or not understood. */
static bool hf_wire_next(struct hf_wire *wire, unsigned *field, uint64_t *number, struct hf_wire *bytes)
{
    uint64_t tag, length;
    *bytes = (struct hf_wire){NULL, NULL};
    *number = 0;
    if (!hf_wire_number(wire, &tag))
        return false;
    *field = (unsigned)(tag >> 3);
    if ((tag & 7) == 0)
        return hf_wire_number(wire, number);
    if ((tag & 7) != 2 || !hf_wire_number(wire, &length) || length > (size_t)(wire->end - wire->at))
        return false;
    *bytes = (struct hf_wire){wire->at, wire->at + length};
    wire->at += length;
    return true;
}

static void hf_wire_text(struct hf_wire bytes, char *out, size_t room)
{
    const char *text = bytes.at ? (const char *)bytes.at : "";
    snprintf(out, room, "%.*s", bytes.at ? (int)hf_json_fit(text, (size_t)(bytes.end - bytes.at), room - 1) : 0, text);
}

/* ---- What the details say ---- */

enum { HF_PROBLEM_NAME_BYTES = 64, HF_PROBLEM_TEXT_BYTES = 256 };

struct hf_problem {
    unsigned status;
    const char *code;                 /* of gRPC; NULL: none */
    char name[HF_PROBLEM_NAME_BYTES]; /* of the result */
    const char *what;
    uint64_t retry_ms;         /* 0: not said */
    struct hf_json_text extra; /* members: ,"name":value */
};

static void hf_problem_member(struct hf_json_text *text, const char *name, const char *value)
{
    hf_json_put(text, ",", text->count > 0 && text->bytes[text->count - 1] != '{');
    hf_json_put_string(text, name);
    hf_json_put(text, ":", 1);
    hf_json_put_string(text, value);
}

static void hf_problem_error_info(struct hf_problem *problem, struct hf_wire info)
{
    struct hf_wire bytes, inner;
    unsigned field;
    uint64_t number;
    struct hf_json_text pairs = {0};
    hf_json_put(&pairs, "{", 1);
    while (hf_wire_next(&info, &field, &number, &bytes)) {
        char key[HF_PROBLEM_NAME_BYTES] = "", value[HF_PROBLEM_TEXT_BYTES] = "";
        if (field == 1)
            hf_wire_text(bytes, problem->name, sizeof problem->name);
        if (field != 3)
            continue;
        while (hf_wire_next(&bytes, &field, &number, &inner))
            hf_wire_text(inner, field == 1 ? key : value, field == 1 ? sizeof key : sizeof value);
        hf_problem_member(&pairs, key, value);
    }
    hf_json_put(&pairs, "}", 1);
    if (pairs.count > 2) {
        hf_json_put(&problem->extra, ",\"metadata\":", 12);
        hf_json_put(&problem->extra, pairs.bytes, pairs.count);
    }
    problem->extra.failed |= pairs.failed;
    free(pairs.bytes);
}

static void hf_problem_retry(struct hf_problem *problem, struct hf_wire info)
{
    struct hf_wire bytes, inner;
    unsigned field;
    uint64_t number;
    char text[64];
    while (hf_wire_next(&info, &field, &number, &bytes)) {
        if (field != 1)
            continue;
        while (hf_wire_next(&bytes, &field, &number, &inner))
            problem->retry_ms += field == 1 ? number * 1000 : number / 1000000;
    }
    hf_json_put(&problem->extra, text, (size_t)snprintf(text, sizeof text, ",\"retryAfterMs\":%" PRIu64, problem->retry_ms));
}

static void hf_problem_violation(struct hf_json_text *text, const char *field, const char *what)
{
    hf_json_put(text, "{", 1);
    hf_problem_member(text, "field", field);
    hf_problem_member(text, "description", what);
    hf_json_put(text, "}", 1);
}

static void hf_problem_violations(struct hf_problem *problem, struct hf_wire info)
{
    struct hf_wire bytes, inner;
    unsigned field, count = 0;
    uint64_t number;
    hf_json_put(&problem->extra, ",\"violations\":[", 15);
    while (hf_wire_next(&info, &field, &number, &bytes)) {
        char name[HF_PROBLEM_TEXT_BYTES] = "", camel[HF_PROBLEM_TEXT_BYTES], what[HF_PROBLEM_TEXT_BYTES] = "";
        while (hf_wire_next(&bytes, &field, &number, &inner))
            hf_wire_text(inner, field == 1 ? name : what, field == 1 ? sizeof name : sizeof what);
        hf_json_name(name, camel, sizeof camel);
        hf_json_put(&problem->extra, ",", count++ > 0);
        hf_problem_violation(&problem->extra, camel, what);
    }
    hf_json_put(&problem->extra, "]", 1);
}

/* A message of the application: a member with its name, as its JSON. */
static void hf_problem_message(struct hf_problem *problem, const char *type_url, struct hf_grpc_bytes value)
{
    const char *slash = strrchr(type_url, '/');
    for (unsigned i = 0; i < hf_rest_detail_count; i++) {
        const ProtobufCMessageDescriptor *type = hf_rest_details[i];
        ProtobufCMessage *message;
        char name[HF_PROBLEM_NAME_BYTES];
        if (strcmp(type->name, slash ? slash + 1 : type_url) != 0 ||
            !(message = protobuf_c_message_unpack(type, NULL, value.length, value.bytes)))
            continue;
        snprintf(name, sizeof name, "%s", type->short_name);
        name[0] |= 0x20;
        hf_json_put(&problem->extra, ",", 1);
        hf_json_put_string(&problem->extra, name);
        hf_json_put(&problem->extra, ":", 1);
        hf_json_write(&problem->extra, message);
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

/* ---- The answer ---- */

static void hf_problem_send(struct hf_rest_exchange *exchange, struct hf_problem *problem)
{
    struct hf_json_text text = {0};
    struct hf_http_field fields[2];
    unsigned count = 0;
    char number[96], seconds[24];
    hf_json_put(&text, "{", 1);
    snprintf(number, sizeof number, "urn:holdfast:problem:%s", problem->name);
    hf_problem_member(&text, "type", number);
    hf_problem_member(&text, "title", problem->name);
    hf_json_put(&text, number, (size_t)snprintf(number, sizeof number, ",\"status\":%u", problem->status));
    if (problem->what && problem->what[0])
        hf_problem_member(&text, "detail", problem->what);
    hf_problem_member(&text, "result", problem->name);
    if (problem->code)
        hf_problem_member(&text, "code", problem->code);
    hf_json_put(&text, problem->extra.bytes, problem->extra.count);
    hf_json_put(&text, "}\n", 2);
    if (exchange->allow[0] && problem->status == 405)
        fields[count++] = (struct hf_http_field){"allow", exchange->allow};
    if (problem->status == 429 || problem->status == 503) {
        snprintf(seconds, sizeof seconds, "%" PRIu64, problem->retry_ms < 1000 ? 1 : (problem->retry_ms + 999) / 1000);
        fields[count++] = (struct hf_http_field){"retry-after", seconds};
    }
    bool whole = !text.failed && !problem->extra.failed;
    hf_rest_reply(exchange, problem->status, whole ? "application/problem+json" : NULL, fields, count, text.bytes, whole ? text.count : 0);
    free(text.bytes);
    free(problem->extra.bytes);
}

void hf_rest_refuse(struct hf_rest_exchange *exchange, unsigned status, const char *name, const char *what, const char *field)
{
    struct hf_problem problem = {.status = status, .what = what};
    snprintf(problem.name, sizeof problem.name, "%s", name);
    if (field && field[0]) {
        hf_json_put(&problem.extra, ",\"violations\":[", 15);
        hf_problem_violation(&problem.extra, field, what);
        hf_json_put(&problem.extra, "]", 1);
    }
    hf_problem_send(exchange, &problem);
}

/* By the result's name where it says more than the code. */
static unsigned hf_problem_status(enum hf_grpc_code code, const char *name, bool matched)
{
    static const uint16_t statuses[HF_GRPC_CODES] = {
        [HF_GRPC_OK] = 200,
        [HF_GRPC_CANCELLED] = 499,
        [HF_GRPC_UNKNOWN] = 500,
        [HF_GRPC_INVALID_ARGUMENT] = 400,
        [HF_GRPC_DEADLINE_EXCEEDED] = 504,
        [HF_GRPC_NOT_FOUND] = 404,
        [HF_GRPC_ALREADY_EXISTS] = 409,
        [HF_GRPC_PERMISSION_DENIED] = 403,
        [HF_GRPC_RESOURCE_EXHAUSTED] = 429,
        [HF_GRPC_FAILED_PRECONDITION] = 409,
        [HF_GRPC_ABORTED] = 409,
        [HF_GRPC_OUT_OF_RANGE] = 400,
        [HF_GRPC_UNIMPLEMENTED] = 501,
        [HF_GRPC_INTERNAL] = 500,
        [HF_GRPC_UNAVAILABLE] = 503,
        [HF_GRPC_DATA_LOSS] = 500,
        [HF_GRPC_UNAUTHENTICATED] = 401,
    };
    if (strcmp(name, "ID_REUSED") == 0)
        return 422;
    if (strcmp(name, "STALE_VERSION") == 0 && matched)
        return 412;
    if (strcmp(name, "FULL") == 0 || strcmp(name, "NO_SPACE") == 0)
        return 503;
    return statuses[code];
}

void hf_rest_refuse_status(struct hf_rest_exchange *exchange, const struct hf_grpc_status *status)
{
    struct hf_problem problem = {.code = hf_grpc_code_name(status->code), .what = status->message};
    for (unsigned i = 0; i < status->detail_count; i++) {
        const struct hf_grpc_detail *detail = &status->details[i];
        struct hf_wire value = {detail->value.bytes, detail->value.bytes + detail->value.length};
        if (strcmp(detail->type_url, HF_GRPC_TYPE_ERROR_INFO) == 0)
            hf_problem_error_info(&problem, value);
        else if (strcmp(detail->type_url, HF_GRPC_TYPE_RETRY_INFO) == 0)
            hf_problem_retry(&problem, value);
        else if (strcmp(detail->type_url, HF_GRPC_TYPE_BAD_REQUEST) == 0)
            hf_problem_violations(&problem, value);
        else
            hf_problem_message(&problem, detail->type_url, detail->value);
    }
    if (!problem.name[0])
        snprintf(problem.name, sizeof problem.name, "%s", problem.code);
    problem.status = hf_problem_status(status->code, problem.name, exchange->matched);
    hf_problem_send(exchange, &problem);
}

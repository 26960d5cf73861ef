#include "control/rest/rest_p.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HF_REST_BODY_BYTES = 256 * 1024, HF_REST_PAGE_BYTES = 16 * 1024 };

void *hf_rest_take(void *request, size_t bytes)
{
    return hf_http_alloc(request, bytes);
}

static bool hf_rest_bytes_are(struct hf_grpc_bytes bytes, const char *text)
{
    return bytes.length == strlen(text) && (bytes.length == 0 || memcmp(bytes.bytes, text, bytes.length) == 0);
}

/* ---- Answers ---- */

void hf_rest_reply(struct hf_rest_exchange *exchange, unsigned status, const char *type, const struct hf_http_field *more,
                   unsigned more_count, const void *body, size_t bytes)
{
    struct hf_http_field fields[HF_HTTP_FIELDS_MAX];
    unsigned count = 0;
    if (exchange->answered)
        return;
    exchange->answered = true;
    if (type)
        fields[count++] = (struct hf_http_field){"content-type", type};
    fields[count++] = (struct hf_http_field){"cache-control", exchange->tag[0] ? "no-cache" : "no-store"};
    fields[count++] = (struct hf_http_field){"x-content-type-options", "nosniff"};
    for (unsigned i = 0; i < more_count; i++)
        fields[count++] = more[i];
    hf_http_reply_fields(exchange->request, status, fields, count, body, bytes);
}

/* A page whose writer says how much room it needs. */
static void hf_rest_reply_page(struct hf_rest_exchange *exchange)
{
    const struct hf_rest_page *page = exchange->page;
    size_t room = HF_REST_PAGE_BYTES, bytes = 0;
    char *text = malloc(room);
    while (text && (bytes = page->write(page->context, text, room)) > room) {
        free(text);
        room = bytes + HF_REST_PAGE_BYTES;
        text = malloc(room);
    }
    if (text)
        hf_rest_reply(exchange, 200, page->content_type, NULL, 0, text, bytes);
    else
        hf_rest_refuse(exchange, 503, "BUSY", "no memory for the answer", NULL);
    free(text);
}

/* False: it is none of the pages that are always there. */
static bool hf_rest_reply_fixed(struct hf_rest_exchange *exchange)
{
    const struct hf_rest *rest = exchange->rest;
    static const char alive[] = "{\"status\":\"alive\"}\n", ready[] = "{\"status\":\"ready\"}\n";
    if (hf_rest_bytes_are(exchange->path, "/openapi.json"))
        hf_rest_reply(exchange, 200, "application/json", NULL, 0, rest->document.bytes, rest->document.count);
    else if (hf_rest_bytes_are(exchange->path, "/healthz"))
        hf_rest_reply(exchange, 200, "application/json", NULL, 0, alive, sizeof alive - 1);
    else if (!hf_rest_bytes_are(exchange->path, "/readyz"))
        return false;
    else if (hf_grpc_health_serving(rest->server, ""))
        hf_rest_reply(exchange, 200, "application/json", NULL, 0, ready, sizeof ready - 1);
    else
        hf_rest_refuse(exchange, 503, "NOT_READY", "the engine is starting or draining", NULL);
    return true;
}

/* ---- What a method answers ---- */

static unsigned hf_rest_answer_status(const struct hf_rest_exchange *exchange, const ProtobufCMessage *answer)
{
    const ProtobufCFieldDescriptor *field = hf_json_field(answer->descriptor, "receipt");
    if (exchange->route->kind != HF_REST_CREATE)
        return 200;
    /* RFC 9110, 9.3.4: a PUT of what is there already. A POST sent again gets its first answer again. */
    const ProtobufCMessage *receipt = field ? *(const ProtobufCMessage *const *)(const void *)((const uint8_t *)answer + field->offset)
                                            : NULL;
    const ProtobufCFieldDescriptor *repeated = receipt ? hf_json_field(receipt->descriptor, "repeated") : NULL;
    bool again = repeated && *(const protobuf_c_boolean *)((const uint8_t *)receipt + repeated->offset);
    return again && strcmp(exchange->route->verb, "PUT") == 0 ? 200 : 201;
}

/* Where the next page is: this one's path and query, but for the number of the page. None where that is too long to be sent back. */
static void hf_rest_link(struct hf_rest_exchange *exchange, uint64_t next)
{
    const char *page = exchange->route->page;
    char kept[HF_REST_FIELD_BYTES / 2];
    if (!hf_rest_query_without(exchange, page, kept, sizeof kept))
        return;
    int written = snprintf(exchange->link, sizeof exchange->link, "<%.*s?%s%s=%" PRIu64 ">; rel=\"next\"", (int)exchange->path.length,
                           (const char *)exchange->path.bytes, kept, page, next);
    if (written >= (int)sizeof exchange->link)
        exchange->link[0] = '\0';
}

static void hf_rest_location(struct hf_rest_exchange *exchange, const ProtobufCMessage *answer)
{
    const ProtobufCFieldDescriptor *field = hf_json_field(answer->descriptor, "id");
    const char *id = field ? *(const char *const *)(const void *)((const uint8_t *)answer + field->offset) : "";
    snprintf(exchange->location, sizeof exchange->location, "%s%s", exchange->route->location, id);
}

static int hf_rest_take_message(struct hf_http_request *request, const ProtobufCMessage *message, void *context)
{
    struct hf_rest_exchange *exchange = context;
    const struct hf_rest_route *route = exchange->route;
    uint64_t number;
    (void)request;
    if (route->kind == HF_REST_FOLLOW)
        return hf_rest_stream(exchange, message);
    hf_json_write(&exchange->answer, message);
    hf_json_put(&exchange->answer, "\n", 1);
    if (route->tag && hf_json_number(message, route->tag, &number))
        snprintf(exchange->tag, sizeof exchange->tag, "\"%" PRIu64 "\"", number);
    if (route->next && route->next(exchange->message, message, &number))
        hf_rest_link(exchange, number);
    exchange->answer_status = hf_rest_answer_status(exchange, message);
    if (exchange->answer_status == 201)
        hf_rest_location(exchange, message);
    return exchange->answer.failed ? HF_GRPC_E_MEMORY : 0;
}

static void hf_rest_reply_answer(struct hf_rest_exchange *exchange)
{
    struct hf_http_field fields[3];
    unsigned count = 0;
    struct hf_grpc_bytes known;
    if (exchange->tag[0])
        fields[count++] = (struct hf_http_field){"etag", exchange->tag};
    if (exchange->link[0])
        fields[count++] = (struct hf_http_field){"link", exchange->link};
    if (exchange->location[0])
        fields[count++] = (struct hf_http_field){"location", exchange->location};
    if (exchange->route->kind == HF_REST_READ && exchange->tag[0] && hf_http_field(exchange->request, "if-none-match", &known) &&
        hf_rest_tag_known(known, exchange->tag))
        hf_rest_reply(exchange, 304, NULL, fields, count, NULL, 0);
    else
        hf_rest_reply(exchange, exchange->answer_status, "application/json", fields, count, exchange->answer.bytes, exchange->answer.count);
}

static void hf_rest_take_finish(struct hf_http_request *request, const struct hf_grpc_status *status, void *context)
{
    struct hf_rest_exchange *exchange = context;
    (void)request;
    if (exchange->streaming)
        hf_rest_stream_end(exchange, status);
    else if (status->code != HF_GRPC_OK)
        hf_rest_refuse_status(exchange, status);
    else if (exchange->answer_status == 0)
        hf_rest_refuse(exchange, 500, "INTERNAL", "the method gave no answer", NULL);
    else
        hf_rest_reply_answer(exchange);
}

static const struct hf_http_taker HF_REST_TAKER = {.message = hf_rest_take_message, .finish = hf_rest_take_finish};

static void hf_rest_run(struct hf_rest_exchange *exchange)
{
    if (exchange->route->kind == HF_REST_FOLLOW && hf_rest_bytes_are(hf_http_method(exchange->request), "HEAD")) {
        hf_rest_reply(exchange, 200, "text/event-stream", NULL, 0, NULL, 0);
        return;
    }
    if (!hf_rest_read(exchange)) {
        if (!exchange->answered)
            hf_rest_refuse(exchange, 503, "BUSY", "no memory for the request", NULL);
        return;
    }
    switch (hf_http_call(exchange->request, exchange->route->method, exchange->message, &HF_REST_TAKER, exchange)) {
    case 0:
        break;
    case HF_GRPC_E_MEMORY:
        hf_rest_refuse(exchange, 503, "BUSY", "no memory for the call", NULL);
        break;
    default:
        hf_rest_refuse(exchange, 501, "UNIMPLEMENTED", "there is no such method", NULL);
    }
}

/* ---- The head of a request ---- */

static void hf_rest_refuse_later(struct hf_rest_exchange *exchange, unsigned status, const char *name, const char *what)
{
    exchange->refused = status;
    exchange->refused_name = name;
    exchange->refused_what = what;
}

static void hf_rest_allow(struct hf_rest_exchange *exchange, const char *verb)
{
    size_t count = strlen(exchange->allow);
    snprintf(exchange->allow + count, sizeof exchange->allow - count, "%s%s", count > 0 ? ", " : "", verb);
    if (strcmp(verb, "GET") == 0)
        hf_rest_allow(exchange, "HEAD");
}

/* What a load balancer asks, which may know no more than HTTP/1.0; every browser says a host. */
static bool hf_rest_is_probe(struct hf_grpc_bytes path)
{
    return hf_rest_bytes_are(path, "/healthz") || hf_rest_bytes_are(path, "/readyz");
}

static bool hf_rest_is_fixed(struct hf_grpc_bytes path)
{
    return hf_rest_bytes_are(path, "/openapi.json") || hf_rest_is_probe(path);
}

static void hf_rest_find(struct hf_rest_exchange *exchange, struct hf_grpc_bytes verb)
{
    const struct hf_rest *rest = exchange->rest;
    struct hf_rest_parameter parameters[HF_REST_PARAMETERS_MAX];
    unsigned count;
    for (unsigned i = 0; i < hf_rest_route_count; i++) {
        const struct hf_rest_route *route = &hf_rest_routes[i];
        if (!hf_rest_path_is(route->path, exchange->path, parameters, &count))
            continue;
        hf_rest_allow(exchange, route->verb);
        if (!hf_rest_bytes_are(verb, route->verb))
            continue;
        exchange->route = route;
        exchange->method = &rest->methods[i];
        exchange->parameter_count = count;
        memcpy(exchange->parameters, parameters, sizeof parameters);
    }
    for (unsigned i = 0; i < rest->options.page_count; i++) {
        if (hf_rest_bytes_are(exchange->path, rest->options.pages[i].path))
            exchange->page = &rest->options.pages[i];
    }
    if (exchange->page || hf_rest_is_fixed(exchange->path))
        hf_rest_allow(exchange, "GET");
}

static void hf_rest_judge_verb(struct hf_rest_exchange *exchange, struct hf_grpc_bytes verb)
{
    bool fixed = exchange->page || hf_rest_is_fixed(exchange->path);
    if (hf_rest_bytes_are(verb, "OPTIONS") && (exchange->allow[0] || hf_rest_bytes_are(exchange->path, "*")))
        hf_rest_refuse_later(exchange, 204, "", "");
    else if (!exchange->allow[0])
        hf_rest_refuse_later(exchange, 404, "NOT_FOUND", "there is nothing at this path");
    else if (!exchange->route && !(fixed && hf_rest_bytes_are(verb, "GET")))
        hf_rest_refuse_later(exchange, 405, "METHOD_NOT_ALLOWED", "this path does not know this verb");
}

/* A form of another site's page can send text, not JSON: a write has to say that it is JSON. */
static void hf_rest_judge_type(struct hf_rest_exchange *exchange)
{
    static const char json[] = "application/json";
    struct hf_grpc_bytes type = {NULL, 0};
    const size_t length = sizeof json - 1;
    if (!exchange->route || exchange->route->kind == HF_REST_READ || exchange->route->kind == HF_REST_FOLLOW)
        return;
    hf_http_field(exchange->request, "content-type", &type);
    if (type.length >= length && strncasecmp((const char *)type.bytes, json, length) == 0 &&
        (type.length == length || type.bytes[length] == ';' || type.bytes[length] == ' '))
        return;
    hf_http_count(exchange->request, HF_GRPC_HTTP_TYPES_REFUSED);
    hf_rest_refuse_later(exchange, 415, "WRONG_CONTENT_TYPE", "a write wants content-type: application/json");
}

static void hf_rest_judge_coding(struct hf_rest_exchange *exchange)
{
    struct hf_grpc_bytes coding;
    if (hf_http_field(exchange->request, "content-encoding", &coding) && !hf_rest_bytes_are(coding, "identity"))
        hf_rest_refuse_later(exchange, 415, "WRONG_CONTENT_TYPE", "a compressed body is not read");
}

static void hf_rest_too_large(struct hf_rest_exchange *exchange)
{
    hf_http_count(exchange->request, HF_GRPC_HTTP_BODIES_TOO_LARGE);
    hf_rest_refuse(exchange, 413, "TOO_LARGE", "the body is larger than allowed", NULL);
}

static void hf_rest_reply_refused(struct hf_rest_exchange *exchange)
{
    struct hf_http_field allow = {"allow", exchange->allow};
    if (exchange->refused == 204)
        hf_rest_reply(exchange, 204, NULL, &allow, 1, NULL, 0);
    else
        hf_rest_refuse(exchange, exchange->refused, exchange->refused_name, exchange->refused_what, NULL);
}

/* Refused requests with a body are answered after it, so that a connection goes on; those that wait to be told, at once. */
static void hf_rest_head(struct hf_http_request *request, void *context)
{
    struct hf_rest_exchange *exchange = hf_http_alloc(request, sizeof *exchange);
    struct hf_grpc_bytes target = hf_http_target(request), verb = hf_http_method(request), field;
    if (!exchange) {
        hf_http_reply(request, 503, NULL, NULL, 0);
        return;
    }
    hf_http_set_user(request, exchange);
    exchange->rest = context;
    exchange->request = request;
    const uint8_t *mark = target.length > 0 ? memchr(target.bytes, '?', target.length) : NULL;
    exchange->path = (struct hf_grpc_bytes){target.bytes, mark ? (size_t)(mark - target.bytes) : target.length};
    exchange->query = (struct hf_grpc_bytes){mark ? mark + 1 : NULL, mark ? target.length - exchange->path.length - 1 : 0};
    if (hf_rest_bytes_are(verb, "HEAD"))
        verb = (struct hf_grpc_bytes){(const uint8_t *)"GET", 3};
    hf_rest_judge_origin(exchange, hf_rest_is_probe(exchange->path));
    if (!exchange->refused) {
        hf_rest_find(exchange, verb);
        hf_rest_judge_verb(exchange, verb);
    }
    if (!exchange->refused)
        hf_rest_judge_type(exchange);
    if (!exchange->refused)
        hf_rest_judge_coding(exchange);
    if (hf_http_field(request, "content-length", &field) && field.length > 0) {
        uint64_t announced = strtoull((const char *)field.bytes, NULL, 10);
        if (announced > exchange->rest->options.body_max_bytes)
            hf_rest_too_large(exchange);
    }
    if (exchange->refused && hf_http_field(request, "expect", &field))
        hf_rest_reply_refused(exchange);
}

static bool hf_rest_keep(struct hf_rest_exchange *exchange, const uint8_t *bytes, size_t count)
{
    if (exchange->body_room - exchange->body_bytes < count) {
        size_t room = exchange->body_room ? 2 * exchange->body_room : 1024;
        while (room - exchange->body_bytes < count)
            room *= 2;
        uint8_t *grown = hf_http_alloc(exchange->request, room);
        if (!grown)
            return false;
        if (exchange->body_bytes > 0)
            memcpy(grown, exchange->body, exchange->body_bytes);
        exchange->body = grown;
        exchange->body_room = room;
    }
    memcpy(exchange->body + exchange->body_bytes, bytes, count);
    exchange->body_bytes += count;
    return true;
}

static void hf_rest_body(struct hf_http_request *request, const uint8_t *bytes, size_t count, void *context)
{
    struct hf_rest_exchange *exchange = hf_http_user(request);
    (void)context;
    if (!exchange || exchange->answered)
        return;
    bool kept = exchange->route && !exchange->refused && exchange->route->kind != HF_REST_READ && exchange->route->kind != HF_REST_FOLLOW;
    if (exchange->body_bytes + count > exchange->rest->options.body_max_bytes)
        hf_rest_too_large(exchange);
    else if (!kept)
        exchange->body_bytes += count;
    else if (!hf_rest_keep(exchange, bytes, count))
        hf_rest_refuse(exchange, 503, "BUSY", "no memory for the body", NULL);
}

static void hf_rest_end(struct hf_http_request *request, void *context)
{
    struct hf_rest_exchange *exchange = hf_http_user(request);
    (void)context;
    if (!exchange || exchange->answered)
        return;
    if (exchange->refused) {
        hf_rest_reply_refused(exchange);
        return;
    }
    if (!exchange->body)
        exchange->body_bytes = 0;
    if (exchange->page)
        hf_rest_reply_page(exchange);
    else if (!hf_rest_reply_fixed(exchange))
        hf_rest_run(exchange);
}

static void hf_rest_done(struct hf_http_request *request, void *context)
{
    struct hf_rest_exchange *exchange = hf_http_user(request);
    (void)context;
    if (!exchange)
        return;
    exchange->answered = true;
    free(exchange->answer.bytes);
    exchange->answer = (struct hf_json_text){0};
}

/* ---- Life ---- */

int hf_rest_create(const struct hf_rest_options *options, struct hf_rest **out)
{
    struct hf_rest *rest = calloc(1, sizeof *rest);
    struct hf_rest_method *methods = calloc(hf_rest_route_count, sizeof *methods);
    if (!rest || !methods) {
        free(rest);
        free(methods);
        return HF_GRPC_E_MEMORY;
    }
    rest->options = *options;
    rest->methods = methods;
    if (rest->options.body_max_bytes == 0)
        rest->options.body_max_bytes = HF_REST_BODY_BYTES;
    rest->handler = (struct hf_http_handler){
        .head = hf_rest_head, .body = hf_rest_body, .end = hf_rest_end, .done = hf_rest_done, .context = rest};
    *out = rest;
    return 0;
}

const struct hf_http_handler *hf_rest_handler(struct hf_rest *rest)
{
    return &rest->handler;
}

/* Whether each field that a route's path names is there. */
static bool hf_rest_check(const struct hf_rest_route *route, const struct hf_rest_method *method)
{
    char name[HF_JSON_NAME_BYTES];
    for (const char *at = strchr(route->path, '{'); at; at = strchr(at + 1, '{')) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 1, "}"), at + 1);
        if (!hf_json_field(method->input, name))
            return false;
    }
    return !route->page || hf_json_field(method->input, route->page);
}

int hf_rest_attach(struct hf_rest *rest, struct hf_grpc_server *server)
{
    rest->server = server;
    for (unsigned i = 0; i < hf_rest_route_count; i++) {
        if (!hf_grpc_server_method(server, hf_rest_routes[i].method, &rest->methods[i].input, &rest->methods[i].output) ||
            !hf_rest_check(&hf_rest_routes[i], &rest->methods[i]))
            return HF_GRPC_E_USAGE;
    }
    return hf_rest_openapi(rest);
}

void hf_rest_destroy(struct hf_rest *rest)
{
    if (!rest)
        return;
    free(rest->document.bytes);
    free(rest->methods);
    free(rest);
}

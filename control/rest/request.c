/* What an HTTP request says: who it means, and the message that it becomes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "control/grpc/text.h"
#include "control/rest/rest_p.h"

enum { HF_REST_VALUE_BYTES = 512 /* of a parameter, decoded */, HF_REST_KEY_BYTES = 255 };

/* ---- Host and origin ---- */

static bool hf_rest_bytes_match(struct hf_grpc_bytes bytes, const char *text, size_t count)
{
    return bytes.length == count && strncasecmp((const char *)bytes.bytes, text, count) == 0;
}

/* The host without its port; the port is left empty where there is none. */
static void hf_rest_split(struct hf_grpc_bytes authority, struct hf_grpc_bytes *host, struct hf_grpc_bytes *port)
{
    size_t at = authority.length;
    while (at > 0 && authority.bytes[at - 1] >= '0' && authority.bytes[at - 1] <= '9')
        at--;
    bool has = at > 0 && authority.bytes[at - 1] == ':' && (at < 2 || authority.bytes[at - 2] != ':');
    *host = (struct hf_grpc_bytes){authority.bytes, has ? at - 1 : authority.length};
    *port = (struct hf_grpc_bytes){authority.bytes + at, has ? authority.length - at : 0};
}

/*
 * Whether `authority` is an address that the connection's listener has: the address itself, the name it was opened by, or localhost for one
 * that only this machine reaches. A web page of another site that has its name resolve to here is told apart by this (DNS rebinding).
 * Over a unix socket no web page comes.
 */
static bool hf_rest_is_here(const struct hf_rest *rest, const struct hf_grpc_peer *peer, struct hf_grpc_bytes authority)
{
    struct hf_grpc_bytes host, port, own_host, own_port, given_host, given_port;
    if (peer->is_unix)
        return true;
    const char *given = peer->listener < rest->options.listen_count ? rest->options.listen[peer->listener] : "";
    given = strncmp(given, "tcp://", 6) == 0 ? given + 6 : "";
    hf_rest_split(authority, &host, &port);
    hf_rest_split((struct hf_grpc_bytes){(const uint8_t *)peer->local, strlen(peer->local)}, &own_host, &own_port);
    hf_rest_split((struct hf_grpc_bytes){(const uint8_t *)given, strlen(given)}, &given_host, &given_port);
    if (port.length > 0 && !hf_rest_bytes_match(port, (const char *)own_port.bytes, own_port.length))
        return false;
    bool local = strncmp(peer->local, "127.", 4) == 0 || strncmp(peer->local, "[::1]", 5) == 0;
    return hf_rest_bytes_match(host, (const char *)own_host.bytes, own_host.length) ||
           (given_host.length > 0 && hf_rest_bytes_match(host, (const char *)given_host.bytes, given_host.length)) ||
           (local && hf_rest_bytes_match(host, "localhost", strlen("localhost")));
}

void hf_rest_judge_origin(struct hf_rest_exchange *exchange, bool unnamed)
{
    static const char scheme[] = "http://";
    const struct hf_grpc_peer *peer = hf_http_peer(exchange->request);
    struct hf_grpc_bytes origin, authority = hf_http_authority(exchange->request);
    if (!(unnamed && authority.length == 0) && !hf_rest_is_here(exchange->rest, peer, authority)) {
        hf_http_count(exchange->request, HF_GRPC_HTTP_HOSTS_REFUSED);
        exchange->refused = 421;
        exchange->refused_name = "WRONG_HOST";
        exchange->refused_what = "the request's host is no address of this server";
        return;
    }
    if (!hf_http_field(exchange->request, "origin", &origin))
        return;
    bool http = origin.length > sizeof scheme - 1 && memcmp(origin.bytes, scheme, sizeof scheme - 1) == 0;
    authority = (struct hf_grpc_bytes){origin.bytes + (sizeof scheme - 1), http ? origin.length - (sizeof scheme - 1) : 0};
    if (http && !peer->is_unix && hf_rest_is_here(exchange->rest, peer, authority))
        return;
    hf_http_count(exchange->request, HF_GRPC_HTTP_ORIGINS_REFUSED);
    exchange->refused = 403;
    exchange->refused_name = "WRONG_ORIGIN";
    exchange->refused_what = "the request comes from another site's page";
}

/* ---- Parameters ---- */

static int hf_rest_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* Percent-decoded text with its end; false: not decodable, not UTF-8, a NUL within, or too long. */
static bool hf_rest_decode(struct hf_grpc_bytes in, bool query, char *out, size_t room)
{
    size_t count = 0;
    for (size_t i = 0; i < in.length; i++) {
        uint8_t c = in.bytes[i];
        if (c == '%') {
            int high = i + 2 < in.length ? hf_rest_digit(in.bytes[i + 1]) : -1, low = high < 0 ? -1 : hf_rest_digit(in.bytes[i + 2]);
            if (low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c == '+' && query) {
            c = ' ';
        }
        if (c == 0 || count + 1 >= room)
            return false;
        out[count++] = (char)c;
    }
    out[count] = '\0';
    return hf_grpc_is_text((const uint8_t *)out, count);
}

static bool hf_rest_refuse_field(struct hf_rest_exchange *exchange, const char *name, const char *what, const char *field)
{
    hf_rest_refuse(exchange, 400, name, what, field);
    return false;
}

/* Whether a value of the body says the same as a text. */
static bool hf_rest_same(const json_t *value, const char *text)
{
    char number[32];
    if (json_is_string(value))
        return strcmp(json_string_value(value), text) == 0;
    snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return json_is_integer(value) && strcmp(number, text) == 0;
}

/* What an object has of a field, in whichever spelling; NULL: nothing. */
static const json_t *hf_rest_get(const json_t *object, const ProtobufCFieldDescriptor *field)
{
    char camel[HF_JSON_NAME_BYTES];
    hf_json_name(field->name, camel, sizeof camel);
    const json_t *known = json_object_get(object, camel);
    if (!known || json_is_null(known))
        known = json_object_get(object, field->name);
    return known && !json_is_null(known) ? known : NULL;
}

/* Sets a field that came outside the body; the body may say the same, in whichever spelling. */
static bool hf_rest_set(struct hf_rest_exchange *exchange, json_t *object, const char *name, const char *text)
{
    const ProtobufCFieldDescriptor *field = hf_json_field(exchange->method->input, name);
    char camel[HF_JSON_NAME_BYTES];
    if (!field)
        return hf_rest_refuse_field(exchange, "UNKNOWN_FIELD", "there is no such field", name);
    hf_json_name(field->name, camel, sizeof camel);
    const json_t *known = hf_rest_get(object, field);
    if (known)
        return hf_rest_same(known, text) ? true : hf_rest_refuse_field(exchange, "CONTRADICTION", "it is given twice, differently", camel);
    json_object_del(object, field->name);
    json_t *value = json_string(text);
    if (!value)
        return hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "it is not UTF-8", camel);
    return json_object_set_new(object, camel, value) == 0;
}

static bool hf_rest_read_path(struct hf_rest_exchange *exchange, json_t *object)
{
    char name[HF_JSON_NAME_BYTES], value[HF_REST_VALUE_BYTES];
    for (unsigned i = 0; i < exchange->parameter_count; i++) {
        const struct hf_rest_parameter *parameter = &exchange->parameters[i];
        snprintf(name, sizeof name, "%.*s", (int)parameter->name.length, (const char *)parameter->name.bytes);
        if (!hf_rest_decode(parameter->value, false, value, sizeof value))
            return hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "it cannot be decoded", name);
        if (!hf_rest_set(exchange, object, name, value))
            return false;
    }
    return true;
}

/* A list takes each of its values. */
static bool hf_rest_set_query(struct hf_rest_exchange *exchange, json_t *object, const char *name, const char *text)
{
    const ProtobufCFieldDescriptor *field = hf_json_field(exchange->method->input, name);
    if (!field || field->label != PROTOBUF_C_LABEL_REPEATED)
        return hf_rest_set(exchange, object, name, text);
    char camel[HF_JSON_NAME_BYTES];
    hf_json_name(field->name, camel, sizeof camel);
    if (!json_object_get(object, camel))
        json_object_set_new(object, camel, json_array());
    json_t *value = json_string(text);
    return value ? json_array_append_new(json_object_get(object, camel), value) == 0
                 : hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "it is not UTF-8", camel);
}

/* A parameter of a query, as sent. */
struct hf_rest_pair {
    struct hf_grpc_bytes whole, name, value;
};

/* Takes the next one off the query; false: there is none. */
static bool hf_rest_next_pair(struct hf_grpc_bytes *query, struct hf_rest_pair *out)
{
    while (query->length > 0) {
        const uint8_t *at = query->bytes, *stop = memchr(at, '&', query->length);
        size_t length = stop ? (size_t)(stop - at) : query->length;
        query->bytes += length + (stop != NULL);
        query->length -= length + (stop != NULL);
        if (length == 0)
            continue;
        const uint8_t *equals = memchr(at, '=', length);
        size_t name = equals ? (size_t)(equals - at) : length, skipped = name + (equals != NULL);
        *out = (struct hf_rest_pair){{at, length}, {at, name}, {at + skipped, length - skipped}};
        return true;
    }
    return false;
}

static bool hf_rest_read_query(struct hf_rest_exchange *exchange, json_t *object)
{
    struct hf_grpc_bytes query = exchange->query;
    struct hf_rest_pair pair;
    char name[HF_JSON_NAME_BYTES], value[HF_REST_VALUE_BYTES];
    while (hf_rest_next_pair(&query, &pair)) {
        if (!hf_rest_decode(pair.name, true, name, sizeof name) || !hf_rest_decode(pair.value, true, value, sizeof value))
            return hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "the query cannot be decoded", NULL);
        if (!hf_rest_set_query(exchange, object, name, value))
            return false;
    }
    return true;
}

bool hf_rest_query_without(const struct hf_rest_exchange *exchange, const char *field, char *out, size_t room)
{
    const ProtobufCMessageDescriptor *input = exchange->method->input;
    const ProtobufCFieldDescriptor *left_out = hf_json_field(input, field);
    struct hf_grpc_bytes query = exchange->query;
    struct hf_rest_pair pair;
    char name[HF_JSON_NAME_BYTES];
    size_t count = 0;
    while (hf_rest_next_pair(&query, &pair)) {
        if (!hf_rest_decode(pair.name, true, name, sizeof name) || hf_json_field(input, name) == left_out)
            continue;
        if (count + pair.whole.length + 2 > room)
            return false;
        memcpy(out + count, pair.whole.bytes, pair.whole.length);
        count += pair.whole.length;
        out[count++] = '&';
    }
    out[count] = '\0';
    return true;
}

/* ---- Fields ---- */

/* Idempotency-Key: a string of structured fields (RFC 9651), or bare. */
static bool hf_rest_read_key(struct hf_rest_exchange *exchange, json_t *object)
{
    struct hf_grpc_bytes value;
    char key[HF_REST_KEY_BYTES + 1];
    size_t count = 0;
    if (exchange->route->kind == HF_REST_READ || exchange->route->kind == HF_REST_FOLLOW ||
        !hf_http_field(exchange->request, "idempotency-key", &value))
        return true;
    bool quoted = value.length >= 2 && value.bytes[0] == '"' && value.bytes[value.length - 1] == '"';
    for (size_t i = quoted; i < value.length - quoted && count <= HF_REST_KEY_BYTES; i++) {
        i += quoted && value.bytes[i] == '\\' && i + 2 < value.length;
        if (count < HF_REST_KEY_BYTES)
            key[count] = (char)value.bytes[i];
        count++;
    }
    if (count == 0 || count > HF_REST_KEY_BYTES)
        return hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "an idempotency key has 1 to 255 bytes", "Idempotency-Key");
    key[count] = '\0';
    if (!hf_json_field(exchange->method->input, "requestId"))
        return hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "this method takes no idempotency key", "Idempotency-Key");
    return hf_rest_set(exchange, object, "requestId", key);
}

/* The number in an entity tag, "7"; a weak one is none that If-Match compares (RFC 9110, 13.1.1). */
static bool hf_rest_tag_number(struct hf_grpc_bytes tag, char *out, size_t room)
{
    if (tag.length < 3 || tag.length - 2 >= room || tag.bytes[0] != '"' || tag.bytes[tag.length - 1] != '"')
        return false;
    for (size_t i = 1; i < tag.length - 1; i++) {
        if (tag.bytes[i] < '0' || tag.bytes[i] > '9')
            return false;
    }
    snprintf(out, room, "%.*s", (int)(tag.length - 2), (const char *)tag.bytes + 1);
    return true;
}

static bool hf_rest_read_match(struct hf_rest_exchange *exchange, json_t *object)
{
    struct hf_grpc_bytes tag;
    char number[24], outer[HF_JSON_NAME_BYTES];
    const char *match = exchange->route->match, *dot = match ? strchr(match, '.') : NULL;
    if (!hf_http_field(exchange->request, "if-match", &tag))
        return true;
    /* RFC 9110, 13.1.1: a condition that cannot be kept may not be passed over. */
    if (!dot)
        return hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "If-Match is not for this", "If-Match");
    if (!hf_rest_tag_number(tag, number, sizeof number))
        return hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "one tag as an ETag gave it is wanted", "If-Match");
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - match), match);
    const ProtobufCFieldDescriptor *field = hf_json_field(exchange->method->input, outer);
    if (hf_rest_get(object, field))
        return hf_rest_refuse_field(exchange, "CONTRADICTION", "it is given twice, differently", outer);
    json_object_del(object, field->name);
    exchange->matched = true;
    json_t *inner = json_object();
    json_object_set_new(inner, dot + 1, json_string(number));
    return json_object_set_new(object, outer, inner) == 0;
}

static bool hf_rest_read_cursor(struct hf_rest_exchange *exchange, json_t *object)
{
    struct hf_grpc_bytes id;
    char cursor[HF_REST_VALUE_BYTES];
    if (exchange->route->kind != HF_REST_FOLLOW || !hf_http_field(exchange->request, "last-event-id", &id) || id.length == 0)
        return true;
    snprintf(cursor, sizeof cursor, "%.*s", (int)(id.length < sizeof cursor ? id.length : sizeof cursor - 1), (const char *)id.bytes);
    /* A client that was cut off says by it where it stands, whatever its address said at first. */
    json_t *value = json_string(cursor);
    json_object_del(object, "start");
    return value ? json_object_set_new(object, "cursor", value) == 0
                 : hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "it is not UTF-8", "Last-Event-ID");
}

bool hf_rest_tag_known(struct hf_grpc_bytes list, const char *tag)
{
    const char *at = (const char *)list.bytes, *end = at + list.length;
    size_t bytes = strlen(tag);
    if (list.length == 1 && *at == '*')
        return true;
    while (at < end) {
        const char *begin = end - at > 2 && at[0] == 'W' && at[1] == '/' ? at + 2 : at;
        const char *close = *begin == '"' ? memchr(begin + 1, '"', (size_t)(end - begin - 1)) : NULL;
        if (!close) {
            at++; /* what stands between two tags */
            continue;
        }
        if ((size_t)(close + 1 - begin) == bytes && memcmp(begin, tag, bytes) == 0)
            return true;
        at = close + 1;
    }
    return false;
}

/* ---- The body ---- */

/* `ttl`, which is `ttlMs`: a duration as protobuf writes it ("900s"), or milliseconds. */
static bool hf_rest_read_ttl(struct hf_rest_exchange *exchange, json_t *object)
{
    const json_t *ttl = json_object_get(object, "ttl");
    char number[32], *end = NULL;
    if (!ttl || !hf_json_field(exchange->method->input, "ttlMs"))
        return true;
    if (json_object_get(object, "ttlMs") || json_object_get(object, "ttl_ms"))
        return hf_rest_refuse_field(exchange, "CONTRADICTION", "it is given twice, differently", "ttl");
    if (json_is_integer(ttl)) {
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(ttl));
    } else {
        const char *text = json_string_value(ttl);
        double seconds = text ? strtod(text, &end) : 0;
        if (!text || end == text || strcmp(end, "s") != 0 || *text < '0' || *text > '9' || !(seconds >= 0 && seconds < 4294967.0))
            return hf_rest_refuse_field(exchange, "BAD_ARGUMENT", "milliseconds, or seconds as in \"900s\", are wanted", "ttl");
        snprintf(number, sizeof number, "%.0f", seconds * 1000);
    }
    json_object_del(object, "ttl");
    return json_object_set_new(object, "ttlMs", json_string(number)) == 0;
}

static bool hf_rest_parse_body(struct hf_rest_exchange *exchange, json_t **out)
{
    struct hf_json_fault fault = {.path = ""};
    if (exchange->body_bytes == 0) {
        *out = json_object();
        return *out != NULL;
    }
    switch (hf_json_parse(exchange->body, exchange->body_bytes, out, &fault)) {
    case 0:
        return true;
    case HF_JSON_E_DEEP:
        hf_http_count(exchange->request, HF_GRPC_HTTP_BODIES_TOO_DEEP);
        return hf_rest_refuse_field(exchange, "TOO_DEEP", fault.what, NULL);
    case HF_JSON_E_MANY:
        hf_http_count(exchange->request, HF_GRPC_HTTP_BODIES_TOO_LARGE);
        hf_rest_refuse(exchange, 413, "TOO_LARGE", fault.what, NULL);
        return false;
    case HF_JSON_E_MEMORY:
        hf_rest_refuse(exchange, 503, "BUSY", "no memory for the body", NULL);
        return false;
    default:
        hf_http_count(exchange->request, HF_GRPC_HTTP_BODIES_MALFORMED);
        return hf_rest_refuse_field(exchange, "BAD_JSON", fault.what, NULL);
    }
}

static bool hf_rest_read_object(struct hf_rest_exchange *exchange, json_t *object)
{
    struct hf_json_fault fault = {.path = ""};
    struct hf_json_reader reader = {.take = hf_rest_take,
                                    .arena = exchange->request,
                                    .texts = exchange->route->kind == HF_REST_READ || exchange->route->kind == HF_REST_FOLLOW,
                                    .fault = &fault};
    int failed = hf_json_read(&reader, object, exchange->method->input, &exchange->message);
    if (failed == HF_JSON_E_MEMORY)
        hf_rest_refuse(exchange, 503, "BUSY", "no memory for the request", NULL);
    else if (failed)
        hf_rest_refuse(exchange, 400, fault.twice ? "CONTRADICTION" : "BAD_ARGUMENT", fault.what, fault.path);
    return failed == 0;
}

bool hf_rest_read(struct hf_rest_exchange *exchange)
{
    json_t *object = NULL;
    if (!hf_rest_parse_body(exchange, &object))
        return false;
    bool good = hf_rest_read_ttl(exchange, object) && hf_rest_read_path(exchange, object) && hf_rest_read_query(exchange, object) &&
                hf_rest_read_key(exchange, object) && hf_rest_read_match(exchange, object) && hf_rest_read_cursor(exchange, object) &&
                hf_rest_read_object(exchange, object);
    json_decref(object);
    return good;
}

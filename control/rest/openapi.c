/* The OpenAPI 3.1 document, made from the table of routes and the descriptors of their messages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/rest/rest_p.h"

/* jansson's setters take over what they are given and pass on NULL as an error: one flag at the end says whether all went well. */
struct hf_document {
    json_t *schemas; /* by the names of messages and enums */
    bool failed;
};

static void hf_document_set(struct hf_document *document, json_t *object, const char *name, json_t *value)
{
    document->failed |= json_object_set_new(object, name, value) != 0;
}

static json_t *hf_document_schema(struct hf_document *document, const ProtobufCMessageDescriptor *type);

static json_t *hf_document_reference(const char *name)
{
    return json_pack("{s:s++}", "$ref", "#/components/schemas/", name, "");
}

/* By their short names: the API is one package. */
static json_t *hf_document_enum(struct hf_document *document, const ProtobufCEnumDescriptor *type)
{
    if (!json_object_get(document->schemas, type->short_name)) {
        json_t *names = json_array();
        for (unsigned i = 0; i < type->n_values; i++)
            document->failed |= json_array_append_new(names, json_string(type->values[i].name)) != 0;
        hf_document_set(document, document->schemas, type->short_name, json_pack("{s:s, s:o}", "type", "string", "enum", names));
    }
    return hf_document_reference(type->short_name);
}

static json_t *hf_document_number(json_int_t least, json_int_t most)
{
    return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", least, "maximum", most);
}

/* 64 bits as the mapping of protobuf has them: strings are written, numbers are read too. */
static json_t *hf_document_long(bool is_signed)
{
    return json_pack("{s:[s,s], s:s}", "type", "string", "integer", "pattern", is_signed ? "^-?[0-9]{1,19}$" : "^[0-9]{1,20}$");
}

static json_t *hf_document_value(struct hf_document *document, const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return hf_document_number(INT32_MIN, INT32_MAX);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return hf_document_number(0, UINT32_MAX);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return hf_document_long(true);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return hf_document_long(false);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_pack("{s:s}", "type", "number");
    case PROTOBUF_C_TYPE_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case PROTOBUF_C_TYPE_ENUM:
        return hf_document_enum(document, field->descriptor);
    case PROTOBUF_C_TYPE_BYTES:
        return json_pack("{s:s, s:s}", "type", "string", "contentEncoding", "base64");
    case PROTOBUF_C_TYPE_MESSAGE:
        return hf_document_schema(document, field->descriptor);
    default:
        return json_pack("{s:s}", "type", "string");
    }
}

static json_t *hf_document_field(struct hf_document *document, const ProtobufCFieldDescriptor *field)
{
    json_t *value = hf_document_value(document, field);
    return field->label == PROTOBUF_C_LABEL_REPEATED ? json_pack("{s:s, s:o}", "type", "array", "items", value) : value;
}

static json_t *hf_document_schema(struct hf_document *document, const ProtobufCMessageDescriptor *type)
{
    char name[HF_JSON_NAME_BYTES];
    if (!json_object_get(document->schemas, type->short_name)) {
        json_t *fields = json_object();
        json_t *schema = json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0, "properties", fields);
        hf_document_set(document, document->schemas, type->short_name, schema);
        for (unsigned i = 0; i < type->n_fields; i++) {
            hf_json_name(type->fields[i].name, name, sizeof name);
            hf_document_set(document, fields, name, hf_document_field(document, &type->fields[i]));
        }
    }
    return hf_document_reference(type->short_name);
}

/* ---- Operations ---- */

static json_t *hf_document_parameter(const char *name, const char *in, json_t *schema, const char *summary)
{
    bool required = strcmp(in, "path") == 0;
    if (required && json_object_get(schema, "type") && strcmp(json_string_value(json_object_get(schema, "type")), "string") == 0)
        json_object_set_new(schema, "minLength", json_integer(1));
    json_t *parameter = json_pack("{s:s, s:s, s:b, s:o}", "name", name, "in", in, "required", required, "schema", schema);
    if (parameter && summary)
        json_object_set_new(parameter, "description", json_string(summary));
    return parameter;
}

static bool hf_document_in_path(const struct hf_rest_route *route, const char *name)
{
    char braced[HF_JSON_NAME_BYTES + 2];
    snprintf(braced, sizeof braced, "{%s}", name);
    return strstr(route->path, braced) != NULL;
}

static json_t *hf_document_parameters(struct hf_document *document, const struct hf_rest_route *route, const struct hf_rest_method *method)
{
    json_t *all = json_array(), *text = json_pack("{s:s, s:i}", "type", "string", "maxLength", 255);
    bool reads = route->kind == HF_REST_READ || route->kind == HF_REST_FOLLOW;
    char name[HF_JSON_NAME_BYTES];
    for (unsigned i = 0; i < method->input->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &method->input->fields[i];
        hf_json_name(field->name, name, sizeof name);
        bool in_path = hf_document_in_path(route, name);
        if (in_path || (reads && field->type != PROTOBUF_C_TYPE_MESSAGE))
            json_array_append_new(all, hf_document_parameter(name, in_path ? "path" : "query", hf_document_field(document, field), NULL));
    }
    if (!reads && hf_json_field(method->input, "requestId"))
        json_array_append_new(all, hf_document_parameter("Idempotency-Key", "header", json_incref(text),
                                                         "Sent again under its key, a write runs once and its first answer comes again."));
    if (route->match)
        json_array_append_new(all, hf_document_parameter("If-Match", "header",
                                                         json_pack("{s:s, s:s}", "type", "string", "pattern", "^\"[0-9]+\"$"),
                                                         "Only if the ETag is still this one."));
    if (route->kind == HF_REST_FOLLOW)
        json_array_append_new(all, hf_document_parameter("Last-Event-ID", "header", json_incref(text), "Goes on behind this event."));
    json_decref(text);
    return all;
}

static json_t *hf_document_content(const char *type, json_t *schema, const char *example)
{
    json_t *body = json_pack("{s:o}", "schema", schema);
    if (example)
        json_object_set_new(body, "example", json_loads(example, 0, NULL));
    return json_pack("{s:o}", type, body);
}

static json_t *hf_document_response(const char *summary, json_t *content)
{
    return json_pack("{s:s, s:o}", "description", summary, "content", content);
}

static void hf_document_problems(struct hf_document *document, json_t *responses, bool reads)
{
    static const struct {
        const char *status, *summary;
        bool writes;
    } problems[] = {
        {"400", "A field makes no sense, or the body cannot be read.", false},
        {"403", "The origin is another site.", false},
        {"404", "There is no such thing.", false},
        {"405", "The path does not know the verb.", false},
        {"408", "The request did not come in time.", false},
        {"409", "It cannot be done as things stand.", false},
        {"412", "If-Match names another version.", true},
        {"413", "The body is too large.", false},
        {"415", "The body is not said to be JSON, or is compressed.", false},
        {"421", "The host is another one.", false},
        {"422", "The id or key was used with another body.", true},
        {"429", "Too much at once: come again.", false},
        {"431", "The head is too large.", false},
        {"500", "A fault of the server.", false},
        {"501", "The method is not there.", false},
        {"503", "Draining, or no room: come again.", false},
        {"504", "The deadline came first.", false},
    };
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        if (problems[i].writes && reads)
            continue;
        hf_document_set(document, responses, problems[i].status,
                        hf_document_response(problems[i].summary,
                                             hf_document_content("application/problem+json", hf_document_reference("Problem"), NULL)));
    }
}

/* Its method's name, but for the second path of a method. */
static void hf_document_id(const struct hf_rest_route *route, char *out, size_t room)
{
    const char *end = strrchr(route->path, '/');
    bool under_id = route->kind == HF_REST_CREATE && strcmp(route->verb, "PUT") == 0;
    snprintf(out, room, "%s%s", strrchr(route->method, '/') + 1, under_id ? "UnderId" : strcmp(end, "/cells") == 0 ? "Cells" : "");
}

static json_t *hf_document_operation(struct hf_document *document, const struct hf_rest_route *route, const struct hf_rest_method *method)
{
    bool reads = route->kind == HF_REST_READ || route->kind == HF_REST_FOLLOW;
    const char *slash = strrchr(route->method, '/'), *dot = strrchr(route->method, '.');
    char tag[HF_JSON_NAME_BYTES], id[2 * HF_JSON_NAME_BYTES];
    json_t *responses = json_object();
    snprintf(tag, sizeof tag, "%.*s", (int)(slash - dot - 1), dot + 1);
    hf_document_id(route, id, sizeof id);
    json_t *success = route->kind == HF_REST_FOLLOW
                          ? json_pack("{s:{}}", "text/event-stream") /* JSON Schema has no words for what is no JSON */
                          : hf_document_content("application/json", hf_document_schema(document, method->output), NULL);
    hf_document_set(document, responses, route->kind == HF_REST_CREATE ? "201" : "200",
                    hf_document_response("Done, and on disk.", success));
    if (route->kind == HF_REST_CREATE && strcmp(route->verb, "PUT") == 0)
        hf_document_set(document, responses, "200", hf_document_response("It was there already.", json_deep_copy(success)));
    if (reads && route->tag)
        hf_document_set(document, responses, "304", json_pack("{s:s}", "description", "It is as If-None-Match says."));
    hf_document_problems(document, responses, reads);
    json_t *operation = json_pack("{s:s, s:s, s:[s], s:o, s:o}", "operationId", id, "summary", route->summary, "tags", tag, "parameters",
                                  hf_document_parameters(document, route, method), "responses", responses);
    if (operation && !reads)
        hf_document_set(document, operation, "requestBody",
                        json_pack("{s:b, s:o}", "required", 1, "content",
                                  hf_document_content("application/json", hf_document_schema(document, method->input), route->example)));
    return operation;
}

static void hf_document_page(struct hf_document *document, json_t *paths, const char *path, const char *type, const char *summary)
{
    char id[HF_JSON_NAME_BYTES];
    snprintf(id, sizeof id, "get_%s", path + 1);
    for (char *at = id; *at; at++)
        *at = *at == '.' || *at == '/' ? '_' : *at;
    json_t *responses = json_pack("{s:o}", "200", hf_document_response(summary, hf_document_content(type, json_object(), NULL)));
    hf_document_problems(document, responses, true);
    hf_document_set(
        document, paths, path,
        json_pack("{s:{s:s, s:s, s:[s], s:o}}", "get", "operationId", id, "summary", summary, "tags", "Pages", "responses", responses));
}

/* ---- The document ---- */

static const char HF_DOCUMENT_PROBLEM[] =
    "{\"type\": \"object\", \"description\": \"RFC 9457. `result` is Holdfast's own name of what was wrong.\", \"required\": [\"type\", "
    "\"title\", \"status\", \"result\"], \"properties\": {\"type\": {\"type\": \"string\"}, \"title\": {\"type\": \"string\"}, \"status\": "
    "{\"type\": \"integer\"}, \"detail\": {\"type\": \"string\"}, \"result\": {\"type\": \"string\"}, \"code\": {\"type\": \"string\"}, "
    "\"retryAfterMs\": {\"type\": \"integer\"}, \"metadata\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}}, "
    "\"violations\": {\"type\": \"array\", \"items\": {\"type\": \"object\", \"properties\": {\"field\": {\"type\": \"string\"}, "
    "\"description\": {\"type\": \"string\"}}}}}}";

static void hf_document_paths(struct hf_document *document, const struct hf_rest *rest, json_t *paths)
{
    char verb[8];
    for (unsigned i = 0; i < hf_rest_route_count; i++) {
        const struct hf_rest_route *route = &hf_rest_routes[i];
        snprintf(verb, sizeof verb, "%s", route->verb);
        for (char *at = verb; *at; at++)
            *at = (char)(*at | 0x20);
        if (!json_object_get(paths, route->path))
            hf_document_set(document, paths, route->path, json_object());
        hf_document_set(document, json_object_get(paths, route->path), verb, hf_document_operation(document, route, &rest->methods[i]));
    }
    hf_document_page(document, paths, "/openapi.json", "application/json", "This document.");
    hf_document_page(document, paths, "/healthz", "application/json", "The process answers.");
    hf_document_page(document, paths, "/readyz", "application/json", "The engine serves; 503 while it starts or drains.");
    for (unsigned i = 0; i < rest->options.page_count; i++) {
        const struct hf_rest_page *page = &rest->options.pages[i];
        char type[HF_JSON_NAME_BYTES];
        snprintf(type, sizeof type, "%.*s", (int)strcspn(page->content_type, ";"), page->content_type);
        hf_document_page(document, paths, page->path, type, page->summary ? page->summary : "");
    }
}

static int hf_document_dump(const char *bytes, size_t count, void *text)
{
    hf_json_put(text, bytes, count);
    return ((const struct hf_json_text *)text)->failed ? -1 : 0;
}

int hf_rest_openapi(struct hf_rest *rest)
{
    struct hf_document document = {.schemas = json_object()};
    json_t *paths = json_object();
    hf_document_paths(&document, rest, paths);
    json_t *problem = json_loads(HF_DOCUMENT_PROBLEM, 0, NULL);
    for (unsigned i = 0; i < hf_rest_detail_count; i++) {
        char name[HF_JSON_NAME_BYTES];
        snprintf(name, sizeof name, "%s", hf_rest_details[i]->short_name);
        name[0] |= 0x20;
        hf_document_set(&document, json_object_get(problem, "properties"), name, hf_document_schema(&document, hf_rest_details[i]));
    }
    hf_document_set(&document, document.schemas, "Problem", problem);
    json_t *whole = json_pack("{s:s, s:{s:s, s:s, s:s}, s:o, s:{s:o}}", "openapi", "3.1.0", "info", "title", "Holdfast", "version", "v1",
                              "description", "Orders and stock. docs/api.md has the rules and an example of each call.", "paths", paths,
                              "components", "schemas", document.schemas);
    bool failed = document.failed || !whole || json_dump_callback(whole, hf_document_dump, &rest->document, JSON_COMPACT) != 0;
    json_decref(whole);
    return failed ? HF_GRPC_E_MEMORY : 0;
}

#include "control/rest/json.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/grpc/text.h"

/* ---- Names ---- */

void hf_json_name(const char *field, char *out, size_t room)
{
    size_t at = 0;
    bool upper = false;
    for (; *field && at + 1 < room; field++) {
        if (*field == '_') {
            upper = true;
            continue;
        }
        out[at++] = upper && *field >= 'a' && *field <= 'z' ? (char)(*field - 'a' + 'A') : *field;
        upper = false;
    }
    out[at] = '\0';
}

const ProtobufCFieldDescriptor *hf_json_field(const ProtobufCMessageDescriptor *type, const char *name)
{
    char camel[HF_JSON_NAME_BYTES];
    for (unsigned i = 0; i < type->n_fields; i++) {
        hf_json_name(type->fields[i].name, camel, sizeof camel);
        if (strcmp(name, camel) == 0 || strcmp(name, type->fields[i].name) == 0)
            return &type->fields[i];
    }
    return NULL;
}

size_t hf_json_fit(const char *text, size_t bytes, size_t bytes_max)
{
    if (bytes <= bytes_max)
        return bytes;
    while (bytes_max > 0 && ((unsigned char)text[bytes_max] & 0xc0) == 0x80)
        bytes_max--;
    return bytes_max;
}

static const void *hf_json_member(const ProtobufCMessage *message, size_t offset)
{
    return (const uint8_t *)message + offset;
}

/* Whether a field is there: a message that was set, what a oneof holds, all else. */
static bool hf_json_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE && field->label != PROTOBUF_C_LABEL_REPEATED &&
        !*(const ProtobufCMessage *const *)hf_json_member(message, field->offset))
        return false;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)hf_json_member(message, field->quantifier_offset) == field->id;
    return true;
}

bool hf_json_number(const ProtobufCMessage *message, const char *path, uint64_t *out)
{
    char name[HF_JSON_NAME_BYTES];
    const char *dot;
    while ((dot = strchr(path, '.')) != NULL) {
        snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
        if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE || field->label == PROTOBUF_C_LABEL_REPEATED ||
            !hf_json_present(message, field))
            return false;
        message = *(const ProtobufCMessage *const *)hf_json_member(message, field->offset);
        path = dot + 1;
    }
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, path);
    if (!field || field->label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    if (field->type == PROTOBUF_C_TYPE_UINT64)
        *out = *(const uint64_t *)hf_json_member(message, field->offset);
    else if (field->type == PROTOBUF_C_TYPE_UINT32)
        *out = *(const uint32_t *)hf_json_member(message, field->offset);
    else
        return false;
    return true;
}

/* ---- Writing ---- */

void hf_json_put(struct hf_json_text *text, const void *bytes, size_t count)
{
    if (text->room - text->count < count && !text->failed) {
        size_t room = text->room ? 2 * text->room : 1024;
        while (room - text->count < count)
            room *= 2;
        char *grown = realloc(text->bytes, room);
        if (grown)
            text->bytes = grown;
        text->room = grown ? room : text->room;
        text->failed = !grown;
    }
    if (text->failed || count == 0) /* nothing may come from nowhere */
        return;
    memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
}

static void hf_json_put_text(struct hf_json_text *text, const char *plain)
{
    hf_json_put(text, plain, strlen(plain));
}

void hf_json_put_string(struct hf_json_text *text, const char *value)
{
    static const char letters[] = "\b\t\n\v\f\r", names[] = "btn\0fr";
    hf_json_put(text, "\"", 1);
    for (const char *at = value; *at; at++) {
        const unsigned char c = (unsigned char)*at;
        const char *letter = c >= '\b' && c <= '\r' && c != '\v' ? strchr(letters, c) : NULL;
        char escaped[8];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            hf_json_put(text, at, 1);
        else if (c == '"' || c == '\\')
            hf_json_put(text, (char[]){'\\', (char)c}, 2);
        else if (letter)
            hf_json_put(text, (char[]){'\\', names[letter - letters]}, 2);
        else
            hf_json_put(text, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
    }
    hf_json_put(text, "\"", 1);
}

static void hf_json_write_double(struct hf_json_text *text, double value)
{
    char number[40];
    if (isnan(value))
        hf_json_put_text(text, "\"NaN\"");
    else if (isinf(value))
        hf_json_put_text(text, value < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    else
        hf_json_put(text, number, (size_t)snprintf(number, sizeof number, "%.17g", value));
}

static void hf_json_write_enum(struct hf_json_text *text, const ProtobufCFieldDescriptor *field, int value)
{
    const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(field->descriptor, value);
    char number[16];
    if (found)
        hf_json_put_string(text, found->name);
    else
        hf_json_put(text, number, (size_t)snprintf(number, sizeof number, "%d", value));
}

static void hf_json_write_bytes(struct hf_json_text *text, const ProtobufCBinaryData *data)
{
    static const char padding[] = "==";
    char *encoded = malloc(HF_GRPC_BASE64_MAX(data->len) + 1);
    if (!encoded) {
        text->failed = true;
        return;
    }
    size_t count = hf_grpc_base64_encode(data->data, data->len, encoded);
    hf_json_put(text, "\"", 1);
    hf_json_put(text, encoded, count);
    hf_json_put(text, padding, (4 - count % 4) % 4);
    hf_json_put(text, "\"", 1);
    free(encoded);
}

/* One value of the field's type. */
static void hf_json_write_value(struct hf_json_text *text, const ProtobufCFieldDescriptor *field, const void *at)
{
    char number[32];
    int count = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        count = snprintf(number, sizeof number, "%" PRId32, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        count = snprintf(number, sizeof number, "%" PRIu32, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        count = snprintf(number, sizeof number, "\"%" PRId64 "\"", *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        count = snprintf(number, sizeof number, "\"%" PRIu64 "\"", *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        hf_json_write_double(text, (double)*(const float *)at);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        hf_json_write_double(text, *(const double *)at);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        hf_json_put_text(text, *(const protobuf_c_boolean *)at ? "true" : "false");
        return;
    case PROTOBUF_C_TYPE_ENUM:
        hf_json_write_enum(text, field, *(const int *)at);
        return;
    case PROTOBUF_C_TYPE_STRING:
        hf_json_put_string(text, *(const char *const *)at ? *(const char *const *)at : "");
        return;
    case PROTOBUF_C_TYPE_BYTES:
        hf_json_write_bytes(text, at);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        hf_json_write(text, *(const ProtobufCMessage *const *)at);
        return;
    }
    hf_json_put(text, number, (size_t)count);
}

static size_t hf_json_value_bytes(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return sizeof(uint64_t);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(uint32_t);
    }
}

static void hf_json_write_list(struct hf_json_text *text, const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    size_t count = *(const size_t *)hf_json_member(message, field->quantifier_offset), bytes = hf_json_value_bytes(field);
    const uint8_t *values = *(const uint8_t *const *)hf_json_member(message, field->offset);
    hf_json_put(text, "[", 1);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            hf_json_put(text, ",", 1);
        hf_json_write_value(text, field, values + i * bytes);
    }
    hf_json_put(text, "]", 1);
}

void hf_json_write(struct hf_json_text *text, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    char name[HF_JSON_NAME_BYTES];
    bool first = true;
    hf_json_put(text, "{", 1);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (!hf_json_present(message, field))
            continue;
        hf_json_name(field->name, name, sizeof name);
        hf_json_put_text(text, first ? "\"" : ",\"");
        hf_json_put_text(text, name);
        hf_json_put_text(text, "\":");
        first = false;
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            hf_json_write_list(text, message, field);
        else
            hf_json_write_value(text, field, hf_json_member(message, field->offset));
    }
    hf_json_put(text, "}", 1);
}

/* ---- Parsing ---- */

static int hf_json_fail(struct hf_json_fault *fault, int error, const char *what)
{
    fault->path[0] = '\0';
    snprintf(fault->what, sizeof fault->what, "%s", what);
    return error;
}

/* Nesting and values, before anything is made of the text. */
static int hf_json_scan(const uint8_t *text, size_t bytes, struct hf_json_fault *fault)
{
    unsigned depth = 0, values = 0;
    bool quoted = false;
    for (size_t i = 0; i < bytes; i++) {
        const uint8_t c = text[i];
        if (quoted) {
            quoted = c != '"';
            i += c == '\\';
            continue;
        }
        quoted = c == '"';
        values += c == ',' || c == '{' || c == '[';
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        if (depth > HF_JSON_DEPTH_MAX)
            return hf_json_fail(fault, HF_JSON_E_DEEP, "the body is nested too deeply");
        if (values > HF_JSON_VALUES_MAX)
            return hf_json_fail(fault, HF_JSON_E_MANY, "the body has too many values");
    }
    return 0;
}

int hf_json_parse(const void *text, size_t bytes, json_t **out, struct hf_json_fault *fault)
{
    json_error_t error;
    int failed = hf_json_scan(text, bytes, fault);
    if (failed)
        return failed;
    json_t *found = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!found) {
        enum json_error_code code = json_error_code(&error);
        hf_json_fail(fault, HF_JSON_E_SYNTAX, "");
        snprintf(fault->what, sizeof fault->what, "line %d, column %d: %.*s", error.line, error.column,
                 (int)hf_json_fit(error.text, strlen(error.text), 100), error.text);
        return code == json_error_out_of_memory ? HF_JSON_E_MEMORY : HF_JSON_E_SYNTAX;
    }
    if (!json_is_object(found)) {
        json_decref(found);
        return hf_json_fail(fault, HF_JSON_E_SYNTAX, "the body is not a JSON object");
    }
    *out = found;
    return 0;
}

/* ---- Reading ---- */

/* Puts a name in front of what the fault's path says already. */
static int hf_json_fault_in(const struct hf_json_reader *reader, const char *name, const char *what)
{
    struct hf_json_fault *fault = reader->fault;
    char behind[HF_JSON_PATH_BYTES];
    if (what) {
        fault->path[0] = '\0';
        snprintf(fault->what, sizeof fault->what, "%s", what);
    }
    memcpy(behind, fault->path, sizeof behind);
    snprintf(fault->path, sizeof fault->path, "%.*s%s%.*s", (int)hf_json_fit(name, strlen(name), 60), name,
             behind[0] && behind[0] != '[' ? "." : "", (int)hf_json_fit(behind, strlen(behind), 90), behind);
    return HF_JSON_E_FIELD;
}

/* NULL: read; else what is wrong with it. */
static const char *hf_json_read_signed(const json_t *value, int64_t least, int64_t most, int64_t *out)
{
    char *end = NULL;
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
    } else if (json_is_real(value)) {
        double number = json_real_value(value);
        if (floor(number) != number || fabs(number) > 9007199254740992.0)
            return "a whole number is wanted";
        *out = (int64_t)number;
    } else if (json_is_string(value)) {
        const char *text = json_string_value(value);
        errno = 0;
        *out = strtoll(text, &end, 10);
        if (!((*text >= '0' && *text <= '9') || *text == '-') || *end || end == text || text[1 + (*text == '-')] == ' ')
            return "a whole number is wanted";
        if (errno == ERANGE)
            return "the number is too large";
    } else {
        return "a number is wanted";
    }
    return *out < least || *out > most ? "the number is out of range" : NULL;
}

static const char *hf_json_read_unsigned(const json_t *value, uint64_t most, uint64_t *out)
{
    char *end = NULL;
    int64_t number;
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        errno = 0;
        *out = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || *end)
            return "a whole number, not negative, is wanted";
        return errno == ERANGE || *out > most ? "the number is out of range" : NULL;
    }
    const char *wrong = hf_json_read_signed(value, 0, INT64_MAX, &number);
    if (wrong)
        return wrong;
    *out = (uint64_t)number;
    return *out > most ? "the number is out of range" : NULL;
}

static const char *hf_json_read_double(const json_t *value, double most, double *out)
{
    char *end = NULL;
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        *out = strtod(text, &end);
        return end == text || *end || *text == ' ' ? "a number is wanted" : NULL;
    }
    if (!json_is_number(value))
        return "a number is wanted";
    *out = json_number_value(value);
    return fabs(*out) > most ? "the number is out of range" : NULL;
}

static const char *hf_json_read_bool(const struct hf_json_reader *reader, const json_t *value, protobuf_c_boolean *out)
{
    const char *text = reader->texts ? json_string_value(value) : NULL;
    if (!json_is_boolean(value) && !(text && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)))
        return "true or false is wanted";
    *out = text ? text[0] == 't' : json_is_true(value);
    return NULL;
}

/* By its name, by its name without what the enum's names begin with (that of 0 is PREFIX_UNSPECIFIED), or by its number. */
static const char *hf_json_read_enum(const ProtobufCFieldDescriptor *field, const json_t *value, int *out)
{
    static const char zero[] = "UNSPECIFIED";
    const ProtobufCEnumDescriptor *type = field->descriptor;
    const char *name = json_string_value(value);
    int64_t number;
    if (!name) {
        const char *wrong = hf_json_read_signed(value, INT32_MIN, INT32_MAX, &number);
        *out = wrong ? 0 : (int)number;
        return wrong ? "the name of a value is wanted" : protobuf_c_enum_descriptor_get_value(type, *out) ? NULL : "there is no such value";
    }
    size_t prefix = strlen(type->values[0].name);
    prefix = prefix > sizeof zero && strcmp(type->values[0].name + prefix - (sizeof zero - 1), zero) == 0 ? prefix - (sizeof zero - 1) : 0;
    for (unsigned i = 0; i < type->n_value_names; i++) {
        const char *known = type->values_by_name[i].name;
        if (strcmp(known, name) == 0 || (strlen(known) > prefix && strcmp(known + prefix, name) == 0)) {
            *out = type->values[type->values_by_name[i].index].value;
            return NULL;
        }
    }
    return "there is no such value";
}

static const char *hf_json_read_string(const struct hf_json_reader *reader, const json_t *value, char **out)
{
    if (!json_is_string(value))
        return "a string is wanted";
    size_t bytes = json_string_length(value);
    *out = reader->take(reader->arena, bytes + 1);
    if (!*out)
        return "";
    memcpy(*out, json_string_value(value), bytes + 1);
    return NULL;
}

static const char *hf_json_read_bytes(const struct hf_json_reader *reader, const json_t *value, ProtobufCBinaryData *out)
{
    if (!json_is_string(value))
        return "base64 in a string is wanted";
    out->data = reader->take(reader->arena, HF_GRPC_UNBASE64_MAX(json_string_length(value)));
    if (!out->data)
        return "";
    return hf_grpc_base64_decode(json_string_value(value), json_string_length(value), out->data, &out->len) ? NULL : "this is not base64";
}

/* One value that is no message. NULL: read; "": no memory; else what is wrong with it. */
static const char *hf_json_read_scalar(const struct hf_json_reader *reader, const json_t *value, const ProtobufCFieldDescriptor *field,
                                       void *at)
{
    int64_t number = 0;
    uint64_t natural = 0;
    double real = 0;
    const char *wrong;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        wrong = hf_json_read_signed(value, INT32_MIN, INT32_MAX, &number);
        *(int32_t *)at = (int32_t)number;
        return wrong;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        wrong = hf_json_read_unsigned(value, UINT32_MAX, &natural);
        *(uint32_t *)at = (uint32_t)natural;
        return wrong;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return hf_json_read_signed(value, INT64_MIN, INT64_MAX, at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return hf_json_read_unsigned(value, UINT64_MAX, at);
    case PROTOBUF_C_TYPE_FLOAT:
        wrong = hf_json_read_double(value, (double)FLT_MAX, &real);
        *(float *)at = (float)real;
        return wrong;
    case PROTOBUF_C_TYPE_DOUBLE:
        return hf_json_read_double(value, DBL_MAX, at);
    case PROTOBUF_C_TYPE_BOOL:
        return hf_json_read_bool(reader, value, at);
    case PROTOBUF_C_TYPE_ENUM:
        return hf_json_read_enum(field, value, at);
    case PROTOBUF_C_TYPE_STRING:
        return hf_json_read_string(reader, value, at);
    case PROTOBUF_C_TYPE_BYTES:
        return hf_json_read_bytes(reader, value, at);
    default:
        return "this field cannot be set";
    }
}

static int hf_json_read_value(const struct hf_json_reader *reader, const json_t *value, const ProtobufCFieldDescriptor *field,
                              const char *name, void *at)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        if (!json_is_object(value))
            return hf_json_fault_in(reader, name, "an object is wanted");
        int failed = hf_json_read(reader, value, field->descriptor, at);
        return failed == HF_JSON_E_FIELD ? hf_json_fault_in(reader, name, NULL) : failed;
    }
    const char *wrong = hf_json_read_scalar(reader, value, field, at);
    if (wrong && *wrong == '\0')
        return HF_JSON_E_MEMORY;
    return wrong ? hf_json_fault_in(reader, name, wrong) : 0;
}

static int hf_json_read_list(const struct hf_json_reader *reader, const json_t *list, const ProtobufCFieldDescriptor *field,
                             const char *name, ProtobufCMessage *message)
{
    size_t count = json_array_size(list), bytes = hf_json_value_bytes(field);
    char place[HF_JSON_NAME_BYTES + 24];
    if (!json_is_array(list))
        return hf_json_fault_in(reader, name, "a list is wanted");
    uint8_t *values = count > 0 ? reader->take(reader->arena, count * bytes) : NULL;
    if (count > 0 && !values)
        return HF_JSON_E_MEMORY;
    for (size_t i = 0; i < count; i++) {
        snprintf(place, sizeof place, "%.*s[%zu]", HF_JSON_NAME_BYTES, name, i);
        int failed = hf_json_read_value(reader, json_array_get(list, i), field, place, values + i * bytes);
        if (failed)
            return failed;
    }
    *(size_t *)(uintptr_t)hf_json_member(message, field->quantifier_offset) = count;
    *(void **)(uintptr_t)hf_json_member(message, field->offset) = values;
    return 0;
}

/* Whether an object has a field in both its spellings: which of them counts nobody could say. */
static bool hf_json_twice(const json_t *object, const ProtobufCFieldDescriptor *field)
{
    char camel[HF_JSON_NAME_BYTES];
    hf_json_name(field->name, camel, sizeof camel);
    return strcmp(camel, field->name) != 0 && json_object_get(object, camel) && json_object_get(object, field->name);
}

static int hf_json_read_field(const struct hf_json_reader *reader, const json_t *object, const char *name, const json_t *value,
                              ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field = hf_json_field(message->descriptor, name);
    if (!field)
        return hf_json_fault_in(reader, name, "there is no such field");
    if (hf_json_twice(object, field)) {
        reader->fault->twice = true;
        return hf_json_fault_in(reader, name, "it is given twice");
    }
    if (json_is_null(value))
        return 0;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return hf_json_read_list(reader, value, field, name, message);
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t *choice = (uint32_t *)(uintptr_t)hf_json_member(message, field->quantifier_offset);
        if (*choice != 0)
            return hf_json_fault_in(reader, name, "only one of this and another field may be given");
        *choice = field->id;
    }
    return hf_json_read_value(reader, value, field, name, (void *)(uintptr_t)hf_json_member(message, field->offset));
}

int hf_json_read(const struct hf_json_reader *reader, const json_t *object, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out)
{
    ProtobufCMessage *message = reader->take(reader->arena, type->sizeof_message);
    if (!message)
        return HF_JSON_E_MEMORY;
    type->message_init(message);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        int failed = hf_json_read_field(reader, object, name, value, message);
        if (failed)
            return failed;
    }
    *out = message;
    return 0;
}

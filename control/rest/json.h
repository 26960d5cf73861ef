/*
 * Protobuf messages as JSON, both ways, by protobuf-c's descriptors and the JSON mapping of proto3 (protobuf.dev, "ProtoJSON format"):
 * lowerCamelCase names, 64-bit integers as strings (numbers are read too), enums by name, bytes as base64. What is written has every field
 * that is no message, defaults too. What is read may have no field that the message has not.
 *
 * Threads: pure. Memory: a message that is read is taken from the reader's arena; a text that is written is malloc's.
 */
#ifndef HF_CONTROL_REST_JSON_H
#define HF_CONTROL_REST_JSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    HF_JSON_DEPTH_MAX = 16,
    HF_JSON_VALUES_MAX = 16384, /* of one text: what a value costs in memory is many times what it costs on the wire */
    HF_JSON_NAME_BYTES = 64,
    HF_JSON_PATH_BYTES = 160,
};

enum hf_json_error {
    HF_JSON_E_SYNTAX = -1, /* not JSON (RFC 8259), not UTF-8, or a name twice */
    HF_JSON_E_DEEP = -2,
    HF_JSON_E_MANY = -3,  /* values */
    HF_JSON_E_FIELD = -4, /* a field that is not there, or a value that it cannot have */
    HF_JSON_E_MEMORY = -5,
};

struct hf_json_fault {
    char path[HF_JSON_PATH_BYTES]; /* of the field at fault, as in "lines[2].sku"; empty: the whole text */
    char what[HF_JSON_PATH_BYTES]; /* one sentence */
    bool twice;                    /* the field is given in both its spellings */
};

struct hf_json_reader {
    void *(*take)(void *arena, size_t bytes); /* zeroed memory, NULL: none left */
    void *arena;
    bool texts; /* every value is a string, as in a query */
    struct hf_json_fault *fault;
};

/* A text as a JSON object, which is the caller's to drop (json_decref). 0 or HF_JSON_E_*. */
int hf_json_parse(const void *text, size_t bytes, json_t **out, struct hf_json_fault *fault);
/* An object as a message of `type`. 0, HF_JSON_E_FIELD, HF_JSON_E_MEMORY. */
int hf_json_read(const struct hf_json_reader *reader, const json_t *object, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out);

struct hf_json_text {
    char *bytes; /* free() */
    size_t count, room;
    bool failed; /* no memory: it is cut off */
};

void hf_json_put(struct hf_json_text *text, const void *bytes, size_t count);
/* With quotes and escapes. */
void hf_json_put_string(struct hf_json_text *text, const char *value);
void hf_json_write(struct hf_json_text *text, const ProtobufCMessage *message);

/* How much of a UTF-8 text fits into so many bytes without the last character being cut. */
size_t hf_json_fit(const char *text, size_t bytes, size_t bytes_max);

/* "first_cell" as "firstCell"; a path of such names too. */
void hf_json_name(const char *field, char *out, size_t room);
/* The field with this name, in either spelling; NULL: none. */
const ProtobufCFieldDescriptor *hf_json_field(const ProtobufCMessageDescriptor *type, const char *name);
/* An unsigned number at a path of fields ("cell.version"). False: a message on the way is not there, or it is no such number. */
bool hf_json_number(const ProtobufCMessage *message, const char *path, uint64_t *out);

#endif

/* An index over FileDescriptorSets, read from the wire format as it stands (protobuf encoding, "Message Structure"). */
#include "control/grpc/descriptors.h"

#include <stdlib.h>
#include <string.h>

#include "control/grpc/grpc.h"

enum hf_grpc_symbol_kind { HF_GRPC_SYMBOL, HF_GRPC_SYMBOL_METHOD };

struct hf_grpc_symbol {
    char *name;
    unsigned file;
    enum hf_grpc_symbol_kind kind;
    bool client_streaming, server_streaming;
};

struct hf_grpc_extension {
    char *extendee;
    int32_t number;
    unsigned file;
};

struct hf_grpc_descriptors {
    struct hf_grpc_file *files;
    struct hf_grpc_symbol *symbols;
    struct hf_grpc_extension *extensions;
    unsigned file_count, file_room, symbol_count, symbol_room, extension_count, extension_room;
};

/* One field of a message on the wire. */
struct hf_grpc_wire {
    const uint8_t *at, *end;
    uint32_t number, type;
    uint64_t value;       /* of a varint */
    const uint8_t *bytes; /* of a length-delimited field */
    size_t length;
    bool malformed;
};

static bool hf_grpc_wire_varint(struct hf_grpc_wire *wire, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && wire->at < wire->end; shift += 7) {
        uint8_t byte = *wire->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
    }
    wire->malformed = true;
    return false;
}

static struct hf_grpc_wire hf_grpc_wire_of(const uint8_t *bytes, size_t length)
{
    return (struct hf_grpc_wire){.at = bytes, .end = bytes + length};
}

/* False: at the end, or malformed. */
static bool hf_grpc_wire_next(struct hf_grpc_wire *wire)
{
    uint64_t tag, length;
    if (wire->at == wire->end || !hf_grpc_wire_varint(wire, &tag))
        return false;
    wire->number = (uint32_t)(tag >> 3);
    wire->type = tag & 7;
    switch (wire->type) {
    case 0:
        return hf_grpc_wire_varint(wire, &wire->value);
    case 1:
    case 5:
        length = wire->type == 1 ? 8 : 4;
        break;
    case 2:
        if (!hf_grpc_wire_varint(wire, &length))
            return false;
        break;
    default:
        wire->malformed = true;
        return false;
    }
    if (length > (uint64_t)(wire->end - wire->at)) {
        wire->malformed = true;
        return false;
    }
    wire->bytes = wire->at;
    wire->length = (size_t)length;
    wire->at += length;
    return true;
}

/* The first length-delimited field of that number; an empty one if there is none. */
static struct hf_grpc_bytes hf_grpc_wire_text(const uint8_t *bytes, size_t length, uint32_t number)
{
    struct hf_grpc_wire wire = hf_grpc_wire_of(bytes, length);
    while (hf_grpc_wire_next(&wire)) {
        if (wire.number == number && wire.type == 2)
            return (struct hf_grpc_bytes){wire.bytes, wire.length};
    }
    return (struct hf_grpc_bytes){(const uint8_t *)"", 0};
}

static uint64_t hf_grpc_wire_number(const uint8_t *bytes, size_t length, uint32_t number)
{
    struct hf_grpc_wire wire = hf_grpc_wire_of(bytes, length);
    uint64_t value = 0;
    while (hf_grpc_wire_next(&wire)) {
        if (wire.number == number && wire.type == 0)
            value = wire.value;
    }
    return value;
}

/* ---- The index ---- */

/* Room for one more of `size` bytes behind `*count`. */
static int hf_grpc_index_grow(void **all, unsigned count, unsigned *room, size_t size)
{
    if (count < *room)
        return 0;
    unsigned wanted = *room ? 2 * *room : 64;
    void *grown = realloc(*all, wanted * size);
    if (!grown)
        return HF_GRPC_E_MEMORY;
    *all = grown;
    *room = wanted;
    return 0;
}

/* "scope.name", or "name" in an empty scope. */
static char *hf_grpc_qualified(const char *scope, struct hf_grpc_bytes name)
{
    size_t scope_bytes = strlen(scope), dot = scope_bytes > 0;
    char *full = malloc(scope_bytes + dot + name.length + 1);
    if (!full)
        return NULL;
    memcpy(full, scope, scope_bytes);
    if (dot)
        full[scope_bytes] = '.';
    memcpy(full + scope_bytes + dot, name.bytes, name.length);
    full[scope_bytes + dot + name.length] = '\0';
    return full;
}

/* The symbol's name is lent until the next symbol is added. NULL: out of memory. */
static struct hf_grpc_symbol *hf_grpc_index_symbol(struct hf_grpc_descriptors *all, const char *scope, struct hf_grpc_bytes name)
{
    void *symbols = all->symbols;
    int failed = hf_grpc_index_grow(&symbols, all->symbol_count, &all->symbol_room, sizeof *all->symbols);
    all->symbols = symbols;
    char *full = failed ? NULL : hf_grpc_qualified(scope, name);
    if (!full)
        return NULL;
    struct hf_grpc_symbol *symbol = &all->symbols[all->symbol_count++];
    *symbol = (struct hf_grpc_symbol){.name = full, .file = all->file_count};
    return symbol;
}

static int hf_grpc_index_extension(struct hf_grpc_descriptors *all, const char *scope, const uint8_t *bytes, size_t length)
{
    void *extensions = all->extensions;
    int failed = hf_grpc_index_grow(&extensions, all->extension_count, &all->extension_room, sizeof *all->extensions);
    all->extensions = extensions;
    if (failed || !hf_grpc_index_symbol(all, scope, hf_grpc_wire_text(bytes, length, 1)))
        return HF_GRPC_E_MEMORY;
    struct hf_grpc_bytes extendee = hf_grpc_wire_text(bytes, length, 2);
    if (extendee.length > 0 && extendee.bytes[0] == '.') {
        extendee.bytes++;
        extendee.length--;
    }
    char *name = hf_grpc_qualified("", extendee);
    if (!name)
        return HF_GRPC_E_MEMORY;
    all->extensions[all->extension_count++] = (struct hf_grpc_extension){name, (int32_t)hf_grpc_wire_number(bytes, length, 3),
                                                                         all->file_count};
    return 0;
}

/* Each field of that number is something with its name in field 1: a symbol of the scope. */
static int hf_grpc_index_names(struct hf_grpc_descriptors *all, const char *scope, const uint8_t *bytes, size_t length, uint32_t number)
{
    struct hf_grpc_wire wire = hf_grpc_wire_of(bytes, length);
    while (hf_grpc_wire_next(&wire)) {
        if (wire.number == number && wire.type == 2 && !hf_grpc_index_symbol(all, scope, hf_grpc_wire_text(wire.bytes, wire.length, 1)))
            return HF_GRPC_E_MEMORY;
    }
    return wire.malformed ? HF_GRPC_E_USAGE : 0;
}

/* Values of an enum are names of the scope around it. */
static int hf_grpc_index_enum(struct hf_grpc_descriptors *all, const char *scope, const uint8_t *bytes, size_t length)
{
    if (!hf_grpc_index_symbol(all, scope, hf_grpc_wire_text(bytes, length, 1)))
        return HF_GRPC_E_MEMORY;
    return hf_grpc_index_names(all, scope, bytes, length, 2);
}

enum { HF_GRPC_NESTING_MAX = 64 };

static int hf_grpc_index_message(struct hf_grpc_descriptors *all, const char *scope, const uint8_t *bytes, size_t length, unsigned depth)
{
    struct hf_grpc_symbol *symbol = hf_grpc_index_symbol(all, scope, hf_grpc_wire_text(bytes, length, 1));
    char *name = symbol ? strdup(symbol->name) : NULL;
    if (!name)
        return HF_GRPC_E_MEMORY;
    struct hf_grpc_wire wire = hf_grpc_wire_of(bytes, length);
    int failed = depth == 0 ? HF_GRPC_E_USAGE : hf_grpc_index_names(all, name, bytes, length, 2); /* fields */
    if (!failed)
        failed = hf_grpc_index_names(all, name, bytes, length, 8); /* oneofs */
    while (!failed && hf_grpc_wire_next(&wire)) {
        if (wire.type != 2)
            continue;
        if (wire.number == 3)
            failed = hf_grpc_index_message(all, name, wire.bytes, wire.length, depth - 1);
        else if (wire.number == 4)
            failed = hf_grpc_index_enum(all, name, wire.bytes, wire.length);
        else if (wire.number == 6)
            failed = hf_grpc_index_extension(all, name, wire.bytes, wire.length);
    }
    free(name);
    return failed ? failed : wire.malformed ? HF_GRPC_E_USAGE : 0;
}

static int hf_grpc_index_service(struct hf_grpc_descriptors *all, const char *scope, const uint8_t *bytes, size_t length)
{
    struct hf_grpc_symbol *symbol = hf_grpc_index_symbol(all, scope, hf_grpc_wire_text(bytes, length, 1));
    char *name = symbol ? strdup(symbol->name) : NULL;
    if (!name)
        return HF_GRPC_E_MEMORY;
    struct hf_grpc_wire wire = hf_grpc_wire_of(bytes, length);
    while (hf_grpc_wire_next(&wire)) {
        if (wire.number != 2 || wire.type != 2)
            continue;
        symbol = hf_grpc_index_symbol(all, name, hf_grpc_wire_text(wire.bytes, wire.length, 1));
        if (!symbol)
            break;
        symbol->kind = HF_GRPC_SYMBOL_METHOD;
        symbol->client_streaming = hf_grpc_wire_number(wire.bytes, wire.length, 5) != 0;
        symbol->server_streaming = hf_grpc_wire_number(wire.bytes, wire.length, 6) != 0;
    }
    free(name);
    return !symbol ? HF_GRPC_E_MEMORY : wire.malformed ? HF_GRPC_E_USAGE : 0;
}

static int hf_grpc_index_part(struct hf_grpc_descriptors *all, const char *package, const struct hf_grpc_wire *wire)
{
    switch (wire->number) {
    case 4:
        return hf_grpc_index_message(all, package, wire->bytes, wire->length, HF_GRPC_NESTING_MAX);
    case 5:
        return hf_grpc_index_enum(all, package, wire->bytes, wire->length);
    case 6:
        return hf_grpc_index_service(all, package, wire->bytes, wire->length);
    case 7:
        return hf_grpc_index_extension(all, package, wire->bytes, wire->length);
    default:
        return 0;
    }
}

static int hf_grpc_index_file(struct hf_grpc_descriptors *all, const uint8_t *bytes, size_t length)
{
    void *files = all->files;
    char *name = hf_grpc_qualified("", hf_grpc_wire_text(bytes, length, 1));
    if (name && hf_grpc_descriptors_file(all, name)) {
        free(name);
        return 0;
    }
    int failed = hf_grpc_index_grow(&files, all->file_count, &all->file_room, sizeof *all->files);
    all->files = files;
    char *package = hf_grpc_qualified("", hf_grpc_wire_text(bytes, length, 2));
    if (failed || !name || !package) {
        free(name);
        free(package);
        return HF_GRPC_E_MEMORY;
    }
    struct hf_grpc_wire wire = hf_grpc_wire_of(bytes, length);
    while (!failed && hf_grpc_wire_next(&wire)) {
        if (wire.type == 2)
            failed = hf_grpc_index_part(all, package, &wire);
    }
    free(package);
    /* Counted last: symbols of this file were filed under this very number. */
    all->files[all->file_count++] = (struct hf_grpc_file){bytes, length, name};
    return failed ? failed : wire.malformed ? HF_GRPC_E_USAGE : 0;
}

struct hf_grpc_descriptors *hf_grpc_descriptors_create(void)
{
    return calloc(1, sizeof(struct hf_grpc_descriptors));
}

void hf_grpc_descriptors_destroy(struct hf_grpc_descriptors *descriptors)
{
    if (!descriptors)
        return;
    for (unsigned i = 0; i < descriptors->file_count; i++)
        free((char *)(uintptr_t)descriptors->files[i].name);
    for (unsigned i = 0; i < descriptors->symbol_count; i++)
        free(descriptors->symbols[i].name);
    for (unsigned i = 0; i < descriptors->extension_count; i++)
        free(descriptors->extensions[i].extendee);
    free(descriptors->files);
    free(descriptors->symbols);
    free(descriptors->extensions);
    free(descriptors);
}

int hf_grpc_descriptors_add(struct hf_grpc_descriptors *descriptors, const void *set, size_t set_bytes)
{
    struct hf_grpc_wire wire = hf_grpc_wire_of(set, set_bytes);
    int failed = 0;
    while (!failed && hf_grpc_wire_next(&wire)) {
        if (wire.number == 1 && wire.type == 2)
            failed = hf_grpc_index_file(descriptors, wire.bytes, wire.length);
    }
    return failed ? failed : wire.malformed ? HF_GRPC_E_USAGE : 0;
}

/* ---- Looking up: a server has tens of files and hundreds of symbols, and is asked by people ---- */

const struct hf_grpc_file *hf_grpc_descriptors_file(const struct hf_grpc_descriptors *descriptors, const char *name)
{
    for (unsigned i = 0; i < descriptors->file_count; i++) {
        if (strcmp(descriptors->files[i].name, name) == 0)
            return &descriptors->files[i];
    }
    return NULL;
}

static const struct hf_grpc_symbol *hf_grpc_symbol_find(const struct hf_grpc_descriptors *descriptors, const char *name)
{
    for (unsigned i = 0; i < descriptors->symbol_count; i++) {
        if (strcmp(descriptors->symbols[i].name, name) == 0)
            return &descriptors->symbols[i];
    }
    return NULL;
}

const struct hf_grpc_file *hf_grpc_descriptors_symbol(const struct hf_grpc_descriptors *descriptors, const char *symbol)
{
    const struct hf_grpc_symbol *found = hf_grpc_symbol_find(descriptors, symbol);
    return found ? &descriptors->files[found->file] : NULL;
}

const struct hf_grpc_file *hf_grpc_descriptors_extension(const struct hf_grpc_descriptors *descriptors, const char *extendee,
                                                         int32_t number)
{
    for (unsigned i = 0; i < descriptors->extension_count; i++) {
        const struct hf_grpc_extension *extension = &descriptors->extensions[i];
        if (extension->number == number && strcmp(extension->extendee, extendee) == 0)
            return &descriptors->files[extension->file];
    }
    return NULL;
}

void hf_grpc_descriptors_extensions(const struct hf_grpc_descriptors *descriptors, const char *extendee,
                                    void (*each)(void *context, int32_t number), void *context)
{
    for (unsigned i = 0; i < descriptors->extension_count; i++) {
        if (strcmp(descriptors->extensions[i].extendee, extendee) == 0)
            each(context, descriptors->extensions[i].number);
    }
}

const struct hf_grpc_file *hf_grpc_descriptors_import(const struct hf_grpc_descriptors *descriptors, const struct hf_grpc_file *file,
                                                      unsigned i, bool *more)
{
    struct hf_grpc_wire wire = hf_grpc_wire_of(file->bytes, file->length);
    *more = false;
    while (hf_grpc_wire_next(&wire)) {
        if (wire.number != 3 || wire.type != 2 || i-- > 0)
            continue;
        char *name = hf_grpc_qualified("", (struct hf_grpc_bytes){wire.bytes, wire.length});
        const struct hf_grpc_file *found = name ? hf_grpc_descriptors_file(descriptors, name) : NULL;
        free(name);
        *more = true;
        return found;
    }
    return NULL;
}

bool hf_grpc_descriptors_method(const struct hf_grpc_descriptors *descriptors, const char *method, bool *client_streaming,
                                bool *server_streaming)
{
    const struct hf_grpc_symbol *found = hf_grpc_symbol_find(descriptors, method);
    if (!found || found->kind != HF_GRPC_SYMBOL_METHOD)
        return false;
    *client_streaming = found->client_streaming;
    *server_streaming = found->server_streaming;
    return true;
}

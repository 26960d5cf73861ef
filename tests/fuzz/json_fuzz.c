/* Bodies of REST requests into messages: any bytes are parsed and read as an order to place, a cell to set, an event.
 *
 * What breaks: a refusal without a sentence, or a message that is written and read back as another one. */
#include "control/rest/json.h"
#include "tests/fuzz/fuzz.h"

#include "holdfast/v1/events.pb-c.h"
#include "holdfast/v1/inventory.pb-c.h"
#include "holdfast/v1/orders.pb-c.h"

enum { TAKEN_MAX = 1 << 16 };

struct arena {
    void *taken[TAKEN_MAX];
    size_t count;
};

static struct arena arena;

static void *arena_take(void *context, size_t bytes)
{
    struct arena *from = context;
    if (from->count == TAKEN_MAX)
        return NULL;
    return from->taken[from->count++] = calloc(1, bytes > 0 ? bytes : 1);
}

static void arena_clear(void)
{
    while (arena.count > 0)
        free(arena.taken[--arena.count]);
}

/* NULL: refused, which has to be said. */
static const ProtobufCMessage *read_text(const void *text, size_t bytes, const ProtobufCMessageDescriptor *type)
{
    struct hf_json_fault fault = {.path = ""};
    const struct hf_json_reader reader = {.take = arena_take, .arena = &arena, .fault = &fault};
    json_t *object = NULL;
    ProtobufCMessage *message = NULL;
    int failed = hf_json_parse(text, bytes, &object, &fault);
    FUZZ_CHECK(failed != 0 || json_is_object(object));
    if (failed == 0)
        failed = hf_json_read(&reader, object, type, &message);
    FUZZ_CHECK(failed == 0 || failed == HF_JSON_E_MEMORY || fault.what[0] != '\0');
    /* A name without a letter is the only one that cannot be told. */
    FUZZ_CHECK(failed != HF_JSON_E_FIELD || fault.path[0] != '\0' || json_object_get(object, ""));
    json_decref(object);
    return failed == 0 ? message : NULL;
}

static void try_as(const uint8_t *data, size_t size, const ProtobufCMessageDescriptor *type)
{
    struct hf_json_text first = {0}, second = {0};
    const ProtobufCMessage *message = read_text(data, size, type);
    if (message) {
        hf_json_write(&first, message);
        const ProtobufCMessage *again = read_text(first.bytes, first.count, type);
        /* What is written has fields that were left out, and may so have too many. */
        FUZZ_CHECK(again != NULL || first.count > HF_JSON_VALUES_MAX);
        if (again)
            hf_json_write(&second, again);
        FUZZ_CHECK(!again || (first.count == second.count && memcmp(first.bytes, second.bytes, first.count) == 0));
    }
    free(first.bytes);
    free(second.bytes);
    arena_clear();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nothing[1];
    try_as(data ? data : nothing, size, &holdfast__v1__place_order_request__descriptor);
    try_as(data ? data : nothing, size, &holdfast__v1__set_request__descriptor);
    try_as(data ? data : nothing, size, &holdfast__v1__event__descriptor);
    return 0;
}

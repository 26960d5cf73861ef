/* Protobuf messages as JSON, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/rest/json.h"
#include "control/rest/routes.h"
#include "probe.pb-c.h"

/* ---- An arena that can run out ---- */

struct arena {
    void *taken[4096];
    unsigned count, left;
};

static struct arena arena;
static struct hf_json_fault fault;

static void *arena_take(void *context, size_t bytes)
{
    struct arena *from = context;
    if (from->left == 0 || from->count == sizeof from->taken / sizeof from->taken[0])
        return NULL;
    from->left--;
    return from->taken[from->count++] = calloc(1, bytes);
}

static int begin(void **state)
{
    (void)state;
    arena = (struct arena){.left = UINT32_MAX};
    fault = (struct hf_json_fault){.path = ""};
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (unsigned i = 0; i < arena.count; i++)
        free(arena.taken[i]);
    return 0;
}

static int read_as(const char *text, const ProtobufCMessageDescriptor *type, bool texts, ProtobufCMessage **out)
{
    const struct hf_json_reader reader = {.take = arena_take, .arena = &arena, .texts = texts, .fault = &fault};
    json_t *object = NULL;
    int failed = hf_json_parse(text, strlen(text), &object, &fault);
    if (!failed)
        failed = hf_json_read(&reader, object, type, out);
    json_decref(object);
    return failed;
}

static const Probe__V1__Everything *read_all(const char *text)
{
    ProtobufCMessage *message = NULL;
    if (read_as(text, &probe__v1__everything__descriptor, false, &message) != 0)
        fail_msg("%s: %s: %s", text, fault.path, fault.what);
    return (const Probe__V1__Everything *)(const void *)message;
}

static void assert_refused(const char *text, int error, const char *path)
{
    ProtobufCMessage *message = NULL;
    int found = read_as(text, &probe__v1__everything__descriptor, false, &message);
    if (found != error || strcmp(fault.path, path) != 0)
        fail_msg("%s: %d instead of %d, at \"%s\" instead of \"%s\": %s", text, found, error, fault.path, path, fault.what);
    assert_true(fault.what[0] != '\0');
}

static void assert_written(const ProtobufCMessage *message, const char *wanted)
{
    struct hf_json_text text = {0};
    hf_json_write(&text, message);
    hf_json_put(&text, "", 1);
    assert_false(text.failed);
    assert_string_equal(text.bytes, wanted);
    free(text.bytes);
}

/* ---- Reading ---- */

static void test_every_kind_of_field_is_read(void **state)
{
    (void)state;
    const Probe__V1__Everything *all = read_all(
        "{\"int32\": -5, \"uint32\": \"7\", \"sint64\": \"-9223372036854775808\", \"uint64\": \"18446744073709551615\", \"isTrue\": true, "
        "\"text\": \"a\\u00e9\\n\", \"data\": \"AQID\", \"real\": 1.5, \"colour\": \"COLOUR_BLUE\", \"child\": {\"text\": \"in\"}, "
        "\"children\": [{}, {\"colour\": \"RED\"}], \"numbers\": [1, \"2\"], \"texts\": [\"x\"], \"colours\": [2, \"RED\"], "
        "\"byNumber\": 9}");
    assert_int_equal(all->int_32, -5);
    assert_int_equal(all->uint_32, 7);
    assert_true(all->sint_64 == INT64_MIN && all->uint_64 == UINT64_MAX && all->is_true && all->real == 1.5);
    assert_string_equal(all->text, "a\xc3\xa9\n");
    assert_memory_equal(all->data.data, "\1\2\3", 3);
    assert_int_equal(all->colour, PROBE__V1__COLOUR__COLOUR_BLUE);
    assert_string_equal(all->child->text, "in");
    assert_int_equal(all->n_children, 2);
    assert_int_equal(all->children[1]->colour, PROBE__V1__COLOUR__COLOUR_RED);
    assert_true(all->n_numbers == 2 && all->numbers[1] == 2 && all->n_colours == 2 && all->colours[0] == PROBE__V1__COLOUR__COLOUR_BLUE);
    assert_int_equal(all->choice_case, PROBE__V1__EVERYTHING__CHOICE_BY_NUMBER);
}

static void test_names_of_protos_and_nulls_and_whole_reals_are_read(void **state)
{
    (void)state;
    const Probe__V1__Everything *all = read_all("{\"is_true\": true, \"text\": null, \"child\": null, \"uint_32\": 3.0, \"sint_64\": 1e3}");
    assert_true(all->is_true && all->text[0] == '\0' && !all->child && all->uint_32 == 3 && all->sint_64 == 1000);
}

static void test_a_field_that_is_not_there_is_named_with_its_place(void **state)
{
    (void)state;
    assert_refused("{\"nothing\": 1}", HF_JSON_E_FIELD, "nothing");
    assert_refused("{\"child\": {\"child\": {\"nothing\": 1}}}", HF_JSON_E_FIELD, "child.child.nothing");
    assert_refused("{\"children\": [{}, {\"numbers\": [1, -1]}]}", HF_JSON_E_FIELD, "children[1].numbers[1]");
}

static void test_values_that_a_field_cannot_have_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
    } wrong[] = {
        {"{\"int32\": 2147483648}", "int32"},
        {"{\"int32\": \"-2147483649\"}", "int32"},
        {"{\"int32\": 1.5}", "int32"},
        {"{\"int32\": \"\"}", "int32"},
        {"{\"int32\": \" 1\"}", "int32"},
        {"{\"int32\": \"1x\"}", "int32"},
        {"{\"int32\": \"+1\"}", "int32"},
        {"{\"int32\": \"- 1\"}", "int32"},
        {"{\"int32\": true}", "int32"},
        {"{\"uint32\": -1}", "uint32"},
        {"{\"uint32\": \"-1\"}", "uint32"},
        {"{\"uint32\": 4294967296}", "uint32"},
        {"{\"uint64\": \"18446744073709551616\"}", "uint64"},
        {"{\"sint64\": \"9223372036854775808\"}", "sint64"},
        {"{\"sint64\": 1e300}", "sint64"},
        {"{\"isTrue\": \"true\"}", "isTrue"},
        {"{\"isTrue\": 1}", "isTrue"},
        {"{\"text\": 1}", "text"},
        {"{\"data\": \"?\"}", "data"},
        {"{\"real\": \"x\"}", "real"},
        {"{\"colour\": \"COLOUR_\"}", "colour"},
        {"{\"colour\": \"GREEN\"}", "colour"},
        {"{\"colour\": 7}", "colour"},
        {"{\"child\": []}", "child"},
        {"{\"children\": {}}", "children"},
        {"{\"children\": [1]}", "children[0]"},
        {"{\"numbers\": [null]}", "numbers[0]"},
        {"{\"byName\": \"a\", \"byNumber\": 1}", "byNumber"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_refused(wrong[i].text, HF_JSON_E_FIELD, wrong[i].path);
}

static void test_what_is_not_json_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "{",
                                        "[]",
                                        "1",
                                        "\"x\"",
                                        "{\"text\": \"\xff\"}",
                                        "{\"text\": 1} {",
                                        "{,}",
                                        "nul",
                                        "{\"a\":}",
                                        "{'text': 1}",
                                        "{\"text\": \"\\u0000\"}",
                                        "{\"text\": \"\\ud800\"}",
                                        "{\"text\": \"a\", \"text\": \"b\"}",
                                        "{\"uint64\": 18446744073709551616}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_refused(wrong[i], HF_JSON_E_SYNTAX, "");
}

static void test_depth_and_number_of_values_are_bounded_before_they_cost(void **state)
{
    (void)state;
    enum { DEEP = 100000, BYTES = 2 * DEEP + 64 };
    char *text = malloc(BYTES);
    assert_non_null(text);
    memset(text, '[', DEEP);
    text[DEEP] = '\0';
    assert_refused(text, HF_JSON_E_DEEP, "");
    size_t at = (size_t)snprintf(text, BYTES, "{\"numbers\":[1");
    while (at < 2 * DEEP)
        at += (size_t)snprintf(text + at, BYTES - at, ",1");
    assert_refused(text, HF_JSON_E_MANY, "");
    /* What stands in strings is no structure. */
    at = (size_t)snprintf(text, BYTES, "{\"text\":\"\\\"");
    memset(text + at, '[', DEEP);
    snprintf(text + at + DEEP, BYTES - at - DEEP, "\"}");
    assert_int_equal(strlen(read_all(text)->text), DEEP + 1);
    free(text);
}

static void test_memory_that_runs_out_anywhere_is_said(void **state)
{
    (void)state;
    ProtobufCMessage *message = NULL;
    const char *text = "{\"text\": \"a\", \"data\": \"AQID\", \"children\": [{\"texts\": [\"b\"]}], \"byName\": \"c\"}";
    for (unsigned left = 0; left < 8; left++) {
        arena.left = left;
        assert_int_equal(read_as(text, &probe__v1__everything__descriptor, false, &message), HF_JSON_E_MEMORY);
    }
    arena.left = 8;
    assert_int_equal(read_as(text, &probe__v1__everything__descriptor, false, &message), 0);
}

static void test_a_query_gives_truths_as_texts(void **state)
{
    (void)state;
    ProtobufCMessage *message = NULL;
    assert_int_equal(read_as("{\"isTrue\": \"true\", \"uint32\": \"3\"}", &probe__v1__everything__descriptor, true, &message), 0);
    assert_true(((const Probe__V1__Everything *)(const void *)message)->is_true);
    assert_int_equal(read_as("{\"isTrue\": \"yes\"}", &probe__v1__everything__descriptor, true, &message), HF_JSON_E_FIELD);
}

/* ---- Writing ---- */

static void test_what_is_written_has_every_plain_field_and_reads_back(void **state)
{
    (void)state;
    Probe__V1__Everything all = PROBE__V1__EVERYTHING__INIT;
    assert_written(&all.base,
                   "{\"int32\":0,\"uint32\":0,\"sint64\":\"0\",\"uint64\":\"0\",\"isTrue\":false,\"text\":\"\",\"data\":\"\",\"real\":0,"
                   "\"colour\":\"COLOUR_UNSPECIFIED\",\"children\":[],\"numbers\":[],\"texts\":[],\"colours\":[]}");
    const char
        *text = "{\"int32\":-1,\"uint32\":4294967295,\"sint64\":\"-2\",\"uint64\":\"18446744073709551615\",\"isTrue\":true,"
                "\"text\":\"\\\"\\\\\\b\\f\\n\\r\\t\\u000b\\u001f\\u007f\xc3\xa9\",\"data\":\"AQIDBA==\",\"real\":0.10000000000000001,"
                "\"colour\":\"COLOUR_RED\",\"child\":{\"int32\":0,\"uint32\":0,\"sint64\":\"0\",\"uint64\":\"0\",\"isTrue\":false,"
                "\"text\":\"\",\"data\":\"\",\"real\":0,\"colour\":\"COLOUR_UNSPECIFIED\",\"children\":[],\"numbers\":[],\"texts\":[],"
                "\"colours\":[]},\"children\":[],\"numbers\":[\"1\",\"2\"],\"texts\":[\"a\",\"b\"],\"colours\":[\"COLOUR_BLUE\"],"
                "\"byName\":\"me\"}";
    assert_written(&read_all(text)->base, text);
}

static void test_an_enum_that_is_not_known_is_a_number(void **state)
{
    (void)state;
    Probe__V1__Everything all = PROBE__V1__EVERYTHING__INIT;
    struct hf_json_text text = {0};
    all.colour = (Probe__V1__Colour)77;
    hf_json_write(&text, &all.base);
    hf_json_put(&text, "", 1);
    assert_non_null(strstr(text.bytes, "\"colour\":77,"));
    free(text.bytes);
}

static void test_numbers_are_found_by_their_path(void **state)
{
    (void)state;
    uint64_t found = 0;
    const Probe__V1__Everything *all = read_all("{\"uint64\": 5, \"child\": {\"uint32\": 6, \"int32\": 7}}");
    assert_true(hf_json_number(&all->base, "uint_64", &found) && found == 5);
    assert_true(hf_json_number(&all->base, "child.uint_32", &found) && found == 6);
    assert_false(hf_json_number(&all->base, "child.int_32", &found));
    assert_false(hf_json_number(&all->base, "child.child.uint_32", &found));
    assert_false(hf_json_number(&all->base, "numbers", &found));
    assert_false(hf_json_number(&all->base, "nothing", &found));
}

/* ---- Paths ---- */

static bool path_is(const char *pattern, const char *path, const char *values)
{
    struct hf_rest_parameter found[HF_REST_PARAMETERS_MAX];
    char text[256] = "";
    unsigned count;
    if (!hf_rest_path_is(pattern, (struct hf_grpc_bytes){(const uint8_t *)path, strlen(path)}, found, &count))
        return false;
    for (unsigned i = 0; i < count; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof text - at, "%.*s=%.*s;", (int)found[i].name.length, (const char *)found[i].name.bytes,
                 (int)found[i].value.length, (const char *)found[i].value.bytes);
    }
    assert_string_equal(text, values);
    return true;
}

static void test_paths_match_their_patterns_as_a_whole(void **state)
{
    (void)state;
    assert_true(path_is("/v1/orders", "/v1/orders", ""));
    assert_true(path_is("/v1/orders/{id}", "/v1/orders/a%3Ab", "id=a%3Ab;"));
    assert_true(path_is("/v1/orders/{id}:settle", "/v1/orders/7:settle", "id=7;"));
    assert_true(path_is("/v1/s/{sku}/cells/{location}:set", "/v1/s/a/cells/1:set", "sku=a;location=1;"));
    assert_false(path_is("/v1/orders", "/v1/orders/", ""));
    assert_false(path_is("/v1/orders", "/v1/order", ""));
    assert_false(path_is("/v1/orders/{id}", "/v1/orders/", ""));
    assert_false(path_is("/v1/orders/{id}", "/v1/orders/a/b", ""));
    assert_false(path_is("/v1/orders/{id}", "/v1/orders/a:settle", ""));
    assert_false(path_is("/v1/orders/{id}:settle", "/v1/orders/a:settle2", ""));
    assert_false(path_is("/v1/orders/{id}:settle", "/v1/orders/:settle", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_kind_of_field_is_read, begin, end),
        cmocka_unit_test_setup_teardown(test_names_of_protos_and_nulls_and_whole_reals_are_read, begin, end),
        cmocka_unit_test_setup_teardown(test_a_field_that_is_not_there_is_named_with_its_place, begin, end),
        cmocka_unit_test_setup_teardown(test_values_that_a_field_cannot_have_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_not_json_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(test_depth_and_number_of_values_are_bounded_before_they_cost, begin, end),
        cmocka_unit_test_setup_teardown(test_memory_that_runs_out_anywhere_is_said, begin, end),
        cmocka_unit_test_setup_teardown(test_a_query_gives_truths_as_texts, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_written_has_every_plain_field_and_reads_back, begin, end),
        cmocka_unit_test_setup_teardown(test_an_enum_that_is_not_known_is_a_number, begin, end),
        cmocka_unit_test_setup_teardown(test_numbers_are_found_by_their_path, begin, end),
        cmocka_unit_test_setup_teardown(test_paths_match_their_patterns_as_a_whole, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages on the wire, cut anywhere; their compression; what may be unpacked; file descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/grpc/message_p.h"
#include "tests/control/probe.pb-c.h"

extern const unsigned char hf_probe_descriptors[];
extern const size_t hf_probe_descriptors_bytes;

enum { MESSAGE_MAX = 100000 };

static struct hf_grpc_server server = {.options = {.message_max_bytes = MESSAGE_MAX}};
static struct hf_grpc_worker worker;

static int begin(void **state)
{
    (void)state;
    worker = (struct hf_grpc_worker){.server = &server, .memory = {.max_bytes = 1 << 20}};
    return 0;
}

static int end(void **state)
{
    (void)state;
    hf_grpc_gzip_end(&worker);
    size_t left = worker.memory.used_bytes;
    hf_grpc_memory_destroy(&worker.memory);
    return left == 0 ? 0 : -1;
}

/* Feeds in parts of `step` bytes; returns the number of messages of `size` zero bytes that came out. */
static unsigned read_all(const uint8_t *wire, size_t wire_bytes, size_t step, size_t size)
{
    struct hf_grpc_reader reader = {0};
    unsigned messages = 0;
    for (size_t at = 0; at < wire_bytes; at += step) {
        const uint8_t *bytes = wire + at;
        size_t count = wire_bytes - at < step ? wire_bytes - at : step;
        struct hf_grpc_bytes message;
        bool compressed;
        while (hf_grpc_reader_read(&reader, &worker, &bytes, &count, &message, &compressed) == HF_GRPC_READ_MESSAGE) {
            assert_int_equal(message.length, size);
            for (size_t i = 0; i < size; i++)
                assert_int_equal(message.bytes[i], i & 0xFF);
            hf_grpc_reader_next(&reader, &worker);
            messages++;
        }
        assert_int_equal(count, 0);
    }
    assert_false(hf_grpc_reader_is_within(&reader));
    return messages;
}

static void messages_come_out_whole_however_they_are_cut(void **state)
{
    static const size_t sizes[] = {0, 1, 5, 300, 5000};
    uint8_t wire[3 * (5000 + HF_GRPC_PREFIX_BYTES)];
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t one = sizes[i] + HF_GRPC_PREFIX_BYTES;
        for (size_t copy = 0; copy < 3; copy++) {
            hf_grpc_prefix_write(wire + copy * one, false, sizes[i]);
            for (size_t at = 0; at < sizes[i]; at++)
                wire[copy * one + HF_GRPC_PREFIX_BYTES + at] = (uint8_t)at;
        }
        for (size_t step = 1; step <= 3 * one; step = step < 20 ? step + 1 : step * 2)
            assert_int_equal(read_all(wire, 3 * one, step, sizes[i]), 3);
    }
}

static void an_announced_length_takes_no_memory(void **state)
{
    struct hf_grpc_reader reader = {0};
    uint8_t wire[HF_GRPC_PREFIX_BYTES + 1] = {0};
    const uint8_t *bytes = wire;
    size_t count = sizeof wire;
    struct hf_grpc_bytes message;
    bool compressed;
    (void)state;
    hf_grpc_prefix_write(wire, false, MESSAGE_MAX);
    assert_int_equal(hf_grpc_reader_read(&reader, &worker, &bytes, &count, &message, &compressed), HF_GRPC_READ_MORE);
    assert_true(worker.memory.used_bytes <= HF_GRPC_BLOCK_BYTES);
    hf_grpc_reader_next(&reader, &worker);
}

static void lengths_beyond_the_limit_and_wrong_flags_are_refused(void **state)
{
    uint8_t wire[HF_GRPC_PREFIX_BYTES];
    struct hf_grpc_bytes message;
    bool compressed;
    (void)state;
    for (unsigned flag = 2; flag < 256; flag++) {
        struct hf_grpc_reader reader = {0};
        const uint8_t *bytes = wire;
        size_t count = sizeof wire;
        hf_grpc_prefix_write(wire, false, 0);
        wire[0] = (uint8_t)flag;
        assert_int_equal(hf_grpc_reader_read(&reader, &worker, &bytes, &count, &message, &compressed), HF_GRPC_READ_BAD_FLAG);
    }
    for (size_t length = MESSAGE_MAX + 1; length < UINT32_MAX; length *= 3) {
        struct hf_grpc_reader reader = {0};
        const uint8_t *bytes = wire;
        size_t count = sizeof wire;
        hf_grpc_prefix_write(wire, true, length);
        assert_int_equal(hf_grpc_reader_read(&reader, &worker, &bytes, &count, &message, &compressed), HF_GRPC_READ_TOO_LARGE);
    }
}

static void memory_bounds_what_is_gathered(void **state)
{
    struct hf_grpc_reader reader = {0};
    uint8_t wire[HF_GRPC_PREFIX_BYTES + 50000] = {0};
    const uint8_t *bytes = wire;
    size_t count = sizeof wire;
    struct hf_grpc_bytes message;
    bool compressed;
    (void)state;
    worker.memory.max_bytes = 20000;
    hf_grpc_prefix_write(wire, false, 60000);
    assert_int_equal(hf_grpc_reader_read(&reader, &worker, &bytes, &count, &message, &compressed), HF_GRPC_READ_MEMORY);
    hf_grpc_reader_next(&reader, &worker);
}

static void gzip_comes_back_and_never_grows_beyond_the_limit(void **state)
{
    static uint8_t plain[2 * MESSAGE_MAX], packed[2 * MESSAGE_MAX];
    struct hf_grpc_bytes back;
    (void)state;
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(i / 100);
    size_t length = hf_grpc_gzip(&worker, (struct hf_grpc_bytes){plain, MESSAGE_MAX}, packed, sizeof packed);
    assert_true(length > 0 && length < MESSAGE_MAX / 10);
    assert_int_equal(hf_grpc_gunzip(&worker, (struct hf_grpc_bytes){packed, length}, &back), 0);
    assert_int_equal(back.length, MESSAGE_MAX);
    assert_memory_equal(back.bytes, plain, MESSAGE_MAX);
    for (size_t cut = 0; cut < length; cut += 7)
        assert_int_not_equal(hf_grpc_gunzip(&worker, (struct hf_grpc_bytes){packed, cut}, &back), 0);
    length = hf_grpc_gzip(&worker, (struct hf_grpc_bytes){plain, sizeof plain}, packed, sizeof packed);
    assert_int_equal(hf_grpc_gunzip(&worker, (struct hf_grpc_bytes){packed, length}, &back), HF_GRPC_E_FULL);
    assert_int_equal(hf_grpc_gzip(&worker, (struct hf_grpc_bytes){plain, 1000}, packed, 10), 0);
}

static void depth_is_measured_before_anything_is_unpacked(void **state)
{
    uint8_t packed[2048];
    size_t length = 0;
    (void)state;
    for (unsigned depth = 0; depth < 300; depth++) {
        assert_int_equal(hf_grpc_packed_check(&probe__v1__tree__descriptor, (struct hf_grpc_bytes){packed, length}),
                         depth <= HF_GRPC_DEPTH_MAX ? HF_GRPC_PACKED_OK : HF_GRPC_PACKED_DEEP);
        size_t prefix = length < 128 ? 2 : 3;
        memmove(packed + prefix, packed, length);
        packed[0] = 1 << 3 | 2;
        packed[1] = (uint8_t)(length & 127) | (length < 128 ? 0 : 128);
        if (prefix == 3)
            packed[2] = (uint8_t)(length >> 7);
        length += prefix;
    }
}

static void strings_are_looked_at_wherever_they_stand(void **state)
{
    static const uint8_t good[] = {0x0A, 2, 0xC3, 0xBC, 0x12, 1, 0xFF}, bad[] = {0x18, 1, 0x0A, 2, 0xC3, 0x28}, nul[] = {0x0A, 2, 'a', 0};
    (void)state;
    assert_int_equal(hf_grpc_packed_check(&probe__v1__note__descriptor, (struct hf_grpc_bytes){good, sizeof good}), HF_GRPC_PACKED_OK);
    assert_int_equal(hf_grpc_packed_check(&probe__v1__note__descriptor, (struct hf_grpc_bytes){bad, sizeof bad}), HF_GRPC_PACKED_TEXT);
    assert_int_equal(hf_grpc_packed_check(&probe__v1__note__descriptor, (struct hf_grpc_bytes){nul, sizeof nul}), HF_GRPC_PACKED_TEXT);
    assert_int_equal(hf_grpc_packed_check(&probe__v1__note__descriptor, (struct hf_grpc_bytes){NULL, 0}), HF_GRPC_PACKED_OK);
}

static void count_number(void *context, int32_t number)
{
    (void)number;
    ++*(unsigned *)context;
}

static void file_descriptors_are_found_by_file_symbol_and_method(void **state)
{
    struct hf_grpc_descriptors *all = hf_grpc_descriptors_create();
    bool client, answers, more;
    unsigned numbers = 0;
    (void)state;
    assert_int_equal(hf_grpc_descriptors_add(all, hf_probe_descriptors, hf_probe_descriptors_bytes), 0);
    assert_int_equal(hf_grpc_descriptors_add(all, hf_probe_descriptors, hf_probe_descriptors_bytes), 0);
    const struct hf_grpc_file *file = hf_grpc_descriptors_file(all, "probe.proto");
    assert_non_null(file);
    assert_ptr_equal(hf_grpc_descriptors_symbol(all, "probe.v1.Note"), file);
    assert_ptr_equal(hf_grpc_descriptors_symbol(all, "probe.v1.Note.text"), file);
    assert_ptr_equal(hf_grpc_descriptors_symbol(all, "probe.v1.Probe"), file);
    assert_null(hf_grpc_descriptors_symbol(all, "Note"));
    assert_null(hf_grpc_descriptors_file(all, "other.proto"));
    assert_null(hf_grpc_descriptors_extension(all, "probe.v1.Note", 1));
    hf_grpc_descriptors_extensions(all, "probe.v1.Note", count_number, &numbers);
    assert_int_equal(numbers, 0);
    assert_null(hf_grpc_descriptors_import(all, file, 0, &more));
    assert_false(more);
    assert_true(hf_grpc_descriptors_method(all, "probe.v1.Probe.Sum", &client, &answers) && client && !answers);
    assert_true(hf_grpc_descriptors_method(all, "probe.v1.Probe.Chat", &client, &answers) && client && answers);
    assert_true(hf_grpc_descriptors_method(all, "probe.v1.Probe.Echo", &client, &answers) && !client && !answers);
    assert_false(hf_grpc_descriptors_method(all, "probe.v1.Note", &client, &answers));
    hf_grpc_descriptors_destroy(all);
}

static void a_cut_descriptor_set_is_refused_and_a_bent_one_does_no_harm(void **state)
{
    uint8_t *copy = malloc(hf_probe_descriptors_bytes);
    (void)state;
    for (size_t cut = 1; cut < hf_probe_descriptors_bytes; cut++) {
        struct hf_grpc_descriptors *all = hf_grpc_descriptors_create();
        memcpy(copy, hf_probe_descriptors, hf_probe_descriptors_bytes);
        assert_int_equal(hf_grpc_descriptors_add(all, copy, cut), HF_GRPC_E_USAGE);
        hf_grpc_descriptors_destroy(all);
        all = hf_grpc_descriptors_create();
        copy[cut] ^= (uint8_t)(1 + cut % 255);
        hf_grpc_descriptors_add(all, copy, hf_probe_descriptors_bytes);
        hf_grpc_descriptors_symbol(all, "probe.v1.Note");
        hf_grpc_descriptors_destroy(all);
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_come_out_whole_however_they_are_cut, begin, end),
        cmocka_unit_test_setup_teardown(an_announced_length_takes_no_memory, begin, end),
        cmocka_unit_test_setup_teardown(lengths_beyond_the_limit_and_wrong_flags_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(memory_bounds_what_is_gathered, begin, end),
        cmocka_unit_test_setup_teardown(gzip_comes_back_and_never_grows_beyond_the_limit, begin, end),
        cmocka_unit_test(depth_is_measured_before_anything_is_unpacked),
        cmocka_unit_test(strings_are_looked_at_wherever_they_stand),
        cmocka_unit_test(file_descriptors_are_found_by_file_symbol_and_method),
        cmocka_unit_test(a_cut_descriptor_set_is_refused_and_a_bent_one_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

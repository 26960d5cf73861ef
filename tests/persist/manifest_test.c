/* The manifest's bytes, and what a directory does with its two copies. */
#include "log_help.h"

#include "persist/manifest.h"
#include "wire/crc32c.h"

#include <stdlib.h>
#include <string.h>

static struct hf_manifest sample(void)
{
    struct hf_manifest manifest = {.sequence = 7, .seed = 0x12345678, .partitions = 256, .block_max = 1 << 20, .segment_bytes = 64 << 20};
    for (unsigned i = 0; i < 3; i++) {
        struct hf_beginning beginning = {.term = i + 1, .position = 4096 * i, .number = i, .durable = 4096 * i, .chain = 99 + i};
        hf_manifest_begin(&manifest, &beginning);
    }
    return manifest;
}

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    struct hf_manifest in = sample(), out;
    uint8_t image[HF_MANIFEST_BYTES];
    in.clean = true;
    in.clean_end = 8192;
    in.clean_chain = 101;
    hf_manifest_encode(&in, image);
    assert_int_equal(hf_manifest_decode(image, sizeof image, &out), 0);
    assert_int_equal(out.sequence, 7);
    assert_int_equal(out.seed, in.seed);
    assert_int_equal(out.clean_end, 8192);
    assert_true(out.clean);
    assert_int_equal(out.beginning_count, 3);
    assert_memory_equal(out.beginnings, in.beginnings, 3 * sizeof in.beginnings[0]);
    assert_int_equal(hf_manifest_newest(&out)->term, 3);
}

static void a_flipped_bit_in_any_byte_is_damage_and_never_a_newer_format(void **state)
{
    (void)state;
    struct hf_manifest in = sample(), out;
    uint8_t image[HF_MANIFEST_BYTES];
    hf_manifest_encode(&in, image);
    for (unsigned at = 0; at < sizeof image; at++)
        for (unsigned bit = 0; bit < 8; bit += 1 + at % 3) {
            image[at] ^= (uint8_t)(1u << bit);
            assert_int_equal(hf_manifest_decode(image, sizeof image, &out), HF_E_DAMAGED);
            image[at] ^= (uint8_t)(1u << bit);
        }
    for (uint32_t bytes = 0; bytes < sizeof image; bytes += 511)
        assert_int_equal(hf_manifest_decode(image, bytes, &out), HF_E_DAMAGED);
}

static void make_newer(uint8_t *image)
{
    const uint32_t format = HF_MANIFEST_FORMAT + 1, zero = 0;
    memcpy(image + 8, &format, sizeof format);
    memcpy(image + 24, &zero, sizeof zero);
    uint32_t checksum = hf_crc32c(0, image, HF_MANIFEST_BYTES);
    memcpy(image + 24, &checksum, sizeof checksum);
}

static void a_checked_manifest_of_a_larger_format_is_newer(void **state)
{
    (void)state;
    struct hf_manifest in = sample(), out;
    uint8_t image[HF_MANIFEST_BYTES];
    hf_manifest_encode(&in, image);
    make_newer(image);
    assert_int_equal(hf_manifest_decode(image, sizeof image, &out), HF_E_NEWER);
}

static void the_oldest_beginning_leaves_a_full_list(void **state)
{
    (void)state;
    struct hf_manifest manifest = {0};
    for (unsigned i = 0; i < HF_MANIFEST_BEGINNINGS_MAX + 5; i++)
        hf_manifest_begin(&manifest, &(struct hf_beginning){.term = i + 1});
    assert_int_equal(manifest.beginning_count, HF_MANIFEST_BEGINNINGS_MAX);
    assert_int_equal(manifest.beginnings[0].term, 6);
    assert_int_equal(hf_manifest_newest(&manifest)->term, HF_MANIFEST_BEGINNINGS_MAX + 5);
}

static struct hf_sim_disk *disk_with_a_log(struct help *help)
{
    const struct hf_sim_options options = {.seed = 1};
    struct hf_sim_disk *disk = hf_sim_disk_new(&options);
    *help = (struct help){.options = help_small()};
    help->options.backend = HF_LOG_SIM;
    help->options.backend_options = disk;
    help_start(help);
    assert_int_equal(help_write_many(help, 20, 160), 0);
    help_stop(help);
    return disk;
}

static void either_copy_is_enough(void **state)
{
    (void)state;
    for (unsigned copy = 0; copy < 2; copy++) {
        struct help help;
        struct hf_sim_disk *disk = disk_with_a_log(&help);
        hf_sim_disk_flip_manifest(disk, copy, 40, 1);
        help_start(&help);
        assert_int_equal(help.seen, 20);
        help_stop(&help);
        hf_sim_disk_free(disk);
    }
}

static void two_broken_copies_are_damage_where_a_log_stands(void **state)
{
    (void)state;
    struct help help;
    struct hf_sim_disk *disk = disk_with_a_log(&help);
    hf_sim_disk_flip_manifest(disk, 0, 8, 2);
    hf_sim_disk_flip_manifest(disk, 1, 8, 2);
    assert_int_equal(help_open(&help), HF_E_DAMAGED);
    hf_sim_disk_free(disk);
}

static void a_newer_copy_is_refused_as_newer(void **state)
{
    (void)state;
    struct help help;
    struct hf_sim_disk *disk = disk_with_a_log(&help);
    make_newer(hf_sim_disk_manifest(disk, 0));
    make_newer(hf_sim_disk_manifest(disk, 1));
    assert_int_equal(help_open(&help), HF_E_NEWER);
    hf_sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(a_flipped_bit_in_any_byte_is_damage_and_never_a_newer_format),
        cmocka_unit_test(a_checked_manifest_of_a_larger_format_is_newer),
        cmocka_unit_test(the_oldest_beginning_leaves_a_full_list),
        cmocka_unit_test(either_copy_is_enough),
        cmocka_unit_test(two_broken_copies_are_damage_where_a_log_stands),
        cmocka_unit_test(a_newer_copy_is_refused_as_newer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

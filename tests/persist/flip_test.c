/* Every byte of a small data directory is flipped, one at a time: each start recovers all that was acknowledged or refuses with the
 * position, and none serves anything else. All non-zero bytes with HF_TEST_SCALE=full, else one in SHARE; one byte of each empty sector. */
#include "log_help.h"

#include "persist/inspect.h"
#include "wire/block.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHARE = 11, BLOCKS_MOST = 256, FILES_MOST = 64, FILE_BYTES_MOST = 16384, SECTOR_BYTES = 512 };

struct image {
    char name[32];
    uint64_t position; /* of a segment; UINT64_MAX: a copy of the manifest */
    uint32_t bytes;
    uint8_t content[FILE_BYTES_MOST];
};

struct flips {
    struct help help;
    struct hf_block blocks[BLOCKS_MOST];
    unsigned block_count;
    uint64_t stated; /* what the directory itself says is durable: a later block, a beginning or the clean end */
    struct image images[FILES_MOST];
    unsigned image_count;
    uint64_t records, runs, recovered, refused, unsealed_runs, unsealed_cut;
};

static int note_block(void *context, const struct hf_block *block)
{
    struct flips *flips = context;
    assert_true(flips->block_count < BLOCKS_MOST);
    flips->blocks[flips->block_count++] = *block;
    if (block->durable > flips->stated)
        flips->stated = block->durable;
    return 0;
}

static void read_image(struct flips *flips, const char *name, uint64_t position)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", flips->help.dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    assert_true(flips->image_count < FILES_MOST);
    struct image *image = &flips->images[flips->image_count++];
    snprintf(image->name, sizeof image->name, "%s", name);
    image->position = position;
    image->bytes = (uint32_t)read(fd, image->content, FILE_BYTES_MOST);
    close(fd);
}

static void read_directory(struct flips *flips)
{
    struct hf_inspect_info info;
    char name[32];
    assert_int_equal(hf_inspect_info(flips->help.dir, &info), 0);
    flips->stated = info.clean ? info.clean_end : info.term_position;
    assert_int_equal(hf_inspect_walk(flips->help.dir, note_block, NULL, flips, UINT64_MAX), 0);
    for (unsigned copy = 0; copy < 2; copy++) {
        snprintf(name, sizeof name, "manifest.%u", copy);
        read_image(flips, name, UINT64_MAX);
    }
    for (uint64_t position = 0; position < info.end_position; position += info.segment_bytes) {
        snprintf(name, sizeof name, "log-%016" PRIx64 ".seg", position);
        read_image(flips, name, position);
    }
}

/* The block that covers the byte with its header or records; NULL: padding, a gap, space ahead. */
static const struct hf_block *block_at(const struct flips *flips, uint64_t position)
{
    for (unsigned i = 0; i < flips->block_count; i++)
        if (position >= flips->blocks[i].position && position < flips->blocks[i].position + flips->blocks[i].length)
            return &flips->blocks[i];
    return NULL;
}

static void put_byte(const struct flips *flips, const struct image *image, uint32_t offset, uint8_t byte)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", flips->help.dir, image->name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

/* Everything comes back, whatever is flipped where nothing rests. */
static void judge_harmless(struct flips *flips, int e)
{
    if (e != 0 || flips->help.seen != flips->records)
        fail_msg("error %d, %u records of %u: %s", e, (unsigned)flips->help.seen, (unsigned)flips->records, hf_log_error(flips->help.log));
    flips->recovered++;
}

static void judge_refused(struct flips *flips, int e, uint64_t position)
{
    char text[64];
    snprintf(text, sizeof text, " position %" PRIu64 " ", position);
    if (e != HF_E_DAMAGED || strstr(hf_log_error(flips->help.log), text) == NULL)
        fail_msg("error %d and not damage at%s: %s", e, text, hf_log_error(flips->help.log));
    flips->refused++;
}

/* In the last block, which nothing states to be durable: cut with all before it kept, or refused. */
static void judge_unsealed(struct flips *flips, int e, const struct hf_block *block)
{
    flips->unsealed_runs++;
    flips->unsealed_cut += e == 0;
    if (e != HF_E_DAMAGED && (e != 0 || flips->help.seen + block->records != flips->records))
        fail_msg("error %d, %u records: %s", e, (unsigned)flips->help.seen, hf_log_error(flips->help.log));
}

static void flip_one(struct flips *flips, const struct image *image, uint32_t offset, uint8_t mask)
{
    const struct hf_block *block = image->position == UINT64_MAX ? NULL : block_at(flips, image->position + offset);
    put_byte(flips, image, offset, image->content[offset] ^ mask);
    int e = help_open(&flips->help);
    flips->runs++;
    if (block == NULL)
        judge_harmless(flips, e);
    else if (block->position < flips->stated)
        judge_refused(flips, e, block->position);
    else
        judge_unsealed(flips, e, block);
    help_close(&flips->help);
    put_byte(flips, image, offset, image->content[offset]);
}

static void flip_all(struct flips *flips, uint32_t share)
{
    uint32_t live = 0;
    for (unsigned i = 0; i < flips->image_count; i++) {
        const struct image *image = &flips->images[i];
        for (uint32_t sector = 0; sector < image->bytes; sector += SECTOR_BYTES) {
            bool empty = true;
            for (uint32_t at = sector; at < sector + SECTOR_BYTES; at++) {
                if (image->content[at] == 0)
                    continue;
                empty = false;
                if (live++ % share == 0)
                    flip_one(flips, image, at, (uint8_t)(1u << at % 8));
            }
            if (empty && (share == 1 || sector / SECTOR_BYTES % 4 == 0))
                flip_one(flips, image, sector + (sector * 7 + 13) % SECTOR_BYTES, 0x80);
        }
    }
}

static void write_some(struct help *help, unsigned records)
{
    for (unsigned i = 0; i < records; i++) {
        help_write(help, 64 + 8 * (i * 29 % 50));
        if (i % 3 == 0)
            assert_int_equal(help_settle(help), 0);
    }
    assert_int_equal(help_settle(help), 0);
}

static void write_terms(struct help *help)
{
    help->options = help_small();
    help->options.ahead_bytes = 64 << 10;
    help->options.batch_bytes_max = 1024;
    help->options.buffer_bytes = 256 << 10;
    help_dir_make(help, "/dev/shm");
    help_start(help);
    write_some(help, 20);
    help_close(help);
    help_start(help);
    write_some(help, 20);
    help_stop(help);
    help_start(help);
    write_some(help, 21);
}

static void flip_directory(struct flips *flips, const char *what)
{
    const char *scale = getenv("HF_TEST_SCALE");
    flips->records = flips->help.written;
    read_directory(flips);
    flip_all(flips, scale != NULL && strcmp(scale, "full") == 0 ? 1 : SHARE);
    printf("%s: flips: %" PRIu64 ", recovered: %" PRIu64 ", refused: %" PRIu64 ", in an unsealed last block: %" PRIu64 " (cut: %" PRIu64
           ")\n",
           what, flips->runs, flips->recovered, flips->refused, flips->unsealed_runs, flips->unsealed_cut);
    assert_true(flips->refused > 100);
    assert_true(flips->recovered > 100);
    help_dir_remove(&flips->help);
    free(flips);
}

static void any_byte_flipped_after_a_clean_stop_is_harmless_or_refused(void **state)
{
    (void)state;
    struct flips *flips = calloc(1, sizeof *flips);
    write_terms(&flips->help);
    help_stop(&flips->help);
    flip_directory(flips, "after a clean stop");
}

static void any_byte_flipped_after_a_kill_behind_the_seal_is_harmless_or_refused(void **state)
{
    (void)state;
    struct flips *flips = calloc(1, sizeof *flips);
    write_terms(&flips->help);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(hf_log_drain(flips->help.log, flips->help.now_ns += 6000000) >= 0);
        assert_int_equal(help_settle(&flips->help), 0);
    }
    help_close(&flips->help);
    flip_directory(flips, "after a kill behind the seal");
}

static void any_byte_flipped_after_a_kill_before_the_seal_costs_the_last_block_at_most(void **state)
{
    (void)state;
    struct flips *flips = calloc(1, sizeof *flips);
    write_terms(&flips->help);
    help_close(&flips->help);
    flip_directory(flips, "after a kill before the seal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_byte_flipped_after_a_clean_stop_is_harmless_or_refused),
        cmocka_unit_test(any_byte_flipped_after_a_kill_behind_the_seal_is_harmless_or_refused),
        cmocka_unit_test(any_byte_flipped_after_a_kill_before_the_seal_costs_the_last_block_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

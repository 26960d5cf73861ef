/* Arbitrary bytes as a data directory: recovery, inspection, followers, and a start on whatever was accepted.
 *
 * Input: one byte of how, then patches: a byte (bits 0-1: manifest 0, manifest 1, log, a page copied elsewhere; bits 2-3: high bits of the
 * offset), offset u16, length - 1 u8, bytes. Everything else is zero. Unless told otherwise checksums, and what they chain, are then made
 * to hold, so that what lies behind them is reached. What breaks: recovery, inspection and a follower that disagree, a record that is lost
 * by a start, a refusal without a sentence. */
#include "engine/engine.h"
#include "persist/block_check.h"
#include "persist/inspect.h"
#include "persist/log.h"
#include "persist/manifest.h"
#include "tests/fuzz/fuzz.h"
#include "wire/answer.h"
#include "wire/command_check.h"
#include "wire/crc32c.h"
#include "wire/record_check.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

enum { LOG_BYTES = 256 << 10, PAGE = HF_BLOCK_ALIGN, SEGMENT_BYTES_MAX = 4 << 20, FOLLOW_BYTES = (1 << 20) + 4096 };

enum how {
    HOW_LOOSE = 1,       /* checksums are as they come */
    HOW_WILD = 2,        /* only checksums are mended, not geometry and chain */
    HOW_START = 4,       /* also start on it, write, stop and recover again */
    HOW_LOSE_FILE = 8,   /* one segment is missing */
    HOW_CUT_FILE = 16,   /* the last segment is short */
    HOW_SKIP_BLOCK = 32, /* one block is left as it is */
};

struct image {
    struct fuzz_input in;
    uint8_t how, which;
    _Alignas(8) uint8_t manifest[HF_MANIFEST_COPIES][HF_MANIFEST_BYTES];
    uint8_t log[LOG_BYTES];
};

/* What a walk over a log saw. */
struct seen {
    uint64_t records, digest, end_position;
    struct hf_engine *engine;
    struct hf_quota quota;
    bool differs;
};

static char directory[64];
static _Alignas(8) uint8_t follow[FOLLOW_BYTES];

/* ---- The directory ---- */

static void clear_directory(void)
{
    char path[384];
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    if (dir)
        closedir(dir);
}

static void remove_directory(void)
{
    clear_directory();
    (void)rmdir(directory);
}

/* In memory where there is such a place. */
static void make_directory(void)
{
    const char *given = getenv("TMPDIR"), *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : given ? given : "/tmp";
    snprintf(directory, sizeof directory, "%s/hf-fuzz-XXXXXX", base);
    FUZZ_CHECK(mkdtemp(directory) != NULL);
    FUZZ_CHECK(atexit(remove_directory) == 0);
}

static void write_file(const char *name, const uint8_t *bytes, size_t count, uint64_t size)
{
    char path[384];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    FUZZ_CHECK(count == 0 || pwrite(fd, bytes, count, 0) == (ssize_t)count);
    close(fd);
}

/* Segments up to the last one that has anything in it. */
static void write_segments(const struct image *image, uint64_t segment_bytes)
{
    char name[32];
    size_t used = LOG_BYTES;
    while (used > 0 && image->log[used - 1] == 0)
        used--;
    for (uint64_t at = 0, number = 0; at < used || number == 0; at += segment_bytes, number++) {
        size_t count = used - at < segment_bytes ? used - at : segment_bytes;
        uint64_t size = segment_bytes;
        if ((image->how & HOW_LOSE_FILE) != 0 && number == image->which % 8u)
            continue;
        if ((image->how & HOW_CUT_FILE) != 0 && at + segment_bytes >= used) {
            size = image->which * 1024u < segment_bytes ? image->which * 1024u : segment_bytes;
            count = count < size ? count : size;
        }
        snprintf(name, sizeof name, "log-%016llx.seg", (unsigned long long)at);
        write_file(name, image->log + at, count, size);
    }
}

/* ---- Mending ---- */

static void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* By the byte table in persist/manifest.h. */
static void mend_geometry(uint8_t *at)
{
    const uint64_t magic = HF_MANIFEST_MAGIC;
    uint32_t block_max = 16384u << get32(at + 36) / 16384 % 4 / 2, partitions = get32(at + 32);
    uint64_t segment_bytes = (uint64_t)block_max * (1 + at[40] % 4);
    memcpy(at, &magic, sizeof magic);
    put32(at + 8, HF_MANIFEST_FORMAT);
    put32(at + 12, HF_MANIFEST_BYTES);
    put32(at + 32, partitions > 0 && partitions <= 256 && (partitions & (partitions - 1)) == 0 ? partitions : 1u << partitions % 9);
    put32(at + 36, block_max);
    memcpy(at + 40, &segment_bytes, sizeof segment_bytes);
    put32(at + 56, get32(at + 56) % 2);
    put32(at + 60, get32(at + 60) % (HF_MANIFEST_BEGINNINGS_MAX + 1));
}

static void mend_checksum(uint8_t *at)
{
    static const uint8_t zero[4];
    uint32_t crc = hf_crc32c(hf_crc32c(0, at, 24), zero, sizeof zero);
    put32(at + 24, hf_crc32c(crc, at + 28, HF_MANIFEST_BYTES - 28));
}

/* What the manifest says of the place between two blocks, if it names that place. */
static void mend_mentions(uint8_t *at, uint64_t position, uint64_t number, uint32_t chain)
{
    uint64_t place;
    for (unsigned i = 0; i < HF_MANIFEST_BEGINNINGS_MAX; i++) {
        struct hf_beginning *beginning = (struct hf_beginning *)(void *)(at + 512) + i;
        memcpy(&place, &beginning->position, sizeof place);
        if (place == position) {
            memcpy(&beginning->number, &number, sizeof number);
            memcpy(&beginning->chain, &chain, sizeof chain);
        }
    }
    memcpy(&place, at + 64, sizeof place);
    if (place == position)
        put32(at + 72, chain);
}

/* Every page that begins like a block becomes one that checks and continues the one before. */
static void mend_blocks(struct image *image, uint32_t block_max, uint32_t seed)
{
    bool wild = image->how & HOW_WILD;
    uint32_t chain = seed, skip = image->how & HOW_SKIP_BLOCK ? image->which : UINT32_MAX;
    uint64_t number = 0, magic;
    for (uint64_t at = 0; at < LOG_BYTES;) {
        struct hf_block head;
        uint64_t room = block_max - at % block_max;
        for (unsigned i = 0; !wild && i < HF_MANIFEST_COPIES; i++)
            mend_mentions(image->manifest[i], at, number, chain);
        memcpy(&magic, image->log + at, sizeof magic);
        memcpy(&head, image->log + at, sizeof head);
        if (magic != HF_BLOCK_MAGIC || at + room > LOG_BYTES) {
            at += PAGE;
            continue;
        }
        if (head.length < sizeof head || head.length > room)
            head.length = (uint32_t)(sizeof head + head.length % (room - sizeof head + 1));
        if (!wild && number != skip) {
            head.position = at;
            head.number = number;
            head.previous = chain;
        }
        memcpy(image->log + at, &head, sizeof head);
        head.checksum = hf_block_checksum(image->log + at, head.length, seed);
        memcpy(image->log + at, &head, sizeof head);
        chain = head.checksum;
        number++;
        at += hf_block_padded_bytes(head.length);
    }
}

/* The geometry is that of the first manifest there is. */
static void mend(struct image *image)
{
    const uint8_t *lead = image->manifest[0][0] != 0 ? image->manifest[0] : image->manifest[1];
    for (unsigned i = 0; i < HF_MANIFEST_COPIES; i++)
        if (image->manifest[i][0] != 0 && (image->how & HOW_WILD) == 0)
            mend_geometry(image->manifest[i]);
    uint32_t block_max = get32(lead + 36);
    bool sound = block_max >= 16384 && block_max <= LOG_BYTES && (block_max & (block_max - 1)) == 0;
    mend_blocks(image, sound ? block_max : 16384, get32(lead + 28));
    for (unsigned i = 0; i < HF_MANIFEST_COPIES; i++)
        if (image->manifest[i][0] != 0)
            mend_checksum(image->manifest[i]);
}

/* ---- Reading the input ---- */

static void apply_patch(struct image *image)
{
    uint8_t kind = fuzz_take8(&image->in);
    size_t at = fuzz_take16(&image->in) | (size_t)(kind & 12) << 14, bytes = 1 + (size_t)fuzz_take8(&image->in);
    if ((kind & 3) == 3) {
        memmove(image->log + bytes * PAGE % LOG_BYTES, image->log + at / PAGE * PAGE % LOG_BYTES, PAGE);
        return;
    }
    size_t room = (kind & 3) == 2 ? LOG_BYTES : HF_MANIFEST_BYTES;
    uint8_t *to = (kind & 3) == 2 ? image->log : image->manifest[kind & 3];
    at %= room;
    bytes = bytes < image->in.left ? bytes : image->in.left;
    bytes = bytes < room - at ? bytes : room - at;
    if (bytes > 0)
        memcpy(to + at, fuzz_bytes(&image->in, bytes), bytes);
}

/* Writes the directory; false when no run can be made of it: sizes that a test should not write. */
static bool write_image(struct image *image)
{
    struct hf_manifest manifest = {.block_max = 16384, .segment_bytes = 16384};
    if ((image->how & HOW_LOOSE) == 0)
        mend(image);
    if (hf_manifest_decode(image->manifest[0], HF_MANIFEST_BYTES, &manifest) != 0)
        (void)hf_manifest_decode(image->manifest[1], HF_MANIFEST_BYTES, &manifest);
    if (manifest.segment_bytes > SEGMENT_BYTES_MAX)
        return false;
    clear_directory();
    write_file("lock", NULL, 0, 0);
    if (image->manifest[0][0] != 0)
        write_file("manifest.0", image->manifest[0], HF_MANIFEST_BYTES, HF_MANIFEST_BYTES);
    if (image->manifest[1][0] != 0)
        write_file("manifest.1", image->manifest[1], HF_MANIFEST_BYTES, HF_MANIFEST_BYTES);
    write_segments(image, manifest.segment_bytes);
    return true;
}

/* ---- Looking at it ---- */

static void check_said(int error, const char *sentence)
{
    if (error != 0)
        FUZZ_CHECK(error < 0 && strlen(sentence) > 10 && !strchr(sentence, '\n'));
}

static int visit(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    struct seen *seen = context;
    const struct hf_command *command;
    unsigned table;
    FUZZ_CHECK(end_position > seen->end_position && record->length >= sizeof *record);
    (void)hf_record_check(record, record->length, &command);
    if (seen->engine && !seen->differs)
        seen->differs = hf_engine_replay(seen->engine, record, record->length, &seen->quota, &table) != 0;
    seen->digest = hf_digest_bytes(seen->digest ^ end_position ^ term << 32, record, record->length);
    seen->end_position = end_position;
    seen->records++;
    return 0;
}

static void prefetch(void *context, const struct hf_record *record, int stage)
{
    struct seen *seen = context;
    struct hf_replay_item item;
    if (seen->engine && hf_engine_replay_take(seen->engine, record, record->length, &item) == 0)
        hf_engine_prefetch(seen->engine, item.command, &item.hint, stage);
}

static struct hf_log_options options_of(bool read_only)
{
    return (struct hf_log_options){.dir = directory,
                                   .read_only = read_only,
                                   .ahead_bytes = 256 << 10,
                                   .buffer_bytes = 4 << 20,
                                   .batch_bytes_max = 8192,
                                   .batch_claims_max = 4,
                                   .wall_ns = 1800000000000000000ull,
                                   .accept_clock = true,
                                   .lock_wait_ms = 1000};
}

static void open_engine(struct seen *seen, uint32_t partitions)
{
    struct hf_engine_options options = {.partitions = partitions,
                                        .skus_max = 50,
                                        .cells_max = 50,
                                        .orders_max = 50,
                                        .lines_max = 50,
                                        .command_ids_max = 50,
                                        .limits_max = 50,
                                        .request_keys_max = 50,
                                        .retention_ns = 1000000000};
    FUZZ_CHECK(hf_engine_create(&options, &seen->engine) == 0);
    for (unsigned table = 0; table < HF_TABLE_COUNT; table++)
        seen->quota.left[table] = 50;
}

/* Follows the log as far as it is durable: what it delivers is what recovery delivered. */
static void follow_log(const struct hf_log *log, const struct seen *seen, uint64_t somewhere)
{
    struct hf_log_reader *reader;
    struct seen followed = {.records = 0};
    uint64_t position = 0, next = 0;
    FUZZ_CHECK(hf_log_reader_open(log, &reader) == 0);
    for (;;) {
        uint32_t bytes = sizeof follow;
        int e = hf_log_reader_read(reader, position, follow, &bytes, &next);
        check_said(e, hf_log_error(NULL));
        FUZZ_CHECK(e == 0);
        for (uint32_t at = 0; at < bytes;) {
            struct hf_follow_head head;
            memcpy(&head, follow + at, sizeof head);
            const struct hf_record *record = (const struct hf_record *)(const void *)(follow + at + sizeof head);
            (void)visit(&followed, record, head.end_position, head.term);
            at += (uint32_t)sizeof head + record->length;
        }
        if (next == position)
            break;
        position = next;
    }
    FUZZ_CHECK(followed.records == seen->records && followed.digest == seen->digest);
    uint32_t bytes = sizeof follow;
    int e = hf_log_reader_read(reader, somewhere, follow, &bytes, &next);
    check_said(e, hf_log_error(NULL));
    hf_log_reader_close(reader);
}

static int recover(bool read_only, bool with_engine, struct seen *seen, struct hf_log **log, struct hf_log_info *info)
{
    struct hf_log_options options = options_of(read_only);
    int e = hf_log_open(&options, log, info);
    if (e != 0) {
        check_said(e, hf_log_error(NULL));
        return e;
    }
    if (with_engine)
        open_engine(seen, info->partitions);
    e = hf_log_recover(*log, visit, prefetch, seen, UINT64_MAX, info);
    check_said(e, hf_log_error(*log));
    hf_engine_destroy(seen->engine);
    seen->engine = NULL;
    return e;
}

static void inspect(int recovered, const struct seen *seen, const struct hf_log_info *info)
{
    struct hf_inspect_info about;
    struct hf_inspect_verify verified;
    struct seen walked = {.records = 0};
    int e = hf_inspect_info(directory, &about);
    check_said(e, hf_log_error(NULL));
    e = hf_inspect_verify(directory, &verified);
    check_said(e, hf_log_error(NULL));
    if (recovered == 0)
        FUZZ_CHECK(e == 0 && !verified.damaged && verified.records == seen->records && verified.end_position == info->end_position);
    else if (recovered == HF_E_DAMAGED)
        FUZZ_CHECK(e == HF_E_DAMAGED || (e == 0 && verified.damaged));
    e = hf_inspect_walk(directory, NULL, visit, &walked, UINT64_MAX);
    check_said(e, hf_log_error(NULL));
    FUZZ_CHECK(e == recovered && walked.records == seen->records && walked.digest == seen->digest);
}

/* ---- Going on from it ---- */

static int write_some(struct hf_log *log, struct hf_log_buffer *buffer, struct seen *seen, uint64_t term)
{
    _Alignas(8) uint8_t bytes[256] = {0};
    struct hf_record *record = (struct hf_record *)(void *)bytes;
    uint64_t now_ns = 1900000000000000000ull;
    *record = (struct hf_record){.length = sizeof bytes, .version = HF_RECORD_VERSION};
    for (unsigned i = 0; i < 3 && hf_log_buffer_has_room(buffer, 0); i++) {
        struct hf_log_claim claim = hf_log_buffer_claim(buffer, sizeof bytes);
        memcpy(claim.memory, bytes, sizeof bytes);
        hf_log_buffer_commit(buffer, &claim);
        (void)visit(seen, record, claim.position + sizeof bytes, term);
        int e = hf_log_drain(log, now_ns += 10000000);
        if (e < 0)
            return e;
    }
    return hf_log_stop(log);
}

/* What was accepted once comes back after a start, with what was written then. */
static void start_on_it(void)
{
    struct seen seen = {.records = 0}, again = {.records = 0};
    struct hf_log *log = NULL;
    struct hf_log_buffer *buffer;
    struct hf_log_info info;
    uint64_t term = 0;
    int e = recover(false, false, &seen, &log, &info);
    if (e == 0) {
        e = hf_log_start(log, &buffer, &term);
        if (e == 0)
            e = write_some(log, buffer, &seen, term);
        check_said(e, hf_log_error(log));
    }
    hf_log_close(log);
    log = NULL;
    if (e != 0)
        return;
    FUZZ_CHECK(recover(false, false, &again, &log, &info) == 0);
    hf_log_close(log);
    FUZZ_CHECK(again.records == seen.records && again.digest == seen.digest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct image image;
    if (directory[0] == '\0')
        make_directory();
    memset(&image, 0, sizeof image);
    image.in = (struct fuzz_input){data, size};
    image.how = fuzz_take8(&image.in);
    image.which = fuzz_take8(&image.in);
    while (image.in.left > 0)
        apply_patch(&image);
    if (!write_image(&image))
        return 0;
    struct seen seen = {.records = 0};
    struct hf_log *log = NULL;
    struct hf_log_info info = {0};
    int e = recover(true, true, &seen, &log, &info);
    if (e == 0)
        follow_log(log, &seen, image.which * 8ull);
    hf_log_close(log);
    inspect(e, &seen, &info);
    if (e == 0 && (image.how & HOW_START) != 0)
        start_on_it();
    return 0;
}

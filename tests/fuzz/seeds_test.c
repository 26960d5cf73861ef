/* Makes the seeds of the targets whose inputs are bytes of our own formats out of real commands, frames and logs, and compares them with
 * those in the tree: `seeds_test --write DIRECTORY` writes them. Seeds that are text (config, import) stand for themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "persist/log.h"
#include "persist/manifest.h"
#include "tests/engine/kit.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEED_BYTES_MAX = 16384, IMAGE_BYTES = 256 << 10, GAP = 12 };

struct seed {
    uint8_t bytes[SEED_BYTES_MAX];
    size_t size;
};

static const char *corpus, *write_to;

static void put(struct seed *seed, const void *bytes, size_t count)
{
    assert_true(seed->size + count <= sizeof seed->bytes);
    memcpy(seed->bytes + seed->size, bytes, count);
    seed->size += count;
}

#define PUT(seed, ...) put(seed, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Compares with the tree, or writes. */
static void settle(const char *target, const char *name, const struct seed *seed)
{
    char path[4096];
    static uint8_t found[SEED_BYTES_MAX + 1];
    snprintf(path, sizeof path, "%s/%s", write_to ? write_to : corpus, target);
    if (write_to)
        assert_true(mkdir(path, 0777) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/%s/%s", write_to ? write_to : corpus, target, name);
    FILE *file = fopen(path, write_to ? "wbe" : "rbe");
    if (!file)
        fail_msg("%s: %s; make it: seeds_test --write tests/fuzz/corpus", path, strerror(errno));
    if (write_to) {
        assert_int_equal(fwrite(seed->bytes, 1, seed->size, file), seed->size);
        assert_int_equal(fclose(file), 0);
        return;
    }
    size_t size = fread(found, 1, sizeof found, file);
    (void)fclose(file);
    if (size != seed->size || memcmp(found, seed->bytes, size) != 0)
        fail_msg("%s is not what the code makes now; if that is meant: seeds_test --write tests/fuzz/corpus", path);
}

/* ---- Commands: see command_fuzz.c for what the bytes mean ---- */

enum { PLACE = 0, STOCK = 1, DEFINE = 2, VERB = 3, QUERY = 4, RAW = 5, AGAIN = 6, TIME = 7, SWEEP = 8, MARK = 9, SHED = 10 };
enum { NEW = 0x20 }; /* an id of its own */

static void put_catalogue(struct seed *seed, uint8_t skus)
{
    uint8_t id = NEW;
    for (uint8_t location = 1; location <= 3; location++, id++)
        PUT(seed, DEFINE, (uint8_t)(location << 4), 0, id, 5);
    for (uint8_t sku = 1; sku <= skus; sku++, id++)
        PUT(seed, DEFINE, 1, sku, id, 8);
    for (uint8_t sku = 1; sku <= skus; sku++)
        for (uint8_t location = 1; location <= 2; location++, id++)
            PUT(seed, STOCK, 0, sku, NEW | (id & 31), location, 100);
}

static void put_place(struct seed *seed, uint8_t slot, uint8_t sku, uint8_t lines, uint8_t quantity, uint16_t ttl_ms)
{
    PUT(seed, PLACE, (uint8_t)(lines - 1), sku, NEW | slot, (uint8_t)ttl_ms, (uint8_t)(ttl_ms >> 8), slot % 3);
    for (uint8_t i = 0; i < lines; i++)
        PUT(seed, (uint8_t)((sku + i) << 4 | (1 + i % 2)), quantity);
}

static void a_life_of_orders_is_a_seed(void **state)
{
    (void)state;
    struct seed seed = {.size = 0};
    PUT(&seed, 0xaa, 0x29);
    put_catalogue(&seed, 4);
    for (uint8_t slot = 0; slot < 6; slot++)
        put_place(&seed, slot, 1 + slot % 4, 1 + slot % 3, 2, 5000);
    PUT(&seed, VERB, 0, 0, NEW | 1, 200, 5);                     /* settle */
    PUT(&seed, VERB, 0x41, 0, NEW | 2, 200, 1);                  /* its capture */
    PUT(&seed, VERB, 2, 0, NEW | 3);                             /* ship */
    PUT(&seed, VERB, 3, 1, NEW | 4);                             /* cancel */
    PUT(&seed, VERB, 4, 2, NEW | 5, 0x10, 0x27);                 /* extend */
    PUT(&seed, VERB, 0, 3, NEW | 6, 50, 5, VERB, 3, 3, NEW | 7); /* settle, then cancel: an intent to give back */
    PUT(&seed, VERB, 0x81, 3, NEW | 8, 50, 3);
    PUT(&seed, QUERY, 0, 0, QUERY, 0x11, 1, QUERY, 2, 0, 0, 1, QUERY, 3, 0, 0, AGAIN);
    PUT(&seed, TIME, 1, 6, 0, SWEEP, 64);   /* what is left expires */
    PUT(&seed, VERB, 0, 4, NEW | 9, 30, 5); /* settle after expiry */
    PUT(&seed, TIME, 1, 60, 0, MARK, 1, TIME, 1, 60, 0, SWEEP, 64, MARK, 1, SWEEP, 64);
    settle("command", "life", &seed);
}

static void limits_and_sale_windows_are_a_seed(void **state)
{
    (void)state;
    struct seed seed = {.size = 0};
    PUT(&seed, 0xff, 0x3d);
    put_catalogue(&seed, 2);
    PUT(&seed, DEFINE, 0x70 | 2, 1, NEW | 20, 3, 5, 8, 10, 0); /* 5 an order, 8 a customer in 10 s */
    PUT(&seed, DEFINE, 0x18 | 2, 2, NEW | 21, 20);             /* a cell's own safety stock */
    for (uint8_t slot = 0; slot < 8; slot++)
        put_place(&seed, slot, 1 + slot % 2, 1, 1 + slot, 2000);
    PUT(&seed, TIME, 1, 11, 0, SWEEP, 3);
    for (uint8_t slot = 8; slot < 12; slot++)
        put_place(&seed, slot, 1, 2, 3, 60000);
    PUT(&seed, DEFINE, 0xf0 | 2, 1, NEW | 22, 0, 9, 9, 3, 0, 0x30, 0x75, 1, 0x10, 0x27);
    put_place(&seed, 13, 1, 1, 1, 100);
    PUT(&seed, TIME, 1, 60, 0, SWEEP, 64, MARK, 1, SWEEP, 64);
    settle("command", "limits", &seed);
}

static void full_tables_and_small_stock_are_a_seed(void **state)
{
    (void)state;
    struct seed seed = {.size = 0};
    PUT(&seed, 0x00, 0x00);
    put_catalogue(&seed, 5);
    for (uint8_t slot = 0; slot < 9; slot++)
        put_place(&seed, slot, 1 + slot % 5, 1 + slot % 4, 90, 1000);
    PUT(&seed, STOCK, 1, 1, NEW | 12, 1, 0x9c, 4);        /* adjust by -100 */
    PUT(&seed, STOCK, 1 | 4, 1, NEW | 13, 1, 0x9c, 4);    /* forced */
    PUT(&seed, STOCK, 2 | 16, 2, NEW | 14, 1, 40, 1, 7);  /* set, by source 1, sequence 7 */
    PUT(&seed, STOCK, 2 | 16, 2, NEW | 15, 1, 50, 1, 6);  /* stale */
    PUT(&seed, STOCK, 2 | 8, 2, NEW | 16, 1, 50, 2);      /* by version */
    PUT(&seed, STOCK, 0x80, 3, NEW | 17, 1, 12, SHED, 3); /* quality control */
    put_place(&seed, 20, 1, 1, 1, 1000);
    PUT(&seed, RAW, 0, 64, 0, 0, 0, 0, 0, 1, 3, 1, 0, SHED, 0, TIME, 1, 2, 0, SWEEP, 1, SWEEP, 64);
    settle("command", "full", &seed);
}

/* ---- Frames: see frame_fuzz.c ---- */

enum { OPEN = 0, HELLO = 1, REQUEST = 2, OTHER = 4, BYTES = 5, TURNS = 6, PULL = 7, ANSWER = 8, CLOSE = 9, CLOCK = 10, SWITCH = 11 };

static void sessions_that_resend_are_a_seed(void **state)
{
    (void)state;
    struct seed seed = {.size = 0};
    PUT(&seed, 0x0f);
    for (uint8_t client = 0; client < 3; client++)
        PUT(&seed, (uint8_t)(OPEN | client << 4), (uint8_t)(HELLO | client << 4), 4, 0);
    PUT(&seed, TURNS | 0x30, PULL);
    for (uint8_t client = 0; client < 3; client++)
        PUT(&seed, (uint8_t)(REQUEST | client << 4), 1, 0x08, 0x01, 0);
    PUT(&seed, TURNS | 0x10, PULL, SWITCH | 0x10);
    PUT(&seed, REQUEST, 0, 0x10, 0, TURNS, REQUEST | 0x40, 0, 0x10, 0, TURNS); /* held, then resent while it waits */
    PUT(&seed, ANSWER, TURNS, REQUEST | 0x40, 0, 0x10, 0, TURNS, PULL);        /* resent once it is answered */
    PUT(&seed, CLOSE, OPEN, HELLO, 4, 0, TURNS, PULL, REQUEST | 0x40, 0, 0x10, 0, TURNS, PULL);
    for (uint8_t i = 0; i < 6; i++)
        PUT(&seed, REQUEST, 0, 0x10, 0); /* more than the credits */
    PUT(&seed, TURNS, ANSWER, PULL, OTHER, 6, 0, TURNS, PULL, CLOCK | 0x80, 70, TURNS, TURNS);
    settle("frame", "resends", &seed);
}

static void frames_in_pieces_and_wrong_ones_are_a_seed(void **state)
{
    (void)state;
    struct seed seed = {.size = 0};
    PUT(&seed, 0x2c, OPEN, HELLO, 8, 16, TURNS, PULL, OPEN | 0x10, HELLO | 0x10, 2, 0, TURNS, PULL);
    PUT(&seed, REQUEST, 3, 0x00, 0x01, 0x02, 0x06, 16, TURNS, PULL);
    PUT(&seed, REQUEST, 0, 0x40, 0x00, 0x01, 0, TURNS, PULL); /* 256 lines */
    PUT(&seed, REQUEST, 1, 0x04, 0x04, 0, TURNS, PULL);       /* admin commands in company */
    PUT(&seed, REQUEST, 0, 0x05, 0, TURNS, PULL);             /* alone */
    PUT(&seed, REQUEST, 0, 0x80, 24, 0xff, 0, TURNS, PULL);   /* lines that are not there */
    PUT(&seed, REQUEST, 0, 0x00, 8, 3, 0, 9, TURNS, PULL);    /* a checksum that does not hold */
    PUT(&seed, OPEN, HELLO | 0x40, 8, 0, TURNS, PULL, BYTES, 8, 'G', 'E', 'T', ' ', '/', ' ', '\r', '\n', TURNS, PULL);
    PUT(&seed, BYTES | 0x10, 20, 0x48, 0x46, 0x46, 0x31, 1, 3, 0, 0, 64, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, TURNS, CLOCK | 0x80, 40);
    PUT(&seed, TURNS, PULL, OPEN | 0x20, HELLO | 0x20, 1, 0, OPEN | 0x30, HELLO | 0x30, 1, 0, TURNS, PULL);
    settle("frame", "pieces", &seed);
}

/* ---- Datagrams: see datagram_fuzz.c ---- */

enum { PEER = 0, GREET = 1, PROVEN = 0x80 | 1, QUESTION = 2, ANYTHING = 4, LATER = 6, RELEASE = 7, DOOR = 8, COPY = 9, PASS = 5 };

static void datagram_sessions_that_move_are_a_seed(void **state)
{
    (void)state;
    struct seed seed = {.size = 0};
    PUT(&seed, 0x0f, GREET, 0x40, 0, PASS, PROVEN, 0x40, 0, PASS);
    PUT(&seed, QUESTION, 0, 0x03, 0, QUESTION, 1, 0x03, 0x0b, 0, PASS);
    PUT(&seed, DOOR | 0x10, QUESTION, 0, 0x03, 0, PASS, COPY, 4, PASS, RELEASE, PASS, COPY, 4, PASS); /* resent while it waits, and after */
    PUT(&seed, PEER, QUESTION, 0, 0x03, 0, PASS, PROVEN, 0x40, 0, PASS, QUESTION, 0, 0x03, 0, PASS);  /* from another address */
    PUT(&seed, 0x40 | QUESTION, 0x60, 0x03, 0, QUESTION, 0, 0x44, 200, 0, PASS, LATER | 0x80, 40, PASS);
    PUT(&seed, COPY, 1, PASS, PROVEN, 0x40, 0, PASS, ANYTHING, 4, 1, 2, 3, 4, LATER | 0x80, 90, PASS, QUESTION, 0, 0x03, 0, PASS);
    settle("datagram", "moves", &seed);
}

/* ---- Logs: see log_fuzz.c ---- */

struct written {
    struct hf_log_options options;
    struct hf_log *log;
    struct hf_log_buffer *buffer;
    uint64_t now_ns;
    char dir[96];
};

static void open_log(struct written *w)
{
    struct hf_log_info info;
    uint64_t term;
    assert_int_equal(hf_log_open(&w->options, &w->log, &info), 0);
    assert_int_equal(hf_log_recover(w->log, NULL, NULL, NULL, UINT64_MAX, &info), 0);
    assert_int_equal(hf_log_start(w->log, &w->buffer, &term), 0);
}

/* One block for all of these records: it is settled before the next claim, at one and the same time, so that nothing depends on the disk.
 */
static void write_block(struct written *w, const uint8_t *records, size_t bytes)
{
    while (!hf_log_buffer_has_room(w->buffer, 0))
        assert_true(hf_log_drain(w->log, w->now_ns) >= 0);
    struct hf_log_claim claim = hf_log_buffer_claim(w->buffer, (uint32_t)bytes);
    memcpy(claim.memory, records, bytes);
    hf_log_buffer_commit(w->buffer, &claim);
    while (hf_log_pending(w->log))
        assert_true(hf_log_drain(w->log, w->now_ns) >= 0);
    w->now_ns += 1000000;
}

/* A small shop's log, in blocks of at most three records. */
static void write_shop(struct written *w, struct kit *kit)
{
    size_t from = 0, at = 0;
    unsigned records = 0;
    while (at < kit->log_bytes) {
        at += ((const struct hf_record *)(const void *)(kit->log + at))->length;
        if (++records % 3 == 0 || at == kit->log_bytes) {
            write_block(w, kit->log + from, at - from);
            from = at;
        }
    }
}

static struct kit *make_shop(void)
{
    struct hf_engine_options options = kit_options(4, 64);
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 2, 50);
    struct hf_id first = kit_sku_id(kit, 1), second = kit_sku_id(kit, 2);
    assert_int_equal(kit_place(kit, first, 1, 2, 60000), HF_OK);
    assert_int_equal(kit_place(kit, second, 2, 1, 1000), HF_OK);
    assert_int_equal(kit_settle(kit, first, 3998), HF_OK);
    kit->now_ns += 2 * KIT_S;
    assert_int_equal(kit_sweep(kit), 1);
    kit_mark(kit, kit->now_ns / KIT_MS - 1000);
    return kit;
}

/* Bytes that are not zero, as patches; short gaps are part of them. */
static void put_patches(struct seed *seed, uint8_t kind, const uint8_t *bytes, size_t count)
{
    for (size_t at = 0; at < count;) {
        if (bytes[at] == 0) {
            at++;
            continue;
        }
        size_t end = at + 1, zeros = 0;
        while (end < count && end - at + zeros < 256 && zeros < GAP) {
            zeros = bytes[end] == 0 ? zeros + 1 : 0;
            end++;
        }
        end -= zeros;
        PUT(seed, (uint8_t)(kind | (at >> 16 & 3) << 2), (uint8_t)at, (uint8_t)(at >> 8), (uint8_t)(end - at - 1));
        put(seed, bytes + at, end - at);
        at = end;
    }
}

static size_t read_part(const struct written *w, const char *name, uint8_t *to, size_t room)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    FILE *file = fopen(path, "rbe");
    size_t bytes = file ? fread(to, 1, room, file) : 0;
    if (file)
        (void)fclose(file);
    (void)unlink(path);
    return bytes;
}

/* The directory as an input, and away with it. What differs from run to run is mended by the target and left out. */
static void settle_log(struct written *w, const char *name, uint8_t how, uint8_t which)
{
    static _Alignas(8) uint8_t image[IMAGE_BYTES];
    struct seed seed = {.size = 0};
    PUT(&seed, how, which);
    for (unsigned copy = 0; copy < HF_MANIFEST_COPIES; copy++) {
        memset(image, 0, HF_MANIFEST_BYTES);
        assert_int_equal(read_part(w, copy == 0 ? "manifest.0" : "manifest.1", image, HF_MANIFEST_BYTES), HF_MANIFEST_BYTES);
        memset(image + 24, 0, 8); /* checksum, seed */
        memset(image + 72, 0, 4); /* chain of the clean end, and of each beginning */
        for (unsigned i = 0; i < HF_MANIFEST_BEGINNINGS_MAX; i++)
            memset(image + 512 + i * sizeof(struct hf_beginning) + offsetof(struct hf_beginning, chain), 0, 4);
        put_patches(&seed, (uint8_t)copy, image, HF_MANIFEST_BYTES);
    }
    memset(image, 0, sizeof image);
    for (uint64_t at = 0;; at += w->options.segment_bytes) {
        char segment[32];
        snprintf(segment, sizeof segment, "log-%016llx.seg", (unsigned long long)at);
        static uint8_t rest[IMAGE_BYTES];
        if (read_part(w, segment, at < IMAGE_BYTES ? image + at : rest, w->options.segment_bytes) == 0)
            break;
    }
    for (size_t at = 0; at < IMAGE_BYTES; at += HF_BLOCK_ALIGN) {
        struct hf_block *block = (struct hf_block *)(void *)(image + at);
        if (block->magic != HF_BLOCK_MAGIC)
            continue;
        block->previous = block->checksum = 0;
        block->time_ns = KIT_START_NS + block->number; /* a clean stop asks the clock */
    }
    put_patches(&seed, 2, image, IMAGE_BYTES);
    static uint8_t lock[64];
    (void)read_part(w, "lock", lock, sizeof lock);
    assert_int_equal(rmdir(w->dir), 0);
    settle("log", name, &seed);
}

static void begin_log(struct written *w)
{
    const char *base = getenv("TMPDIR");
    *w = (struct written){.options = {.dir = w->dir,
                                      .partitions = 4,
                                      .block_max = 16384,
                                      .segment_bytes = 16384,
                                      .ahead_bytes = 32 << 10,
                                      .buffer_bytes = 1 << 20,
                                      .batch_bytes_max = 4096,
                                      .batch_claims_max = 4,
                                      .lock_wait_ms = 2000,
                                      .wall_ns = KIT_START_NS},
                          .now_ns = KIT_START_NS};
    snprintf(w->dir, sizeof w->dir, "%s/hf-seeds-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    open_log(w);
}

static void logs_of_one_and_of_two_terms_are_seeds(void **state)
{
    (void)state;
    struct written w;
    struct kit *kit = make_shop();
    begin_log(&w);
    write_shop(&w, kit);
    hf_log_close(w.log);
    settle_log(&w, "one-term", 4, 0);
    begin_log(&w);
    write_shop(&w, kit);
    assert_int_equal(hf_log_stop(w.log), 0);
    hf_log_close(w.log);
    open_log(&w);
    write_block(&w, kit->log, ((const struct hf_record *)(const void *)kit->log)->length);
    assert_int_equal(hf_log_stop(w.log), 0);
    hf_log_close(w.log);
    settle_log(&w, "two-terms", 4, 0);
    kit_free(kit);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life_of_orders_is_a_seed),
        cmocka_unit_test(limits_and_sale_windows_are_a_seed),
        cmocka_unit_test(full_tables_and_small_stock_are_a_seed),
        cmocka_unit_test(sessions_that_resend_are_a_seed),
        cmocka_unit_test(frames_in_pieces_and_wrong_ones_are_a_seed),
        cmocka_unit_test(datagram_sessions_that_move_are_a_seed),
        cmocka_unit_test(logs_of_one_and_of_two_terms_are_seeds),
    };
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        write_to = argv[2];
    else
        corpus = argc > 1 ? argv[1] : "tests/fuzz/corpus";
    return cmocka_run_group_tests(tests, NULL, NULL);
}

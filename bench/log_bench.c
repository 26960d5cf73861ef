/* The log against its device: bytes made durable by group commit (log buffer, hf_log_drain) and by a bare loop of O_DIRECT|O_DSYNC writes
 * of the same size into zero-filled space, interleaved. And how fast a log is read back.
 *
 * log_bench [--dir DIR] [--runs N] [--quick]: one JSON object a line {case, value, unit, against, ratio, runs, spread}; medians. */
#include "persist/log.h"

#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    RUNS_MAX = 32,
    RECORD_BYTES = 168,
    BATCH_RECORDS = 64,
    DEVICE_FILE_BYTES = 64 << 20,
    LATENCIES_MAX = 1 << 16,
    COMMIT_AHEAD = 512 << 20,
    LATENCY_AHEAD = 128 << 20
};

struct bench {
    char dir[256];
    unsigned runs;
    uint64_t run_ns;
    int device_fd;
    uint8_t *device_memory; /* 1 MiB */
    uint64_t latencies[LATENCIES_MAX];
    unsigned latency_count;
};

struct figures {
    double value[RUNS_MAX];
    unsigned count;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "log_bench: %s: %s\n", what, why);
    exit(1);
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double median(struct figures *figures)
{
    qsort(figures->value, figures->count, sizeof figures->value[0], compare_double);
    return figures->value[figures->count / 2];
}

static double p50_us(struct bench *bench)
{
    if (bench->latency_count == 0)
        return 0;
    qsort(bench->latencies, bench->latency_count, sizeof bench->latencies[0], compare_u64);
    uint64_t middle = bench->latencies[bench->latency_count / 2];
    return (double)middle / 1000;
}

static void latency_add(struct bench *bench, uint64_t ns)
{
    if (bench->latency_count < LATENCIES_MAX)
        bench->latencies[bench->latency_count++] = ns;
}

/* A row: `ours` against `theirs`; lower_better only says how the ratio reads (always ours / theirs). */
static void print_row(const char *name, const char *unit, const char *against, struct figures *ours, struct figures *theirs)
{
    double value = median(ours), low = ours->value[0], high = ours->value[ours->count - 1];
    printf("{\"case\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"against\":", name, value, unit);
    if (theirs != NULL)
        printf("\"%s\",\"ratio\":%.3f", against, value / median(theirs));
    else
        printf("null,\"ratio\":null");
    printf(",\"runs\":%u,\"spread\":%.3f}\n", ours->count, value == 0 ? 0 : (high - low) / value);
    fflush(stdout);
}

static void device_open(struct bench *bench)
{
    char path[300];
    snprintf(path, sizeof path, "%s/device", bench->dir);
    bench->device_memory = aligned_alloc(4096, 1 << 20);
    if (bench->device_memory == NULL)
        die("device", "no memory");
    memset(bench->device_memory, 0, 1 << 20);
    bench->device_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT | O_DSYNC, 0600);
    if (bench->device_fd < 0)
        bench->device_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DSYNC, 0600);
    if (bench->device_fd < 0)
        die("cannot open", path);
    for (off_t at = 0; at < DEVICE_FILE_BYTES; at += 1 << 20)
        if (pwrite(bench->device_fd, bench->device_memory, 1 << 20, at) != 1 << 20)
            die("cannot fill", path);
    memset(bench->device_memory, 0x5a, 1 << 20);
}

/* Bytes a second of back-to-back writes of `bytes` (a multiple of 4096). */
static double device_run(struct bench *bench, uint32_t bytes)
{
    uint64_t start = now_ns(), before = start, done = 0;
    bench->latency_count = 0;
    for (off_t at = 0; before - start < bench->run_ns; at += bytes) {
        if (at + bytes > DEVICE_FILE_BYTES)
            at = 0;
        if (pwrite(bench->device_fd, bench->device_memory, bytes, at) != (ssize_t)bytes)
            die("device write", "failed");
        uint64_t after = now_ns();
        latency_add(bench, after - before);
        done += bytes;
        before = after;
    }
    return (double)done * 1e9 / (double)(before - start);
}

static struct hf_log *log_start(const struct bench *bench, uint64_t ahead, struct hf_log_buffer **buffer)
{
    struct hf_log *log;
    struct hf_log_info info;
    uint64_t term;
    char dir[300];
    snprintf(dir, sizeof dir, "%s/log", bench->dir);
    struct hf_log_options options = {
        .dir = dir, .ahead_bytes = ahead, .shards = 1, .batch_bytes_max = 64 << 10, .wall_ns = 1, .lock_wait_ms = 5000};
    int e = hf_log_open(&options, &log, &info);
    if (e != 0)
        die("log", hf_log_error(NULL));
    if (!info.fresh && hf_log_recover(log, NULL, NULL, NULL, UINT64_MAX, &info) != 0)
        die("log", hf_log_error(log));
    if (hf_log_start(log, buffer, &term) != 0)
        die("log", hf_log_error(log));
    return log;
}

/* Zeroing log space is traffic on the same device: nothing is timed beside it. */
static void wait_filled(const struct hf_log *log, uint64_t ahead)
{
    struct hf_log_status status;
    do {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        hf_log_status(log, &status);
    } while (status.ahead_bytes + (8 << 20) < ahead && status.watermark == 0);
}

static void write_batch(struct hf_log_buffer *buffer, unsigned records)
{
    struct hf_log_claim claim = hf_log_buffer_claim(buffer, records * RECORD_BYTES);
    for (unsigned i = 0; i < records; i++) {
        struct hf_record record = {.length = RECORD_BYTES, .version = HF_RECORD_VERSION, .time_ns = 1};
        memcpy(claim.memory + i * RECORD_BYTES, &record, sizeof record);
        memset(claim.memory + i * RECORD_BYTES + sizeof record, (int)i, RECORD_BYTES - sizeof record);
    }
    hf_log_buffer_commit(buffer, &claim);
}

/* One drainer's turn; sleeps in the kernel for a completion when there was nothing to do. */
static void turn(struct hf_log *log)
{
    int work = hf_log_drain(log, now_ns());
    if (work < 0)
        die("log", hf_log_error(log));
    if (work == 0) {
        struct pollfd done = {.fd = hf_log_event_fd(log), .events = POLLIN};
        const struct timespec bound = {.tv_nsec = 50000};
        ppoll(&done, 1, &bound, NULL);
    }
}

/* Keeps `ahead` bytes claimed beyond the durable position for the run's time. -> durable bytes a second; *bytes: mean write size */
static double log_run(struct bench *bench, struct hf_log *log, struct hf_log_buffer *buffer, uint64_t ahead, uint32_t *bytes)
{
    struct hf_log_status before, after;
    while (hf_log_pending(log))
        turn(log);
    hf_log_status(log, &before);
    uint64_t start = now_ns(), first = hf_log_durable(log);
    while (now_ns() - start < bench->run_ns) {
        while (hf_log_buffer_position(buffer) - hf_log_durable(log) < ahead && hf_log_buffer_has_room(buffer, 0) &&
               hf_log_watermark(log) == 0)
            write_batch(buffer, BATCH_RECORDS);
        turn(log);
    }
    while (hf_log_pending(log))
        turn(log);
    uint64_t took = now_ns() - start, durable = hf_log_durable(log) - first;
    hf_log_status(log, &after);
    uint64_t writes = after.writes - before.writes;
    *bytes = writes == 0 ? 4096 : (uint32_t)((after.bytes - before.bytes) / writes + 4095) & ~4095u;
    if (*bytes > 1 << 20)
        *bytes = 1 << 20;
    return (double)durable * 1e9 / (double)took;
}

/* From claim to durable, one batch at a time. */
static void log_latency(struct bench *bench, struct hf_log *log, struct hf_log_buffer *buffer, unsigned records)
{
    uint64_t start = now_ns();
    bench->latency_count = 0;
    while (now_ns() - start < bench->run_ns) {
        uint64_t begin = now_ns();
        write_batch(buffer, records);
        while (hf_log_pending(log))
            turn(log);
        latency_add(bench, now_ns() - begin);
    }
}

static void bench_commit(struct bench *bench, const char *name, uint64_t ahead)
{
    struct figures log_bytes = {0}, device_bytes = {0};
    struct hf_log_buffer *buffer;
    struct hf_log *log = log_start(bench, COMMIT_AHEAD, &buffer);
    uint32_t bytes = 0;
    struct hf_log_status status;
    for (unsigned run = 0; run < bench->runs; run++) {
        wait_filled(log, COMMIT_AHEAD);
        log_bytes.value[log_bytes.count++] = log_run(bench, log, buffer, ahead, &bytes) / 1e6;
        wait_filled(log, COMMIT_AHEAD);
        device_bytes.value[device_bytes.count++] = device_run(bench, bytes) / 1e6;
    }
    hf_log_status(log, &status);
    fprintf(stderr,
            "%s: last mean write %" PRIu32 " bytes, direct %d, dsync %d, most in flight %" PRIu64 ", mean write %" PRIu64
            " us, max %" PRIu64 " us\n",
            name, bytes, status.direct, status.dsync, status.inflight_max, status.write_ns_sum / (status.writes + 1) / 1000,
            status.write_ns_max / 1000);
    if (hf_log_stop(log) != 0)
        die("log", hf_log_error(log));
    hf_log_close(log);
    print_row(name, "MB/s durable", "device-dsync-same-size", &log_bytes, &device_bytes);
}

static void bench_latency(struct bench *bench, const char *name, unsigned records)
{
    struct figures log_us = {0}, device_us = {0};
    struct hf_log_buffer *buffer;
    struct hf_log *log = log_start(bench, LATENCY_AHEAD, &buffer);
    for (unsigned run = 0; run < bench->runs; run++) {
        wait_filled(log, LATENCY_AHEAD);
        log_latency(bench, log, buffer, records);
        log_us.value[log_us.count++] = p50_us(bench);
        wait_filled(log, LATENCY_AHEAD);
        device_run(bench, (records * RECORD_BYTES + HF_BLOCK_HEADER_BYTES + 4095) & ~4095u);
        device_us.value[device_us.count++] = p50_us(bench);
    }
    struct hf_log_status status;
    hf_log_status(log, &status);
    fprintf(stderr, "%s: direct %d, dsync %d\n", name, status.direct, status.dsync);
    if (hf_log_stop(log) != 0)
        die("log", hf_log_error(log));
    hf_log_close(log);
    print_row(name, "us p50", "device-dsync-same-size", &log_us, &device_us);
}

static int visit_nothing(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    (void)end_position, (void)term;
    *(uint64_t *)context += record->length;
    return 0;
}

static void bench_recovery(struct bench *bench)
{
    struct figures rate = {0};
    char dir[300];
    snprintf(dir, sizeof dir, "%s/log", bench->dir);
    for (unsigned run = 0; run < bench->runs; run++) {
        struct hf_log_options options = {.dir = dir, .read_only = true, .lock_wait_ms = 5000};
        struct hf_log *log;
        struct hf_log_info info;
        uint64_t bytes = 0;
        if (hf_log_open(&options, &log, &info) != 0)
            die("recovery", hf_log_error(NULL));
        uint64_t start = now_ns(), cpu_start = cpu_ns();
        if (hf_log_recover(log, visit_nothing, NULL, &bytes, UINT64_MAX, &info) != 0)
            die("recovery", hf_log_error(log));
        rate.value[rate.count++] = (double)info.records * 1e9 / (double)(now_ns() - start);
        fprintf(stderr, "read-back: %" PRIu64 " records, %" PRIu64 " bytes, %.0f ns of this thread's processor time each\n", info.records,
                info.bytes, (double)(cpu_ns() - cpu_start) / (double)(info.records + 1));
        hf_log_close(log);
    }
    print_row("read-back", "records/s", NULL, &rate, NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int main(int argc, char **argv)
{
    static struct bench bench = {.runs = 5, .run_ns = 250000000};
    const char *dir = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    const struct option options[] = {
        {"dir", required_argument, NULL, 'd'}, {"runs", required_argument, NULL, 'r'}, {"quick", no_argument, NULL, 'q'}, {0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'd')
            dir = optarg;
        else if (option == 'r')
            bench.runs = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'q')
            bench.runs = 3, bench.run_ns = 120000000;
        else
            return 2;
    }
    if (bench.runs == 0 || bench.runs > RUNS_MAX)
        return 2;
    snprintf(bench.dir, sizeof bench.dir, "%s/hf-log-bench-XXXXXX", dir);
    if (mkdtemp(bench.dir) == NULL)
        die("cannot make a directory under", dir);
    device_open(&bench);
    bench_commit(&bench, "commit/8k-in-flight", 1400 << 10);
    bench_commit(&bench, "commit/deep", 6 << 20);
    bench_latency(&bench, "latency/one-record", 1);
    bench_latency(&bench, "latency/512-records", 512);
    bench_recovery(&bench);
    close(bench.device_fd);
    free(bench.device_memory);
    nftw(bench.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

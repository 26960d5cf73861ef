/* The null backend, for benches: whatever is appended is durable at the next poll, and nothing is ever read back. */
#include "persist/backend.h"
#include "persist/say.h"
#include "wire/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { NULL_INFLIGHT_MAX = 8 };

struct null_backend {
    struct hf_backend base;
    uint64_t done[NULL_INFLIGHT_MAX];
    unsigned count;
};

static struct null_backend *null_of(struct hf_backend *backend)
{
    return (struct null_backend *)(void *)backend;
}

static int null_lock(struct hf_backend *backend, bool shared, uint64_t wait_ms)
{
    (void)backend, (void)shared, (void)wait_ms;
    return 0;
}

static int null_manifest_read(struct hf_backend *backend, unsigned copy, void *buf, uint32_t *bytes)
{
    (void)backend, (void)copy, (void)buf;
    *bytes = 0;
    return 0;
}

static int null_manifest_write(struct hf_backend *backend, unsigned copy, const void *buf, uint32_t bytes)
{
    (void)backend, (void)copy, (void)buf, (void)bytes;
    return 0;
}

static int null_attach(struct hf_backend *backend, const struct hf_geometry *geometry)
{
    (void)backend, (void)geometry;
    return 0;
}

static void null_extent(struct hf_backend *backend, uint64_t *first, uint64_t *end)
{
    (void)backend;
    *first = *end = 0;
}

static int null_read(struct hf_backend *backend, struct hf_read_cursor *cursor, uint64_t position, void *buf, uint32_t bytes, bool *absent)
{
    (void)backend, (void)cursor, (void)position;
    memset(buf, 0, bytes);
    *absent = true;
    return 0;
}

static void null_read_end(struct hf_backend *backend, struct hf_read_cursor *cursor)
{
    (void)backend, (void)cursor;
}

static int null_flush(struct hf_backend *backend, uint64_t position)
{
    (void)backend, (void)position;
    return 0;
}

static int null_space_start(struct hf_backend *backend, uint64_t position, void *memory, size_t bytes)
{
    (void)position, (void)memory, (void)bytes;
    backend->depth = 4;
    return 0;
}

static uint64_t null_space_end(const struct hf_backend *backend)
{
    (void)backend;
    return UINT64_MAX / 2;
}

static bool null_space_failing(const struct hf_backend *backend)
{
    (void)backend;
    return false;
}

static void null_space_used(struct hf_backend *backend, uint64_t appended, uint64_t durable)
{
    (void)backend, (void)appended, (void)durable;
}

static int null_append(struct hf_backend *backend, uint64_t position, const void *data, uint32_t bytes)
{
    (void)data, (void)bytes;
    struct null_backend *null = null_of(backend);
    assert(null->count < NULL_INFLIGHT_MAX);
    null->done[null->count++] = position;
    return 0;
}

static int null_poll(struct hf_backend *backend, struct hf_append_done *done, unsigned max)
{
    struct null_backend *null = null_of(backend);
    unsigned n = 0;
    for (; n < null->count && n < max; n++)
        done[n] = (struct hf_append_done){.position = null->done[n], .outcome = HF_APPEND_DURABLE};
    memmove(null->done, null->done + n, (null->count - n) * sizeof null->done[0]);
    null->count -= n;
    return (int)n;
}

static int null_event_fd(const struct hf_backend *backend)
{
    (void)backend;
    return -1;
}

/* Nothing is ever waited for: what is appended is over with the next poll. */
static uint64_t null_now_ns(const struct hf_backend *backend)
{
    (void)backend;
    return 0;
}

static void null_wait(struct hf_backend *backend, bool under_way)
{
    (void)backend, (void)under_way;
}

static uint64_t null_segments(const struct hf_backend *backend)
{
    (void)backend;
    return 0;
}

static void null_close(struct hf_backend *backend)
{
    free(null_of(backend));
}

static const struct hf_backend_ops null_ops = {
    .name = "null",
    .lock = null_lock,
    .manifest_read = null_manifest_read,
    .manifest_write = null_manifest_write,
    .attach = null_attach,
    .extent = null_extent,
    .read = null_read,
    .read_end = null_read_end,
    .flush = null_flush,
    .space_start = null_space_start,
    .space_end = null_space_end,
    .space_failing = null_space_failing,
    .space_used = null_space_used,
    .append = null_append,
    .poll = null_poll,
    .event_fd = null_event_fd,
    .now_ns = null_now_ns,
    .wait = null_wait,
    .segments = null_segments,
    .close = null_close,
};

int hf_backend_null_open(struct hf_backend **out, char *error)
{
    struct null_backend *null = calloc(1, sizeof *null);
    if (null == NULL)
        return hf_say(error, HF_E_MEMORY, "no memory for the null log");
    null->base.ops = &null_ops;
    null->base.depth = 1;
    *out = &null->base;
    return 0;
}

#include "persist/scan.h"

#include "persist/say.h"
#include "wire/error.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CHUNK_BYTES_MOST = 2 << 20, CHUNKS = 5, KEPT = 2 /* chunks that stay readable: the newest and the one before */ };

struct chunk {
    uint8_t *memory;
    int error;
};

struct hf_scan {
    struct hf_backend *backend;
    uint64_t chunk_bytes;
    uint64_t first, end; /* chunk numbers; end: behind the last */
    uint8_t *memory;
    struct chunk chunks[CHUNKS];
    struct hf_read_cursor cursor; /* the reading thread's */
    pthread_t thread;
    bool runs;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    uint64_t read;  /* chunks below this number are in memory or gone */
    uint64_t asked; /* furthest chunk that was asked for */
    bool stop;
};

static void *scan_main(void *context)
{
    struct hf_scan *scan = context;
    pthread_mutex_lock(&scan->mutex);
    while (!scan->stop && scan->read < scan->end) {
        if (scan->read >= scan->asked + 1 + CHUNKS - KEPT) {
            pthread_cond_wait(&scan->changed, &scan->mutex);
            continue;
        }
        uint64_t number = scan->read;
        pthread_mutex_unlock(&scan->mutex);
        struct chunk *chunk = &scan->chunks[number % CHUNKS];
        bool absent;
        chunk->error = scan->backend->ops->read(scan->backend, &scan->cursor, number * scan->chunk_bytes, chunk->memory,
                                                (uint32_t)scan->chunk_bytes, &absent);
        pthread_mutex_lock(&scan->mutex);
        scan->read++;
        pthread_cond_broadcast(&scan->changed);
    }
    pthread_mutex_unlock(&scan->mutex);
    return NULL;
}

/* Chunks are whole block_max spans and lie in one segment. */
static uint64_t chunk_bytes_of(const struct hf_geometry *geometry)
{
    uint64_t bytes = geometry->block_max;
    while (bytes * 2 <= CHUNK_BYTES_MOST && geometry->segment_bytes % (bytes * 2) == 0)
        bytes *= 2;
    return bytes;
}

int hf_scan_open(struct hf_backend *backend, const struct hf_geometry *geometry, uint64_t from, struct hf_scan **out, char *error)
{
    struct hf_scan *scan = calloc(1, sizeof *scan);
    if (scan == NULL)
        return hf_say(error, HF_E_MEMORY, "no memory to read the log");
    uint64_t first, end;
    backend->ops->extent(backend, &first, &end);
    scan->backend = backend;
    scan->chunk_bytes = chunk_bytes_of(geometry);
    scan->first = scan->read = scan->asked = from / scan->chunk_bytes;
    scan->end = end / scan->chunk_bytes;
    void *memory = mmap(NULL, CHUNKS * scan->chunk_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        free(scan);
        return hf_say(error, HF_E_MEMORY, "no memory to read the log");
    }
    scan->memory = memory;
    for (unsigned i = 0; i < CHUNKS; i++)
        scan->chunks[i].memory = scan->memory + i * scan->chunk_bytes;
    pthread_mutex_init(&scan->mutex, NULL);
    pthread_cond_init(&scan->changed, NULL);
    scan->runs = pthread_create(&scan->thread, NULL, scan_main, scan) == 0;
    if (!scan->runs) {
        hf_scan_close(scan);
        return hf_say(error, HF_E_MEMORY, "cannot start the thread that reads the log ahead");
    }
    *out = scan;
    return 0;
}

int hf_scan_at(struct hf_scan *scan, uint64_t position, const uint8_t **at, char *error)
{
    uint64_t number = position / scan->chunk_bytes;
    *at = NULL;
    if (number >= scan->end)
        return 0;
    pthread_mutex_lock(&scan->mutex);
    assert(number + KEPT > scan->asked);
    if (number > scan->asked) {
        scan->asked = number;
        pthread_cond_broadcast(&scan->changed);
    }
    while (scan->read <= number)
        pthread_cond_wait(&scan->changed, &scan->mutex);
    pthread_mutex_unlock(&scan->mutex);
    const struct chunk *chunk = &scan->chunks[number % CHUNKS];
    if (chunk->error != 0)
        return hf_say(error, chunk->error, "%s", scan->cursor.error);
    *at = chunk->memory + position % scan->chunk_bytes;
    return 0;
}

void hf_scan_close(struct hf_scan *scan)
{
    if (scan->runs) {
        pthread_mutex_lock(&scan->mutex);
        scan->stop = true;
        pthread_cond_broadcast(&scan->changed);
        pthread_mutex_unlock(&scan->mutex);
        pthread_join(scan->thread, NULL);
    }
    scan->backend->ops->read_end(scan->backend, &scan->cursor);
    pthread_cond_destroy(&scan->changed);
    pthread_mutex_destroy(&scan->mutex);
    munmap(scan->memory, CHUNKS * scan->chunk_bytes);
    free(scan);
}

#include "persist/scan.h"

#include "persist/say.h"
#include "wire/error.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    CHUNK_BYTES_MOST = 2 << 20,
    THREADS = 3, /* one synchronous reader leaves a fast disk idle between its requests */
    CHUNKS = 8,
    KEPT = 2, /* chunks that stay readable: the newest asked for and the one before */
};

struct chunk {
    uint8_t *memory;
    uint64_t ready; /* number + 1 of what is in memory; guarded by the mutex */
    bool absent;    /* lies in a segment that does not exist; guarded by ready, like error */
    int error;
    char sentence[256];
};

struct hf_scan {
    struct hf_backend *backend;
    uint64_t chunk_bytes;
    uint64_t end; /* number behind the last chunk */
    uint8_t *memory;
    struct chunk chunks[CHUNKS];
    pthread_t threads[THREADS];
    unsigned thread_count;
    struct hf_read_cursor cursor; /* of the thread that asks, where it reads alone */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    uint64_t next;  /* chunk that nobody reads yet */
    uint64_t asked; /* furthest chunk that was asked for */
    bool stop;
};

static void read_chunk(struct hf_scan *scan, struct hf_read_cursor *cursor, uint64_t number)
{
    struct chunk *chunk = &scan->chunks[number % CHUNKS];
    chunk->error = scan->backend->ops->read(scan->backend, cursor, number * scan->chunk_bytes, chunk->memory, (uint32_t)scan->chunk_bytes,
                                            &chunk->absent);
    if (chunk->error != 0)
        memcpy(chunk->sentence, cursor->error, sizeof chunk->sentence);
}

static void *scan_main(void *context)
{
    struct hf_scan *scan = context;
    struct hf_read_cursor cursor = {0};
    pthread_mutex_lock(&scan->mutex);
    while (!scan->stop && scan->next < scan->end) {
        if (scan->next >= scan->asked + 1 + CHUNKS - KEPT) {
            pthread_cond_wait(&scan->changed, &scan->mutex);
            continue;
        }
        uint64_t number = scan->next++;
        pthread_mutex_unlock(&scan->mutex);
        read_chunk(scan, &cursor, number);
        pthread_mutex_lock(&scan->mutex);
        scan->chunks[number % CHUNKS].ready = number + 1;
        pthread_cond_broadcast(&scan->changed);
    }
    pthread_mutex_unlock(&scan->mutex);
    scan->backend->ops->read_end(scan->backend, &cursor);
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
    scan->next = scan->asked = from / scan->chunk_bytes;
    scan->end = end / scan->chunk_bytes;
    void *memory = mmap(NULL, CHUNKS * scan->chunk_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        free(scan);
        return hf_say(error, HF_E_MEMORY, "no memory to read the log");
    }
    scan->memory = memory;
    (void)madvise(memory, CHUNKS * scan->chunk_bytes, MADV_HUGEPAGE); /* a direct read pins each page that it fills */
    for (unsigned i = 0; i < CHUNKS; i++)
        scan->chunks[i].memory = scan->memory + i * scan->chunk_bytes;
    pthread_mutex_init(&scan->mutex, NULL);
    pthread_cond_init(&scan->changed, NULL);
    while (!backend->reads_alone && scan->thread_count < THREADS &&
           pthread_create(&scan->threads[scan->thread_count], NULL, scan_main, scan) == 0)
        scan->thread_count++;
    *out = scan;
    return 0;
}

/* Returns when the chunk is in memory. */
static void chunk_await(struct hf_scan *scan, uint64_t number)
{
    struct chunk *chunk = &scan->chunks[number % CHUNKS];
    pthread_mutex_lock(&scan->mutex);
    assert(number + KEPT > scan->asked);
    if (number > scan->asked) {
        scan->asked = number;
        pthread_cond_broadcast(&scan->changed);
    }
    if (scan->thread_count == 0 && chunk->ready != number + 1) {
        read_chunk(scan, &scan->cursor, number);
        chunk->ready = number + 1;
    }
    while (chunk->ready != number + 1)
        pthread_cond_wait(&scan->changed, &scan->mutex);
    pthread_mutex_unlock(&scan->mutex);
}

int hf_scan_at(struct hf_scan *scan, uint64_t position, const uint8_t **at, bool *missing, char *error)
{
    uint64_t number = position / scan->chunk_bytes;
    *at = NULL;
    *missing = false;
    if (number >= scan->end)
        return 0;
    chunk_await(scan, number);
    const struct chunk *chunk = &scan->chunks[number % CHUNKS];
    if (chunk->error != 0)
        return hf_say(error, chunk->error, "%s", chunk->sentence);
    *at = chunk->memory + position % scan->chunk_bytes;
    *missing = chunk->absent;
    return 0;
}

void hf_scan_close(struct hf_scan *scan)
{
    pthread_mutex_lock(&scan->mutex);
    scan->stop = true;
    pthread_cond_broadcast(&scan->changed);
    pthread_mutex_unlock(&scan->mutex);
    for (unsigned i = 0; i < scan->thread_count; i++)
        pthread_join(scan->threads[i], NULL);
    scan->backend->ops->read_end(scan->backend, &scan->cursor);
    pthread_cond_destroy(&scan->changed);
    pthread_mutex_destroy(&scan->mutex);
    munmap(scan->memory, CHUNKS * scan->chunk_bytes);
    free(scan);
}

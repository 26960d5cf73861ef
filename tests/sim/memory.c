#include "tests/sim/memory.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

static uint64_t left;
static unsigned held;

void *sim_malloc(size_t bytes);
void *sim_calloc(size_t count, size_t bytes);
void *sim_aligned_alloc(size_t alignment, size_t bytes);
void *sim_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
int sim_madvise(void *at, size_t bytes, int advice);
struct hf_sim_disk;
void __wrap_hf_sim_term_begins(struct hf_sim_disk *disk, const uint8_t *image);
void __real_hf_sim_term_begins(struct hf_sim_disk *disk, const uint8_t *image);

void sim_memory_refuse(uint64_t nth)
{
    left = nth;
}

bool sim_memory_refused(void)
{
    return left != 0 && held == 0 && --left == 0;
}

void *sim_malloc(size_t bytes)
{
    return sim_memory_refused() ? NULL : malloc(bytes);
}

void *sim_calloc(size_t count, size_t bytes)
{
    return sim_memory_refused() ? NULL : calloc(count, bytes);
}

void *sim_aligned_alloc(size_t alignment, size_t bytes)
{
    return sim_memory_refused() ? NULL : aligned_alloc(alignment, bytes);
}

void *sim_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    return sim_memory_refused() ? MAP_FAILED : mmap(at, bytes, protection, flags, file, offset);
}

/* Which pages are large, and which are there from the start, would cost a seed more time than all else that it does. */
int sim_madvise(void *at, size_t bytes, int advice)
{
    (void)at, (void)bytes;
    return advice == MADV_POPULATE_WRITE && sim_memory_refused() ? -1 : 0;
}

/* The simulated disk's own books are no part of the process. */
void __wrap_hf_sim_term_begins(struct hf_sim_disk *disk, const uint8_t *image)
{
    held++;
    __real_hf_sim_term_begins(disk, image);
    held--;
}

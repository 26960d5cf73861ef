/* A file in memory with a path, for readers that only take paths: the same one for every input. */
#ifndef HF_TESTS_FUZZ_MEMORY_FILE_H
#define HF_TESTS_FUZZ_MEMORY_FILE_H

#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

struct memory_file {
    int fd; /* 0: not made yet */
    char path[32];
};

static inline const char *memory_file_fill(struct memory_file *file, const uint8_t *bytes, size_t count)
{
    if (file->fd == 0) {
        file->fd = memfd_create("fuzz", MFD_CLOEXEC);
        FUZZ_CHECK(file->fd > 0);
        snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
    }
    FUZZ_CHECK(ftruncate(file->fd, 0) == 0);
    FUZZ_CHECK(count == 0 || pwrite(file->fd, bytes, count, 0) == (ssize_t)count);
    return file->path;
}

#endif

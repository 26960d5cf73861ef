/* The kernel as the log's file backend sees it: its calls fail on order, and a power cut leaves what was made durable and no more.
 *
 * The C library's and liburing's functions that persist/ calls are replaced by the linker (--wrap, tests/persist/meson.build). Unarmed they
 * do what they always do. Armed, each call counts; the ring is one in memory whose requests end when they are asked for; and every file
 * has two contents, what is read and what is durable, by the rules of POSIX: a write is durable by a flush of its file that was begun after
 * it was over, or by its own DSYNC; a name by a flush of its directory. Files of at most KERNEL_FILE_BYTES. Threads: any. */
#ifndef HF_TESTS_PERSIST_KERNEL_H
#define HF_TESTS_PERSIST_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KERNEL_FILE_BYTES = 16384, KERNEL_SECTOR_BYTES = 512 };

struct kernel_plan {
    const char *of; /* calls of this function count, as the linker knows it, or ring_write, ring_flush, ring_end: requests; NULL: all */
    uint64_t nth;   /* this call from now on fails, 0: none */
    int error;      /* with this errno; 0: the first read or write from there on is short */
    bool onwards;   /* and all that follow */
    uint64_t cut;   /* at this call from now on the power goes; 0: never */
    uint64_t kill;  /* at this one the process goes: what is volatile stays so; 0: never */
    bool continues; /* the disk is what the life before left, volatile parts too; else all that lies in the directory is durable */
    bool untracked; /* nobody asks what is durable: files of any size */
    uint64_t seed;
};

/* From here on; what lies in `dir` (made or not) is durable. */
void kernel_arm(const char *dir, const struct kernel_plan *plan);
/* Back to what calls always do; how many there were. */
uint64_t kernel_disarm(void);
bool kernel_failed(void);
/* The replaced function that failed first. */
const char *kernel_failed_call(void);
/* Cut or killed. */
bool kernel_is_gone(void);
bool kernel_was_cut(void);
/* Allocations of persist/ that were not freed, since armed. */
int64_t kernel_allocations(void);
/* The power goes between two lives. */
void kernel_cut(void);
/* Puts into the directory what the power cut left, instead of what is there. */
void kernel_leave_durable(const char *dir);

#endif

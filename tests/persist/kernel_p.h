/* Inside of the replaced kernel: shared by kernel_calls.c (the calls), kernel_ring.c (io_uring) and kernel_disk.c (what is durable). */
#ifndef HF_TESTS_PERSIST_KERNEL_P_H
#define HF_TESTS_PERSIST_KERNEL_P_H

#include "kernel.h"

/* What becomes of a call: 0: as ever; an errno; or SHORT for a write. */
enum { KERNEL_SHORT = -1 };

/* Counts a call and takes the kernel's lock until kernel_leave; KERNEL_UNARMED: neither. */
enum { KERNEL_UNARMED = -2 };
int kernel_enter(const char *name, bool may_be_short);
void kernel_leave(void);
/* Cut or killed, for who has entered. */
bool kernel_gone_while_locked(void);

/* The disk's side of calls that went well; with the lock held. */
void disk_begin(const char *dir, uint64_t seed);
void disk_forget(void);
void disk_opened(int fd, int dir_fd, const char *name, int flags);
void disk_made_directory(void);
void disk_written(int fd, const void *data, uint64_t bytes, uint64_t offset, uint64_t stamp);
void disk_resized(int fd, uint64_t bytes);
/* A flush that was begun at `stamp` is over. If it failed, what it was to write was written in part; the page cache takes all of it for
 * written and no later flush tries again, while without a page cache the next one may. */
void disk_flushed(int fd, uint64_t stamp, bool failed);
/* A request's own part of a file becomes durable, or over (volatile, for flushes from now on). */
void disk_over(int fd, uint64_t bytes, uint64_t offset, bool durable);
uint64_t disk_stamp(void);
/* Pages of the file that are not to be written any more are forgotten: it reads as what is durable. */
void disk_dropped(int fd);
void disk_cut(void);
/* Requests under way are over, and volatile. */
void disk_kill(void);
void disk_leave(const char *dir);

#define DISK_UNDER_WAY UINT64_MAX

#endif

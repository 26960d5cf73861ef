/* The calls that persist/ makes: counted, failing on order, and told to the disk when they go well. */
#include "kernel_p.h"
#include "kernel_wrap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct kernel_plan plan;
static uint64_t calls;
static int64_t allocations;
static bool armed, failed, gone, cut;
static const char *failed_call = "none";

void kernel_arm(const char *dir, const struct kernel_plan *how)
{
    if (how->untracked)
        disk_forget();
    else if (!how->continues)
        disk_begin(dir, how->seed + 1);
    pthread_mutex_lock(&mutex);
    plan = *how;
    calls = 0;
    allocations = 0;
    failed = gone = cut = false;
    armed = true;
    pthread_mutex_unlock(&mutex);
}

uint64_t kernel_disarm(void)
{
    pthread_mutex_lock(&mutex);
    armed = false;
    pthread_mutex_unlock(&mutex);
    return calls;
}

/* Threads of the log may still be at work. */
static bool locked_value(const bool *value)
{
    pthread_mutex_lock(&mutex);
    bool now = *value;
    pthread_mutex_unlock(&mutex);
    return now;
}

bool kernel_gone_while_locked(void)
{
    return gone;
}

bool kernel_failed(void)
{
    return locked_value(&failed);
}

const char *kernel_failed_call(void)
{
    pthread_mutex_lock(&mutex);
    const char *name = failed_call;
    pthread_mutex_unlock(&mutex);
    return name;
}

bool kernel_is_gone(void)
{
    return locked_value(&gone);
}

bool kernel_was_cut(void)
{
    return locked_value(&cut);
}

void kernel_cut(void)
{
    disk_cut();
}

int64_t kernel_allocations(void)
{
    return allocations;
}

void kernel_leave_durable(const char *dir)
{
    disk_leave(dir);
}

/* Without power, or dead, nothing works any more, whatever the plan was. */
static int fate(const char *name, bool may_be_short)
{
    calls += plan.of == NULL || strcmp(name + strlen("__wrap_"), plan.of) == 0;
    if (!gone && plan.cut != 0 && calls >= plan.cut) {
        disk_cut();
        gone = cut = true;
    }
    if (!gone && plan.kill != 0 && calls >= plan.kill) {
        disk_kill();
        gone = true;
    }
    if (gone)
        return EIO;
    bool comes = plan.nth != 0 && calls >= plan.nth && (!failed || plan.onwards);
    if (!comes || (plan.error == 0 && !may_be_short))
        return 0;
    failed_call = failed ? failed_call : name;
    failed = true;
    return plan.error == 0 ? KERNEL_SHORT : plan.error;
}

int kernel_enter(const char *name, bool may_be_short)
{
    pthread_mutex_lock(&mutex);
    if (armed)
        return fate(name, may_be_short);
    pthread_mutex_unlock(&mutex);
    return KERNEL_UNARMED;
}

void kernel_leave(void)
{
    int saved = errno;
    pthread_mutex_unlock(&mutex);
    errno = saved;
}

/* Leaves a call that fails: -1 and its errno. */
static int refuse(int error)
{
    kernel_leave();
    errno = error;
    return -1;
}

/* ---- directories and files ---- */

/* The mode is the caller's optional argument: nobody set it where O_CREAT is not given, and nobody looks at it then. */
int __wrap_open64(const char *path, int flags, mode_t mode)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_open64(path, flags, mode);
    if (call > 0)
        return refuse(call);
    int fd = __real_open64(path, flags, mode);
    if (fd >= 0)
        disk_opened(fd, -1, path, flags);
    kernel_leave();
    return fd;
}

/* Without O_DIRECT, which a memory file system may refuse: what is durable is the model's to say. */
int __wrap_openat64(int dir_fd, const char *path, int flags, mode_t mode)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_openat64(dir_fd, path, flags, mode);
    if (call > 0)
        return refuse(call);
    int fd = __real_openat64(dir_fd, path, flags & ~O_DIRECT, mode);
    if (fd >= 0)
        disk_opened(fd, dir_fd, path, flags);
    kernel_leave();
    return fd;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_mkdir(path, mode);
    if (call > 0)
        return refuse(call);
    int e = __real_mkdir(path, mode);
    if (e == 0)
        disk_made_directory();
    kernel_leave();
    return e;
}

DIR *__wrap_fdopendir(int fd)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_fdopendir(fd);
    DIR *dir = call > 0 ? NULL : __real_fdopendir(fd);
    if (call > 0)
        refuse(call);
    else
        kernel_leave();
    return dir;
}

struct dirent *__wrap_readdir64(DIR *dir)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_readdir64(dir);
    struct dirent *entry = call > 0 ? NULL : __real_readdir64(dir);
    if (call > 0)
        refuse(call);
    else
        kernel_leave();
    return entry;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t bytes, off_t offset)
{
    int call = kernel_enter(__func__, true);
    if (call == KERNEL_UNARMED)
        return __real_pread64(fd, buf, bytes, offset);
    if (call > 0)
        return refuse(call);
    ssize_t n = __real_pread64(fd, buf, call == KERNEL_SHORT ? bytes / 2 : bytes, offset);
    kernel_leave();
    return n;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t bytes, off_t offset)
{
    int call = kernel_enter(__func__, true);
    if (call == KERNEL_UNARMED)
        return __real_pwrite64(fd, buf, bytes, offset);
    if (call > 0)
        return refuse(call);
    ssize_t n = __real_pwrite64(fd, buf, call == KERNEL_SHORT ? bytes / 2 : bytes, offset);
    if (n > 0)
        disk_written(fd, buf, (uint64_t)n, (uint64_t)offset, disk_stamp());
    kernel_leave();
    return n;
}

static int flush(int call, int fd)
{
    if (!gone)
        disk_flushed(fd, disk_stamp(), call > 0);
    if (call > 0)
        return refuse(call);
    kernel_leave();
    return 0;
}

int __wrap_fsync(int fd)
{
    int call = kernel_enter(__func__, false);
    return call == KERNEL_UNARMED ? __real_fsync(fd) : flush(call, fd);
}

int __wrap_fdatasync(int fd)
{
    int call = kernel_enter(__func__, false);
    return call == KERNEL_UNARMED ? __real_fdatasync(fd) : flush(call, fd);
}

int __wrap_posix_fadvise64(int fd, off_t offset, off_t bytes, int advice)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_posix_fadvise64(fd, offset, bytes, advice);
    if (call == 0 && advice == POSIX_FADV_DONTNEED)
        disk_dropped(fd);
    kernel_leave();
    return call;
}

/* One seed in three has a file system that reserves nothing: segments grow as they are zeroed. */
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_fallocate64(fd, mode, offset, bytes);
    if (call > 0)
        return refuse(call);
    if (plan.seed % 3 == 2)
        return refuse(EOPNOTSUPP);
    int e = __real_fallocate64(fd, mode, offset, bytes);
    if (e == 0)
        disk_resized(fd, (uint64_t)(offset + bytes));
    kernel_leave();
    return e;
}

int __wrap_ftruncate64(int fd, off_t bytes)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_ftruncate64(fd, bytes);
    if (call > 0)
        return refuse(call);
    int e = __real_ftruncate64(fd, bytes);
    if (e == 0)
        disk_resized(fd, (uint64_t)bytes);
    kernel_leave();
    return e;
}

/* ---- calls that only fail or do not ---- */

int __wrap_fstat64(int fd, struct stat *st)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_fstat64(fd, st);
    if (call > 0)
        return refuse(call);
    kernel_leave();
    return __real_fstat64(fd, st);
}

/* The seed says whether the file system is one that copies through the page cache. */
int __wrap_fstatfs64(int fd, struct statfs *fs)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_fstatfs64(fd, fs);
    if (call > 0)
        return refuse(call);
    bool direct = plan.seed % 2 == 0;
    kernel_leave();
    int e = __real_fstatfs64(fd, fs);
    if (e == 0)
        fs->f_type = direct ? 0xef53 /* ext4 */ : 0x01021994 /* tmpfs */;
    return e;
}

int __wrap_flock(int fd, int operation)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_flock(fd, operation);
    if (call > 0)
        return refuse(call);
    kernel_leave();
    return __real_flock(fd, operation);
}

int __wrap_eventfd(unsigned count, int flags)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_eventfd(count, flags);
    if (call > 0)
        return refuse(call);
    kernel_leave();
    return __real_eventfd(count, flags);
}

ssize_t __wrap_getrandom(void *buf, size_t bytes, unsigned flags)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_getrandom(buf, bytes, flags);
    if (call > 0)
        return refuse(call);
    kernel_leave();
    return __real_getrandom(buf, bytes, flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *context)
{
    int call = kernel_enter(__func__, false);
    if (call == KERNEL_UNARMED)
        return __real_pthread_create(thread, attr, run, context);
    kernel_leave();
    return call > 0 ? call : __real_pthread_create(thread, attr, run, context);
}

/* ---- memory ---- */

/* True: this allocation fails. */
static bool no_memory(const char *name, bool counts)
{
    int call = kernel_enter(name, false);
    if (call == KERNEL_UNARMED)
        return false;
    allocations += call == 0 && counts;
    kernel_leave();
    if (call > 0)
        errno = ENOMEM;
    return call > 0;
}

void *__wrap_malloc(size_t bytes)
{
    return no_memory(__func__, true) ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return no_memory(__func__, true) ? NULL : __real_calloc(count, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return no_memory(__func__, true) ? NULL : __real_aligned_alloc(alignment, bytes);
}

void __wrap_free(void *memory)
{
    pthread_mutex_lock(&mutex);
    allocations -= armed && memory != NULL;
    pthread_mutex_unlock(&mutex);
    __real_free(memory);
}

void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return no_memory(__func__, false) ? MAP_FAILED : __real_mmap64(at, bytes, protection, flags, fd, offset);
}

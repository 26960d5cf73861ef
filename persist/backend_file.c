/* The file backend's directory: lock, manifest copies, finding and reading segments. */
#include "persist/backend_file_p.h"
#include "persist/say.h"
#include "wire/error.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

static struct hf_file *file_of(struct hf_backend *backend)
{
    return (struct hf_file *)(void *)backend;
}

uint64_t hf_file_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void hf_file_segment_name(uint64_t position, char name[32])
{
    snprintf(name, 32, "log-%016" PRIx64 ".seg", position);
}

int hf_file_lock(int fd, int operation, uint64_t deadline_ns)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    for (;;) {
        if (flock(fd, operation | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return HF_E_IO;
        if (hf_file_now_ns() >= deadline_ns)
            return HF_E_IN_USE;
        nanosleep(&pause, NULL);
    }
}

/* The first entry of a directory that was never used as one of ours and that we would not make; false where there is none. */
static bool stranger_find(struct hf_file *file, char name[64])
{
    static const char *const ours[] = {".", "..", "lock", "lost+found", "control.sock", "control.sock.lock"};
    int fd = openat(file->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = faccessat(file->dir_fd, "lock", F_OK, 0) == 0 || fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    for (const struct dirent *entry; dir != NULL && !found && (entry = readdir(dir)) != NULL;) {
        found = strncmp(entry->d_name, "manifest.", 9) != 0 && strncmp(entry->d_name, "log-", 4) != 0;
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
            found = found && strcmp(entry->d_name, ours[i]) != 0;
        if (found)
            snprintf(name, 64, "%.63s", entry->d_name);
    }
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return found;
}

/* The directory itself too: somebody may take the lock file for a left-over and remove it, and the next one is another file. File systems
 * that lock no directories (NFS) have the lock file alone. */
static int dir_lock(struct hf_file *file, int operation)
{
    int e = hf_file_lock(file->dir_fd, operation, file->lock_deadline_ns);
    return e == HF_E_IO ? 0 : e;
}

static int file_lock(struct hf_backend *backend, bool shared, uint64_t wait_ms)
{
    struct hf_file *file = file_of(backend);
    char stranger[64];
    if (!file->read_only && stranger_find(file, stranger))
        return hf_say(backend->error, HF_E_USAGE, "%s holds other files (%s) and no log; give an empty or a missing directory", file->dir,
                      stranger);
    int flags = file->read_only ? O_RDONLY : O_RDWR | O_CREAT;
    file->lock_fd = openat(file->dir_fd, "lock", flags | O_CLOEXEC, 0640);
    if (file->lock_fd < 0 && errno == ENOENT)
        return hf_say(backend->error, HF_E_USAGE, "%s is no data directory of this engine: it has no file 'lock'; check --data", file->dir);
    if (file->lock_fd < 0)
        return hf_say(backend->error, HF_E_IO, "cannot open %s/lock: %s; give this user the directory", file->dir, strerror(errno));
    file->lock_deadline_ns = hf_file_now_ns() + wait_ms * 1000000;
    int operation = shared ? LOCK_SH : LOCK_EX, e = hf_file_lock(file->lock_fd, operation, file->lock_deadline_ns);
    if (e == 0)
        e = dir_lock(file, operation);
    if (e == HF_E_IN_USE)
        return hf_say(backend->error, e,
                      "%s is in use by another process (waited %" PRIu64 " ms for %s/lock); stop it or use another --data", file->dir,
                      wait_ms, file->dir);
    if (e != 0)
        return hf_say(backend->error, e, "cannot lock %s/lock: %s", file->dir, strerror(errno));
    return 0;
}

static void manifest_name(unsigned copy, char name[16])
{
    snprintf(name, 16, "manifest.%u", copy & 1);
}

/* What a killed start wrote may not be durable yet, and what a failed flush left in the page cache never will be: neither may be believed,
 * because the other copy is written over next. */
static int from_disk(int fd)
{
    int e = fsync(fd);
    if (e == 0)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return e;
}

static int file_manifest_read(struct hf_backend *backend, unsigned copy, void *buf, uint32_t *bytes)
{
    struct hf_file *file = file_of(backend);
    char name[16];
    manifest_name(copy, name);
    int fd = openat(file->dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *bytes = 0;
        return 0;
    }
    ssize_t n = fd < 0 || (!file->read_only && from_disk(fd) != 0) ? -1 : pread(fd, buf, *bytes, 0);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return hf_say(backend->error, HF_E_IO, "cannot read %s/%s: %s", file->dir, name, strerror(saved));
    *bytes = (uint32_t)n;
    return 0;
}

static int file_manifest_write(struct hf_backend *backend, unsigned copy, const void *buf, uint32_t bytes)
{
    struct hf_file *file = file_of(backend);
    char name[16];
    manifest_name(copy, name);
    int fd = openat(file->dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    ssize_t n = fd < 0 ? -1 : pwrite(fd, buf, bytes, 0);
    bool ok = n == (ssize_t)bytes && fsync(fd) == 0 && fsync(file->dir_fd) == 0;
    int saved = n >= 0 && n < (ssize_t)bytes ? ENOSPC : errno;
    if (fd >= 0)
        close(fd);
    if (!ok)
        return hf_say(backend->error, saved == ENOSPC || saved == EDQUOT ? HF_E_NO_SPACE : HF_E_IO,
                      "cannot write %s/%s: %s; the start is refused because the log's beginning must be recorded first", file->dir, name,
                      strerror(saved));
    return 0;
}

/* Memory file systems take O_DIRECT and copy through the page cache all the same. */
static bool direct_works(const struct hf_file *file)
{
    struct statfs fs;
    if (fstatfs(file->dir_fd, &fs) != 0 || fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
        return false;
    char name[32] = "lock";
    int fd = openat(file->dir_fd, name, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static bool segment_position(const char *name, uint64_t *position)
{
    char again[32];
    if (strlen(name) != 24 || strncmp(name, "log-", 4) != 0)
        return false;
    *position = strtoull(name + 4, NULL, 16);
    hf_file_segment_name(*position, again);
    return strcmp(name, again) == 0;
}

static int file_attach(struct hf_backend *backend, const struct hf_geometry *geometry)
{
    struct hf_file *file = file_of(backend);
    file->geometry = *geometry;
    backend->direct = direct_works(file);
    backend->dsync = backend->direct;
    file->first = file->end = 0;
    int fd = openat(file->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int saved = errno;
        if (fd >= 0)
            close(fd);
        return hf_say(backend->error, HF_E_IO, "cannot list %s: %s", file->dir, strerror(saved));
    }
    bool any = false;
    uint64_t position;
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL; errno = 0) {
        if (!segment_position(entry->d_name, &position) || position % geometry->segment_bytes != 0)
            continue;
        if (!any || position < file->first)
            file->first = position;
        if (position + geometry->segment_bytes > file->end)
            file->end = position + geometry->segment_bytes;
        any = true;
    }
    int saved = errno; /* a list that breaks off would make the log end where it does not */
    closedir(dir);
    return saved == 0 ? 0 : hf_say(backend->error, HF_E_IO, "cannot list %s: %s", file->dir, strerror(saved));
}

static void file_extent(struct hf_backend *backend, uint64_t *first, uint64_t *end)
{
    *first = file_of(backend)->first;
    *end = file_of(backend)->end;
}

static void file_read_end(struct hf_backend *backend, struct hf_read_cursor *cursor)
{
    (void)backend;
    if (cursor->segment != 0 && cursor->fd >= 0)
        close(cursor->fd);
    cursor->segment = 0;
}

static int cursor_open(struct hf_file *file, struct hf_read_cursor *cursor, uint64_t position)
{
    uint64_t number = position / file->geometry.segment_bytes;
    if (cursor->segment == number + 1)
        return 0;
    file_read_end(&file->base, cursor);
    char name[32];
    hf_file_segment_name(number * file->geometry.segment_bytes, name);
    cursor->fd = openat(file->dir_fd, name, O_RDONLY | O_CLOEXEC | (file->base.direct ? O_DIRECT : 0));
    if (cursor->fd < 0 && errno != ENOENT) {
        snprintf(cursor->error, sizeof cursor->error, "cannot open %.200s: %s", name, strerror(errno));
        return HF_E_IO;
    }
    cursor->missing = cursor->fd < 0;
    cursor->segment = cursor->fd < 0 ? 0 : number + 1;
    return 0;
}

static int file_read(struct hf_backend *backend, struct hf_read_cursor *cursor, uint64_t position, void *buf, uint32_t bytes, bool *absent)
{
    struct hf_file *file = file_of(backend);
    int e = cursor_open(file, cursor, position);
    if (e != 0)
        return e;
    uint32_t got = 0;
    while (cursor->segment != 0 && got < bytes) {
        ssize_t n = pread(cursor->fd, (char *)buf + got, bytes - got, (off_t)(position % file->geometry.segment_bytes + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            char name[32];
            hf_file_segment_name(position - position % file->geometry.segment_bytes, name);
            snprintf(cursor->error, sizeof cursor->error, "cannot read %s at position %" PRIu64 ": %s; check the disk", name,
                     position + got, strerror(errno));
            return HF_E_IO;
        }
        if (n == 0)
            break;
        got += (uint32_t)n;
    }
    memset((char *)buf + got, 0, bytes - got);
    *absent = got < bytes && position - position % file->geometry.segment_bytes + file->geometry.segment_bytes < file->end;
    return 0;
}

static int file_flush(struct hf_backend *backend, uint64_t position)
{
    struct hf_file *file = file_of(backend);
    uint64_t start = position - position % file->geometry.segment_bytes;
    for (uint64_t at = start < file->first ? file->first : start; at < file->end; at += file->geometry.segment_bytes) {
        char name[32];
        hf_file_segment_name(at, name);
        int fd = openat(file->dir_fd, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue;
        bool ok = fd >= 0 && fdatasync(fd) == 0;
        int saved = errno;
        if (ok && !backend->direct)
            (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (fd >= 0)
            close(fd);
        if (!ok)
            return hf_say(backend->error, HF_E_IO,
                          "cannot flush %s/%s: %s; what was read is not known to be durable, so the start is refused", file->dir, name,
                          strerror(saved));
    }
    return 0;
}

static int file_start(struct hf_backend *backend, uint64_t position, void *memory, size_t bytes)
{
    struct hf_file *file = file_of(backend);
    int e = hf_file_ring_open(file, memory, bytes);
    if (e == 0)
        e = hf_file_space_start(file, position);
    return e;
}

static uint64_t file_space_end(const struct hf_backend *backend)
{
    return hf_load_acquire_u64(&((const struct hf_file *)(const void *)backend)->space.filled); /* partner: publish in file_space.c */
}

static bool file_space_failing(const struct hf_backend *backend)
{
    return hf_load_relaxed_u32(&((const struct hf_file *)(const void *)backend)->space.failing) != 0;
}

static void file_space_used(struct hf_backend *backend, uint64_t appended, uint64_t durable)
{
    hf_file_space_used(file_of(backend), appended, durable);
}

static int file_event_fd(const struct hf_backend *backend)
{
    return ((const struct hf_file *)(const void *)backend)->ring.event_fd;
}

static uint64_t file_now_ns(const struct hf_backend *backend)
{
    (void)backend;
    return hf_file_now_ns();
}

static void file_wait(struct hf_backend *backend, bool under_way)
{
    struct pollfd done = {.fd = file_event_fd(backend), .events = POLLIN};
    const struct timespec pause = {.tv_nsec = 20000};
    if (done.fd >= 0 && under_way)
        poll(&done, 1, 1);
    else
        nanosleep(&pause, NULL);
}

static uint64_t file_segments(const struct hf_backend *backend)
{
    const struct hf_file *file = (const struct hf_file *)(const void *)backend;
    uint64_t filled = hf_load_relaxed_u64(&file->space.filled), bytes = file->geometry.segment_bytes;
    uint64_t end = filled > file->end ? filled : file->end;
    return bytes == 0 ? 0 : (end - file->first + bytes - 1) / bytes;
}

static void file_close(struct hf_backend *backend)
{
    struct hf_file *file = file_of(backend);
    hf_file_ring_close(file);
    hf_file_space_stop(file);
    if (file->lock_fd >= 0) {
        flock(file->lock_fd, LOCK_UN); /* all writes are over; the kernel lets go of the ring's files only some time later */
        close(file->lock_fd);
    }
    close(file->dir_fd);
    free(file);
}

static const struct hf_backend_ops file_ops = {
    .name = "file",
    .lock = file_lock,
    .manifest_read = file_manifest_read,
    .manifest_write = file_manifest_write,
    .attach = file_attach,
    .extent = file_extent,
    .read = file_read,
    .read_end = file_read_end,
    .flush = file_flush,
    .space_start = file_start,
    .space_end = file_space_end,
    .space_failing = file_space_failing,
    .space_used = file_space_used,
    .append = hf_file_ring_append,
    .poll = hf_file_ring_poll,
    .event_fd = file_event_fd,
    .now_ns = file_now_ns,
    .wait = file_wait,
    .segments = file_segments,
    .close = file_close,
};

/* A new directory is an entry of its parent: without this a power cut could take all of it. Whoever made it may have ended before this, so
 * it is done at every start; a parent that cannot be read is its owner's to keep. */
static int made_durable(int dir_fd, bool made)
{
    int parent = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0 && errno == EACCES && !made)
        return 0;
    int e = parent < 0 ? -1 : fsync(parent);
    if (parent >= 0)
        close(parent);
    return e;
}

int hf_backend_file_open(const char *dir, bool read_only, struct hf_backend **out, char *error)
{
    if (dir == NULL || strlen(dir) >= HF_FILE_DIR_BYTES)
        return hf_say(error, HF_E_USAGE, "the data directory's name is missing or longer than %d bytes", HF_FILE_DIR_BYTES - 1);
    bool made = !read_only && mkdir(dir, 0750) == 0;
    if (!read_only && !made && errno != EEXIST)
        return hf_say(error, HF_E_IO, "cannot make %s: %s; its parent must exist and be writable", dir, strerror(errno));
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return hf_say(error, errno == ENOENT || errno == ENOTDIR ? HF_E_USAGE : HF_E_IO, "cannot open the data directory %s: %s", dir,
                      strerror(errno));
    if (!read_only && made_durable(dir_fd, made) != 0) {
        int saved = errno;
        close(dir_fd);
        return hf_say(error, HF_E_IO, "cannot make %s durable in its parent: %s", dir, strerror(saved));
    }
    struct hf_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        close(dir_fd);
        return hf_say(error, HF_E_MEMORY, "no memory for the log's file backend");
    }
    file->base.ops = &file_ops;
    file->base.depth = 1;
    memcpy(file->dir, dir, strlen(dir) + 1);
    file->dir_fd = dir_fd;
    file->lock_fd = -1;
    file->read_only = read_only;
    file->ring.event_fd = -1;
    file->space.wake_fd = file->space.fill_fd = -1;
    *out = &file->base;
    return 0;
}

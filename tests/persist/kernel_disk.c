/* What a power cut leaves of a directory: contents by sector, sizes and names, each durable only by the flush that POSIX asks for. */
#include "kernel_p.h"
#include "kernel_wrap.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MOST = 400, FDS_MOST = 1024, SECTORS = KERNEL_FILE_BYTES / KERNEL_SECTOR_BYTES, NOTHING = -1, DIRECTORY = -2, PARENT = -3 };

struct file {
    char name[40];
    uint8_t now[KERNEL_FILE_BYTES], durable[KERNEL_FILE_BYTES];
    uint64_t stamps[SECTORS]; /* when the sector's last write was over; 0: durable, or lost; DISK_UNDER_WAY */
    uint64_t size, durable_size, size_stamp;
    bool named;  /* its name is durable */
    bool direct; /* written without the page cache */
};

static struct file files[FILES_MOST];
static unsigned file_count;
static int fd_files[FDS_MOST];
static char directory[300];
static bool directory_named, untracked;
static uint64_t stamp_now, random_state;

static uint64_t draw(uint64_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (random_state >> 33) % below;
}

uint64_t disk_stamp(void)
{
    return ++stamp_now;
}

static int file_find(const char *name)
{
    for (unsigned i = 0; i < file_count; i++)
        if (strcmp(files[i].name, name) == 0)
            return (int)i;
    return NOTHING;
}

static int file_add(const char *name, bool named)
{
    assert(file_count < FILES_MOST);
    struct file *file = &files[file_count];
    *file = (struct file){.named = named};
    snprintf(file->name, sizeof file->name, "%s", name);
    return (int)file_count++;
}

void disk_begin(const char *dir, uint64_t seed)
{
    DIR *list = opendir(dir);
    snprintf(directory, sizeof directory, "%s", dir);
    untracked = false;
    file_count = 0;
    stamp_now = 0;
    random_state = seed;
    directory_named = list != NULL;
    for (unsigned i = 0; i < FDS_MOST; i++)
        fd_files[i] = NOTHING;
    for (const struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        char path[400];
        if (entry->d_name[0] == '.')
            continue;
        struct file *file = &files[file_add(entry->d_name, true)];
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        file->size = file->durable_size = (uint64_t)read(fd, file->now, sizeof file->now);
        memcpy(file->durable, file->now, sizeof file->now);
        close(fd);
    }
    if (list != NULL)
        closedir(list);
}

void disk_forget(void)
{
    untracked = true;
    file_count = 0;
    for (unsigned i = 0; i < FDS_MOST; i++)
        fd_files[i] = NOTHING;
}

void disk_made_directory(void)
{
    directory_named = false;
}

void disk_opened(int fd, int dir_fd, const char *name, int flags)
{
    assert(fd >= 0 && fd < FDS_MOST);
    if (dir_fd < 0 || strcmp(name, ".") == 0) {
        fd_files[fd] = DIRECTORY;
        return;
    }
    if (strcmp(name, "..") == 0) {
        fd_files[fd] = PARENT;
        return;
    }
    if (untracked) {
        fd_files[fd] = NOTHING;
        return;
    }
    int found = file_find(name);
    fd_files[fd] = found != NOTHING ? found : (flags & O_CREAT) != 0 ? file_add(name, false) : NOTHING;
    if (fd_files[fd] >= 0 && (flags & O_ACCMODE) != O_RDONLY)
        files[fd_files[fd]].direct = (flags & O_DIRECT) != 0;
}

static struct file *file_of(int fd)
{
    assert(fd >= 0 && fd < FDS_MOST);
    return fd_files[fd] >= 0 ? &files[fd_files[fd]] : NULL;
}

void disk_written(int fd, const void *data, uint64_t bytes, uint64_t offset, uint64_t stamp)
{
    struct file *file = file_of(fd);
    if (file == NULL)
        return;
    assert(offset + bytes <= KERNEL_FILE_BYTES);
    memcpy(file->now + offset, data, bytes);
    for (uint64_t at = offset; at < offset + bytes; at += KERNEL_SECTOR_BYTES)
        file->stamps[at / KERNEL_SECTOR_BYTES] = stamp;
    if (offset + bytes > file->size) {
        file->size = offset + bytes;
        file->size_stamp = stamp;
    }
}

void disk_resized(int fd, uint64_t bytes)
{
    struct file *file = file_of(fd);
    if (file == NULL)
        return;
    assert(bytes <= KERNEL_FILE_BYTES);
    file->size = bytes;
    file->size_stamp = disk_stamp();
}

static void sector_settle(struct file *file, uint64_t sector, bool failed)
{
    uint64_t at = sector * KERNEL_SECTOR_BYTES;
    file->stamps[sector] = 0;
    if (!failed)
        memcpy(file->durable + at, file->now + at, KERNEL_SECTOR_BYTES);
}

void disk_flushed(int fd, uint64_t stamp, bool failed)
{
    assert(fd >= 0 && fd < FDS_MOST);
    struct file *file = file_of(fd);
    directory_named = directory_named || (fd_files[fd] == PARENT && !failed);
    for (unsigned i = 0; i < file_count && fd_files[fd] == DIRECTORY && !failed; i++)
        files[i].named = true;
    for (uint64_t sector = 0; file != NULL && sector < SECTORS; sector++)
        if (file->stamps[sector] != 0 && file->stamps[sector] <= stamp && !(failed && file->direct))
            sector_settle(file, sector, failed && draw(2) == 0);
    if (file != NULL && file->size_stamp <= stamp && !failed)
        file->durable_size = file->size;
}

void disk_over(int fd, uint64_t bytes, uint64_t offset, bool durable)
{
    struct file *file = file_of(fd);
    uint64_t stamp = disk_stamp();
    for (uint64_t at = offset; file != NULL && at < offset + bytes; at += KERNEL_SECTOR_BYTES)
        if (durable)
            sector_settle(file, at / KERNEL_SECTOR_BYTES, false);
        else
            file->stamps[at / KERNEL_SECTOR_BYTES] = stamp;
}

void disk_dropped(int fd)
{
    struct file *file = file_of(fd);
    char path[400];
    if (file == NULL)
        return;
    snprintf(path, sizeof path, "%s/%s", directory, file->name);
    int again = __real_open64(path, O_WRONLY | O_CLOEXEC);
    assert(again >= 0);
    for (uint64_t at = 0; at < file->size; at += KERNEL_SECTOR_BYTES) {
        if (file->stamps[at / KERNEL_SECTOR_BYTES] != 0 || memcmp(file->now + at, file->durable + at, KERNEL_SECTOR_BYTES) == 0)
            continue;
        memcpy(file->now + at, file->durable + at, KERNEL_SECTOR_BYTES);
        ssize_t n = __real_pwrite64(again, file->now + at, KERNEL_SECTOR_BYTES, (off_t)at);
        assert(n == KERNEL_SECTOR_BYTES);
    }
    close(again);
}

void disk_kill(void)
{
    uint64_t stamp = disk_stamp();
    for (unsigned i = 0; i < file_count; i++)
        for (uint64_t sector = 0; sector < SECTORS; sector++)
            if (files[i].stamps[sector] == DISK_UNDER_WAY)
                files[i].stamps[sector] = stamp;
}

/* Of what was volatile all, nothing, or any mixture was kept: sectors, sizes and names alike. */
void disk_cut(void)
{
    uint64_t kind = draw(3);
    for (unsigned i = 0; i < file_count; i++) {
        struct file *file = &files[i];
        for (uint64_t sector = 0; sector < SECTORS; sector++)
            if (file->stamps[sector] != 0 && (kind == 0 || (kind == 1 && draw(2) == 0)))
                sector_settle(file, sector, false);
        if (kind == 0 || (kind == 1 && draw(2) == 0))
            file->durable_size = file->size;
        file->named = file->named || kind == 0 || (kind == 1 && draw(2) == 0);
    }
    directory_named = directory_named || kind == 0;
}

static void file_leave(const char *dir, const struct file *file)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, file->name);
    unlink(path);
    if (!file->named || !directory_named)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    assert(fd >= 0);
    ssize_t written = pwrite(fd, file->durable, file->durable_size, 0);
    assert(written == (ssize_t)file->durable_size);
    close(fd);
}

void disk_leave(const char *dir)
{
    for (unsigned i = 0; i < file_count; i++)
        file_leave(dir, &files[i]);
    if (!directory_named)
        rmdir(dir);
}

#include "net/dpdk/eal_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/net.h"

enum { HF_EAL_DEPTH_MAX = 4, HF_EAL_TRIES = 8 };

static const char hf_eal_prefix[] = "hf-eal-";
static char hf_eal_directory[256];
static int hf_eal_lock_fd = -1; /* of the directory itself; the kernel lets go of it with the process, however it ends */

/* ---- The directory ---- */

static int hf_eal_open(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void hf_eal_remove_tree(int parent, const char *name, unsigned depth)
{
    int fd = depth > 0 ? hf_eal_open(parent, name) : -1;
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !directory)
        close(fd);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(directory), entry->d_name, 0) != 0)
            hf_eal_remove_tree(dirfd(directory), entry->d_name, depth - 1);
    }
    if (directory)
        closedir(directory);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

static bool hf_eal_lock(int fd)
{
    struct stat status;
    return fd >= 0 && fstat(fd, &status) == 0 && status.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static void hf_eal_remove_left(const char *parent_path)
{
    DIR *parent = opendir(parent_path);
    for (struct dirent *entry; parent && (entry = readdir(parent));) {
        int fd = strncmp(entry->d_name, hf_eal_prefix, sizeof hf_eal_prefix - 1) == 0 ? hf_eal_open(dirfd(parent), entry->d_name) : -1;
        if (hf_eal_lock(fd))
            hf_eal_remove_tree(dirfd(parent), entry->d_name, HF_EAL_DEPTH_MAX);
        if (fd >= 0)
            close(fd);
    }
    if (parent)
        closedir(parent);
}

/* Another engine that starts may take the new directory for one that was left, before it is locked. */
static bool hf_eal_is_kept(void)
{
    struct stat held, named;
    return hf_eal_lock(hf_eal_lock_fd) && fstat(hf_eal_lock_fd, &held) == 0 && stat(hf_eal_directory, &named) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

int hf_eal_files_make(void)
{
    const char *parent = getenv("TMPDIR");
    if (!parent || parent[0] != '/')
        parent = "/tmp";
    hf_eal_remove_left(parent);
    for (unsigned i = 0; i < HF_EAL_TRIES; i++) {
        snprintf(hf_eal_directory, sizeof hf_eal_directory, "%s/%sXXXXXX", parent, hf_eal_prefix);
        if (!mkdtemp(hf_eal_directory))
            break;
        hf_eal_lock_fd = hf_eal_open(AT_FDCWD, hf_eal_directory);
        if (hf_eal_is_kept())
            return 0;
        hf_eal_files_remove();
    }
    hf_eal_directory[0] = '\0';
    return hf_net_fail(HF_E_IO, "no directory for DPDK in %s: %s", parent, strerror(errno));
}

const char *hf_eal_files_path(void)
{
    return hf_eal_directory;
}

void hf_eal_files_remove(void)
{
    if (hf_eal_directory[0])
        hf_eal_remove_tree(AT_FDCWD, hf_eal_directory, HF_EAL_DEPTH_MAX);
    hf_eal_directory[0] = '\0';
    if (hf_eal_lock_fd >= 0)
        close(hf_eal_lock_fd);
    hf_eal_lock_fd = -1;
}

/* ---- Sockets ---- */

/* What stands behind `key`= in a device's arguments. */
static bool hf_eal_argument(const char *arguments, const char *key, char *out, size_t out_bytes)
{
    size_t key_bytes = strlen(key);
    for (const char *at = arguments; (at = strchr(at, ','));) {
        at++;
        if (strncmp(at, key, key_bytes) != 0 || at[key_bytes] != '=')
            continue;
        at += key_bytes + 1;
        size_t bytes = strcspn(at, ",");
        if (bytes >= out_bytes)
            return false;
        memcpy(out, at, bytes);
        out[bytes] = '\0';
        return true;
    }
    return false;
}

/* Told apart by a socket of another kind, to which one that is bound says that it is of the wrong kind. A connection would not do:
 * DPDK 22.11 frees what it goes on using when one is shut before it was welcomed. */
static bool hf_eal_is_left(const struct sockaddr_un *name)
{
    struct stat there;
    if (lstat(name->sun_path, &there) != 0 || !S_ISSOCK(there.st_mode))
        return false;
    int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool left = probe >= 0 && connect(probe, (const struct sockaddr *)name, sizeof *name) != 0 && errno == ECONNREFUSED;
    if (probe >= 0)
        close(probe);
    return left;
}

void hf_eal_files_clear_socket(const struct hf_device *device)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char role[16], abstract[16];
    if (strncmp(device->name, "net_memif", strlen("net_memif")) == 0 && hf_eal_argument(device->name, "role", role, sizeof role) &&
        hf_eal_argument(device->name, "socket-abstract", abstract, sizeof abstract) && strcmp(role, "server") == 0 &&
        strcmp(abstract, "no") == 0 && hf_eal_argument(device->name, "socket", name.sun_path, sizeof name.sun_path) &&
        hf_eal_is_left(&name))
        (void)unlink(name.sun_path);
}

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
#include <time.h>
#include <unistd.h>

#include "net/net.h"

enum { HF_EAL_DEPTH_MAX = 4, HF_EAL_TRIES = 8, HF_EAL_YOUNG_S = 60, HF_EAL_RANDOM = 6 /* of mkdtemp() */ };

/* Until it is locked, while it is (or was), and what engines called theirs that did not lock it at once. */
static const char hf_eal_new[] = "hf-new-eal-", hf_eal_locked[] = "hf-eal-locked-", hf_eal_former[] = "hf-eal-";
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

static bool hf_eal_begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Whether nobody who lives can have it. Locks it, so that of several engines that start only one removes it. */
static bool hf_eal_is_left_over(int fd, const char *name)
{
    struct stat status;
    if (!hf_eal_lock(fd) || fstat(fd, &status) != 0)
        return false;
    return hf_eal_begins(name, hf_eal_locked) || time(NULL) - status.st_mtime > HF_EAL_YOUNG_S;
}

static void hf_eal_remove_left(const char *parent_path)
{
    DIR *parent = opendir(parent_path);
    for (struct dirent *entry; parent && (entry = readdir(parent));) {
        bool ours = hf_eal_begins(entry->d_name, hf_eal_new) || hf_eal_begins(entry->d_name, hf_eal_former);
        int fd = ours ? hf_eal_open(dirfd(parent), entry->d_name) : -1;
        if (hf_eal_is_left_over(fd, entry->d_name))
            hf_eal_remove_tree(dirfd(parent), entry->d_name, HF_EAL_DEPTH_MAX);
        if (fd >= 0)
            close(fd);
    }
    if (parent)
        closedir(parent);
}

/* Gives the new directory the name of one that is locked. A lock of it by somebody who looks how old it is lasts a moment. */
static bool hf_eal_keep(const char *parent)
{
    char name[sizeof hf_eal_directory];
    const char *random = hf_eal_directory + strlen(hf_eal_directory) - HF_EAL_RANDOM;
    int bytes = snprintf(name, sizeof name, "%s/%s%s", parent, hf_eal_locked, random);
    hf_eal_lock_fd = hf_eal_open(AT_FDCWD, hf_eal_directory);
    if (bytes < 0 || (size_t)bytes >= sizeof name || hf_eal_lock_fd < 0 || flock(hf_eal_lock_fd, LOCK_EX) != 0 ||
        rename(hf_eal_directory, name) != 0)
        return false;
    memcpy(hf_eal_directory, name, sizeof name);
    return true;
}

int hf_eal_files_make(void)
{
    int error;
    const char *parent = getenv("TMPDIR");
    if (!parent || parent[0] != '/')
        parent = "/tmp";
    hf_eal_remove_left(parent);
    for (unsigned i = 0; i < HF_EAL_TRIES; i++) {
        snprintf(hf_eal_directory, sizeof hf_eal_directory, "%s/%sXXXXXX", parent, hf_eal_new);
        if (!mkdtemp(hf_eal_directory)) {
            hf_eal_directory[0] = '\0';
            break;
        }
        if (hf_eal_keep(parent))
            return 0;
        error = errno;
        hf_eal_files_remove();
        errno = error;
    }
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

/* ECONNREFUSED: nobody has it; EPROTOTYPE: somebody does; else anything. Told apart by a socket of another kind, to which one that is bound
 * says that it is of the wrong kind. A connection would not do: DPDK 22.11 frees what it goes on using when one is shut before it was
 * welcomed. */
static int hf_eal_probe(const struct sockaddr_un *name)
{
    struct stat there;
    if (lstat(name->sun_path, &there) != 0 || !S_ISSOCK(there.st_mode))
        return ENOENT;
    int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int said = probe >= 0 && connect(probe, (const struct sockaddr *)name, sizeof *name) == 0 ? 0 : errno;
    if (probe >= 0)
        close(probe);
    return said;
}

int hf_eal_files_clear_socket(const struct hf_device *device)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char abstract[16];
    if (!hf_device_serves(device) || !hf_device_argument(device, "socket-abstract", abstract, sizeof abstract) ||
        strcmp(abstract, "no") != 0 || !hf_device_argument(device, "socket", name.sun_path, sizeof name.sun_path))
        return 0;
    int said = hf_eal_probe(&name);
    if (said == EPROTOTYPE)
        return hf_net_fail(HF_E_IO, "device %.*s: another process listens on its socket %s", (int)strcspn(device->name, ","), device->name,
                           name.sun_path);
    if (said == ECONNREFUSED)
        (void)unlink(name.sun_path);
    return 0;
}

/* A unix socket's place in the file system.
 *
 * A socket's name outlives its owner, and bind(2) cannot tell a live one from one that was left. So whoever listens at PATH holds a lock on
 * PATH.lock: with the lock, a socket that stands at PATH is what a killed engine left, and may be unlinked. The kernel lets go of the lock
 * with the process, however it ended. */
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

#include "net/address.h"
#include "net/transport.h"

enum { HF_UNIX_BACKLOG = 4096, HF_UNIX_TRIES = 100, HF_UNIX_PAUSE_MS = 50, HF_UNIX_PATH_MAX = 4096 };
enum { HF_UNIX_NAME_MAX = (int)sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1 };

/* FNV-1a. */
static uint64_t hf_unix_digest(const char *text, uint64_t digest)
{
    for (; *text; text++)
        digest = (digest ^ (uint8_t)*text) * 0x100000001b3ull;
    return digest;
}

/* The same long path always gives the same short one, so that two engines meet there. */
static int hf_unix_shorten(const char *address, const char *path, char *out, size_t out_bytes)
{
    char whole[HF_UNIX_PATH_MAX];
    const char *directories[] = {"/run", getenv("TMPDIR"), "/tmp"};
    if (path[0] == '/')
        snprintf(whole, sizeof whole, "%s", path);
    else if (!getcwd(whole, sizeof whole) || strlen(whole) + strlen(path) + 2 > sizeof whole)
        return hf_net_fail(HF_E_USAGE, "cannot listen on %s: the path is too long", address);
    else
        snprintf(whole + strlen(whole), sizeof whole - strlen(whole), "/%s", path);
    uint64_t high = hf_unix_digest(whole, 0xcbf29ce484222325ull), low = hf_unix_digest(whole, high);
    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
        if (!directories[i] || access(directories[i], W_OK | X_OK) != 0)
            continue;
        int length = snprintf(out, out_bytes, "%s/holdfast-%016llx%08llx.sock", directories[i], (unsigned long long)high,
                              (unsigned long long)(low >> 32));
        if (length > 0 && length + (int)strlen(".99") <= HF_UNIX_NAME_MAX)
            return 0;
    }
    return hf_net_fail(HF_E_USAGE,
                       "cannot listen on %s: a socket's path has at most %d bytes, and no short one could be made under /run or $TMPDIR",
                       address, HF_UNIX_NAME_MAX);
}

/* The lock file may have been unlinked by the one before between opening and locking: then that lock is nobody's. */
static int hf_unix_try_lock(const char *lock_path)
{
    struct stat held, named;
    int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &held) == 0 && stat(lock_path, &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev)
        return fd;
    close(fd);
    errno = EWOULDBLOCK;
    return -1;
}

static int hf_unix_lock(const char *address, const char *lock_path)
{
    for (int i = 0; i < HF_UNIX_TRIES; i++) {
        int fd = hf_unix_try_lock(lock_path);
        if (fd >= 0)
            return fd;
        if (errno != EWOULDBLOCK)
            return hf_net_fail(HF_E_IO, "cannot listen on %s: %s: %s", address, lock_path, strerror(errno));
        nanosleep(&(struct timespec){0, HF_UNIX_PAUSE_MS * 1000000l}, NULL);
    }
    return hf_net_fail(HF_E_IO, "cannot listen on %s: the path is in use; stop the program that has it or choose another with --listen",
                       address);
}

/* Makes room at the name, which the lock says is ours; a program that knows no lock may live there all the same. */
static int hf_unix_clear(const char *address, const struct sockaddr_un *name)
{
    struct stat there;
    if (lstat(name->sun_path, &there) != 0)
        return 0;
    if (!S_ISSOCK(there.st_mode))
        return hf_net_fail(HF_E_IO, "cannot listen on %s: %s is there and is no socket; move it away or choose another path", address,
                           name->sun_path);
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool lives = probe >= 0 && (connect(probe, (const struct sockaddr *)name, sizeof *name) == 0 || errno == EAGAIN);
    if (probe >= 0)
        close(probe);
    if (lives)
        return hf_net_fail(HF_E_IO, "cannot listen on %s: the path is in use; stop the program that has it or choose another with --listen",
                           address);
    (void)unlink(name->sun_path);
    return 0;
}

static int hf_unix_bind(const char *address, struct hf_socket *out)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, out->path, strlen(out->path) + 1);
    int error = hf_unix_clear(address, &name);
    if (error)
        return error;
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool bound = out->fd >= 0 && bind(out->fd, (const struct sockaddr *)&name, sizeof name) == 0;
    out->port = bound;
    if (!bound || listen(out->fd, HF_UNIX_BACKLOG) != 0)
        return hf_net_fail(HF_E_IO, "cannot listen on %s: %s", address, strerror(errno));
    return 0;
}

int hf_unix_listen(const char *address, enum hf_sharing sharing, struct hf_socket *out)
{
    char path[HF_UNIX_PATH_MAX], lock_path[HF_UNIX_PATH_MAX + 8];
    const char *asked = address + strlen("unix://");
    if (*asked == '\0' || strlen(asked) >= sizeof path)
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': write unix://PATH", address);
    memcpy(path, asked, strlen(asked) + 1);
    const size_t most = (size_t)HF_UNIX_NAME_MAX - (sharing == HF_PORT_FIRST ? strlen(".99") : 0);
    int error = strlen(asked) > most ? hf_unix_shorten(address, asked, path, sizeof path) : 0;
    if (error)
        return error;
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    int lock_fd = hf_unix_lock(address, lock_path);
    if (lock_fd < 0)
        return lock_fd;
    struct hf_socket made = {.fd = -1, .carrier = HF_CARRIER_UNIX, .lock_fd = lock_fd, .path = strdup(path)};
    error = made.path ? hf_unix_bind(address, &made) : hf_net_fail(HF_E_MEMORY, "no memory for a path");
    if (error)
        hf_socket_end(&made);
    else
        *out = made;
    return error;
}

void hf_socket_shut(struct hf_socket *socket)
{
    if (socket->fd < 0)
        return;
    /* A ring may hold the socket a little longer; shut, it gives its port and its peer free now. */
    shutdown(socket->fd, SHUT_RDWR);
    close(socket->fd);
    socket->fd = -1;
    if (socket->path && socket->port)
        (void)unlink(socket->path);
}

void hf_socket_end(struct hf_socket *socket)
{
    char lock_path[HF_UNIX_PATH_MAX + 8];
    hf_socket_shut(socket);
    if (socket->path && socket->lock_fd >= 0) {
        snprintf(lock_path, sizeof lock_path, "%s.lock", socket->path);
        (void)unlink(lock_path);
    }
    if (socket->lock_fd >= 0)
        close(socket->lock_fd);
    free(socket->path);
    *socket = (struct hf_socket){.fd = -1, .lock_fd = -1};
}

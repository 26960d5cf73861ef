/* What the linker puts in the place of each replaced function (__wrap_*), and what it is itself then (__real_*). The names with 64 are
 * what the C library calls them for 64-bit offsets. */
#ifndef HF_TESTS_PERSIST_KERNEL_WRAP_H
#define HF_TESTS_PERSIST_KERNEL_WRAP_H

#include <dirent.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>

int __wrap_open64(const char *path, int flags, mode_t mode);
int __real_open64(const char *path, int flags, ...);
int __wrap_openat64(int dir_fd, const char *path, int flags, mode_t mode);
int __real_openat64(int dir_fd, const char *path, int flags, ...);
int __wrap_mkdir(const char *path, mode_t mode);
int __real_mkdir(const char *path, mode_t mode);
ssize_t __wrap_pread64(int fd, void *buf, size_t bytes, off_t offset);
ssize_t __real_pread64(int fd, void *buf, size_t bytes, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t bytes, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buf, size_t bytes, off_t offset);
int __wrap_fsync(int fd);
int __real_fsync(int fd);
int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);
int __wrap_posix_fadvise64(int fd, off_t offset, off_t bytes, int advice);
int __real_posix_fadvise64(int fd, off_t offset, off_t bytes, int advice);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t bytes);
int __real_fallocate64(int fd, int mode, off_t offset, off_t bytes);
int __wrap_ftruncate64(int fd, off_t bytes);
int __real_ftruncate64(int fd, off_t bytes);
int __wrap_fstat64(int fd, struct stat *st);
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstatfs64(int fd, struct statfs *fs);
int __real_fstatfs64(int fd, struct statfs *fs);
int __wrap_flock(int fd, int operation);
int __real_flock(int fd, int operation);
DIR *__wrap_fdopendir(int fd);
DIR *__real_fdopendir(int fd);
struct dirent *__wrap_readdir64(DIR *dir);
struct dirent *__real_readdir64(DIR *dir);
int __wrap_eventfd(unsigned count, int flags);
int __real_eventfd(unsigned count, int flags);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t bytes);
void *__real_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void __wrap_free(void *memory);
void __real_free(void *memory);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *context);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *context);
ssize_t __wrap_getrandom(void *buf, size_t bytes, unsigned flags);
ssize_t __real_getrandom(void *buf, size_t bytes, unsigned flags);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params);
int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params);
int __wrap_io_uring_register_files(struct io_uring *ring, const int *fds, unsigned count);
int __real_io_uring_register_files(struct io_uring *ring, const int *fds, unsigned count);
int __wrap_io_uring_register_buffers(struct io_uring *ring, const struct iovec *buffers, unsigned count);
int __real_io_uring_register_buffers(struct io_uring *ring, const struct iovec *buffers, unsigned count);
int __wrap_io_uring_register_eventfd(struct io_uring *ring, int fd);
int __real_io_uring_register_eventfd(struct io_uring *ring, int fd);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit(struct io_uring *ring);
int __wrap___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned submit, unsigned wait, sigset_t *mask);
int __real___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned submit, unsigned wait, sigset_t *mask);
void __wrap_io_uring_queue_exit(struct io_uring *ring);
void __real_io_uring_queue_exit(struct io_uring *ring);

#endif

/* The directory of DPDK's environment: one that a living process has stays, whoever starts beside it; what was left goes. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/dpdk/eal_files.h"
#include "net/net.h"

enum { PROCESSES = 8, TIMES = 50 };

static char parent[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(parent, sizeof parent, "/tmp/hf-files-XXXXXX");
    return mkdtemp(parent) && setenv("TMPDIR", parent, 1) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(parent);
}

static const char *path_of(const char *name)
{
    static char path[100];
    snprintf(path, sizeof path, "%s/%s", parent, name);
    return path;
}

static void make_left(const char *name, bool old)
{
    char path[160];
    const struct timespec long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(mkdir(path_of(name), 0700), 0);
    snprintf(path, sizeof path, "%s/config", path_of(name));
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(utimensat(AT_FDCWD, path_of(name), old ? long_ago : NULL, 0), 0);
}

static bool is_there(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

static void what_was_left_goes_and_what_somebody_may_be_about_to_lock_stays(void **state)
{
    (void)state;
    make_left("hf-eal-locked-aaaaaa", false);
    make_left("hf-eal-locked-bbbbbb", true);
    make_left("hf-eal-cccccc", false);
    make_left("hf-eal-dddddd", true);
    make_left("hf-new-eal-eeeeee", false);
    make_left("hf-new-eal-ffffff", true);
    make_left("another", true);
    int locked = open(path_of("hf-eal-locked-bbbbbb"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(locked, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(hf_eal_files_make(), 0);
    assert_false(is_there("hf-eal-locked-aaaaaa") || is_there("hf-eal-dddddd") || is_there("hf-new-eal-ffffff"));
    assert_true(is_there("hf-eal-locked-bbbbbb") && is_there("hf-eal-cccccc") && is_there("hf-new-eal-eeeeee") && is_there("another"));
    char ours[256];
    snprintf(ours, sizeof ours, "%s", hf_eal_files_path());
    assert_int_equal(access(ours, W_OK | X_OK), 0);
    hf_eal_files_remove();
    assert_int_equal(access(ours, F_OK), -1);
    close(locked);
    static const char *const rest[] = {"hf-eal-locked-bbbbbb", "hf-eal-cccccc", "hf-new-eal-eeeeee", "another"};
    for (unsigned i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/config", path_of(rest[i]));
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(path_of(rest[i])), 0);
    }
}

static void what_cannot_be_removed_stops_no_start(void **state)
{
    (void)state;
    char path[256];
    /* Deeper than anything of DPDK's. */
    snprintf(path, sizeof path, "%s", path_of("hf-eal-locked-aaaaaa"));
    size_t top = strlen(path);
    for (unsigned depth = 0; depth < 8; depth++) {
        assert_int_equal(mkdir(path, 0700), 0);
        size_t end = strlen(path);
        snprintf(path + end, sizeof path - end, "/d");
    }
    assert_int_equal(hf_eal_files_make(), 0);
    hf_eal_files_remove();
    assert_true(is_there("hf-eal-locked-aaaaaa"));
    for (size_t end = strlen(path) - 2; end >= top; end -= 2) {
        path[end] = '\0';
        assert_int_equal(rmdir(path), 0);
    }
}

/* As DPDK does: makes something in there, and finds it again. */
static int start_and_end(void)
{
    char path[300];
    struct stat status;
    if (hf_eal_files_make() != 0)
        return 1;
    snprintf(path, sizeof path, "%s/dpdk", hf_eal_files_path());
    if (mkdir(path, 0700) != 0)
        return 2;
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    if (stat(path, &status) != 0)
        return 3;
    hf_eal_files_remove();
    return 0;
}

static void processes_that_start_at_once_leave_each_others_directories_alone(void **state)
{
    (void)state;
    pid_t processes[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++) {
        processes[i] = fork();
        assert_true(processes[i] >= 0);
        int failed = 0;
        for (unsigned times = 0; processes[i] == 0 && times < TIMES && !failed; times++)
            failed = start_and_end();
        if (processes[i] == 0)
            _exit(failed);
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status = -1;
        assert_int_equal(waitpid(processes[i], &status, 0), processes[i]);
        assert_int_equal(status, 0);
    }
}

static void a_socket_that_nobody_has_goes_and_one_that_somebody_has_is_said(void **state)
{
    (void)state;
    struct hf_device device = {0};
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path_of("memif.sock"));
    snprintf(device.name, sizeof device.name, "net_memif0,role=server,socket-abstract=no,socket=%s", name.sun_path);
    assert_int_equal(hf_eal_files_clear_socket(&device), 0);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(hf_eal_files_clear_socket(&device), HF_E_IO);
    assert_non_null(strstr(hf_net_error(), "net_memif0: another process listens on its socket /tmp/"));
    assert_true(is_there("memif.sock"));
    close(fd);
    assert_int_equal(hf_eal_files_clear_socket(&device), 0);
    assert_false(is_there("memif.sock"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_left_goes_and_what_somebody_may_be_about_to_lock_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_removed_stops_no_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(processes_that_start_at_once_leave_each_others_directories_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_socket_that_nobody_has_goes_and_one_that_somebody_has_is_said, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

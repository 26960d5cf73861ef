/* Paths of unix sockets: what is left behind, what is in the way, what is too long. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/net/net_harness.h"

static char directory[64], path[512], address[600];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/hf-unix-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/socket", directory);
    snprintf(address, sizeof address, "unix://%s", path);
    return 0;
}

/* Nothing may be left in it. */
static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

static int create(const char *where, struct hf_net **out)
{
    const char *const listen[] = {where};
    struct hf_net_options options = {.listen = listen, .listen_count = 1, .shard_count = 1, .partitions = 256};
    return hf_net_create(&options, out);
}

static bool exists(const char *name)
{
    struct stat there;
    return lstat(name, &there) == 0;
}

static void a_socket_is_there_while_it_is_listened_on(void **state)
{
    (void)state;
    struct hf_net *net = NULL;
    assert_int_equal(create(address, &net), 0);
    assert_string_equal(hf_net_path(net, 0), path);
    assert_int_equal(hf_net_port(net, 0), 1);
    assert_true(exists(path));
    hf_net_destroy(net);
    assert_false(exists(path));
}

static void nobody_new_finds_a_port_that_stopped_accepting(void **state)
{
    (void)state;
    struct hf_net *net = NULL;
    assert_int_equal(create(address, &net), 0);
    hf_net_stop_accepting(net);
    assert_false(exists(path));
    hf_net_destroy(net);
}

static void two_engines_on_one_path_are_refused(void **state)
{
    (void)state;
    struct hf_net *first = NULL, *second = NULL;
    assert_int_equal(create(address, &first), 0);
    assert_int_equal(create(address, &second), HF_E_IO);
    assert_non_null(strstr(hf_net_error(), "in use"));
    assert_true(exists(path));
    hf_net_destroy(first);
    assert_int_equal(create(address, &second), 0);
    hf_net_destroy(second);
}

static int bind_at(const char *where)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, where, strlen(where) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void a_socket_that_a_killed_engine_left_is_cleared(void **state)
{
    (void)state;
    struct hf_net *net = NULL;
    close(bind_at(path));
    assert_true(exists(path));
    assert_int_equal(create(address, &net), 0);
    hf_net_destroy(net);
    assert_false(exists(path));
}

static void another_program_s_socket_is_left_alone(void **state)
{
    (void)state;
    struct hf_net *net = NULL;
    int fd = bind_at(path);
    assert_int_equal(create(address, &net), HF_E_IO);
    assert_non_null(strstr(hf_net_error(), "in use"));
    assert_true(exists(path));
    close(fd);
    unlink(path);
}

static void a_file_in_the_way_is_left_alone(void **state)
{
    (void)state;
    struct hf_net *net = NULL;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "mine", 4), 4);
    close(fd);
    assert_int_equal(create(address, &net), HF_E_IO);
    assert_non_null(strstr(hf_net_error(), "is no socket"));
    assert_true(exists(path));
    unlink(path);
}

static void a_path_that_is_too_long_gets_a_short_one(void **state)
{
    (void)state;
    struct hf_net *first = NULL, *second = NULL;
    char long_address[400], used[128];
    /* 107 bytes is the longest that fits. */
    for (int bytes = 107; bytes <= 300; bytes += 193) {
        int tail = bytes - (int)strlen(directory) - 1;
        snprintf(long_address, sizeof long_address, "unix://%s/%0*d", directory, tail, 0);
        assert_int_equal(create(long_address, &first), 0);
        snprintf(used, sizeof used, "%s", hf_net_path(first, 0));
        assert_true(strlen(used) <= 107 && exists(used));
        assert_int_equal(strcmp(used, long_address + strlen("unix://")) == 0, bytes == 107);
        if (bytes > 107) {
            /* The same long path meets the same short one. */
            assert_int_equal(create(long_address, &second), HF_E_IO);
            assert_non_null(strstr(hf_net_error(), "in use"));
        }
        hf_net_destroy(first);
        assert_false(exists(used));
    }
}

int main(void)
{
#define IN_A_DIRECTORY(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        IN_A_DIRECTORY(a_socket_is_there_while_it_is_listened_on), IN_A_DIRECTORY(nobody_new_finds_a_port_that_stopped_accepting),
        IN_A_DIRECTORY(two_engines_on_one_path_are_refused),       IN_A_DIRECTORY(a_socket_that_a_killed_engine_left_is_cleared),
        IN_A_DIRECTORY(another_program_s_socket_is_left_alone),    IN_A_DIRECTORY(a_file_in_the_way_is_left_alone),
        IN_A_DIRECTORY(a_path_that_is_too_long_gets_a_short_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

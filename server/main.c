/* holdfastd: reads its options, starts a node, waits for a signal, drains, ends. */
#include "server/log_line.h"
#include "server/memory.h"
#include "server/node.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Tells a service manager (sd_notify(3), protocol over $NOTIFY_SOCKET) what state this is in; without one, nobody. */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || strlen(path) < 2 || strlen(path) >= sizeof address.sun_path)
        return;
    size_t bytes = strlen(path);
    memcpy(address.sun_path, path, bytes);
    if (path[0] == '@')
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes));
    close(fd);
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void say_fault(const char *what, const char *error)
{
    hf_log_line_write(HF_LEVEL_ERROR, what, (struct hf_log_line_field[]){hf_field_text("reason", error)}, 1);
}

/* Signals are taken by sigwait alone: blocked before any thread starts. */
static void block_signals(sigset_t *waited)
{
    sigemptyset(waited);
    sigaddset(waited, SIGTERM);
    sigaddset(waited, SIGINT);
    pthread_sigmask(SIG_BLOCK, waited, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

static int serve(const struct hf_server_options *options)
{
    char error[1024] = "";
    sigset_t waited;
    int received = 0;
    struct hf_node *node = hf_memory_zeroed(sizeof *node);
    if (!node)
        return hf_error_exit(HF_E_MEMORY);
    block_signals(&waited);
    int code = hf_node_start(node, options, error, sizeof error);
    if (code != 0) {
        say_fault("could not start", error);
        hf_memory_free(node);
        return hf_error_exit(code);
    }
    puts("ready");
    fflush(stdout);
    hf_node_ready(node);
    notify("READY=1");
    while (sigwait(&waited, &received) != 0)
        ;
    hf_log_line_write(HF_LEVEL_INFO, "stopping", (struct hf_log_line_field[]){hf_field_signed("signal", received)}, 1);
    notify("STOPPING=1");
    code = hf_node_stop(node, error, sizeof error);
    if (code != 0)
        say_fault("could not stop cleanly", error);
    else
        hf_log_line_write(HF_LEVEL_INFO, "stopped", NULL, 0);
    hf_memory_free(node);
    return hf_error_exit(code);
}

int main(int argc, char **argv)
{
    struct hf_server_options options;
    char error[512] = "";
    int parsed = hf_server_options_parse(argc, argv, &options, error, sizeof error);
    int status = hf_server_options_act(&options, parsed, error, HF_VERSION);
    if (status >= 0)
        return status;
    hf_log_line_set_level(options.log_level);
    raise_file_limit();
    return serve(&options);
}

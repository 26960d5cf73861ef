/* Requests to io_uring that end in errors, and submissions that fail: whichever it is, a client that tries again is served, and the log
 * either has what it said or ends with a reason. */
#include "tests/failnth/nth.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/frame.h"
#include "net/net.h"
#include "persist/log.h"

enum { TURNS_MAX = 4000, ANSWERS_WANTED = 3, NTH_MAX = 200, SILENT_TURNS = 40, DATAGRAM_BYTES = 240, RECORDS = 5 };

static char directory[96], log_directory[112];

/* ---- A port and one client of it, turned by hand ---- */

struct pair {
    struct hf_net *net;
    uint64_t now_ns;
    struct sockaddr_storage address;
    socklen_t address_bytes;
    int type, fd; /* the client's; -1: to be made */
    bool wakes;   /* an eventfd is watched */
    int event_fd;
    uint64_t session, number;
    unsigned answers, connections, silent; /* turns without a frame */
    size_t held;
    _Alignas(8) uint8_t bytes[HF_FRAME_BYTES_MAX];
};

static void open_pair(struct pair *pair, const char *address)
{
    const char *const listen[] = {address};
    struct hf_net_options options = {.listen = listen, .listen_count = 1, .shard_count = 1, .partitions = 4, .sessions_max = 8};
    memset(pair, 0, offsetof(struct pair, bytes));
    pair->fd = -1;
    pair->now_ns = 1000000000;
    pair->type = strncmp(address, "udp://", 6) == 0 ? SOCK_DGRAM : SOCK_STREAM;
    if (hf_net_create(&options, &pair->net) != 0)
        fail_msg("%s", hf_net_error());
    if (strncmp(address, "unix://", 7) == 0) {
        struct sockaddr_un *to = (struct sockaddr_un *)&pair->address;
        to->sun_family = AF_UNIX;
        snprintf(to->sun_path, sizeof to->sun_path, "%s", address + 7);
        pair->address_bytes = sizeof *to;
    } else {
        struct sockaddr_in *to = (struct sockaddr_in *)&pair->address;
        *to = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(hf_net_port(pair->net, 0))};
        pair->address_bytes = sizeof *to;
    }
    pair->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(pair->event_fd >= 0 && hf_net_watch(pair->net, pair->event_fd) == 0);
}

static void close_pair(struct pair *pair)
{
    if (pair->fd >= 0)
        close(pair->fd);
    hf_net_destroy(pair->net);
    close(pair->event_fd);
}

static void answer(struct pair *pair, struct hf_request *request)
{
    struct hf_answer *one = (struct hf_answer *)(void *)request->answers;
    assert_int_equal(request->command_count, 1);
    *one = (struct hf_answer){.length = sizeof *one, .opcode = HF_LIST_LOCATIONS};
    hf_net_answer(pair->net, request, sizeof *one);
}

static void turn(struct pair *pair)
{
    struct hf_request *requests[16];
    pair->now_ns += 20000000; /* faster than the clock: what is tried again now and then is tried again */
    unsigned count = hf_net_receive(pair->net, pair->now_ns, true, 0, requests, 16);
    for (unsigned i = 0; i < count; i++)
        answer(pair, requests[i]);
    if (!hf_net_flush(pair->net) && count == 0)
        hf_net_wait(pair->net, 100000);
}

static void send_frame(struct pair *pair, uint8_t type, uint64_t number, const void *payload, uint32_t bytes)
{
    _Alignas(8) uint8_t out[256] = {0};
    struct hf_frame *frame = (struct hf_frame *)(void *)out;
    *frame = (struct hf_frame){.type = type, .session = pair->session, .request = number, .count = type == HF_REQUEST};
    memcpy(frame + 1, payload, bytes);
    if (type == HF_HELLO && pair->type == SOCK_DGRAM)
        bytes = DATAGRAM_BYTES - (uint32_t)sizeof *frame;
    hf_frame_seal(frame, (uint32_t)sizeof *frame + bytes);
    (void)!send(pair->fd, out, frame->length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void ask(struct pair *pair)
{
    struct hf_command query = {.length = sizeof query, .opcode = HF_LIST_LOCATIONS, .version = HF_COMMAND_VERSION};
    send_frame(pair, HF_REQUEST, pair->number, &query, sizeof query);
}

/* Connects and takes its session up again. */
static void begin(struct pair *pair)
{
    struct hf_hello hello = {.client = 1};
    pair->fd = socket(pair->address.ss_family, pair->type | SOCK_CLOEXEC, 0);
    assert_true(pair->fd >= 0);
    assert_int_equal(connect(pair->fd, (const struct sockaddr *)&pair->address, pair->address_bytes), 0);
    pair->held = 0;
    pair->connections++;
    send_frame(pair, HF_HELLO, 0, &hello, sizeof hello);
}

static void take_frame(struct pair *pair, const struct hf_frame *head)
{
    assert_true(hf_frame_check_crc(head, pair->bytes + sizeof *head));
    pair->silent = 0;
    if (head->type == HF_COOKIE)
        send_frame(pair, HF_HELLO, 0, pair->bytes + sizeof *head, sizeof(struct hf_hello));
    else if (head->type == HF_WELCOME) {
        if (pair->session != head->session)
            pair->number = 1;
        pair->session = head->session;
        ask(pair);
    } else if (head->type == HF_ANSWER && head->request == pair->number) {
        pair->answers++;
        pair->number++;
        if (pair->answers < ANSWERS_WANTED)
            ask(pair);
    }
}

/* A datagram that is not answered is sent again. */
static void try_again(struct pair *pair)
{
    const struct hf_hello hello = {.client = 1};
    if (pair->type != SOCK_DGRAM || pair->fd < 0 || ++pair->silent % SILENT_TURNS != 0)
        return;
    if (pair->session == 0)
        send_frame(pair, HF_HELLO, 0, &hello, sizeof hello);
    else
        ask(pair);
}

/* Takes in what has come; a broken connection is left for begin() to make anew. */
static void look(struct pair *pair)
{
    ssize_t got = recv(pair->fd, pair->bytes + pair->held, sizeof pair->bytes - pair->held, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        close(pair->fd);
        pair->fd = -1;
        return;
    }
    pair->held += got > 0 ? (size_t)got : 0;
    struct hf_frame head;
    while (pair->held >= sizeof head) {
        memcpy(&head, pair->bytes, sizeof head);
        assert_int_equal(hf_frame_check_head(&head), HF_OK);
        if (pair->held < head.length)
            return;
        take_frame(pair, &head);
        pair->held -= head.length;
        memmove(pair->bytes, pair->bytes + head.length, pair->held);
    }
}

/* Whether the client has its answers in the end, over as many connections as that takes; then whether a write to the eventfd still ends a
 * wait. */
static bool serve(struct pair *pair)
{
    for (unsigned i = 0; i < TURNS_MAX && pair->answers < ANSWERS_WANTED; i++) {
        if (pair->fd < 0)
            begin(pair);
        turn(pair);
        look(pair);
        try_again(pair);
    }
    return pair->answers == ANSWERS_WANTED;
}

static bool wakes_up(struct pair *pair)
{
    const uint64_t one = 1;
    struct timespec before, after;
    for (unsigned i = 0; i < 50; i++) /* whatever is still under way */
        turn(pair);
    assert_int_equal(write(pair->event_fd, &one, sizeof one), sizeof one);
    clock_gettime(CLOCK_MONOTONIC, &before);
    hf_net_wait(pair->net, 20 * 1000000000ull);
    clock_gettime(CLOCK_MONOTONIC, &after);
    return after.tv_sec - before.tv_sec < 10;
}

static void port_holds(const char *address, enum faults_kind kind, int error)
{
    static struct pair pair;
    bool fired = true;
    for (uint64_t nth = 1; fired; nth++) {
        assert_true(nth < NTH_MAX);
        open_pair(&pair, address);
        faults_arm(&(struct faults_plan){.kind = kind, .nth = nth, .error = error, .operation = 255});
        bool served = serve(&pair);
        fired = faults_disarm();
        if (!served)
            fail_msg("%s: %s at %s %llu: the client is not served any more (%u connections)", address, strerror(-error),
                     kind == FAULTS_REQUEST ? "request" : "submission", (unsigned long long)nth, pair.connections);
        if (!wakes_up(&pair))
            fail_msg("%s: %s at %s %llu: the port does not wake up any more", address, strerror(-error),
                     kind == FAULTS_REQUEST ? "request" : "submission", (unsigned long long)nth);
        close_pair(&pair);
        if (!fired)
            print_message("%s, %s: %llu %s\n", address, strerror(-error), (unsigned long long)nth - 1,
                          kind == FAULTS_REQUEST ? "requests" : "submissions");
    }
}

static const int request_errors[] = {-ENOBUFS, -ECANCELED, -EINTR, -EAGAIN, -ENOMEM};
static const int submit_errors[] = {-EAGAIN, -EBUSY, -EINTR, -ENOMEM};

static void a_tcp_port_serves_on_after_any_request_failed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof request_errors / sizeof request_errors[0]; i++)
        port_holds("tcp://127.0.0.1:0", FAULTS_REQUEST, request_errors[i]);
}

static void a_unix_port_serves_on_after_any_request_failed(void **state)
{
    (void)state;
    char address[160];
    snprintf(address, sizeof address, "unix://%s/port.sock", directory);
    for (unsigned i = 0; i < sizeof request_errors / sizeof request_errors[0]; i++)
        port_holds(address, FAULTS_REQUEST, request_errors[i]);
}

static void a_udp_port_serves_on_after_any_request_failed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof request_errors / sizeof request_errors[0]; i++)
        port_holds("udp://127.0.0.1:0", FAULTS_REQUEST, request_errors[i]);
}

static void a_port_serves_on_after_any_submission_failed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof submit_errors / sizeof submit_errors[0]; i++) {
        port_holds("tcp://127.0.0.1:0", FAULTS_SUBMIT, submit_errors[i]);
        port_holds("udp://127.0.0.1:0", FAULTS_SUBMIT, submit_errors[i]);
    }
}

/* ---- The log ---- */

static int count_record(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    (void)record, (void)end_position, (void)term;
    ++*(uint64_t *)context;
    return 0;
}

/* Opens and recovers; how many records there are. */
static int open_log(struct hf_log **log, uint64_t *records)
{
    struct hf_log_options options = nth_log_options(log_directory);
    struct hf_log_info info;
    *records = 0;
    int code = hf_log_open(&options, log, &info);
    return code != 0 ? code : hf_log_recover(*log, count_record, NULL, records, UINT64_MAX, &info);
}

static int write_records(struct hf_log *log, struct hf_log_buffer *buffer, uint64_t *durable)
{
    uint64_t ends[RECORDS], now_ns = 1700000000000000000ull;
    int code = 0;
    for (unsigned i = 0; i < RECORDS && code >= 0; i++) {
        struct hf_record record = {.length = 2048, .version = HF_RECORD_VERSION, .time_ns = now_ns};
        struct hf_log_claim claim = hf_log_buffer_claim(buffer, record.length);
        memset(claim.memory, 0, record.length);
        memcpy(claim.memory, &record, sizeof record);
        hf_log_buffer_commit(buffer, &claim);
        ends[i] = claim.position + record.length;
        for (unsigned turns = 0; code >= 0 && turns < TURNS_MAX && hf_log_pending(log); turns++) {
            code = hf_log_drain(log, now_ns += 10000);
            struct pollfd bell = {.fd = hf_log_event_fd(log), .events = POLLIN};
            if (code == 0)
                (void)poll(&bell, 1, 1);
        }
        *durable = 0;
        for (unsigned k = 0; k <= i; k++)
            *durable += ends[k] <= hf_log_durable(log);
    }
    return code < 0 ? code : hf_log_stop(log);
}

static void log_holds(enum faults_kind kind, int error)
{
    uint64_t before, after, refused = 0;
    bool fired = true;
    for (uint64_t nth = 1; fired; nth++) {
        struct hf_log *log = NULL;
        struct hf_log_buffer *buffer;
        uint64_t term, durable = 0;
        assert_true(nth < NTH_MAX);
        assert_int_equal(open_log(&log, &before), 0);
        faults_arm(&(struct faults_plan){.kind = kind, .nth = nth, .error = error, .operation = 255});
        int code = hf_log_start(log, &buffer, &term);
        if (code == 0)
            code = write_records(log, buffer, &durable);
        fired = faults_disarm();
        const char *sentence = hf_log_error(log);
        if (code != 0 && (!fired || strlen(sentence) < 12 || strstr(sentence, "(null)")))
            fail_msg("log: %s at %llu: %d '%s'", strerror(-error), (unsigned long long)nth, code, sentence);
        refused += code != 0;
        hf_log_close(log);
        assert_int_equal(open_log(&log, &after), 0);
        hf_log_close(log);
        if (after < before + durable || (code == 0 && durable != RECORDS))
            fail_msg("log: %s at %llu: %llu records were durable, %llu are there", strerror(-error), (unsigned long long)nth,
                     (unsigned long long)(before + durable), (unsigned long long)after);
        if (!fired)
            print_message("log, %s: %llu places, %llu ends\n", strerror(-error), (unsigned long long)nth - 1, (unsigned long long)refused);
    }
}

static void a_log_ends_with_a_reason_when_a_request_failed(void **state)
{
    (void)state;
    static const int errors[] = {-EIO, -ECANCELED, -EINTR};
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++)
        log_holds(FAULTS_REQUEST, errors[i]);
}

static void a_log_goes_on_or_ends_with_a_reason_when_a_submission_failed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof submit_errors / sizeof submit_errors[0]; i++)
        log_holds(FAULTS_SUBMIT, submit_errors[i]);
}

/* ---- All of them ---- */

static int set_up(void **state)
{
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%.60s/hf-failnth-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(directory))
        return -1;
    snprintf(log_directory, sizeof log_directory, "%s/log", directory);
    return 0;
}

static int remove_all(const char *path)
{
    char name[384];
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(name);
    }
    if (dir)
        closedir(dir);
    return rmdir(path);
}

static int tear_down(void **state)
{
    (void)state;
    return remove_all(log_directory) | remove_all(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tcp_port_serves_on_after_any_request_failed),
        cmocka_unit_test(a_unix_port_serves_on_after_any_request_failed),
        cmocka_unit_test(a_udp_port_serves_on_after_any_request_failed),
        cmocka_unit_test(a_port_serves_on_after_any_submission_failed),
        cmocka_unit_test(a_log_ends_with_a_reason_when_a_request_failed),
        cmocka_unit_test(a_log_goes_on_or_ends_with_a_reason_when_a_submission_failed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

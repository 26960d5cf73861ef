/* What a start takes, and the n-th thing of it cannot be had: for every n a refusal with its reason, nothing left behind, and a next try
 * that works. */
#include "tests/failnth/nth.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/audit_acked.h"
#include "client/trace.h"
#include "engine/engine.h"
#include "net/frame.h"
#include "net/net.h"
#include "persist/inspect.h"
#include "persist/log.h"
#include "server/log_line.h"
#include "server/memory.h"
#include "server/node.h"

static char directory[96], other[96];

/* ---- Tables ---- */

static int make_tables(char *sentence, size_t bytes)
{
    struct hf_engine_options options = {.partitions = 4,
                                        .skus_max = 100,
                                        .cells_max = 100,
                                        .orders_max = 100,
                                        .lines_max = 100,
                                        .command_ids_max = 100,
                                        .limits_max = 100,
                                        .retention_ns = 1000000000,
                                        .prefault = true};
    struct hf_engine *engine = NULL;
    int code = hf_engine_create(&options, &engine);
    nth_say(sentence, bytes, "tables could not be reserved");
    assert_true(code == 0 || (code == HF_E_MEMORY && engine == NULL));
    hf_engine_destroy(engine);
    return code;
}

static void tables_are_refused(void **state)
{
    (void)state;
    nth_for_every("tables", make_tables, FAULTS_TAKING, 0, true);
}

/* ---- A port ---- */

static int make_port(const char *address, char *sentence, size_t bytes)
{
    const char *const listen[] = {address};
    struct hf_net_options options = {.listen = listen, .listen_count = 1, .shard_count = 1, .partitions = 4, .sessions_max = 8};
    struct hf_net *net = NULL;
    const char *const wrong[] = {"smoke://signal"};
    struct hf_net_options bad = {.listen = wrong, .listen_count = 1, .shard_count = 1, .partitions = 4, .sessions_max = 8};
    (void)hf_net_create(&bad, &net);
    char before[NTH_SENTENCE_BYTES];
    snprintf(before, sizeof before, "%s", hf_net_error());
    net = NULL;
    int code = hf_net_create(&options, &net);
    if (code != 0 && strcmp(before, hf_net_error()) == 0)
        fail_msg("a port was refused without a sentence of its own");
    nth_say(sentence, bytes, hf_net_error());
    if (code == 0) {
        struct hf_request *out[4];
        (void)hf_net_receive(net, 1000, true, 0, out, 4);
        (void)hf_net_flush(net);
    }
    hf_net_destroy(net);
    return code;
}

static int make_tcp_port(char *sentence, size_t bytes)
{
    return make_port("tcp://127.0.0.1:0", sentence, bytes);
}

static int make_loopback_port(char *sentence, size_t bytes)
{
    return make_port("loopback://failnth", sentence, bytes);
}

static int make_udp_port(char *sentence, size_t bytes)
{
    return make_port("udp://127.0.0.1:0", sentence, bytes);
}

static int make_unix_port(char *sentence, size_t bytes)
{
    char address[160];
    snprintf(address, sizeof address, "unix://%s/port.sock", other);
    return make_port(address, sentence, bytes);
}

static void ports_are_refused(void **state)
{
    (void)state;
    nth_for_every("tcp port", make_tcp_port, FAULTS_TAKING, 0, true);
    nth_for_every("tcp port, io_uring", make_tcp_port, FAULTS_RING, -ENOMEM, true);
    nth_for_every("udp port", make_udp_port, FAULTS_TAKING, 0, true);
    nth_for_every("udp port, io_uring", make_udp_port, FAULTS_RING, -ENOMEM, true);
    nth_for_every("unix port", make_unix_port, FAULTS_TAKING, 0, true);
    nth_for_every("loopback port", make_loopback_port, FAULTS_TAKING, 0, true);
}

/* ---- A log ---- */

static int write_one(struct hf_log *log, struct hf_log_buffer *buffer)
{
    struct hf_record record = {.length = 48, .version = HF_RECORD_VERSION, .time_ns = 1700000000000000000ull};
    struct hf_log_claim claim = hf_log_buffer_claim(buffer, record.length);
    memset(claim.memory, 0, record.length);
    memcpy(claim.memory, &record, sizeof record);
    hf_log_buffer_commit(buffer, &claim);
    return hf_log_stop(log);
}

static int begin_log(struct hf_log *log, struct hf_log_info *info)
{
    struct hf_log_buffer *buffer;
    struct hf_log_reader *reader;
    uint64_t term;
    int code = hf_log_recover(log, NULL, NULL, NULL, UINT64_MAX, info);
    if (code == 0)
        code = hf_log_start(log, &buffer, &term);
    if (code != 0)
        return code;
    if (hf_log_reader_open(log, &reader) == 0)
        hf_log_reader_close(reader);
    return write_one(log, buffer);
}

static int start_log(char *sentence, size_t bytes)
{
    struct hf_log_options options = nth_log_options(directory);
    struct hf_log *log = NULL;
    struct hf_log_info info;
    int code = hf_log_open(&options, &log, &info);
    if (code == 0)
        code = begin_log(log, &info);
    nth_say(sentence, bytes, hf_log_error(log));
    hf_log_close(log);
    return code;
}

static int look_at_log(char *sentence, size_t bytes)
{
    struct hf_inspect_verify verified;
    int code = hf_inspect_verify(directory, &verified);
    nth_say(sentence, bytes, hf_log_error(NULL));
    assert_true(code != 0 || !verified.damaged);
    return code;
}

static void logs_are_refused(void **state)
{
    (void)state;
    nth_for_every("log", start_log, FAULTS_TAKING, 0, false);
    nth_for_every("log, io_uring", start_log, FAULTS_RING, -EPERM, false);
    nth_for_every("inspection", look_at_log, FAULTS_TAKING, 0, false);
}

/* ---- A node and its clients ---- */

static struct hf_server_options node_options(void)
{
    struct hf_server_options options;
    hf_server_options_default(&options);
    options.shards = 2;
    options.partitions = 4;
    options.skus_max = options.cells_max = options.orders_max = options.lines_max = options.command_ids_max = options.limits_max = 64;
    options.log_backend = HF_LOG_CHOICE_NULL;
    options.drainer = HF_DRAINER_THREAD;
    options.idle = HF_IDLE_SLEEP;
    snprintf(options.data, sizeof options.data, "%s", other);
    snprintf(options.listen[0], sizeof options.listen[0], "tcp://127.0.0.1:0");
    return options;
}

static struct hf_node *node_memory;

static int start_node(char *sentence, size_t bytes)
{
    struct hf_server_options options = node_options();
    char stopped[NTH_SENTENCE_BYTES];
    memset(node_memory, 0, sizeof *node_memory);
    int code = hf_node_start(node_memory, &options, sentence, bytes);
    if (code == 0)
        assert_int_equal(hf_node_stop(node_memory, stopped, sizeof stopped), 0);
    return code;
}

static void nodes_are_refused(void **state)
{
    (void)state;
    nth_for_every("node", start_node, FAULTS_TAKING, 0, false);
    nth_for_every("node, io_uring", start_node, FAULTS_RING, -EPERM, false);
}

/* HELLO and a query over a plain socket. */
static void take_frame(int fd, uint8_t *to, uint8_t type)
{
    struct hf_frame head;
    assert_int_equal(recv(fd, to, sizeof head, MSG_WAITALL), sizeof head);
    memcpy(&head, to, sizeof head);
    assert_true(head.type == type && head.length <= HF_FRAME_BYTES_MAX);
    size_t rest = head.length - sizeof head;
    assert_int_equal(recv(fd, to + sizeof head, rest, MSG_WAITALL), rest);
}

static void ask(const char *address)
{
    static _Alignas(8) uint8_t bytes[HF_FRAME_BYTES_MAX];
    struct hf_frame *frame = (struct hf_frame *)(void *)bytes;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    memset(bytes, 0, sizeof *frame + sizeof(struct hf_hello));
    frame->type = HF_HELLO;
    hf_frame_seal(frame, sizeof *frame + sizeof(struct hf_hello));
    assert_int_equal(send(fd, bytes, frame->length, 0), frame->length);
    take_frame(fd, bytes, HF_WELCOME);
    uint64_t session = frame->session;
    for (unsigned i = 1; i <= 200; i++) {
        struct hf_command query = {.length = sizeof query, .opcode = HF_LIST_LOCATIONS, .version = HF_COMMAND_VERSION};
        *frame = (struct hf_frame){.type = HF_REQUEST, .session = session, .request = i, .count = 1};
        memcpy(frame + 1, &query, sizeof query);
        hf_frame_seal(frame, sizeof *frame + sizeof query);
        assert_int_equal(send(fd, bytes, frame->length, 0), frame->length);
        take_frame(fd, bytes, HF_ANSWER);
    }
    close(fd);
}

/* Once it serves, whatever it is asked: connections, sessions, answers. */
static void a_node_that_serves_takes_nothing_more(void **state)
{
    (void)state;
    struct hf_server_options options = node_options();
    char sentence[NTH_SENTENCE_BYTES];
    uint64_t calls[2];
    memset(node_memory, 0, sizeof *node_memory);
    assert_int_equal(hf_node_start(node_memory, &options, sentence, sizeof sentence), 0);
    for (unsigned all = 0; all < 2; all++) {
        faults_arm(&(struct faults_plan){.kind = FAULTS_TAKING, .own_thread = all == 0});
        for (unsigned i = 0; i < 5; i++)
            ask(node_memory->options.listen[0]);
        (void)faults_disarm();
        calls[all] = faults_calls();
    }
    assert_int_equal(calls[0], calls[1]);
    assert_int_equal(hf_node_stop(node_memory, sentence, sizeof sentence), 0);
}

/* ---- Files that are read into memory ---- */

static void write_text(const char *name, const char *text, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/%s", other, name);
    FILE *file = fopen(path, "wbe");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int read_trace(char *sentence, size_t bytes)
{
    char path[192], error[HF_CSV_ERROR_BYTES] = "";
    struct hf_trace trace;
    snprintf(path, sizeof path, "%s/trace.csv", other);
    int code = hf_trace_read(path, &trace, error);
    nth_say(sentence, bytes, error);
    if (code == 0)
        hf_trace_free(&trace);
    return code;
}

static int read_acked(char *sentence, size_t bytes)
{
    char path[192], error[256] = "";
    struct hf_audit_acked *acked;
    snprintf(path, sizeof path, "%s/acked", other);
    int code = hf_audit_acked_read(path, &acked, error, sizeof error);
    nth_say(sentence, bytes, code == HF_E_MEMORY ? "no memory: the contract has no sentence for it" : error);
    if (code == 0)
        hf_audit_acked_destroy(acked);
    return code;
}

static void files_are_refused(void **state)
{
    (void)state;
    char path[192];
    write_text("trace.csv", "time,order,customer,store,sku,quantity,price\n1,a,1,1,S,1,1\n2,b,1,1,S,1,1\n", path, sizeof path);
    nth_for_every("trace", read_trace, FAULTS_TAKING, 0, true);
    assert_int_equal(unlink(path), 0);
    write_text("acked", "0123456789abcdef0123456789abcdef OK\n", path, sizeof path);
    nth_for_every("acknowledgements", read_acked, FAULTS_TAKING, 0, true);
    assert_int_equal(unlink(path), 0);
}

/* ---- All of them ---- */

static void make_directory(char path[96])
{
    const char *parent = getenv("TMPDIR");
    snprintf(path, 96, "%.60s/hf-failnth-XXXXXX", parent ? parent : "/tmp");
    assert_non_null(mkdtemp(path));
}

static void remove_directory(const char *path)
{
    char name[384];
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            assert_int_equal(unlink(name), 0);
    }
    if (dir)
        closedir(dir);
    assert_int_equal(rmdir(path), 0);
}

static int set_up(void **state)
{
    (void)state;
    make_directory(directory);
    make_directory(other);
    hf_log_line_set_level(HF_LEVEL_ERROR);
    node_memory = hf_memory_zeroed(sizeof *node_memory);
    return node_memory ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    hf_memory_free(node_memory);
    remove_directory(directory);
    remove_directory(other);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_refused),
        cmocka_unit_test(ports_are_refused),
        cmocka_unit_test(logs_are_refused),
        cmocka_unit_test(nodes_are_refused),
        cmocka_unit_test(a_node_that_serves_takes_nothing_more),
        cmocka_unit_test(files_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Rings between shards that are full: of every size from one slot on until nothing is refused any more. Whatever does not fit is answered
 * BUSY, is tried again, and happens once. */
#include "tests/failnth/nth.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/frame.h"
#include "net/net.h"
#include "ring/spsc.h"
#include "server/log_line.h"
#include "server/memory.h"
#include "server/node.h"

enum { SKUS = 512, FRAME_COMMANDS = 64, FRAMES = SKUS / FRAME_COMMANDS, IDLE_MS_MAX = 30000, SLOTS_MAX = 4096 };

static uint32_t slots; /* of each ring that is made; the product's own sizes are larger */

/* server/node.c is compiled into this test and makes its rings here (meson.build): the linker's wrapping does not reach a function of our
 * own that link-time optimisation has seen. */
#undef hf_spsc_init
struct hf_spsc *hf_spsc_init(void *memory, uint32_t capacity, size_t element_bytes, uint64_t first_index);

struct hf_spsc *hf_small_spsc_init(void *memory, uint32_t capacity, size_t element_bytes, uint64_t first_index)
{
    return hf_spsc_init(memory, slots < capacity ? slots : capacity, element_bytes, first_index);
}

struct writer {
    int fd;
    uint64_t session, number, engine_ms;
    bool left[SKUS];            /* not done yet */
    unsigned busy, done, again; /* answers: BUSY, OK, and of these repeats */
    _Alignas(8) uint8_t bytes[HF_FRAME_BYTES_MAX];
};

static struct hf_frame *take_frame(struct writer *writer, uint8_t type)
{
    struct hf_frame *head = (struct hf_frame *)(void *)writer->bytes;
    assert_int_equal(recv(writer->fd, head, sizeof *head, MSG_WAITALL), sizeof *head);
    assert_true(head->type == type && head->length <= HF_FRAME_BYTES_MAX);
    size_t rest = head->length - sizeof *head;
    assert_int_equal(recv(writer->fd, head + 1, rest, MSG_WAITALL), rest);
    return head;
}

static void send_frame(struct writer *writer, uint8_t type, uint16_t count, uint32_t bytes)
{
    struct hf_frame *frame = (struct hf_frame *)(void *)writer->bytes;
    *frame = (struct hf_frame){.type = type, .session = writer->session, .count = count};
    frame->request = type == HF_REQUEST ? ++writer->number : 0;
    hf_frame_seal(frame, bytes);
    assert_int_equal(send(writer->fd, frame, bytes, MSG_NOSIGNAL), bytes);
}

static void begin(struct writer *writer, const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    memset(writer, 0, sizeof *writer);
    writer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(writer->fd, (const struct sockaddr *)&to, sizeof to), 0);
    send_frame(writer, HF_HELLO, 0, sizeof(struct hf_frame) + sizeof(struct hf_hello));
    const struct hf_frame *welcome = take_frame(writer, HF_WELCOME);
    writer->session = welcome->session;
    writer->engine_ms = ((const struct hf_welcome *)(const void *)(welcome + 1))->engine_time_ns / 1000000;
}

static void add_definition(const struct writer *writer, struct hf_command *command, unsigned number)
{
    struct hf_sku sku = {{number + 1, 7}};
    struct hf_line line = {.sku = sku};
    *command = (struct hf_command){.length = sizeof *command + sizeof line, .opcode = HF_DEFINE_SKU, .version = HF_COMMAND_VERSION};
    command->id = hf_id_make(hf_route(&sku), writer->engine_ms, number + 1);
    command->line_count = 1;
    memcpy(command + 1, &line, sizeof line);
}

/* Which definitions a frame carries, so that its answers can be told apart. */
struct flight {
    uint64_t number;
    unsigned numbers[FRAME_COMMANDS], count;
};

static void send_some(struct writer *writer, struct flight *flight, unsigned *from)
{
    uint32_t bytes = sizeof(struct hf_frame);
    flight->count = 0;
    for (; *from < SKUS && flight->count < FRAME_COMMANDS; ++*from) {
        if (!writer->left[*from])
            continue;
        struct hf_command *command = (struct hf_command *)(void *)(writer->bytes + bytes);
        add_definition(writer, command, *from);
        bytes += command->length;
        flight->numbers[flight->count++] = *from;
    }
    if (flight->count > 0)
        send_frame(writer, HF_REQUEST, (uint16_t)flight->count, bytes);
    flight->number = writer->number;
}

/* The answers of one frame, whichever is ready first. */
static void take_answers(struct writer *writer, const struct flight *flights, unsigned count)
{
    const struct hf_frame *head = take_frame(writer, HF_ANSWER);
    const uint8_t *at = (const uint8_t *)(head + 1);
    const struct flight *flight = flights;
    while (flight < flights + count && flight->number != head->request)
        flight++;
    assert_true(flight < flights + count);
    assert_int_equal(head->count, flight->count);
    for (unsigned i = 0; i < flight->count; i++) {
        const struct hf_answer *answer = (const struct hf_answer *)(const void *)at;
        if (answer->result != HF_OK && answer->result != HF_BUSY)
            fail_msg("%u slots: definition %u: %s", slots, flight->numbers[i], hf_result_name(answer->result));
        writer->left[flight->numbers[i]] = answer->result == HF_BUSY;
        writer->busy += answer->result == HF_BUSY;
        writer->done += answer->result == HF_OK;
        writer->again += answer->result == HF_OK && (answer->flags & HF_ANSWER_REPEATED) != 0;
        at += answer->length;
    }
}

/* Everything that is left, many frames at once; false: nothing was. */
static bool send_round(struct writer *writer)
{
    struct flight flights[FRAMES + 1];
    unsigned from = 0, count = 0;
    while (from < SKUS && count < FRAMES) {
        send_some(writer, &flights[count], &from);
        count += flights[count].count > 0;
    }
    for (unsigned i = 0; i < count; i++)
        take_answers(writer, flights, count);
    return count > 0;
}

static void send_all(struct writer *writer)
{
    unsigned idle_ms = 0, done = 0;
    memset(writer->left, true, sizeof writer->left);
    writer->busy = writer->done = writer->again = 0;
    while (send_round(writer)) {
        if (writer->done == done) {
            assert_true(++idle_ms < IDLE_MS_MAX);
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        } else {
            idle_ms = 0;
        }
        done = writer->done;
    }
    assert_int_equal(writer->done, SKUS);
}

/* Defines everything, then asks for all of it again: nothing was done twice. The number of answers that said BUSY. */
static unsigned define_all(struct hf_node *node)
{
    static struct writer writer;
    begin(&writer, node->options.listen[0]);
    send_all(&writer);
    unsigned busy = writer.busy;
    assert_int_equal(writer.again, 0);
    send_all(&writer);
    assert_int_equal(writer.again, SKUS);
    assert_int_equal(hf_engine_rows(node->engine, HF_TABLE_SKUS), SKUS);
    close(writer.fd);
    return busy;
}

static unsigned run_with(uint32_t ring_slots)
{
    struct hf_server_options options;
    char error[NTH_SENTENCE_BYTES];
    struct hf_node *node = hf_memory_zeroed(sizeof *node);
    assert_non_null(node);
    hf_server_options_default(&options);
    options.shards = 2;
    options.partitions = 8;
    options.skus_max = options.cells_max = options.orders_max = options.lines_max = options.command_ids_max = options.limits_max = 4096;
    options.log_backend = HF_LOG_CHOICE_NULL;
    options.idle = HF_IDLE_SLEEP;
    snprintf(options.data, sizeof options.data, "%s", "none");
    snprintf(options.listen[0], sizeof options.listen[0], "tcp://127.0.0.1:0");
    slots = ring_slots;
    if (hf_node_start(node, &options, error, sizeof error) != 0)
        fail_msg("%s", error);
    unsigned busy = define_all(node);
    assert_int_equal(hf_node_stop(node, error, sizeof error), 0);
    hf_memory_free(node);
    return busy;
}

static void what_finds_a_ring_full_is_told_so_and_happens_once(void **state)
{
    (void)state;
    unsigned first = 0, busy = 1;
    for (uint32_t size = 1; size <= SLOTS_MAX && busy > 0; size *= 2) {
        busy = run_with(size);
        print_message("%u slots: %u BUSY\n", size, busy);
        first = size == 1 ? busy : first;
    }
    assert_true(first > 0);
    assert_int_equal(busy, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_finds_a_ring_full_is_told_so_and_happens_once)};
    hf_log_line_set_level(HF_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

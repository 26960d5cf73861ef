/* The outbox against a model that keeps every frame: what is gathered is what was queued, whatever is overwritten meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "net/net.h"
#include "net/outbox.h"

enum { CONNECTIONS = 5, STEPS = 60000, QUEUE_MAX = 1 << 14 };

struct model {
    uint64_t numbers[QUEUE_MAX];
    uint32_t bytes[QUEUE_MAX];
    unsigned from, count;
    uint32_t skip;
};

static struct hf_outbox outbox;
static struct hf_connections connections;
static struct hf_connection *connection[CONNECTIONS];
static struct model models[CONNECTIONS];
static unsigned given_up;
static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (seed >> 11) % below;
}

static void give_up(void *context, struct hf_connection *slow)
{
    (void)context;
    given_up++;
    models[slow->index].count = 0;
    models[slow->index].skip = 0;
    hf_outbox_forget(&outbox, slow);
}

static int open_outbox(void **state)
{
    (void)state;
    static struct hf_transport transport;
    seed = 0x1234567;
    given_up = 0;
    memset(models, 0, sizeof models);
    assert_int_equal(hf_connections_create(&connections, CONNECTIONS), 0);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        connection[i] = hf_connections_take(&connections, &transport);
    assert_int_equal(hf_outbox_create(&outbox, 1, &connections), 0);
    outbox.give_up = give_up;
    return 0;
}

static int close_outbox(void **state)
{
    (void)state;
    hf_outbox_destroy(&outbox);
    hf_connections_destroy(&connections);
    return 0;
}

static uint8_t byte_of(uint64_t number, uint32_t at)
{
    return (uint8_t)(number * 131 + at * 7);
}

static uint64_t append(uint32_t bytes)
{
    uint64_t number;
    uint8_t *frame = hf_outbox_append(&outbox, bytes, &number);
    assert_int_equal((uintptr_t)frame % 8, 0);
    for (uint32_t i = 0; i < bytes; i++)
        frame[i] = byte_of(number, i);
    return number;
}

static void queue(unsigned i, uint64_t number, uint32_t bytes)
{
    struct model *model = &models[i];
    if (!hf_outbox_queue(&outbox, number, connection[i]))
        return;
    unsigned at = (model->from + model->count++) % QUEUE_MAX;
    model->numbers[at] = number;
    model->bytes[at] = bytes;
}

/* Takes some of what is gathered, byte by byte as the model says. */
static void take(unsigned i)
{
    struct model *model = &models[i];
    struct iovec ranges[8];
    unsigned count = hf_outbox_gather(&outbox, connection[i], ranges, 8);
    assert_int_equal(count > 0, model->count > 0);
    size_t total = 0, limit = (size_t)draw(200000);
    for (unsigned r = 0; r < count; r++) {
        const uint8_t *at = ranges[r].iov_base;
        for (size_t left = ranges[r].iov_len; left > 0 && total < limit; left--, at++, total++) {
            assert_int_equal(*at, byte_of(model->numbers[model->from], model->skip));
            if (++model->skip == model->bytes[model->from]) {
                model->skip = 0;
                model->from = (model->from + 1) % QUEUE_MAX;
                model->count--;
            }
        }
    }
    hf_outbox_sent(&outbox, connection[i], total);
}

static void what_is_gathered_is_what_was_queued(void **state)
{
    (void)state;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)draw(CONNECTIONS);
        uint32_t bytes = draw(50) == 0 ? HF_FRAME_BYTES_MAX : 64 + 8 * (uint32_t)draw(40);
        if (draw(3) > 0) {
            uint64_t number = append(bytes);
            queue(i, number, bytes);
        } else if (i > 0 || draw(200) == 0) { /* the first hardly ever takes anything */
            take(i);
        }
    }
    assert_true(given_up > 0);
    uint64_t unsent = 0;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        unsent += models[i].count;
    assert_int_equal(outbox.unsent, unsent);
}

static void a_frame_is_held_until_the_ring_has_gone_round(void **state)
{
    (void)state;
    uint64_t first = append(1024), number = first;
    for (unsigned i = 1; i < 1024; i++) {
        number = append(1024);
        assert_true(hf_outbox_holds(&outbox, first));
    }
    append(64);
    assert_false(hf_outbox_holds(&outbox, first));
    assert_true(hf_outbox_holds(&outbox, number));
    assert_false(hf_outbox_holds(&outbox, number + 2));
    assert_false(hf_outbox_holds(&outbox, 0));
}

static void a_frame_waits_in_one_queue_at_a_time(void **state)
{
    (void)state;
    uint64_t number = append(64);
    assert_true(hf_outbox_queue(&outbox, number, connection[0]));
    assert_false(hf_outbox_queue(&outbox, number, connection[0]));
    hf_outbox_sent(&outbox, connection[0], 63);
    assert_int_equal(outbox.unsent, 1);
    hf_outbox_sent(&outbox, connection[0], 1);
    assert_int_equal(outbox.unsent, 0);
    assert_true(hf_outbox_queue(&outbox, number, connection[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_gathered_is_what_was_queued, open_outbox, close_outbox),
        cmocka_unit_test_setup_teardown(a_frame_is_held_until_the_ring_has_gone_round, open_outbox, close_outbox),
        cmocka_unit_test_setup_teardown(a_frame_waits_in_one_queue_at_a_time, open_outbox, close_outbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

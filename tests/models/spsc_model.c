/* Models of the ring between two threads: elements by copy, elements in place, and a third thread that counts. */
#include "ring/spsc.h"

#include "tests/models/checker.h"

#include <assert.h>

enum { ELEMENTS = 6, CAPACITY = 2, ROOMY = 4, COUNTED = 3 };

struct element {
    uint64_t number;
    uint64_t check;
};

static struct hf_spsc *ring;

static struct element element_of(uint64_t number)
{
    return (struct element){.number = number, .check = ~number};
}

/* The indices run through 2^64 on the way. */
static void setup(void)
{
    assert(hf_spsc_bytes(CAPACITY, sizeof(struct element)) <= HF_MODEL_ARENA_BYTES);
    ring = hf_spsc_init(hf_model_arena, CAPACITY, sizeof(struct element), UINT64_MAX - 1);
}

static void setup_roomy(void)
{
    ring = hf_spsc_init(hf_model_arena, ROOMY, sizeof(struct element), 0);
}

static void idle(void)
{
}

static void put_copies(void)
{
    for (uint64_t next = 0; next < ELEMENTS;) {
        struct element batch[CAPACITY] = {element_of(next), element_of(next + 1)};
        uint32_t put = hf_spsc_put(ring, batch, next % 3 == 0 ? 1 : 2, sizeof(struct element));
        next += put;
        if (put == 0)
            hf_model_pause();
    }
}

static void get_copies(void)
{
    for (uint64_t next = 0; next < ELEMENTS;) {
        struct element batch[CAPACITY];
        uint32_t got = hf_spsc_get(ring, batch, CAPACITY, sizeof(struct element));
        for (uint32_t i = 0; i < got; i++)
            assert(batch[i].number == next + i && batch[i].check == ~(next + i));
        next += got;
        if (got == 0)
            hf_model_pause();
    }
}

static void put_in_place(void)
{
    for (uint64_t next = 0; next < ELEMENTS;) {
        void *span = NULL;
        uint32_t room = hf_spsc_reserve(ring, next % 3 == 0 ? 2 : 1, &span);
        struct element *elements = span;
        for (uint32_t i = 0; i < room; i++)
            elements[i] = element_of(next + i);
        hf_spsc_commit(ring, room);
        next += room;
        if (room == 0)
            hf_model_pause();
    }
}

/* Writes what it has read: a peeked span is the consumer's. */
static void get_in_place(void)
{
    for (uint64_t next = 0; next < ELEMENTS;) {
        void *span = NULL;
        uint32_t ready = hf_spsc_peek(ring, CAPACITY, &span);
        struct element *elements = span;
        for (uint32_t i = 0; i < ready; i++) {
            assert(elements[i].number == next + i && elements[i].check == ~(next + i));
            elements[i].check = 0;
        }
        hf_spsc_release(ring, ready);
        next += ready;
        if (ready == 0)
            hf_model_pause();
    }
}

static void finish(void)
{
    assert(hf_spsc_used(ring) == 0);
}

static void put_counted(void)
{
    for (uint64_t next = 0; next < COUNTED; next++) {
        struct element element = element_of(next);
        uint32_t put = hf_spsc_put(ring, &element, 1, sizeof element);
        assert(put == 1);
    }
}

static void get_counted(void)
{
    for (uint64_t next = 0; next < COUNTED;) {
        struct element element;
        if (hf_spsc_get(ring, &element, 1, sizeof element) == 1)
            next++;
        else
            hf_model_pause();
    }
}

/* Fewer than the capacity are ever put, so a count of as many stems from a head that had passed the tail. */
static void count(void)
{
    for (int i = 0; i < 3; i++)
        assert(hf_spsc_used(ring) <= COUNTED);
}

const struct hf_model hf_spsc_models[] = {
    {.name = "spsc: copies arrive once, whole and in order",
     .setup = setup,
     .threads = {put_copies, get_copies, idle},
     .finish = finish,
     .switches = 1},
    {.name = "spsc: spans in place belong to one side at a time",
     .setup = setup,
     .threads = {put_in_place, get_in_place, idle},
     .finish = finish,
     .switches = 1},
    {.name = "spsc: a third thread's count is never of a head beyond the tail",
     .setup = setup_roomy,
     .threads = {put_counted, get_counted, count},
     .finish = finish,
     .switches = 2},
    {.name = NULL},
};

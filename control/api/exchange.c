#include "control/api/exchange.h"

#include "ring/spsc.h"
#include "wire/error.h"
#include "wire/result.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    HF_PUMP_BATCH = 64,
    HF_PUMP_NAP_NS = 30000,
    HF_PUMP_NAP_MANY_NS = 100000, /* with so many out that each waits longer than that anyway */
    HF_PUMP_MANY = 32,
    HF_PUMP_PATIENCE = 8, /* what has taken long takes longer: this part of it more */
    HF_PUMP_NAP_MAX_NS = 500000,
    HF_PUMP_SLACK_NS = 1000,
    HF_ITEM_BYTES = sizeof(void *), /* what the rings carry: pointers to items */
};

static const uint64_t HF_PUMP_ASLEEP = 1;

struct hf_exchange_lane {
    struct hf_spsc *asked, *answered;
    uint32_t outstanding; /* the loop's: never more than `answered` holds */
};

struct hf_exchange {
    unsigned shard_count;
    struct hf_exchange_lane *lanes;
    int wake; /* eventfd: the pump sleeps on it while nothing is out */
    /* Items submitted, twice; and HF_PUMP_ASLEEP. One variable, so that the pump cannot fall asleep between a submit and its look. */
    struct hf_atomic_u64 submitted;
    uint64_t collected; /* the pump's */
    struct hf_atomic_u32 stop;
    pthread_t pump;
    bool started;
    pthread_mutex_t lock; /* of the list of what is out, and of `closed` */
    bool closed;
    struct hf_exchange_item *first;
};

static struct hf_spsc *hf_exchange_ring(uint32_t items_max)
{
    size_t bytes = hf_spsc_bytes(items_max, HF_ITEM_BYTES);
    void *memory = bytes ? aligned_alloc(HF_CACHE_PAD_BYTES, (bytes + HF_CACHE_PAD_BYTES - 1) / HF_CACHE_PAD_BYTES * HF_CACHE_PAD_BYTES)
                         : NULL;
    return memory ? hf_spsc_init(memory, items_max, HF_ITEM_BYTES, 0) : NULL;
}

int hf_exchange_create(unsigned shard_count, uint32_t items_max, struct hf_exchange **out)
{
    struct hf_exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return HF_E_MEMORY;
    exchange->shard_count = shard_count;
    exchange->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    exchange->lanes = calloc(shard_count, sizeof *exchange->lanes);
    pthread_mutex_init(&exchange->lock, NULL);
    bool good = exchange->lanes != NULL;
    for (unsigned i = 0; good && i < shard_count; i++) {
        exchange->lanes[i].asked = hf_exchange_ring(items_max);
        exchange->lanes[i].answered = hf_exchange_ring(items_max);
        good = exchange->lanes[i].asked && exchange->lanes[i].answered;
    }
    if (good && exchange->wake >= 0) {
        *out = exchange;
        return 0;
    }
    hf_exchange_destroy(exchange);
    return good ? HF_E_IO : HF_E_MEMORY;
}

static void hf_exchange_wake(struct hf_exchange *exchange)
{
    /* It fails only when the count is full, and then the pump is awake. */
    (void)!write(exchange->wake, &(uint64_t){1}, sizeof(uint64_t));
}

/* ---- the loop's side ---- */

/* A system call only for a pump that sleeps. */
static void hf_exchange_submitted(struct hf_exchange *exchange)
{
    uint64_t before = hf_load_relaxed_u64(&exchange->submitted);
    while (!hf_cas_weak_acq_rel_u64(&exchange->submitted, &before, (before + 2) & ~HF_PUMP_ASLEEP))
        ;
    if (before & HF_PUMP_ASLEEP)
        hf_exchange_wake(exchange);
}

/* False: the exchange has been stopped, and what is listed now would wait for ever. */
static bool hf_exchange_list(struct hf_exchange *exchange, struct hf_exchange_item *item)
{
    pthread_mutex_lock(&exchange->lock);
    bool open = !exchange->closed;
    if (open) {
        item->before = NULL;
        item->after = exchange->first;
        if (item->after)
            item->after->before = item;
        exchange->first = item;
    }
    pthread_mutex_unlock(&exchange->lock);
    return open;
}

uint16_t hf_exchange_submit(struct hf_exchange *exchange, struct hf_exchange_item *item)
{
    struct hf_exchange_lane *lane = &exchange->lanes[item->shard];
    if (lane->outstanding >= hf_spsc_capacity(lane->answered))
        return HF_BUSY;
    /* Kept before it is listed: a stop may answer at once what it finds there. */
    hf_grpc_keep(item->call);
    if (!hf_exchange_list(exchange, item)) {
        hf_grpc_drop(item->call);
        return HF_DRAINING;
    }
    lane->outstanding++;
    uint32_t put = hf_spsc_put(lane->asked, &item, 1, HF_ITEM_BYTES);
    assert(put == 1); /* no more are in the ring than are outstanding */
    (void)put;
    hf_exchange_submitted(exchange);
    return HF_OK;
}

void hf_exchange_finished(struct hf_exchange *exchange, struct hf_exchange_item *item)
{
    exchange->lanes[item->shard].outstanding--;
    pthread_mutex_lock(&exchange->lock);
    if (item->before)
        item->before->after = item->after;
    else
        exchange->first = item->after;
    if (item->after)
        item->after->before = item->before;
    pthread_mutex_unlock(&exchange->lock);
    hf_grpc_drop(item->call);
}

/* ---- the shards' side ---- */

unsigned hf_exchange_take(struct hf_exchange *exchange, unsigned shard, struct hf_exchange_item **out, unsigned max)
{
    return hf_spsc_get(exchange->lanes[shard].asked, out, max, HF_ITEM_BYTES);
}

void hf_exchange_give(struct hf_exchange *exchange, struct hf_exchange_item *item)
{
    uint32_t put = hf_spsc_put(exchange->lanes[item->shard].answered, &item, 1, HF_ITEM_BYTES);
    assert(put == 1); /* room was reserved by `outstanding` */
    (void)put;
}

/* ---- the pump ---- */

static void hf_exchange_post(struct hf_exchange_item *item)
{
    item->posted = true;
    hf_grpc_post(item->call, &item->task);
}

static unsigned hf_exchange_collect(struct hf_exchange *exchange)
{
    unsigned all = 0;
    for (unsigned shard = 0; shard < exchange->shard_count; shard++) {
        struct hf_exchange_item *items[HF_PUMP_BATCH];
        uint32_t count = hf_spsc_get(exchange->lanes[shard].answered, items, HF_PUMP_BATCH, HF_ITEM_BYTES);
        for (uint32_t i = 0; i < count; i++)
            hf_exchange_post(items[i]);
        all += count;
    }
    exchange->collected += all;
    return all;
}

/* Until something is submitted; at once if something was, or if it has to stop. */
static void hf_exchange_sleep(struct hf_exchange *exchange)
{
    uint64_t woken, nothing_out = 2 * exchange->collected;
    struct pollfd wait = {.fd = exchange->wake, .events = POLLIN};
    if (!hf_cas_weak_acq_rel_u64(&exchange->submitted, &nothing_out, nothing_out | HF_PUMP_ASLEEP) && !(nothing_out & HF_PUMP_ASLEEP))
        return;
    poll(&wait, 1, -1);
    (void)!read(exchange->wake, &woken, sizeof woken);
}

static uint64_t hf_exchange_nap(uint64_t out, uint64_t waited_ns)
{
    uint64_t nap_ns = (out >= HF_PUMP_MANY ? HF_PUMP_NAP_MANY_NS : HF_PUMP_NAP_NS) + waited_ns / HF_PUMP_PATIENCE;
    if (nap_ns > HF_PUMP_NAP_MAX_NS)
        nap_ns = HF_PUMP_NAP_MAX_NS;
    nanosleep(&(struct timespec){.tv_nsec = (long)nap_ns}, NULL);
    return nap_ns;
}

static void *hf_exchange_pump(void *context)
{
    struct hf_exchange *exchange = context;
    pthread_setname_np(pthread_self(), "hf-pump");
    prctl(PR_SET_TIMERSLACK, (unsigned long)HF_PUMP_SLACK_NS, 0, 0, 0);
    for (uint64_t waited_ns = 0; hf_load_acquire_u32(&exchange->stop) == 0;) {
        uint64_t out = hf_load_acquire_u64(&exchange->submitted) / 2 - exchange->collected;
        if (hf_exchange_collect(exchange) != 0) {
            waited_ns = 0;
        } else if (out == 0) {
            hf_exchange_sleep(exchange);
            waited_ns = 0;
        } else {
            waited_ns += hf_exchange_nap(out, waited_ns);
        }
    }
    return NULL;
}

int hf_exchange_start(struct hf_exchange *exchange, const cpu_set_t *cpus)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (cpus)
        pthread_attr_setaffinity_np(&attributes, sizeof *cpus, cpus);
    exchange->started = pthread_create(&exchange->pump, &attributes, hf_exchange_pump, exchange) == 0;
    pthread_attr_destroy(&attributes);
    return exchange->started ? 0 : HF_E_MEMORY;
}

void hf_exchange_stop(struct hf_exchange *exchange)
{
    if (!exchange->started)
        return;
    hf_store_release_u32(&exchange->stop, 1);
    hf_exchange_wake(exchange);
    pthread_join(exchange->pump, NULL);
    exchange->started = false;
    while (hf_exchange_collect(exchange) != 0)
        ;
    pthread_mutex_lock(&exchange->lock);
    exchange->closed = true;
    for (struct hf_exchange_item *item = exchange->first; item; item = item->after) {
        if (item->posted)
            continue;
        *item->answer = (struct hf_answer){.length = sizeof *item->answer, .opcode = item->command->opcode, .result = HF_DRAINING};
        hf_exchange_post(item);
    }
    pthread_mutex_unlock(&exchange->lock);
}

void hf_exchange_destroy(struct hf_exchange *exchange)
{
    for (unsigned i = 0; exchange->lanes && i < exchange->shard_count; i++) {
        free(exchange->lanes[i].asked);
        free(exchange->lanes[i].answered);
    }
    free(exchange->lanes);
    if (exchange->wake >= 0)
        close(exchange->wake);
    pthread_mutex_destroy(&exchange->lock);
    free(exchange);
}

/* A device that is begun anew while its shards use it: all keep off first, and go on afterwards. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "net/dpdk/eal.h"
#include "net/dpdk/nic.h"

enum { SHARDS = 3, TIMES = 20 };

static struct hf_device device, narrow;
static struct hf_nic *nic;
static struct hf_atomic_u32 over;
static struct hf_atomic_u64 received[SHARDS];

static int set_up(void **state)
{
    (void)state;
    if (hf_device_parse("dpdk://net_null0?ip=10.9.0.2/24&port=7000", &device) != 0 ||
        hf_device_parse("dpdk://net_null1?ip=10.9.0.3/24&port=7000&queues=1", &narrow) != 0)
        return -1;
    const struct hf_device both[] = {device, narrow};
    if (hf_eal_start(&(struct hf_eal_options){.devices = both, .device_count = 2, .memory_mib = 512}) != 0)
        return -1;
    for (unsigned shard = 0; shard < SHARDS; shard++)
        if (hf_nic_join(&device, shard, SHARDS, &nic) != 0)
            return -1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned shard = 0; shard < SHARDS; shard++)
        hf_nic_leave(nic);
    hf_eal_end();
    return 0;
}

static void a_device_is_begun_anew_only_when_every_shard_keeps_off(void **state)
{
    (void)state;
    for (unsigned shard = 0; shard < SHARDS; shard++)
        assert_true(hf_nic_usable(nic, shard));
    hf_nic_tick(nic);
    assert_int_equal(hf_load_relaxed_u64(&nic->renewals), 0);
    hf_nic_renew(nic);
    hf_nic_renew(nic);
    hf_nic_tick(nic);
    assert_false(hf_nic_usable(nic, 1));
    hf_nic_tick(nic);
    assert_int_equal(hf_load_relaxed_u64(&nic->renewals), 0);
    assert_false(hf_nic_usable(nic, 2));
    hf_nic_tick(nic);
    assert_int_equal(hf_load_relaxed_u64(&nic->renewals), 1);
    for (unsigned shard = 0; shard < SHARDS; shard++)
        assert_true(hf_nic_usable(nic, shard));
    hf_nic_renew(nic);
    hf_nic_tick(nic);
    assert_int_equal(hf_load_relaxed_u64(&nic->renewals), 1); /* that they kept off once says nothing of now */
    assert_false(hf_nic_usable(nic, 1) || hf_nic_usable(nic, 2));
    hf_nic_tick(nic);
    assert_int_equal(hf_load_relaxed_u64(&nic->renewals), 2);
}

static void a_beginning_that_is_wanted_before_another_has_begun_is_one_with_it_and_waits_for_who_reads_the_status(void **state)
{
    (void)state;
    uint64_t renewals = hf_load_relaxed_u64(&nic->renewals);
    hf_nic_renew(nic);
    hf_nic_tick(nic);
    assert_false(hf_nic_usable(nic, 1) || hf_nic_usable(nic, 2));
    /* While the status is read it waits; what is wanted until it begins is one with it. */
    assert_int_equal(pthread_mutex_lock(&nic->setting), 0);
    hf_nic_tick(nic);
    hf_nic_renew(nic);
    assert_int_equal(hf_load_relaxed_u64(&nic->renewals), renewals);
    assert_int_equal(pthread_mutex_unlock(&nic->setting), 0);
    hf_nic_tick(nic);
    hf_nic_tick(nic);
    assert_int_equal(hf_load_relaxed_u64(&nic->renewals), renewals + 1);
    assert_true(hf_nic_usable(nic, 1) && hf_nic_usable(nic, 2));
}

static void a_device_with_fewer_queues_than_shards_waits_for_those_that_have_one(void **state)
{
    (void)state;
    struct hf_nic *one = NULL;
    for (unsigned shard = 0; shard < SHARDS; shard++)
        assert_int_equal(hf_nic_join(&narrow, shard, SHARDS, &one), 0);
    assert_int_equal(one->plan.queues, 1);
    hf_nic_renew(one);
    hf_nic_tick(one);
    assert_int_equal(hf_load_relaxed_u64(&one->renewals), 1);
    for (unsigned shard = 0; shard < SHARDS; shard++)
        hf_nic_leave(one);
}

static void receive(unsigned shard)
{
    struct rte_mbuf *packets[HF_NIC_BURST];
    if (!hf_nic_usable(nic, shard))
        return;
    uint16_t count = rte_eth_rx_burst(nic->port, (uint16_t)shard, packets, HF_NIC_BURST);
    rte_pktmbuf_free_bulk(packets, count);
    hf_bump_relaxed_u64(&received[shard], count);
}

static void *shard_main(void *context)
{
    const unsigned *shard = context;
    while (hf_load_acquire_u32(&over) == 0) {
        receive(*shard);
        nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
    }
    return NULL;
}

static void shards_that_run_stay_off_a_device_while_it_is_begun_anew_and_go_on(void **state)
{
    (void)state;
    pthread_t threads[SHARDS];
    unsigned numbers[SHARDS];
    uint64_t renewals = hf_load_relaxed_u64(&nic->renewals);
    for (unsigned shard = 1; shard < SHARDS; shard++) {
        numbers[shard] = shard;
        assert_int_equal(pthread_create(&threads[shard], NULL, shard_main, &numbers[shard]), 0);
    }
    for (uint64_t i = 1; i <= TIMES; i++) {
        hf_nic_renew(nic);
        while (hf_load_relaxed_u64(&nic->renewals) < renewals + i)
            hf_nic_tick(nic);
        receive(0);
        for (unsigned shard = 0; shard < SHARDS; shard++) {
            uint64_t before = hf_load_relaxed_u64(&received[shard]);
            while (shard != 0 && hf_load_relaxed_u64(&received[shard]) == before)
                nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
        }
    }
    hf_store_release_u32(&over, 1);
    for (unsigned shard = 1; shard < SHARDS; shard++)
        pthread_join(threads[shard], NULL);
    assert_int_not_equal(hf_load_relaxed_u64(&received[0]), 0);
    assert_int_equal(hf_load_relaxed_u64(&nic->renewals_failed), 0);
}

static void a_device_takes_no_second_address_and_no_ports_beyond_the_last(void **state)
{
    (void)state;
    struct hf_nic *other = NULL;
    struct hf_device last = device;
    assert_int_equal(hf_nic_join(&device, 0, SHARDS, &other), HF_E_USAGE);
    snprintf(last.name, sizeof last.name, "net_null1");
    last.ip.port = UINT16_MAX - 1;
    assert_int_equal(hf_nic_join(&last, 0, SHARDS, &other), HF_E_USAGE);
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_is_begun_anew_only_when_every_shard_keeps_off),
        cmocka_unit_test(a_beginning_that_is_wanted_before_another_has_begun_is_one_with_it_and_waits_for_who_reads_the_status),
        cmocka_unit_test(a_device_with_fewer_queues_than_shards_waits_for_those_that_have_one),
        cmocka_unit_test(shards_that_run_stay_off_a_device_while_it_is_begun_anew_and_go_on),
        cmocka_unit_test(a_device_takes_no_second_address_and_no_ports_beyond_the_last),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

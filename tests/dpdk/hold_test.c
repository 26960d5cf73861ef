/* Handlers of DPDK's thread for interrupts against bursts: that thread waits until nobody is within one, and nobody begins one meanwhile. A
 * memif's two ends are both here; the engine's is the shard's. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <rte_alarm.h>
#include <rte_interrupts.h>

#include "net/dpdk/eal.h"
#include "net/dpdk/nic.h"

enum { PEER_MBUFS = 4095, PACKET_BYTES = 9000, PEER_BURSTS = 20, TIMES = 40 };

static char directory[] = "/tmp/hf-hold-XXXXXX";
static struct hf_device device;
static struct hf_nic *nic;
static uint16_t peer;
static struct rte_mempool *peer_pool;
static struct hf_hold_place *peer_place;
static struct hf_atomic_u32 over;
static struct hf_atomic_u64 sent;

/* DPDK's libraries are not instrumented, and lock with spinlocks of their own. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:librte_\n";
}

static void pause_shortly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static int set_up_peer(void)
{
    const struct rte_eth_conf conf = {.rxmode = {.mtu = RTE_ETHER_MTU}};
    peer_place = hf_hold_take();
    peer_pool = rte_pktmbuf_pool_create("peer", PEER_MBUFS, 0, 0, RTE_PKTMBUF_HEADROOM + PACKET_BYTES, SOCKET_ID_ANY);
    if (!peer_place || !peer_pool || rte_eth_dev_get_port_by_name("net_memif1", &peer) != 0)
        return -1;
    if (rte_eth_dev_configure(peer, 1, 1, &conf) != 0 || rte_eth_rx_queue_setup(peer, 0, 512, 0, NULL, peer_pool) != 0)
        return -1;
    return rte_eth_tx_queue_setup(peer, 0, 512, 0, NULL);
}

static int set_up(void **state)
{
    char address[256], other[256];
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(address, sizeof address, "dpdk://net_memif0,role=server,socket-abstract=no,socket=%s/memif?ip=10.9.0.2/24&port=7000&mtu=9000",
             directory);
    snprintf(other, sizeof other, "--vdev=net_memif1,role=client,socket-abstract=no,bsize=9216,socket=%s/memif", directory);
    const struct hf_eal_options options = {.devices = &device, .device_count = 1, .arguments = other, .memory_mib = 256};
    if (hf_device_parse(address, &device) != 0 || hf_eal_start(&options) != 0 || hf_nic_join(&device, 0, 1, &nic) != 0)
        return -1;
    return set_up_peer();
}

static int tear_down(void **state)
{
    (void)state;
    (void)rte_eth_dev_close(peer);
    rte_mempool_free(peer_pool);
    hf_hold_give(peer_place);
    hf_nic_leave(nic);
    hf_eal_end();
    return rmdir(directory);
}

/* How many of the two ends have the memory of a memif before them. */
static unsigned mapped(void)
{
    char line[512];
    unsigned count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        count += strstr(line, "memif_region") != NULL;
    fclose(maps);
    return count;
}

static bool linked(uint16_t port)
{
    struct rte_eth_link link = {0};
    return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

static void connect_peer(void)
{
    assert_true(hf_hold_enter_soon(peer_place));
    assert_int_equal(rte_eth_dev_start(peer), 0);
    hf_hold_exit(peer_place);
    while (!linked(peer) || !linked(nic->port))
        pause_shortly();
}

static void disconnect_peer(void)
{
    assert_true(hf_hold_enter_soon(peer_place));
    assert_int_equal(rte_eth_dev_stop(peer), 0);
    hf_hold_exit(peer_place);
}

/* Until DPDK's thread is at its interrupts, or `what` says that there is nothing to wait for any more. */
static void wait_for_hold(struct hf_hold_place *place, bool (*what)(void))
{
    while (hf_hold_enter(place)) {
        hf_hold_exit(place);
        if (what())
            return;
        pause_shortly();
    }
}

static struct hf_atomic_u32 handled, entered, in_interrupts;

static bool is_handled(void)
{
    return hf_load_acquire_u32(&handled) != 0;
}

static void handler(void *context)
{
    (void)context;
    hf_store_relaxed_u32(&in_interrupts, rte_thread_is_intr() != 0);
    hf_store_relaxed_u32(&entered, hf_nic_enter(nic, 0));
    hf_store_release_u32(&handled, 1);
}

static void a_handler_runs_when_the_burst_is_over_and_no_burst_begins_while_it_runs(void **state)
{
    (void)state;
    assert_non_null(nic->places[0]);
    assert_true(hf_nic_enter(nic, 0));
    assert_int_equal(rte_eal_alarm_set(1, handler, NULL), 0);
    wait_for_hold(peer_place, is_handled);
    assert_false(is_handled());
    hf_nic_exit(nic, 0);
    while (!is_handled())
        pause_shortly();
    assert_int_equal(hf_load_relaxed_u32(&in_interrupts), 1);
    assert_int_equal(hf_load_relaxed_u32(&entered), 0);
    while (!hf_nic_enter(nic, 0))
        pause_shortly();
    hf_nic_exit(nic, 0);
}

static bool is_unmapped(void)
{
    return mapped() == 0;
}

static void the_memory_of_a_peer_that_goes_stays_until_the_burst_is_over(void **state)
{
    (void)state;
    assert_int_equal(mapped(), 0);
    connect_peer();
    assert_int_equal(mapped(), 2);
    while (!hf_nic_enter(nic, 0))
        pause_shortly();
    disconnect_peer();
    wait_for_hold(peer_place, is_unmapped);
    assert_int_equal(mapped(), 1);
    assert_true(linked(nic->port));
    hf_nic_exit(nic, 0);
    while (linked(nic->port) || mapped() > 0)
        pause_shortly();
}

/* ---- Many times ---- */

static unsigned make_packets(struct rte_mbuf **packets)
{
    unsigned count = 0;
    while (count < HF_NIC_BURST && (packets[count] = rte_pktmbuf_alloc(nic->pools[0])))
        assert_non_null(rte_pktmbuf_append(packets[count++], PACKET_BYTES));
    return count;
}

static void *shard_main(void *context)
{
    struct rte_mbuf *packets[HF_NIC_BURST];
    (void)context;
    (void)rte_thread_register();
    while (hf_load_acquire_u32(&over) == 0) {
        unsigned count = make_packets(packets), gone = 0;
        if (hf_nic_enter(nic, 0)) {
            gone = rte_eth_tx_burst(nic->port, 0, packets, (uint16_t)count);
            hf_nic_exit(nic, 0);
        }
        rte_pktmbuf_free_bulk(packets + gone, count - gone);
        hf_bump_relaxed_u64(&sent, gone);
        count = 0;
        if (hf_nic_enter(nic, 0)) {
            count = rte_eth_rx_burst(nic->port, 0, packets, HF_NIC_BURST);
            hf_nic_exit(nic, 0);
        }
        rte_pktmbuf_free_bulk(packets, count);
    }
    rte_thread_unregister();
    return NULL;
}

/* Takes bursts until as many as asked for had something. */
static void receive_bursts(unsigned bursts)
{
    struct rte_mbuf *packets[HF_NIC_BURST];
    while (bursts > 0) {
        uint16_t count = 0;
        if (hf_hold_enter(peer_place)) {
            count = rte_eth_rx_burst(peer, 0, packets, HF_NIC_BURST);
            hf_hold_exit(peer_place);
        }
        rte_pktmbuf_free_bulk(packets, count);
        bursts -= count > 0;
    }
}

static void a_shard_sends_on_while_its_peer_goes_and_comes_again(void **state)
{
    pthread_t shard;
    (void)state;
    assert_int_equal(pthread_create(&shard, NULL, shard_main, NULL), 0);
    for (unsigned i = 0; i < TIMES; i++) {
        connect_peer();
        receive_bursts(PEER_BURSTS);
        disconnect_peer();
        while (linked(nic->port))
            pause_shortly();
    }
    hf_store_release_u32(&over, 1);
    pthread_join(shard, NULL);
    assert_true(hf_load_relaxed_u64(&sent) >= TIMES * PEER_BURSTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handler_runs_when_the_burst_is_over_and_no_burst_begins_while_it_runs),
        cmocka_unit_test(the_memory_of_a_peer_that_goes_stays_until_the_burst_is_over),
        cmocka_unit_test(a_shard_sends_on_while_its_peer_goes_and_comes_again),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

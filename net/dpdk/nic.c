/* A NIC, tap, af_packet, af_xdp, memif or pcap device differs here by what its capabilities say, but for a few names: what spreads packets
 * over the queues of af_packet and af_xdp is not said (hf_nic_capabilities()), whose Ethernet address a tap reports (hf_nic_open()), and
 * that a memif's bursts have to be held apart from its peer (hf_nic_take_places()). */
#include "net/dpdk/nic.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_flow.h>

#include "net/dpdk/nic_p.h"

enum {
    HF_NIC_DESCRIPTORS = 512,
    HF_NIC_RING = 1024,
    HF_NIC_MBUFS_ALONE = 4095,   /* of a shard that receives, and of no other's rings */
    HF_NIC_MBUFS = 8191,         /* of one that hands on */
    HF_NIC_MBUFS_SENDING = 2047, /* of one that only sends */
    HF_NIC_CACHE = 250,
    HF_NIC_SPARE_BYTES = 256,   /* that drivers want beside a packet */
    HF_NIC_SAYS_NOTHING = 1600, /* bytes of a frame: less is what every device carries */
};

static struct hf_nic *hf_nics[HF_NICS_MAX];

unsigned hf_nic_count(void)
{
    unsigned count = 0;
    while (count < HF_NICS_MAX && hf_nics[count])
        count++;
    return count;
}

struct hf_nic *hf_nic_at(unsigned index)
{
    return hf_nics[index];
}

static int hf_nic_refused(const struct hf_nic *nic, const char *what, int error)
{
    return hf_net_fail(HF_E_IO, "device %s: %s: %s", nic->device.name, what, rte_strerror(error < 0 ? -error : error));
}

/* ---- Memory ---- */

static uint32_t hf_nic_room_bytes(const struct hf_device *device)
{
    uint32_t room = RTE_PKTMBUF_HEADROOM + HF_NIC_SPARE_BYTES + device->ip.mtu;
    return ((room > RTE_MBUF_DEFAULT_BUF_SIZE ? room : RTE_MBUF_DEFAULT_BUF_SIZE) + 63) / 64 * 64;
}

static unsigned hf_nic_mbufs(unsigned shard, unsigned queues, unsigned shards)
{
    return shard >= queues ? HF_NIC_MBUFS_SENDING : shards > 1 ? HF_NIC_MBUFS : HF_NIC_MBUFS_ALONE;
}

static uint64_t hf_nic_pool_bytes(const struct hf_device *device, unsigned mbufs)
{
    const uint64_t element = hf_nic_room_bytes(device) + sizeof(struct rte_mbuf) + sizeof(struct rte_mempool_objhdr);
    return (element + 63) / 64 * 64 * (mbufs + 1);
}

uint64_t hf_nic_memory_bytes(const struct hf_device *device, unsigned shards)
{
    return shards * hf_nic_pool_bytes(device, shards > 1 ? HF_NIC_MBUFS : HF_NIC_MBUFS_ALONE);
}

static struct hf_spsc *hf_nic_ring(void)
{
    size_t bytes = (hf_spsc_bytes(HF_NIC_RING, HF_NIC_ELEMENT_BYTES) + HF_CACHE_PAD_BYTES - 1) / HF_CACHE_PAD_BYTES;
    void *memory = aligned_alloc(HF_CACHE_PAD_BYTES, bytes * HF_CACHE_PAD_BYTES);
    return memory ? hf_spsc_init(memory, HF_NIC_RING, HF_NIC_ELEMENT_BYTES, 0) : NULL;
}

static int hf_nic_make_rings(struct hf_nic *nic)
{
    for (unsigned from = 0; from < nic->plan.queues; from++)
        for (unsigned to = 0; to < nic->shards; to++)
            if (from != to && !(nic->inward[from][to] = hf_nic_ring()))
                return hf_net_fail(HF_E_MEMORY, "no memory for the rings of device %s", nic->device.name);
    for (unsigned from = nic->plan.queues; from < nic->shards; from++)
        if (!(nic->outward[from] = hf_nic_ring()))
            return hf_net_fail(HF_E_MEMORY, "no memory for the rings of device %s", nic->device.name);
    return 0;
}

static int hf_nic_make_pools(struct hf_nic *nic)
{
    for (unsigned shard = 0; shard < nic->shards; shard++) {
        char name[RTE_MEMPOOL_NAMESIZE];
        unsigned mbufs = hf_nic_mbufs(shard, nic->plan.queues, nic->shards);
        snprintf(name, sizeof name, "holdfast-%u-%u", nic->port, shard);
        nic->pools[shard] = rte_pktmbuf_pool_create(name, mbufs, HF_NIC_CACHE, 0, (uint16_t)hf_nic_room_bytes(&nic->device),
                                                    rte_eth_dev_socket_id(nic->port));
        if (!nic->pools[shard])
            return hf_net_fail(HF_E_MEMORY, "no memory for the packets of device %s: %s", nic->device.name, rte_strerror(rte_errno));
        nic->pool_bytes += hf_nic_pool_bytes(&nic->device, mbufs);
    }
    return 0;
}

static int hf_nic_take_places(struct hf_nic *nic)
{
    if (strcmp(nic->driver, "net_memif") != 0)
        return 0;
    nic->control = hf_hold_take();
    bool all = nic->control != NULL;
    for (unsigned shard = 0; shard < nic->plan.queues; shard++)
        all = (nic->places[shard] = hf_hold_take()) && all;
    return all ? 0 : hf_net_fail(HF_E_FULL, "device %s: too many shards on too many memifs", nic->device.name);
}

static void hf_nic_empty(struct hf_spsc *ring)
{
    struct rte_mbuf *packet;
    while (ring && hf_spsc_get(ring, &packet, 1, HF_NIC_ELEMENT_BYTES) == 1)
        rte_pktmbuf_free(packet);
    free(ring);
}

/* ---- What it can, and is asked to ---- */

static struct hf_capabilities hf_nic_capabilities(const struct hf_nic *nic, const struct rte_eth_dev_info *info)
{
    /* Links of these names are spread over their queues by the kernel. */
    bool kernel = strcmp(info->driver_name, "net_af_packet") == 0 || strcmp(info->driver_name, "net_af_xdp") == 0;
    uint32_t carried = info->max_rx_pktlen < RTE_ETHER_MIN_LEN ? RTE_ETHER_MIN_LEN : info->max_rx_pktlen;
    carried -= RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
    return (struct hf_capabilities){
        .rx_queues_max = info->max_rx_queues,
        .tx_queues_max = info->max_tx_queues,
        .spreads = kernel || (info->flow_type_rss_offloads & (RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP)) != 0,
        .checks_ip = (info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) != 0,
        .checks_udp = (info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_UDP_CKSUM) != 0,
        .sums_ip = (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0,
        .sums_udp = (info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) != 0,
        .unbounded = nic->device.virtual && info->max_mtu >= HF_IP_MTU_MAX && info->max_rx_pktlen < HF_NIC_SAYS_NOTHING,
        .mtu_min = info->min_mtu,
        .mtu_max = carried < info->max_mtu ? carried : info->max_mtu,
    };
}

static int hf_nic_plan(struct hf_nic *nic, const struct rte_eth_dev_info *info)
{
    const struct hf_capabilities can = hf_nic_capabilities(nic, info);
    const struct hf_wishes wish = {
        .shards = nic->shards, .queues = nic->device.queues, .mtu = nic->device.ip.mtu, .no_offload = nic->device.no_offload};
    switch (hf_plan_make(&can, &wish, &nic->plan)) {
    case HF_PLAN_GOOD:
        break;
    case HF_PLAN_QUEUES:
        return hf_net_fail(HF_E_USAGE, "device %s: queues=%u is more than its %u to receive and %u to send", nic->device.name, wish.queues,
                           can.rx_queues_max, can.tx_queues_max);
    case HF_PLAN_MTU:
        return hf_net_fail(HF_E_USAGE, "device %s: mtu=%u is not within its %u to %u", nic->device.name, wish.mtu, can.mtu_min,
                           can.mtu_max);
    case HF_PLAN_NO_QUEUES:
        return hf_net_fail(HF_E_IO, "device %s has no queues to receive and send by", nic->device.name);
    }
    struct rte_eth_conf *conf = &nic->conf;
    conf->rxmode.mtu = nic->plan.device_mtu;
    if (nic->plan.checks)
        conf->rxmode.offloads = info->rx_offload_capa & (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
    if (nic->plan.sums)
        conf->txmode.offloads = info->tx_offload_capa & (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
    if (nic->plan.spread && info->flow_type_rss_offloads != 0) {
        conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf->rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads & (RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP);
    }
    nic->tells_link = (*info->dev_flags & RTE_ETH_DEV_INTR_LSC) != 0;
    conf->intr_conf.lsc = nic->tells_link;
    return 0;
}

/* ---- Rules ---- */

static struct rte_flow *hf_nic_rule(const struct hf_nic *nic, unsigned shard, enum rte_flow_item_type ip)
{
    const struct rte_flow_attr attributes = {.ingress = 1};
    const struct rte_flow_item_udp udp = {.hdr.dst_port = rte_cpu_to_be_16((uint16_t)(nic->device.ip.port + shard))};
    const struct rte_flow_item_udp mask = {.hdr.dst_port = UINT16_MAX};
    const struct rte_flow_action_queue queue = {.index = (uint16_t)hf_nic_queue(nic, shard)};
    const struct rte_flow_item pattern[] = {{.type = RTE_FLOW_ITEM_TYPE_ETH},
                                            {.type = nic->device.ip.vlan ? RTE_FLOW_ITEM_TYPE_VLAN : RTE_FLOW_ITEM_TYPE_VOID},
                                            {.type = ip},
                                            {.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &udp, .mask = &mask},
                                            {.type = RTE_FLOW_ITEM_TYPE_END}};
    const struct rte_flow_action actions[] = {{.type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &queue}, {.type = RTE_FLOW_ACTION_TYPE_END}};
    struct rte_flow_error error;
    return rte_flow_create(nic->port, &attributes, pattern, actions, &error);
}

/* All or none: without them packets are spread, and handed on. */
static void hf_nic_steer(struct hf_nic *nic)
{
    struct rte_flow_error error;
    nic->steers = nic->plan.queues > 1;
    for (unsigned shard = 0; shard < nic->shards && nic->steers; shard++)
        nic->steers = hf_nic_rule(nic, shard, RTE_FLOW_ITEM_TYPE_IPV4) && hf_nic_rule(nic, shard, RTE_FLOW_ITEM_TYPE_IPV6);
    if (!nic->steers && nic->plan.queues > 1)
        (void)rte_flow_flush(nic->port, &error);
}

/* ---- Beginning ---- */

static int hf_nic_start(struct hf_nic *nic)
{
    uint16_t in = HF_NIC_DESCRIPTORS, out = HF_NIC_DESCRIPTORS, queues = nic->plan.queues;
    unsigned socket = (unsigned)rte_eth_dev_socket_id(nic->port);
    int error = rte_eth_dev_configure(nic->port, queues, queues, &nic->conf);
    if (!error)
        error = rte_eth_dev_adjust_nb_rx_tx_desc(nic->port, &in, &out);
    for (uint16_t i = 0; i < queues && !error; i++)
        error = rte_eth_rx_queue_setup(nic->port, i, in, socket, NULL, nic->pools[i]);
    for (uint16_t i = 0; i < queues && !error; i++)
        error = rte_eth_tx_queue_setup(nic->port, i, out, socket, NULL);
    if (!error)
        error = rte_eth_dev_start(nic->port);
    if (error)
        return error;
    nic->started = true;
    nic->rx_descriptors = in;
    nic->tx_descriptors = out;
    (void)rte_eth_allmulticast_enable(nic->port);
    hf_nic_steer(nic);
    return 0;
}

/* In DPDK's own thread. */
static int hf_nic_told(uint16_t port, enum rte_eth_event_type event, void *context, void *result)
{
    struct hf_nic *nic = context;
    (void)port;
    (void)result;
    if (event == RTE_ETH_EVENT_INTR_LSC)
        hf_add_relaxed_u64(&nic->link_changes, 1);
    else
        hf_nic_renew(nic);
    return 0;
}

static int hf_nic_open(struct hf_nic *nic)
{
    struct rte_eth_dev_info info;
    struct rte_ether_addr mac;
    char name[sizeof nic->device.name];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(nic->device.name, ","), nic->device.name);
    if (rte_eth_dev_get_port_by_name(name, &nic->port) != 0)
        return hf_net_fail(HF_E_IO, "device %s: DPDK finds no such device; is it bound to vfio-pci, or misspelt? see docs/dpdk.md", name);
    int error = rte_eth_dev_info_get(nic->port, &info);
    if (!error)
        error = rte_eth_macaddr_get(nic->port, &mac);
    if (error)
        return hf_nic_refused(nic, "tells nothing about itself", error);
    snprintf(nic->driver, sizeof nic->driver, "%s", info.driver_name);
    memcpy(nic->device.ip.mac, mac.addr_bytes, sizeof nic->device.ip.mac);
    /* The kernel's end of a tap device has the address that DPDK reports, so ours is the neighbour of it. */
    if (strcmp(info.driver_name, "net_tap") == 0)
        nic->device.ip.mac[5] ^= 1;
    error = hf_nic_plan(nic, &info);
    if (!error)
        error = hf_nic_make_pools(nic);
    if (!error)
        error = hf_nic_make_rings(nic);
    if (!error)
        error = hf_nic_take_places(nic);
    if (error)
        return error;
    nic->open = true;
    (void)rte_eth_dev_callback_register(nic->port, RTE_ETH_EVENT_INTR_LSC, hf_nic_told, nic);
    (void)rte_eth_dev_callback_register(nic->port, RTE_ETH_EVENT_INTR_RESET, hf_nic_told, nic);
    error = hf_nic_start(nic);
    if (error)
        return hf_nic_refused(nic, "cannot be configured", error);
    struct rte_eth_link link = {0};
    (void)rte_eth_link_get_nowait(nic->port, &link);
    nic->link_up = link.link_status;
    return 0;
}

/* hf_nic_told() runs no more when this returns. */
static void hf_nic_untell(struct hf_nic *nic, enum rte_eth_event_type event)
{
    while (rte_eth_dev_callback_unregister(nic->port, event, hf_nic_told, nic) == -EAGAIN) /* it runs now */
        (void)sched_yield();
}

/* False: DPDK's thread is stuck, maybe within this device. */
static bool hf_nic_shut(struct hf_nic *nic)
{
    hf_nic_untell(nic, RTE_ETH_EVENT_INTR_LSC);
    hf_nic_untell(nic, RTE_ETH_EVENT_INTR_RESET);
    if (!hf_hold_enter_soon(nic->control))
        return false;
    if (nic->started)
        (void)rte_eth_dev_stop(nic->port);
    (void)rte_eth_dev_close(nic->port);
    hf_hold_exit(nic->control);
    return true;
}

static void hf_nic_close(struct hf_nic *nic)
{
    if (nic->open && !hf_nic_shut(nic))
        return; /* that thread keeps all that it may still be using */
    for (unsigned from = 0; from < HF_NIC_SHARDS_MAX; from++) {
        for (unsigned to = 0; to < HF_NIC_SHARDS_MAX; to++)
            hf_nic_empty(nic->inward[from][to]);
        hf_nic_empty(nic->outward[from]);
    }
    for (unsigned shard = 0; shard < HF_NIC_SHARDS_MAX; shard++) {
        rte_mempool_free(nic->pools[shard]);
        hf_hold_give(nic->places[shard]);
    }
    hf_hold_give(nic->control);
    (void)pthread_mutex_destroy(&nic->setting);
    free(nic);
}

static void hf_nic_forget(const struct hf_nic *nic)
{
    unsigned count = hf_nic_count(), i = 0;
    while (i < count && hf_nics[i] != nic)
        i++;
    for (; i < count; i++)
        hf_nics[i] = i + 1 < HF_NICS_MAX ? hf_nics[i + 1] : NULL;
}

int hf_nic_join(const struct hf_device *device, unsigned shard, unsigned shards, struct hf_nic **out)
{
    unsigned count = hf_nic_count();
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(hf_nics[i]->device.name, device->name) != 0)
            continue;
        if (shard == 0)
            return hf_net_fail(HF_E_USAGE, "device %s is given twice; one address may name several ip", device->name);
        hf_nics[i]->members++;
        *out = hf_nics[i];
        return 0;
    }
    if (count == HF_NICS_MAX)
        return hf_net_fail(HF_E_USAGE, "an engine serves at most %d DPDK devices", HF_NICS_MAX);
    if (shards > HF_NIC_SHARDS_MAX || device->ip.port + shards - 1 > UINT16_MAX)
        return hf_net_fail(HF_E_USAGE, "device %s: each of %u shards needs a port from port=%u on", device->name, shards, device->ip.port);
    struct hf_nic *nic = aligned_alloc(HF_CACHE_PAD_BYTES,
                                       (sizeof *nic + HF_CACHE_PAD_BYTES - 1) / HF_CACHE_PAD_BYTES * HF_CACHE_PAD_BYTES);
    if (!nic)
        return hf_net_fail(HF_E_MEMORY, "no memory for device %s", device->name);
    memset(nic, 0, sizeof *nic);
    (void)pthread_mutex_init(&nic->setting, NULL);
    nic->device = *device;
    nic->shards = shards;
    nic->members = 1;
    int error = hf_nic_open(nic);
    if (error) {
        hf_nic_close(nic);
        return error;
    }
    hf_nics[count] = nic;
    *out = nic;
    return 0;
}

void hf_nic_leave(struct hf_nic *nic)
{
    if (--nic->members > 0)
        return;
    hf_nic_forget(nic);
    hf_nic_close(nic);
}

/* ---- A new beginning ---- */

void hf_nic_renew(struct hf_nic *nic)
{
    (void)hf_add_release_u32(&nic->wanted, 1); /* partner: hf_nic_begin_anew() */
}

static void hf_nic_look_at_link(struct hf_nic *nic)
{
    struct rte_eth_link link = {0};
    if (nic->tells_link || !nic->started || rte_eth_link_get_nowait(nic->port, &link) != 0 || link.link_status == nic->link_up)
        return;
    nic->link_up = link.link_status;
    hf_add_relaxed_u64(&nic->link_changes, 1);
}

static bool hf_nic_begin_anew(struct hf_nic *nic)
{
    /* What is wanted from here on may be for something that begins now: it has a turn of its own. */
    const uint32_t wanted = hf_load_acquire_u32(&nic->wanted); /* partner: hf_nic_renew() */
    if (!hf_hold_enter_soon(nic->control))
        return false;
    if (nic->started)
        (void)rte_eth_dev_stop(nic->port);
    nic->started = false;
    (void)rte_eth_dev_reset(nic->port); /* not every device can; all can be configured again */
    bool begun = hf_nic_start(nic) == 0;
    hf_hold_exit(nic->control);
    if (begun)
        nic->renewed = wanted;
    return begun;
}

/* Whether all shards that make bursts on it keep off. */
static bool hf_nic_is_left_alone(const struct hf_nic *nic, uint32_t renewal)
{
    for (unsigned shard = 0; shard < nic->plan.queues; shard++)
        if (hf_load_acquire_u32(&nic->off[shard]) != renewal) /* partner: the store in hf_nic_usable() */
            return false;
    return true;
}

void hf_nic_tick(struct hf_nic *nic)
{
    hf_nic_look_at_link(nic);
    uint32_t renewal = hf_load_relaxed_u32(&nic->renewal); /* shard 0's alone to write, as here */
    if ((renewal & 1) == 0) {
        if (hf_load_relaxed_u32(&nic->wanted) == nic->renewed)
            return;
        hf_store_release_u32(&nic->renewal, ++renewal); /* partner: the load in hf_nic_usable() */
    }
    hf_store_relaxed_u32(&nic->off[0], renewal);
    if (!hf_nic_is_left_alone(nic, renewal) || pthread_mutex_trylock(&nic->setting) != 0)
        return;
    bool begun = hf_nic_begin_anew(nic);
    (void)pthread_mutex_unlock(&nic->setting);
    hf_bump_relaxed_u64(begun ? &nic->renewals : &nic->renewals_failed, 1);
    if (begun)
        hf_store_release_u32(&nic->renewal, renewal + 1); /* partner: the load in hf_nic_usable() */
}

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/dpdk/nic_p.h"
#include "net/dpdk/port.h"

struct hf_nic_list {
    struct hf_net_counter *out;
    unsigned count, max, device;
};

static void hf_nic_add(struct hf_nic_list *list, const char *name, uint64_t value)
{
    if (list->count == list->max)
        return;
    struct hf_net_counter *counter = &list->out[list->count++];
    snprintf(counter->name, sizeof counter->name, "devices.%u.%.29s", list->device % HF_NICS_MAX, name);
    counter->value = value;
}

static void hf_nic_add_memory(struct hf_nic_list *list, const struct hf_nic *nic)
{
    uint64_t packets = 0, free_packets = 0;
    for (unsigned shard = 0; shard < nic->shards; shard++) {
        packets += nic->pools[shard]->size;
        free_packets += rte_mempool_avail_count(nic->pools[shard]);
    }
    hf_nic_add(list, "pools", nic->shards);
    hf_nic_add(list, "pool_bytes", nic->pool_bytes);
    hf_nic_add(list, "pool_packets", packets);
    hf_nic_add(list, "pool_packets_free", free_packets);
    hf_nic_add(list, "packet_bytes_max", rte_pktmbuf_data_room_size(nic->pools[0]) - RTE_PKTMBUF_HEADROOM);
}

static void hf_nic_add_plan(struct hf_nic_list *list, const struct hf_nic *nic)
{
    hf_nic_add(list, "shards", nic->shards);
    hf_nic_add(list, "queues", nic->plan.queues);
    hf_nic_add(list, "spread", nic->plan.spread);
    hf_nic_add(list, "steered", nic->steers);
    hf_nic_add(list, "offload_in", nic->plan.checks);
    hf_nic_add(list, "offload_out", nic->plan.sums);
    hf_nic_add(list, "mtu", nic->device.ip.mtu);
    hf_nic_add(list, "rx_descriptors", nic->rx_descriptors);
    hf_nic_add(list, "tx_descriptors", nic->tx_descriptors);
}

static void hf_nic_add_link(struct hf_nic_list *list, const struct hf_nic *nic)
{
    struct rte_eth_link link = {0};
    (void)rte_eth_link_get_nowait(nic->port, &link);
    hf_nic_add(list, "link_up", link.link_status);
    hf_nic_add(list, "link_mbps", link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed);
    hf_nic_add(list, "link_changes", hf_load_relaxed_u64(&nic->link_changes));
    hf_nic_add(list, "renewals", hf_load_relaxed_u64(&nic->renewals));
    hf_nic_add(list, "renewals_failed", hf_load_relaxed_u64(&nic->renewals_failed));
}

/* The driver's own, by its names (their first 22 characters); most of a NIC's hundreds are 0 and left out. */
static void hf_nic_add_xstats(struct hf_nic_list *list, const struct hf_nic *nic)
{
    int count = rte_eth_xstats_get(nic->port, NULL, 0);
    struct rte_eth_xstat *values = count > 0 ? calloc((size_t)count, sizeof *values) : NULL;
    struct rte_eth_xstat_name *names = count > 0 ? calloc((size_t)count, sizeof *names) : NULL;
    if (values && names && rte_eth_xstats_get(nic->port, values, (unsigned)count) == count &&
        rte_eth_xstats_get_names(nic->port, names, (unsigned)count) == count)
        for (int i = 0; i < count; i++)
            if (values[i].value != 0) {
                char name[sizeof names[i].name + sizeof "xstats."];
                snprintf(name, sizeof name, "xstats.%s", names[i].name);
                hf_nic_add(list, name, values[i].value);
            }
    free(values);
    free(names);
}

static void hf_nic_add_own(struct hf_nic_list *list, const struct hf_nic *nic)
{
    hf_nic_add_link(list, nic);
    hf_nic_add_plan(list, nic);
    hf_nic_add_memory(list, nic);
}

/* While it is not begun anew. */
static void hf_nic_read(struct hf_nic_list *list, void (*add)(struct hf_nic_list *, const struct hf_nic *))
{
    struct hf_nic *nic = hf_nic_at(list->device);
    (void)pthread_mutex_lock(&nic->setting);
    add(list, nic);
    (void)pthread_mutex_unlock(&nic->setting);
}

unsigned hf_dpdk_counters(struct hf_net_counter *out, unsigned max)
{
    struct hf_nic_list list = {.out = out, .max = max};
    /* What a driver says of itself may be more than there is room for, and must not push out what is said of the next device. */
    for (list.device = 0; list.device < hf_nic_count(); list.device++)
        hf_nic_read(&list, hf_nic_add_own);
    for (list.device = 0; list.device < hf_nic_count(); list.device++)
        hf_nic_read(&list, hf_nic_add_xstats);
    return list.count;
}

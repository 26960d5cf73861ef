#include "net/dpdk/plan.h"

#include "net/dpdk/ip_p.h"

static uint32_t hf_plan_least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

enum hf_plan_fault hf_plan_make(const struct hf_capabilities *can, const struct hf_wishes *wish, struct hf_plan *out)
{
    uint32_t there = hf_plan_least(can->rx_queues_max, can->tx_queues_max);
    uint32_t mtu = can->unbounded ? hf_plan_least(wish->mtu, can->mtu_max) : wish->mtu;
    if (there == 0)
        return HF_PLAN_NO_QUEUES;
    if (wish->queues > there)
        return HF_PLAN_QUEUES;
    if (mtu < can->mtu_min || mtu > can->mtu_max)
        return HF_PLAN_MTU;
    uint32_t queues = wish->queues ? wish->queues : can->spreads ? wish->shards : 1;
    queues = hf_plan_least(hf_plan_least(queues, there), wish->shards);
    *out = (struct hf_plan){
        .queues = (uint16_t)hf_plan_least(queues, UINT16_MAX),
        .spread = can->spreads && queues > 1,
        .checks = can->checks_ip && can->checks_udp && !wish->no_offload,
        .sums = can->sums_ip && can->sums_udp && !wish->no_offload,
        .device_mtu = mtu,
    };
    return HF_PLAN_GOOD;
}

/* Where a UDP header would begin in a packet without options; 0: nowhere. */
static uint32_t hf_plan_udp_at(const uint8_t *packet, uint32_t bytes, uint32_t at, uint16_t type)
{
    if (type == HF_ETHER_IP4 && bytes >= at + HF_IP4_BYTES + HF_UDP_HEADER_BYTES && packet[at + 9] == HF_PROTOCOL_UDP)
        return at + HF_IP4_BYTES;
    if (type == HF_ETHER_IP6 && bytes >= at + HF_IP6_BYTES + HF_UDP_HEADER_BYTES && packet[at + 6] == HF_PROTOCOL_UDP)
        return at + HF_IP6_BYTES;
    return 0;
}

int hf_plan_owner(const uint8_t *packet, uint32_t bytes, const uint8_t mac[6], uint16_t port, unsigned shards, unsigned self)
{
    uint32_t at = HF_ETHER_BYTES;
    if (bytes < HF_ETHER_BYTES + HF_VLAN_BYTES)
        return (int)self;
    /* Questions of ours are answered to us, so what is for everybody tells nobody here anything. */
    const bool to_us = memcmp(packet, mac, 6) == 0;
    uint16_t type = hf_get16(packet + 12);
    if (type == HF_ETHER_VLAN) {
        type = hf_get16(packet + 16);
        at += HF_VLAN_BYTES;
    }
    if (type == HF_ETHER_ARP && bytes >= at + HF_ARP_BYTES)
        return hf_get16(packet + at + 6) == 2 && to_us ? HF_PLAN_EVERYBODY : (int)self;
    if (type == HF_ETHER_IP6 && bytes > at + HF_IP6_BYTES && packet[at + 6] == HF_PROTOCOL_ICMP6)
        return packet[at + HF_IP6_BYTES] == HF_ICMP6_ADVERTISE && to_us ? HF_PLAN_EVERYBODY : (int)self;
    uint32_t udp = hf_plan_udp_at(packet, bytes, at, type);
    unsigned shard = udp ? (unsigned)hf_get16(packet + udp + 2) - port : shards;
    return shard < shards ? (int)shard : (int)self;
}

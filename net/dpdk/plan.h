/* What a device is asked to do, from what it says it can and what is wanted; and which shard a packet is for. Pure; any thread.
 *
 * Shard n is reached at the n-th UDP port from the device's own. Each shard has a receive and a transmit queue where the device can spread
 * packets over queues; where its rules can also steer by port, no shard with a queue sees another's packets. Else shard 0 (of the queues
 * there are: shard n's is n modulo their number) hands on what is another's, and sends for it. */
#ifndef HF_NET_DPDK_PLAN_H
#define HF_NET_DPDK_PLAN_H

#include <stdbool.h>
#include <stdint.h>

struct hf_capabilities {
    uint32_t rx_queues_max, tx_queues_max;
    bool spreads;               /* over its receive queues, by a hash of addresses and ports */
    bool checks_ip, checks_udp; /* of what comes in */
    bool sums_ip, sums_udp;     /* of what leaves */
    bool unbounded;             /* carries longer packets than it says */
    uint32_t mtu_min, mtu_max;  /* bytes of an IP packet */
};

struct hf_wishes {
    unsigned shards;
    unsigned queues; /* each way; 0: as many as help */
    uint32_t mtu;
    bool no_offload;
};

struct hf_plan {
    uint16_t queues;     /* each way: the first so many shards' */
    bool spread;         /* the device is asked to */
    bool checks, sums;   /* by the device, else here */
    uint32_t device_mtu; /* to configure */
};

enum hf_plan_fault { HF_PLAN_GOOD, HF_PLAN_NO_QUEUES, HF_PLAN_QUEUES, HF_PLAN_MTU };

enum { HF_PLAN_EVERYBODY = -1 };

/* *out is untouched on a fault: HF_PLAN_QUEUES: more were wanted than there are; HF_PLAN_MTU: it carries no such packets. */
enum hf_plan_fault hf_plan_make(const struct hf_capabilities *can, const struct hf_wishes *wish, struct hf_plan *out);

/* The shard of `shards` that a packet is for whose UDP port is one from `port` on; HF_PLAN_EVERYBODY: it says where a neighbour is, to the
 * Ethernet address `mac`; `self`: whoever has it. Nothing of it was verified. */
int hf_plan_owner(const uint8_t *packet, uint32_t bytes, const uint8_t mac[6], uint16_t port, unsigned shards, unsigned self);

#endif

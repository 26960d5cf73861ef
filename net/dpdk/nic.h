/* A device and what its shards share of it: DPDK's port, queues, packet memory, rings between shards, its link and its counters.
 *
 * Made by the thread that makes ports; then each shard uses what is its own: its pool, its queue, its ends of rings. Rings carry
 * struct rte_mbuf *, which belongs to whoever has it. */
#ifndef HF_NET_DPDK_NIC_H
#define HF_NET_DPDK_NIC_H

#include "net/dpdk/device.h"
#include "net/dpdk/hold.h"
#include "net/dpdk/plan.h"
#include "net/net.h"
#include "ring/atomics.h"
#include "ring/spsc.h"

#include <pthread.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

enum { HF_NICS_MAX = 4, HF_NIC_SHARDS_MAX = 64, HF_NIC_BURST = 32, HF_NIC_ELEMENT_BYTES = (int)sizeof(void *) /* of rings */ };

struct hf_nic {
    /* constant while shards run */
    struct hf_device device;
    struct hf_plan plan;
    uint16_t port; /* DPDK's */
    uint16_t rx_descriptors, tx_descriptors;
    unsigned shards, members;
    uint64_t pool_bytes; /* of all shards */
    bool steers;         /* rules lead each shard's port to its queue */
    bool open, started;
    bool tells_link; /* by an event; else it is looked at */
    char driver[32];
    struct rte_eth_conf conf;
    struct rte_mempool *pools[HF_NIC_SHARDS_MAX];
    struct hf_spsc *inward[HF_NIC_SHARDS_MAX][HF_NIC_SHARDS_MAX]; /* from who has the queue, to whom it is for; NULL: none */
    struct hf_spsc *outward[HF_NIC_SHARDS_MAX];                   /* from a shard without a queue */
    /* of a memif, else NULL: of who has a queue, and of who starts and stops it */
    struct hf_hold_place *places[HF_NIC_SHARDS_MAX], *control;

    /* shared */
    struct hf_atomic_u32 wanted;                 /* how often somebody wanted it begun anew */
    struct hf_atomic_u32 renewal;                /* odd: all shards keep off, for it is begun anew; then even */
    struct hf_atomic_u32 off[HF_NIC_SHARDS_MAX]; /* the renewal for which a shard that has a queue keeps off */
    struct hf_atomic_u64 link_changes, renewals, renewals_failed;
    pthread_mutex_t setting; /* who begins it anew has it, and who reads what that changes; shard 0 never waits for it */

    /* shard 0's */
    bool link_up;
    uint32_t renewed; /* of `wanted` */
};

/* Bytes of packet memory that a device will take with as many shards. */
uint64_t hf_nic_memory_bytes(const struct hf_device *device, unsigned shards);

/* The device of this address for one more shard; the first opens it. 0, or an enum hf_error with hf_net_error() set. */
int hf_nic_join(const struct hf_device *device, unsigned shard, unsigned shards, struct hf_nic **out);
/* The last to leave closes it. */
void hf_nic_leave(struct hf_nic *nic);

/* The queue that a shard's packets leave by, and its own if it is less than plan.queues. */
static inline unsigned hf_nic_queue(const struct hf_nic *nic, unsigned shard)
{
    return shard < nic->plan.queues ? shard : shard % nic->plan.queues;
}

/* Whether no new beginning wants the shard, which has a queue, off the device. */
static inline bool hf_nic_usable(struct hf_nic *nic, unsigned shard)
{
    uint32_t renewal = hf_load_acquire_u32(&nic->renewal); /* partner: the store that ends a renewal */
    if ((renewal & 1) == 0)
        return true;
    hf_store_release_u32(&nic->off[shard], renewal); /* partner: the load in hf_nic_tick() */
    return false;
}

/* Whether the shard, which has a queue, may make bursts now, until hf_nic_exit(). */
static inline bool hf_nic_enter(struct hf_nic *nic, unsigned shard)
{
    return hf_nic_usable(nic, shard) && hf_hold_enter(nic->places[shard]);
}

static inline void hf_nic_exit(struct hf_nic *nic, unsigned shard)
{
    hf_hold_exit(nic->places[shard]);
}

/* Begin it anew: it said that it must be, or somebody wants it. Any thread; hf_nic_tick() does it once all shards that have a queue keep
 * off, and once more if this comes while it does. */
void hf_nic_renew(struct hf_nic *nic);
/* Now and then, by shard 0's thread. */
void hf_nic_tick(struct hf_nic *nic);

#endif

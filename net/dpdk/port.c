/* Bursts of packets in, bursts out; what is in them is ip.c's and the datagrams' business. One queue each way.
 *
 * A NIC, tap, af_packet, af_xdp, memif or pcap device differs here by what its capabilities say, and a tap device by its other end: the
 * kernel's interface has the address that DPDK reports, so ours is the neighbour of it. */
#include "net/dpdk/port.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "net/dpdk/device.h"
#include "net/dpdk/eal.h"
#include "net/net.h"
#include "net/outbox.h"

enum {
    HF_DPDK_BURST = 32,
    HF_DPDK_BURSTS_MAX = 8,
    HF_DPDK_DESCRIPTORS = 512,
    HF_DPDK_MBUFS = 4095,
    HF_DPDK_CACHE = 250,
    HF_DPDK_MEMORY_MIB = 128
};

struct hf_dpdk {
    struct hf_transport transport;
    enum hf_sharing sharing;
    bool eal, listening, registered;
    bool ip_offload; /* the device fills in sums of what leaves */
    uint16_t port;   /* DPDK's */
    struct rte_mempool *pool;
    struct hf_ip ip;
    uint64_t now_ns; /* of this burst */
    struct rte_mbuf *received[HF_DPDK_BURST], *unsent[HF_DPDK_BURST], *lent;
    uint16_t received_count, received_at, unsent_count;
    uint32_t *queue; /* connections with something to send */
    uint32_t queue_count;
};

static struct hf_dpdk *hf_dpdk_of(struct hf_transport *transport)
{
    return (struct hf_dpdk *)(void *)transport;
}

static void hf_dpdk_look_at_clock(struct hf_dpdk *dpdk)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    dpdk->now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* DPDK keeps a cache of packet memory for each thread that it knows. */
static void hf_dpdk_register(struct hf_dpdk *dpdk)
{
    if (!dpdk->registered)
        (void)rte_thread_register();
    dpdk->registered = true;
}

/* ---- Sending ---- */

static bool hf_dpdk_transmit(struct hf_dpdk *dpdk)
{
    if (dpdk->unsent_count == 0)
        return false;
    uint16_t sent = rte_eth_tx_burst(dpdk->port, 0, dpdk->unsent, dpdk->unsent_count);
    dpdk->transport.status->datagrams_unsent += (unsigned)dpdk->unsent_count - sent;
    rte_pktmbuf_free_bulk(dpdk->unsent + sent, dpdk->unsent_count - sent);
    dpdk->unsent_count = 0;
    return true;
}

static void hf_dpdk_put(struct hf_dpdk *dpdk, struct rte_mbuf *packet)
{
    dpdk->unsent[dpdk->unsent_count++] = packet;
    if (dpdk->unsent_count == HF_DPDK_BURST)
        hf_dpdk_transmit(dpdk);
}

/* A packet of `bytes`; NULL: no memory, which is counted. */
static struct rte_mbuf *hf_dpdk_packet(struct hf_dpdk *dpdk, uint32_t bytes)
{
    struct rte_mbuf *packet = bytes <= UINT16_MAX ? rte_pktmbuf_alloc(dpdk->pool) : NULL;
    if (packet && rte_pktmbuf_append(packet, (uint16_t)bytes))
        return packet;
    rte_pktmbuf_free(packet);
    dpdk->transport.status->datagrams_unsent++;
    return NULL;
}

static bool hf_peer_is_six(const struct hf_peer *peer)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(peer->address, mapped, sizeof mapped) != 0;
}

/* The device writes the sums of this one. */
static void hf_dpdk_offload(struct rte_mbuf *packet, uint32_t head_bytes, bool six)
{
    packet->l3_len = six ? 40 : 20;
    packet->l2_len = (head_bytes - packet->l3_len - 8u) & 0x7f;
    packet->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM | (six ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM);
}

static void hf_dpdk_send_questions(struct hf_dpdk *dpdk)
{
    uint8_t question[HF_IP_ASK_BYTES_MAX];
    uint32_t bytes = hf_ip_ask(&dpdk->ip, question);
    struct rte_mbuf *packet = bytes > 0 ? hf_dpdk_packet(dpdk, bytes) : NULL;
    if (!packet)
        return;
    memcpy(rte_pktmbuf_mtod(packet, uint8_t *), question, bytes);
    hf_dpdk_put(dpdk, packet);
}

static void hf_dpdk_send_datagram(struct hf_dpdk *dpdk, const struct hf_peer *to, const void *frame, uint32_t bytes, uint32_t zeros)
{
    uint32_t head = hf_ip_head_bytes(&dpdk->ip, to);
    struct rte_mbuf *packet = hf_dpdk_packet(dpdk, head + bytes + zeros);
    if (!packet)
        return;
    uint8_t *at = rte_pktmbuf_mtod(packet, uint8_t *);
    if (hf_ip_head(&dpdk->ip, dpdk->now_ns, to, bytes + zeros, at)) {
        memcpy(at + head, frame, bytes);
        memset(at + head + bytes, 0, zeros);
        hf_ip_seal(&dpdk->ip, at, dpdk->ip_offload);
        if (dpdk->ip_offload)
            hf_dpdk_offload(packet, head, hf_peer_is_six(to));
        dpdk->transport.status->bytes_out += bytes + zeros;
        hf_dpdk_put(dpdk, packet);
    } else {
        dpdk->transport.status->datagrams_unsent++;
        rte_pktmbuf_free(packet);
    }
    hf_dpdk_send_questions(dpdk);
}

static void hf_dpdk_reply(struct hf_transport *transport, const struct hf_peer *to, const void *frame, uint32_t bytes, uint32_t zeros)
{
    assert(bytes <= HF_REPLY_BYTES_MAX && bytes + zeros <= HF_DATAGRAM_BYTES_MAX);
    hf_dpdk_send_datagram(hf_dpdk_of(transport), to, frame, bytes, zeros);
}

static void hf_dpdk_send(struct hf_transport *transport, struct hf_connection *connection)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    if (connection->queued)
        return;
    connection->queued = true;
    dpdk->queue[dpdk->queue_count++] = connection->index;
}

static void hf_dpdk_send_connection(struct hf_dpdk *dpdk, struct hf_connection *connection)
{
    struct iovec frames[HF_DPDK_BURST];
    unsigned count;
    while ((count = hf_outbox_gather_frames(dpdk->transport.outbox, connection, frames, HF_DPDK_BURST)) > 0)
        for (unsigned i = 0; i < count; i++) {
            hf_dpdk_send_datagram(dpdk, &connection->peer_address, frames[i].iov_base, (uint32_t)frames[i].iov_len, 0);
            hf_outbox_sent(dpdk->transport.outbox, connection, frames[i].iov_len);
        }
}

static bool hf_dpdk_flush(struct hf_transport *transport)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    hf_dpdk_register(dpdk);
    if (dpdk->queue_count > 0)
        hf_dpdk_look_at_clock(dpdk);
    while (dpdk->queue_count > 0) {
        struct hf_connection *connection = &transport->connections->all[dpdk->queue[--dpdk->queue_count]];
        connection->queued = false;
        hf_dpdk_send_connection(dpdk, connection);
    }
    return hf_dpdk_transmit(dpdk);
}

static void hf_dpdk_shut(struct hf_transport *transport, struct hf_connection *connection)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    for (uint32_t i = 0; i < dpdk->queue_count; i++) {
        if (dpdk->queue[i] != connection->index)
            continue;
        dpdk->queue[i] = dpdk->queue[--dpdk->queue_count];
        break;
    }
    connection->queued = false;
}

/* ---- Receiving ---- */

static bool hf_dpdk_is_checked(const struct rte_mbuf *packet)
{
    return (packet->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD &&
           (packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
}

/* Whether there is a datagram in the packet; it is the event's then, else sent back or freed. */
static bool hf_dpdk_take(struct hf_dpdk *dpdk, struct rte_mbuf *packet, struct hf_event *event)
{
    struct hf_ip_taken taken;
    uint8_t *bytes = rte_pktmbuf_mtod(packet, uint8_t *);
    enum hf_ip_verdict verdict = HF_IP_DROPPED;
    if (packet->nb_segs == 1)
        verdict = hf_ip_take(&dpdk->ip, dpdk->now_ns, bytes, packet->data_len, packet->data_len + (uint32_t)rte_pktmbuf_tailroom(packet),
                             hf_dpdk_is_checked(packet), &taken);
    else
        dpdk->ip.status.malformed++;
    if (verdict == HF_IP_DATAGRAM) {
        *event = (struct hf_event){
            .kind = HF_EVENT_DATAGRAM, .bytes = taken.bytes, .from = taken.from, .carrier = HF_CARRIER_DPDK, .data = bytes + taken.offset};
        dpdk->lent = packet;
        return true;
    }
    if (verdict == HF_IP_ANSWERED) {
        packet->ol_flags = 0;
        packet->data_len = (uint16_t)taken.bytes;
        packet->pkt_len = taken.bytes;
        hf_dpdk_put(dpdk, packet);
    } else {
        rte_pktmbuf_free(packet);
    }
    return false;
}

static bool hf_dpdk_next(struct hf_transport *transport, struct hf_event *event)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    assert(!dpdk->lent);
    hf_dpdk_register(dpdk);
    for (unsigned bursts = 0;;) {
        if (dpdk->received_at == dpdk->received_count) {
            /* A flood of what is no datagram must not hold the shard's loop. */
            if (bursts++ == HF_DPDK_BURSTS_MAX)
                return false;
            dpdk->received_at = 0;
            dpdk->received_count = rte_eth_rx_burst(dpdk->port, 0, dpdk->received, HF_DPDK_BURST);
            if (dpdk->received_count == 0)
                return false;
            hf_dpdk_look_at_clock(dpdk);
        }
        if (hf_dpdk_take(dpdk, dpdk->received[dpdk->received_at++], event))
            return true;
    }
}

static void hf_dpdk_release(struct hf_transport *transport, const struct hf_event *event)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    (void)event;
    rte_pktmbuf_free(dpdk->lent);
    dpdk->lent = NULL;
}

/* ---- The rest ---- */

/* io_uring is there before it and waits for both; a loop waits shortly. */
static void hf_dpdk_wait(struct hf_transport *transport, uint64_t timeout_ns)
{
    (void)timeout_ns;
    hf_dpdk_flush(transport);
}

static int hf_dpdk_watch(struct hf_transport *transport, int fd)
{
    (void)transport;
    (void)fd;
    return hf_net_fail(HF_E_FULL, "a DPDK device cannot wait for event descriptors");
}

static uint16_t hf_dpdk_port(const struct hf_transport *transport, unsigned listener)
{
    return listener == 0 ? ((const struct hf_dpdk *)(const void *)transport)->ip.options.port : 0;
}

static void hf_dpdk_nothing(struct hf_transport *transport)
{
    (void)transport;
}

static void hf_dpdk_destroy(struct hf_transport *transport)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    rte_pktmbuf_free(dpdk->lent);
    for (unsigned i = dpdk->received_at; i < dpdk->received_count; i++)
        rte_pktmbuf_free(dpdk->received[i]);
    if (dpdk->listening) {
        hf_dpdk_transmit(dpdk);
        (void)rte_eth_dev_stop(dpdk->port);
        (void)rte_eth_dev_close(dpdk->port);
    }
    rte_mempool_free(dpdk->pool);
    if (dpdk->eal)
        hf_eal_end();
    free(dpdk->queue);
    free(dpdk);
}

/* ---- Beginning ---- */

static int hf_dpdk_refused(const struct hf_device *device, const char *what, int error)
{
    return hf_net_fail(HF_E_IO, "device %s: %s: %s", device->name, what, rte_strerror(error < 0 ? -error : error));
}

static int hf_dpdk_configure(struct hf_dpdk *dpdk, const struct hf_device *device, const struct rte_eth_dev_info *info)
{
    const uint64_t in = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
    const uint64_t out = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
    struct rte_eth_conf conf = {.rxmode = {.mtu = device->ip.mtu, .offloads = info->rx_offload_capa & in}};
    dpdk->ip_offload = (info->tx_offload_capa & out) == out;
    conf.txmode.offloads = dpdk->ip_offload ? out : 0;
    uint16_t in_count = HF_DPDK_DESCRIPTORS, out_count = HF_DPDK_DESCRIPTORS;
    int error = rte_eth_dev_configure(dpdk->port, 1, 1, &conf);
    if (!error)
        error = rte_eth_dev_adjust_nb_rx_tx_desc(dpdk->port, &in_count, &out_count);
    if (!error)
        error = rte_eth_rx_queue_setup(dpdk->port, 0, in_count, (unsigned)SOCKET_ID_ANY, NULL, dpdk->pool);
    if (!error)
        error = rte_eth_tx_queue_setup(dpdk->port, 0, out_count, (unsigned)SOCKET_ID_ANY, NULL);
    if (!error)
        error = rte_eth_dev_start(dpdk->port);
    return error ? hf_dpdk_refused(device, "cannot be configured", error) : 0;
}

static int hf_dpdk_open(struct hf_dpdk *dpdk, struct hf_device *device)
{
    struct rte_eth_dev_info info;
    struct rte_ether_addr mac;
    if (rte_eth_dev_count_avail() == 0)
        return hf_net_fail(HF_E_IO, "device %s: DPDK finds no such device; is it bound to vfio-pci, or misspelt? see docs/dpdk.md",
                           device->name);
    dpdk->port = (uint16_t)rte_eth_find_next(0);
    int error = rte_eth_dev_info_get(dpdk->port, &info);
    if (!error)
        error = rte_eth_macaddr_get(dpdk->port, &mac);
    if (error)
        return hf_dpdk_refused(device, "tells nothing about itself", error);
    uint32_t room = RTE_PKTMBUF_HEADROOM + HF_IP_HEAD_BYTES_MAX + device->ip.mtu;
    room = (room > RTE_MBUF_DEFAULT_BUF_SIZE ? room : RTE_MBUF_DEFAULT_BUF_SIZE) + 63;
    dpdk->pool = rte_pktmbuf_pool_create("holdfast", HF_DPDK_MBUFS, HF_DPDK_CACHE, 0, (uint16_t)(room / 64 * 64), SOCKET_ID_ANY);
    if (!dpdk->pool)
        return hf_net_fail(HF_E_MEMORY, "no memory for the packets of device %s: %s", device->name, rte_strerror(rte_errno));
    error = hf_dpdk_configure(dpdk, device, &info);
    if (error)
        return error;
    dpdk->listening = true;
    memcpy(device->ip.mac, mac.addr_bytes, sizeof device->ip.mac);
    if (strcmp(info.driver_name, "net_tap") == 0)
        device->ip.mac[5] ^= 1;
    hf_ip_init(&dpdk->ip, &device->ip);
    (void)rte_eth_allmulticast_enable(dpdk->port);
    return 0;
}

int hf_dpdk_listen(struct hf_transport *transport, const char *address)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    struct hf_device device;
    if (dpdk->sharing != HF_PORT_ALONE)
        return hf_net_fail(HF_E_USAGE, "cannot listen on %s: a DPDK device serves one shard; say --shards 1", address);
    if (dpdk->listening)
        return hf_net_fail(HF_E_USAGE, "cannot listen on %s: an engine serves one DPDK device", address);
    int error = hf_device_parse(address, &device);
    if (!error)
        error = hf_eal_start(&(struct hf_eal_options){.devices = &device, .device_count = 1, .memory_mib = HF_DPDK_MEMORY_MIB});
    dpdk->eal = error == 0;
    return error ? error : hf_dpdk_open(dpdk, &device);
}

static const struct hf_transport_ops hf_dpdk_ops = {
    .destroy = hf_dpdk_destroy,
    .next = hf_dpdk_next,
    .release = hf_dpdk_release,
    .send = hf_dpdk_send,
    .reply = hf_dpdk_reply,
    .shut = hf_dpdk_shut,
    .flush = hf_dpdk_flush,
    .wait = hf_dpdk_wait,
    .watch = hf_dpdk_watch,
    .port = hf_dpdk_port,
    .stop_accepting = hf_dpdk_nothing,
    .tick = hf_dpdk_nothing,
};

int hf_dpdk_create(const struct hf_transport_options *options, struct hf_transport **out)
{
    struct hf_dpdk *dpdk = calloc(1, sizeof *dpdk);
    uint32_t *queue = calloc(options->connections->count, sizeof *queue);
    if (!dpdk || !queue) {
        free(dpdk);
        free(queue);
        return hf_net_fail(HF_E_MEMORY, "no memory for a transport");
    }
    dpdk->transport = (struct hf_transport){&hf_dpdk_ops, options->outbox, options->connections, options->status,
                                            .carrier = HF_CARRIER_DPDK};
    dpdk->sharing = options->sharing;
    dpdk->queue = queue;
    *out = &dpdk->transport;
    return 0;
}

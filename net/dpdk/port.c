/* Bursts of packets in, bursts out; what is in them is ip.c's and the datagrams' business, what a device can is nic.c's. Each shard has a
 * transport, with an end of every device: a queue of its own or a ring from who has one. */
#include "net/dpdk/port.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/dpdk/eal.h"
#include "net/dpdk/ip_p.h"
#include "net/dpdk/nic.h"
#include "net/net.h"
#include "net/outbox.h"

enum { HF_DPDK_BURSTS_MAX = 8, HF_DPDK_MEMORY_MIB = 64 };

/* A shard's end of a device. */
struct hf_dpdk_end {
    struct hf_nic *nic;
    struct hf_ip ip;
    unsigned from_ring;                    /* whose ring is looked at next */
    uint64_t tellings_left, told_since_ns; /* of what neighbours answered, to other shards */
    struct rte_mbuf *received[HF_NIC_BURST], *unsent[HF_NIC_BURST];
    uint16_t received_count, received_at, unsent_count;
};

struct hf_dpdk {
    struct hf_transport transport;
    unsigned shard, shards, end_count, turn;
    bool registered;
    uint64_t now_ns; /* of this burst */
    struct hf_dpdk_end *ends[HF_NICS_MAX];
    struct rte_mbuf *lent;
    uint32_t *queue; /* connections with something to send */
    uint32_t queue_count;
};

static unsigned hf_dpdk_transports;

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

static struct hf_net_packets *hf_dpdk_packets(struct hf_dpdk *dpdk)
{
    return &dpdk->transport.status->packets;
}

static bool hf_dpdk_has_queue(const struct hf_dpdk *dpdk, const struct hf_nic *nic)
{
    return dpdk->shard < nic->plan.queues;
}

/* ---- Sending ---- */

/* What finds no room is lost and counted, as anywhere on its way, and asked for again. */
static void hf_dpdk_lose(struct hf_dpdk *dpdk, struct rte_mbuf **packets, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        dpdk->transport.status->datagrams_unsent += (packets[i]->packet_type & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_UDP;
    hf_dpdk_packets(dpdk)->transmit_full += count;
    rte_pktmbuf_free_bulk(packets, count);
}

static bool hf_dpdk_transmit(struct hf_dpdk *dpdk, struct hf_dpdk_end *end)
{
    struct hf_nic *nic = end->nic;
    uint32_t sent = 0, count = end->unsent_count;
    if (count == 0)
        return false;
    end->unsent_count = 0;
    if (!hf_dpdk_has_queue(dpdk, nic)) {
        sent = hf_spsc_put(nic->outward[dpdk->shard], end->unsent, count, HF_NIC_ELEMENT_BYTES);
    } else if (hf_nic_enter(nic, dpdk->shard)) {
        sent = rte_eth_tx_burst(nic->port, (uint16_t)dpdk->shard, end->unsent, (uint16_t)count);
        hf_nic_exit(nic, dpdk->shard);
        hf_dpdk_packets(dpdk)->out += sent;
    }
    if (sent < count)
        hf_dpdk_lose(dpdk, end->unsent + sent, count - sent);
    return true;
}

static void hf_dpdk_put(struct hf_dpdk *dpdk, struct hf_dpdk_end *end, struct rte_mbuf *packet)
{
    end->unsent[end->unsent_count++] = packet;
    if (end->unsent_count == HF_NIC_BURST)
        hf_dpdk_transmit(dpdk, end);
}

/* Sends what shards without a queue have left for who has this one. */
static bool hf_dpdk_transmit_others(struct hf_dpdk *dpdk, struct hf_dpdk_end *end)
{
    struct hf_nic *nic = end->nic;
    struct rte_mbuf *packets[HF_NIC_BURST];
    bool any = false;
    if (!hf_dpdk_has_queue(dpdk, nic) || nic->shards == nic->plan.queues || !hf_nic_enter(nic, dpdk->shard))
        return false;
    for (unsigned from = dpdk->shard + nic->plan.queues; from < nic->shards; from += nic->plan.queues) {
        uint32_t count = hf_spsc_get(nic->outward[from], packets, HF_NIC_BURST, HF_NIC_ELEMENT_BYTES);
        uint32_t sent = count ? rte_eth_tx_burst(nic->port, (uint16_t)dpdk->shard, packets, (uint16_t)count) : 0;
        hf_dpdk_packets(dpdk)->out += sent;
        if (sent < count)
            hf_dpdk_lose(dpdk, packets + sent, count - sent);
        any = any || count > 0;
    }
    hf_nic_exit(nic, dpdk->shard);
    return any;
}

/* A packet of `bytes`; NULL: no memory, which is counted. */
static struct rte_mbuf *hf_dpdk_packet(struct hf_dpdk *dpdk, const struct hf_dpdk_end *end, uint32_t bytes)
{
    struct rte_mbuf *packet = bytes <= UINT16_MAX ? rte_pktmbuf_alloc(end->nic->pools[dpdk->shard]) : NULL;
    if (packet && rte_pktmbuf_append(packet, (uint16_t)bytes))
        return packet;
    rte_pktmbuf_free(packet);
    hf_dpdk_packets(dpdk)->no_buffer++;
    return NULL;
}

/* The device writes the sums of this one. */
static void hf_dpdk_offload(struct rte_mbuf *packet, uint32_t head_bytes, bool six)
{
    packet->l3_len = six ? 40 : 20;
    packet->l2_len = (head_bytes - packet->l3_len - 8u) & 0x7f;
    packet->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM | (six ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM);
}

static void hf_dpdk_send_questions(struct hf_dpdk *dpdk, struct hf_dpdk_end *end)
{
    uint8_t question[HF_IP_ASK_BYTES_MAX];
    uint32_t bytes = hf_ip_ask(&end->ip, question);
    struct rte_mbuf *packet = bytes > 0 ? hf_dpdk_packet(dpdk, end, bytes) : NULL;
    if (!packet)
        return;
    memcpy(rte_pktmbuf_mtod(packet, uint8_t *), question, bytes);
    hf_dpdk_put(dpdk, end, packet);
}

/* Which of the shard's ends a peer came by, and its own address there. */
static struct hf_dpdk_end *hf_dpdk_end_of(struct hf_dpdk *dpdk, const struct hf_peer *peer, struct hf_peer *within)
{
    *within = *peer;
    within->listener = peer->listener % HF_IP_ADDRESSES_MAX;
    return dpdk->ends[peer->listener / HF_IP_ADDRESSES_MAX];
}

static void hf_dpdk_send_datagram(struct hf_dpdk *dpdk, const struct hf_peer *peer, const void *frame, uint32_t bytes, uint32_t zeros)
{
    struct hf_peer to;
    struct hf_dpdk_end *end = hf_dpdk_end_of(dpdk, peer, &to);
    uint32_t head = hf_ip_head_bytes(&end->ip, &to);
    struct rte_mbuf *packet = hf_dpdk_packet(dpdk, end, head + bytes + zeros);
    if (!packet) {
        dpdk->transport.status->datagrams_unsent++;
        return;
    }
    packet->packet_type = RTE_PTYPE_L4_UDP; /* for hf_dpdk_lose() */
    uint8_t *at = rte_pktmbuf_mtod(packet, uint8_t *);
    if (hf_ip_head(&end->ip, dpdk->now_ns, &to, bytes + zeros, at)) {
        bool sums = end->nic->plan.sums;
        memcpy(at + head, frame, bytes);
        memset(at + head + bytes, 0, zeros);
        hf_ip_seal(&end->ip, at, sums);
        if (sums)
            hf_dpdk_offload(packet, head, !hf_is_four(to.address));
        dpdk->transport.status->bytes_out += bytes + zeros;
        hf_dpdk_put(dpdk, end, packet);
    } else {
        dpdk->transport.status->datagrams_unsent++;
        rte_pktmbuf_free(packet);
    }
    hf_dpdk_send_questions(dpdk, end);
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
    struct iovec frames[HF_NIC_BURST];
    unsigned count;
    while ((count = hf_outbox_gather_frames(dpdk->transport.outbox, connection, frames, HF_NIC_BURST)) > 0)
        for (unsigned i = 0; i < count; i++) {
            hf_dpdk_send_datagram(dpdk, &connection->peer_address, frames[i].iov_base, (uint32_t)frames[i].iov_len, 0);
            hf_outbox_sent(dpdk->transport.outbox, connection, frames[i].iov_len);
        }
}

static bool hf_dpdk_flush(struct hf_transport *transport)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    bool any = false;
    hf_dpdk_register(dpdk);
    if (dpdk->queue_count > 0)
        hf_dpdk_look_at_clock(dpdk);
    while (dpdk->queue_count > 0) {
        struct hf_connection *connection = &transport->connections->all[dpdk->queue[--dpdk->queue_count]];
        connection->queued = false;
        hf_dpdk_send_connection(dpdk, connection);
    }
    for (unsigned i = 0; i < dpdk->end_count; i++) {
        any |= hf_dpdk_transmit(dpdk, dpdk->ends[i]);
        any |= hf_dpdk_transmit_others(dpdk, dpdk->ends[i]);
    }
    return any;
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

/* ---- Handing on ---- */

static void hf_dpdk_hand_on(struct hf_dpdk *dpdk, const struct hf_nic *nic, unsigned to, struct rte_mbuf *packet)
{
    struct hf_net_packets *packets = hf_dpdk_packets(dpdk);
    if (hf_spsc_put(nic->inward[dpdk->shard][to], &packet, 1, HF_NIC_ELEMENT_BYTES) == 1) {
        packets->handed_on++;
        return;
    }
    packets->handed_on_full++;
    rte_pktmbuf_free(packet);
}

/* Each shard asks for its neighbours by itself, and the answer may come to any. There are no more answers than questions, but anybody can
 * make what looks like one. */
static void hf_dpdk_tell_others(struct hf_dpdk *dpdk, struct hf_dpdk_end *end, const struct rte_mbuf *packet)
{
    const struct hf_nic *nic = end->nic;
    struct hf_net_packets *packets = hf_dpdk_packets(dpdk);
    if (!hf_ip_spend(&end->tellings_left, &end->told_since_ns, dpdk->now_ns, HF_IP_QUESTIONS_PER_S * nic->shards,
                     HF_IP_QUESTIONS_AT_ONCE * nic->shards)) {
        packets->handed_on_full += nic->shards - 1;
        return;
    }
    for (unsigned to = 0; to < nic->shards; to++) {
        if (to == dpdk->shard)
            continue;
        struct rte_mbuf *copy = rte_pktmbuf_copy(packet, nic->pools[dpdk->shard], 0, UINT32_MAX);
        if (copy)
            hf_dpdk_hand_on(dpdk, nic, to, copy);
        else
            packets->no_buffer++;
    }
}

/* Keeps of a burst from the device what is the shard's own. */
static void hf_dpdk_sort(struct hf_dpdk *dpdk, struct hf_dpdk_end *end)
{
    struct hf_nic *nic = end->nic;
    uint16_t kept = 0;
    for (uint16_t i = 0; i < end->received_count; i++) {
        struct rte_mbuf *packet = end->received[i];
        int owner = hf_plan_owner(rte_pktmbuf_mtod(packet, uint8_t *), packet->data_len, nic->device.ip.mac, nic->device.ip.port,
                                  nic->shards, dpdk->shard);
        if (owner == HF_PLAN_EVERYBODY)
            hf_dpdk_tell_others(dpdk, end, packet);
        if (owner < 0 || (unsigned)owner == dpdk->shard)
            end->received[kept++] = packet;
        else
            hf_dpdk_hand_on(dpdk, nic, (unsigned)owner, packet);
    }
    end->received_count = kept;
}

/* The next packets that another shard has handed on. */
static void hf_dpdk_take_over(struct hf_dpdk *dpdk, struct hf_dpdk_end *end)
{
    const struct hf_nic *nic = end->nic;
    for (unsigned i = 0; i < nic->plan.queues && end->received_count == 0; i++) {
        struct hf_spsc *ring = nic->inward[end->from_ring][dpdk->shard];
        end->from_ring = (end->from_ring + 1) % nic->plan.queues;
        if (ring)
            end->received_count = (uint16_t)hf_spsc_get(ring, end->received, HF_NIC_BURST, HF_NIC_ELEMENT_BYTES);
    }
    hf_dpdk_packets(dpdk)->taken_over += end->received_count;
}

/* ---- Receiving ---- */

/* A burst, which may be all others' (*any) and so empty for us. */
static bool hf_dpdk_fill(struct hf_dpdk *dpdk, struct hf_dpdk_end *end)
{
    struct hf_nic *nic = end->nic;
    bool any = false;
    end->received_at = end->received_count = 0;
    if (hf_dpdk_has_queue(dpdk, nic) && hf_nic_enter(nic, dpdk->shard)) {
        end->received_count = rte_eth_rx_burst(nic->port, (uint16_t)dpdk->shard, end->received, HF_NIC_BURST);
        hf_nic_exit(nic, dpdk->shard);
        any = end->received_count > 0;
        if (any)
            hf_dpdk_look_at_clock(dpdk);
        if (nic->shards > 1)
            hf_dpdk_sort(dpdk, end);
    }
    if (nic->shards > 1 && end->received_count == 0)
        hf_dpdk_take_over(dpdk, end);
    if (!any && end->received_count > 0)
        hf_dpdk_look_at_clock(dpdk);
    return any || end->received_count > 0;
}

static bool hf_dpdk_is_checked(const struct rte_mbuf *packet)
{
    return (packet->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD &&
           (packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
}

/* Whether there is a datagram in the packet; it is the event's then, else sent back or freed. */
static bool hf_dpdk_take(struct hf_dpdk *dpdk, unsigned index, struct rte_mbuf *packet, struct hf_event *event)
{
    struct hf_dpdk_end *end = dpdk->ends[index];
    struct hf_ip_taken taken;
    uint8_t *bytes = rte_pktmbuf_mtod(packet, uint8_t *);
    enum hf_ip_verdict verdict = HF_IP_DROPPED;
    if (packet->nb_segs == 1 || rte_pktmbuf_linearize(packet) == 0) {
        verdict = hf_ip_take(&end->ip, dpdk->now_ns, bytes, packet->data_len, packet->data_len + (uint32_t)rte_pktmbuf_tailroom(packet),
                             end->nic->plan.checks && hf_dpdk_is_checked(packet), &taken);
    } else {
        end->ip.status.packets_in++;
        end->ip.status.malformed++;
    }
    if (verdict == HF_IP_DATAGRAM) {
        *event = (struct hf_event){
            .kind = HF_EVENT_DATAGRAM, .bytes = taken.bytes, .from = taken.from, .carrier = HF_CARRIER_DPDK, .data = bytes + taken.offset};
        event->from.listener = (uint16_t)(index * HF_IP_ADDRESSES_MAX + taken.from.listener);
        dpdk->lent = packet;
        return true;
    }
    if (verdict == HF_IP_ANSWERED) {
        packet->ol_flags = 0;
        packet->data_len = (uint16_t)taken.bytes;
        packet->pkt_len = taken.bytes;
        hf_dpdk_put(dpdk, end, packet);
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
    /* A flood of what is no datagram must not hold the shard's loop. */
    for (unsigned bursts = 0, empty = 0; empty < dpdk->end_count && bursts <= HF_DPDK_BURSTS_MAX;) {
        unsigned index = dpdk->turn;
        struct hf_dpdk_end *end = dpdk->ends[index];
        while (end->received_at < end->received_count)
            if (hf_dpdk_take(dpdk, index, end->received[end->received_at++], event))
                return true;
        dpdk->turn = (dpdk->turn + 1) % dpdk->end_count;
        end = dpdk->ends[dpdk->turn];
        if (end->received_at == end->received_count) {
            bursts++;
            empty = hf_dpdk_fill(dpdk, end) ? 0 : empty + 1;
        }
    }
    return false;
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
    const struct hf_dpdk *dpdk = (const struct hf_dpdk *)(const void *)transport;
    return listener < dpdk->end_count ? dpdk->ends[listener]->ip.options.port : 0;
}

static void hf_dpdk_stop_accepting(struct hf_transport *transport)
{
    (void)transport;
}

static void hf_dpdk_tick(struct hf_transport *transport)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    for (unsigned i = 0; i < dpdk->end_count && dpdk->shard == 0; i++)
        hf_nic_tick(dpdk->ends[i]->nic);
}

/* The shard's own counts of all its ends together. */
static void hf_dpdk_count(struct hf_transport *transport)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    struct hf_net_packets *packets = hf_dpdk_packets(dpdk), sum = {.out = packets->out,
                                                                   .handed_on = packets->handed_on,
                                                                   .handed_on_full = packets->handed_on_full,
                                                                   .taken_over = packets->taken_over,
                                                                   .no_buffer = packets->no_buffer,
                                                                   .transmit_full = packets->transmit_full};
    for (unsigned i = 0; i < dpdk->end_count; i++) {
        const struct hf_ip_status *ip = &dpdk->ends[i]->ip.status;
        sum.in += ip->packets_in;
        sum.datagrams += ip->datagrams_in;
        sum.arp_answered += ip->arp_answered;
        sum.neighbour_answered += ip->neighbour_answered;
        sum.echo_answered += ip->echo_answered;
        sum.neighbours_told += ip->neighbours_told;
        sum.neighbours_confirmed += ip->neighbours_confirmed;
        sum.neighbours_asked += ip->neighbours_asked;
        sum.not_ours += ip->not_ours;
        sum.malformed += ip->malformed;
        sum.bad_checksum += ip->bad_checksum;
        sum.fragments += ip->fragments;
        sum.unserved += ip->unserved;
        sum.held_back += ip->held_back;
        sum.no_neighbour += ip->no_neighbour;
        sum.too_long += ip->too_long;
    }
    *packets = sum;
}

static void hf_dpdk_destroy(struct hf_transport *transport)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    rte_pktmbuf_free(dpdk->lent);
    for (unsigned i = 0; i < dpdk->end_count; i++) {
        struct hf_dpdk_end *end = dpdk->ends[i];
        hf_dpdk_transmit(dpdk, end);
        while (end->received_at < end->received_count)
            rte_pktmbuf_free(end->received[end->received_at++]);
        hf_nic_leave(end->nic);
        free(end);
    }
    if (--hf_dpdk_transports == 0)
        hf_eal_end();
    free(dpdk->queue);
    free(dpdk);
}

/* ---- Beginning ---- */

/* With every device of the engine: EAL takes them all at once. */
static int hf_dpdk_start(const struct hf_transport_options *options)
{
    struct hf_device devices[HF_NICS_MAX];
    unsigned count = 0;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < options->listen_count; i++) {
        if (hf_carrier_of(options->listen[i]) != HF_CARRIER_DPDK)
            continue;
        if (count == HF_NICS_MAX)
            return hf_net_fail(HF_E_USAGE, "cannot listen on %s: an engine serves at most %d DPDK devices", options->listen[i],
                               HF_NICS_MAX);
        int error = hf_device_parse(options->listen[i], &devices[count]);
        if (error)
            return error;
        bytes += hf_nic_memory_bytes(&devices[count++], options->shard_count);
    }
    return hf_eal_start(&(struct hf_eal_options){.devices = devices,
                                                 .device_count = count,
                                                 .arguments = options->dpdk_arguments,
                                                 .memory_mib = (unsigned)(bytes >> 20) + HF_DPDK_MEMORY_MIB});
}

int hf_dpdk_listen(struct hf_transport *transport, const char *address)
{
    struct hf_dpdk *dpdk = hf_dpdk_of(transport);
    struct hf_device device;
    int error = hf_device_parse(address, &device);
    struct hf_dpdk_end *end = error || dpdk->end_count == HF_NICS_MAX ? NULL : calloc(1, sizeof *end);
    if (error)
        return error;
    if (!end)
        return hf_net_fail(HF_E_MEMORY, "no memory to listen on %s", address);
    error = hf_nic_join(&device, dpdk->shard, dpdk->shards, &end->nic);
    if (error) {
        free(end);
        return error;
    }
    struct hf_ip_options options = end->nic->device.ip;
    options.port = (uint16_t)(options.port + dpdk->shard);
    hf_ip_init(&end->ip, &options);
    dpdk->ends[dpdk->end_count++] = end;
    return 0;
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
    .stop_accepting = hf_dpdk_stop_accepting,
    .tick = hf_dpdk_tick,
    .count = hf_dpdk_count,
};

int hf_dpdk_create(const struct hf_transport_options *options, struct hf_transport **out)
{
    int error = hf_dpdk_transports == 0 ? hf_dpdk_start(options) : 0;
    if (error)
        return error;
    struct hf_dpdk *dpdk = calloc(1, sizeof *dpdk);
    uint32_t *queue = calloc(options->connections->count, sizeof *queue);
    if (!dpdk || !queue) {
        free(dpdk);
        free(queue);
        return hf_net_fail(HF_E_MEMORY, "no memory for a transport");
    }
    hf_dpdk_transports++;
    dpdk->transport = (struct hf_transport){&hf_dpdk_ops, options->outbox, options->connections, options->status,
                                            .carrier = HF_CARRIER_DPDK};
    dpdk->shard = options->sharing == HF_PORT_ALONE ? 0 : options->shard;
    dpdk->shards = options->sharing == HF_PORT_ALONE ? 1 : options->shard_count;
    dpdk->queue = queue;
    *out = &dpdk->transport;
    return 0;
}

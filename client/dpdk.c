/* Sessions over a DPDK device: bursts of packets in and out, a UDP port for each session.
 *
 * A device wakes nobody: the loop looks at it between short sleeps in the kernel. What a burst has no room for stays with the session and
 * goes as soon as there is some; what leaves while there is no link or no neighbour yet is lost, as anywhere on its way.
 *
 * A memif finds its other end only when it is started, so a session that begins without a link has it started again. */
#include "client/dpdk.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "client/client_p.h"
#include "net/dpdk/hold.h"

enum {
    BURST = 32,
    BURSTS_MAX = 8, /* before the loop goes on */
    DESCRIPTORS = 1024,
    MBUFS = 4095,
    CACHE = 250,
    MEMORY_MIB = 128,
    PATHS_MAX = 4096,
    PORT_FIRST = 32768
};

/* A memif finds the other end at once or not at all; a NIC may take seconds for its link. */
static const uint64_t again_memif_ns = 500000000, again_other_ns = 10000000000;

/* A session's end of the device. */
struct path {
    struct hf_session *session; /* NULL: free */
    struct hf_peer to;
};

struct device {
    struct hf_loop_device base;
    struct hf_loop *loop;
    char name[sizeof((struct hf_device *)NULL)->name];
    bool probed, started;
    bool offload;                         /* it fills in sums of what leaves */
    bool full;                            /* the last burst did not fit */
    bool linked;                          /* there was a link when it was last asked for */
    uint16_t id;                          /* DPDK's */
    uint64_t again_at_ns, again_after_ns; /* when it may be started again, as it has no link */
    struct rte_mempool *pool;
    struct hf_hold_place *place; /* of a memif, else NULL */
    struct hf_ip ip;
    unsigned paths_used; /* none beyond is taken */
    struct path paths[PATHS_MAX];
};

static struct device *device_of(const struct hf_session *session)
{
    return (struct device *)(void *)session->client->loop->device;
}

static struct path *path_of(const struct hf_session *session)
{
    struct device *device = device_of(session);
    return &device->paths[session->local_port - device->ip.options.port];
}

/* ---- Sending ---- */

/* Whether there is a link: without one a device takes nothing, and will not soon. */
static bool has_link(struct device *device)
{
    struct rte_eth_link link = {0};
    device->linked = device->started && rte_eth_link_get_nowait(device->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
    return device->linked;
}

/* How many of a burst are gone; the rest is given back. */
static unsigned transmit(struct device *device, struct rte_mbuf **packets, unsigned count)
{
    unsigned sent = 0;
    if (device->started && hf_hold_enter(device->place)) {
        sent = rte_eth_tx_burst(device->id, 0, packets, (uint16_t)count);
        hf_hold_exit(device->place);
    }
    if (sent == count)
        return count;
    rte_pktmbuf_free_bulk(packets + sent, count - sent);
    if (!has_link(device))
        return count;
    device->full = true;
    return sent;
}

static void want_offload(struct rte_mbuf *packet, uint32_t head_bytes, bool six)
{
    packet->l3_len = six ? 40 : 20;
    packet->l2_len = (head_bytes - packet->l3_len - 8u) & 0x7f;
    packet->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM | (six ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM);
}

/* Asks for the next hop of what could not be sent, or not for long any more. */
static void ask(struct device *device)
{
    uint8_t question[HF_IP_ASK_BYTES_MAX];
    uint32_t bytes = hf_ip_ask(&device->ip, question);
    struct rte_mbuf *packet = bytes > 0 ? rte_pktmbuf_alloc(device->pool) : NULL;
    if (!packet)
        return;
    memcpy(rte_pktmbuf_append(packet, (uint16_t)bytes), question, bytes);
    (void)transmit(device, &packet, 1);
}

/* The frame as a packet from the session's port; false: there is no way to send it now. */
static bool pack(struct device *device, const struct hf_session *session, const struct iovec *frame, struct rte_mbuf *packet)
{
    const struct hf_peer *to = &path_of(session)->to;
    uint32_t head = hf_ip_head_bytes(&device->ip, to), bytes = (uint32_t)frame->iov_len;
    uint8_t *at = (uint8_t *)rte_pktmbuf_append(packet, (uint16_t)(head + bytes));
    if (!at || !hf_ip_head(&device->ip, session->client->loop->now_ns, to, bytes, at))
        return false;
    at[head - 8] = (uint8_t)(session->local_port >> 8);
    at[head - 7] = (uint8_t)session->local_port;
    memcpy(at + head, frame->iov_base, bytes);
    hf_ip_seal(&device->ip, at, device->offload);
    if (device->offload)
        want_offload(packet, head, session->client->address.ss_family == AF_INET6);
    return true;
}

/* One burst; how many frames are gone, or minus an errno. */
static int send_burst(struct hf_session *session, const struct iovec *frames, unsigned count)
{
    struct device *device = device_of(session);
    struct rte_mbuf *packets[BURST];
    /* Nobody is asked for a neighbour either: the next question could only come a second later. */
    if (!device->linked && !has_link(device))
        return (int)count;
    if (rte_pktmbuf_alloc_bulk(device->pool, packets, count) != 0) {
        device->full = true;
        return 0;
    }
    unsigned packed = 0;
    while (packed < count && pack(device, session, &frames[packed], packets[packed]))
        packed++;
    unsigned sent = packed > 0 ? transmit(device, packets, packed) : 0;
    ask(device);
    if (packed == count)
        return (int)sent;
    rte_pktmbuf_free_bulk(packets + packed, count - packed);
    return sent == packed ? (int)count : (int)sent;
}

static uint32_t dpdk_bytes_max(const struct hf_session *session)
{
    const struct device *device = device_of(session);
    uint32_t headers = session->client->address.ss_family == AF_INET6 ? 48 : 28;
    return (device->ip.options.mtu - headers) & ~7u;
}

static int dpdk_send(struct hf_session *session, struct iovec *frames, int count)
{
    int sent = 0;
    if (count > 0 && frames[0].iov_len > dpdk_bytes_max(session))
        return -EMSGSIZE;
    while (sent < count) {
        unsigned burst = count - sent < BURST ? (unsigned)(count - sent) : BURST;
        int gone = send_burst(session, frames + sent, burst);
        sent += gone;
        if (gone < (int)burst)
            break;
    }
    return sent;
}

/* ---- Receiving ---- */

static bool is_checked(const struct rte_mbuf *packet)
{
    return (packet->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD &&
           (packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
}

/* A datagram goes to the session of its port, from the engine alone; aligned, since its frame is read in place. */
static void take_datagram(struct device *device, const struct hf_ip_taken *taken, const uint8_t *data)
{
    const struct path *path = &device->paths[taken->port - device->ip.options.port];
    if (!path->session || taken->bytes > HF_FRAME_BYTES_MAX || taken->from.port != path->to.port ||
        memcmp(taken->from.address, path->to.address, sizeof path->to.address) != 0)
        return;
    memcpy(device->loop->datagrams, data, taken->bytes);
    hf_datagram_take(path->session, device->loop->datagrams, taken->bytes);
}

/* Takes the packet: sent back as an answer, or freed. */
static void take(struct device *device, struct rte_mbuf *packet)
{
    struct hf_ip_taken taken;
    uint8_t *bytes = rte_pktmbuf_mtod(packet, uint8_t *);
    enum hf_ip_verdict verdict = HF_IP_DROPPED;
    if (packet->nb_segs == 1)
        verdict = hf_ip_take(&device->ip, device->loop->now_ns, bytes, packet->data_len,
                             packet->data_len + (uint32_t)rte_pktmbuf_tailroom(packet), is_checked(packet), &taken);
    if (verdict == HF_IP_ANSWERED) {
        packet->ol_flags = 0;
        packet->data_len = (uint16_t)taken.bytes;
        packet->pkt_len = taken.bytes;
        (void)transmit(device, &packet, 1);
        return;
    }
    if (verdict == HF_IP_DATAGRAM)
        take_datagram(device, &taken, bytes + taken.offset);
    rte_pktmbuf_free(packet);
}

/* Those that were told to wait go on. */
static void unblock(struct device *device)
{
    device->full = false;
    for (unsigned i = 0; i < device->paths_used; i++)
        if (device->paths[i].session && device->paths[i].session->blocked)
            hf_datagram_event(device->paths[i].session, EPOLLOUT);
}

static unsigned receive(struct device *device, struct rte_mbuf **packets)
{
    if (!hf_hold_enter(device->place))
        return 0;
    unsigned count = rte_eth_rx_burst(device->id, 0, packets, BURST);
    hf_hold_exit(device->place);
    return count;
}

static unsigned device_poll(struct hf_loop_device *base)
{
    struct device *device = (struct device *)(void *)base;
    struct rte_mbuf *packets[BURST];
    unsigned count = device->started ? BURST : 0, total = 0;
    for (unsigned bursts = 0; count == BURST && bursts < BURSTS_MAX; bursts++) {
        count = receive(device, packets);
        if (count == 0)
            break;
        device->loop->now_ns = hf_clock_ns();
        for (unsigned i = 0; i < count; i++) {
            if (i + 1 < count)
                rte_prefetch0(rte_pktmbuf_mtod(packets[i + 1], const void *));
            take(device, packets[i]);
        }
        total += count;
    }
    if (device->full)
        unblock(device);
    return total;
}

/* The loop has looked at the device already. */
static int dpdk_receive(struct hf_session *session)
{
    (void)session;
    return 0;
}

/* ---- Sessions ---- */

static bool same_link(const struct hf_ip_own *own, const uint8_t address[16])
{
    unsigned whole = own->prefix / 8, rest = own->prefix % 8;
    return memcmp(own->address, address, whole) == 0 && (rest == 0 || (own->address[whole] ^ address[whole]) >> (8 - rest) == 0);
}

static bool is_four(const uint8_t address[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, mapped, sizeof mapped) == 0;
}

/* From which of the device's addresses: one on the peer's link, else any of its kind, by the gateway. own_count: none. */
static unsigned own_for(const struct hf_ip_options *options, const uint8_t address[16])
{
    unsigned found = options->own_count;
    for (unsigned i = options->own_count; i-- > 0;)
        if (is_four(options->own[i].address) == is_four(address))
            found = i;
    for (unsigned i = options->own_count; i-- > 0;)
        if (is_four(options->own[i].address) == is_four(address) && same_link(&options->own[i], address))
            found = i;
    return found;
}

static struct hf_peer peer_of(const struct hf_ip_options *options, const struct sockaddr_storage *address)
{
    struct hf_peer peer = {.address = {[10] = 0xff, [11] = 0xff}};
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
        memcpy(peer.address, &six->sin6_addr, sizeof peer.address);
        peer.port = ntohs(six->sin6_port);
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
        memcpy(peer.address + 12, &four->sin_addr, 4);
        peer.port = ntohs(four->sin_port);
    }
    peer.listener = (uint16_t)own_for(options, peer.address);
    return peer;
}

/* 0, or ENETDOWN. */
static int find_link(struct device *device)
{
    uint64_t now_ns = hf_clock_ns();
    if (has_link(device))
        return 0;
    if (now_ns >= device->again_at_ns) {
        device->again_at_ns = now_ns + device->again_after_ns;
        bool entered = hf_hold_enter_soon(device->place);
        if (device->started)
            (void)rte_eth_dev_stop(device->id);
        device->started = rte_eth_dev_start(device->id) == 0;
        if (entered)
            hf_hold_exit(device->place);
        /* Who is there now may have another Ethernet address. */
        memset(&device->ip.neighbours, 0, sizeof device->ip.neighbours);
    }
    return device->started ? 0 : ENETDOWN;
}

static int dpdk_open(struct hf_session *session, const struct sockaddr_storage *address, socklen_t address_bytes)
{
    struct device *device = device_of(session);
    unsigned at = 0;
    (void)address_bytes;
    while (at < PATHS_MAX && device->paths[at].session)
        at++;
    struct hf_peer to = peer_of(&device->ip.options, address);
    if (to.listener == device->ip.options.own_count)
        return EADDRNOTAVAIL;
    if (at == PATHS_MAX)
        return EMFILE;
    int failed = find_link(device);
    if (failed)
        return failed;
    /* Never readable nor writable: the loop polls the device itself. */
    session->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (session->fd < 0)
        return errno;
    device->paths[at] = (struct path){session, to};
    device->paths_used = at < device->paths_used ? device->paths_used : at + 1;
    session->local_port = (uint16_t)(device->ip.options.port + at);
    return 0;
}

static void dpdk_close(struct hf_session *session)
{
    struct path *path = path_of(session);
    if (path->session == session)
        path->session = NULL;
    close(session->fd);
    session->fd = -1;
}

/* ---- The device ---- */

__attribute__((format(printf, 4, 5))) static int refused(char *error, size_t error_bytes, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, error_bytes, format, arguments);
    va_end(arguments);
    return code;
}

/* Once in a process: EAL cannot begin again. It would keep this thread on one core, and leave an empty directory behind. */
static int begin_eal(const struct hf_device *device, char *error, size_t error_bytes)
{
    static bool begun;
    char core[32], memory[16], prefix[32];
    cpu_set_t cpus;
    if (begun)
        return 0;
    pthread_getaffinity_np(pthread_self(), sizeof cpus, &cpus);
    unsigned first = 0;
    while (first < CPU_SETSIZE - 1 && !CPU_ISSET(first, &cpus))
        first++;
    snprintf(core, sizeof core, "0@%u", first);
    snprintf(memory, sizeof memory, "%d", MEMORY_MIB);
    snprintf(prefix, sizeof prefix, "holdfast-%d", (int)getpid());
    char *arguments[16] = {"holdfast", "--lcores", core, "--file-prefix", prefix, "--no-telemetry", "--log-level=*:critical"};
    int count = 7;
    if (device->virtual)
        arguments[count++] = "--no-pci";
    if (device->huge) {
        arguments[count++] = "--in-memory";
    } else {
        arguments[count++] = "--no-huge";
        arguments[count++] = "--no-shconf";
        arguments[count++] = "-m";
        arguments[count++] = memory;
    }
    int done = rte_eal_init(count, arguments);
    pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    if (rte_eal_get_runtime_dir()[0])
        (void)rmdir(rte_eal_get_runtime_dir());
    if (done < 0)
        return refused(error, error_bytes, HF_E_IO, "DPDK cannot start%s: %s; see docs/dpdk.md", device->huge ? " with huge pages" : "",
                       rte_strerror(rte_errno));
    begun = true;
    return 0;
}

static int configure(struct device *device, const struct rte_eth_dev_info *info, const struct hf_device *asked)
{
    const uint64_t in = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
    const uint64_t out = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
    struct rte_eth_conf conf = {.rxmode = {.mtu = asked->ip.mtu, .offloads = asked->no_offload ? 0 : info->rx_offload_capa & in}};
    device->offload = (info->tx_offload_capa & out) == out && !asked->no_offload;
    conf.txmode.offloads = device->offload ? out : 0;
    /* It carries whatever its buffers hold, chained if need be, and yet says that it does not. */
    if (strcmp(info->driver_name, "net_memif") == 0)
        conf.rxmode.mtu = asked->ip.mtu < RTE_ETHER_MTU ? asked->ip.mtu : RTE_ETHER_MTU;
    uint16_t in_count = DESCRIPTORS, out_count = DESCRIPTORS;
    int failed = rte_eth_dev_configure(device->id, 1, 1, &conf);
    if (!failed)
        failed = rte_eth_dev_adjust_nb_rx_tx_desc(device->id, &in_count, &out_count);
    if (!failed)
        failed = rte_eth_rx_queue_setup(device->id, 0, in_count, (unsigned)SOCKET_ID_ANY, NULL, device->pool);
    if (!failed)
        failed = rte_eth_tx_queue_setup(device->id, 0, out_count, (unsigned)SOCKET_ID_ANY, NULL);
    return failed;
}

/* What DPDK calls the device: its arguments up to the first comma. */
static int find_device(struct device *device)
{
    char name[sizeof device->name];
    size_t bytes = strcspn(device->name, ",");
    memcpy(name, device->name, bytes);
    name[bytes] = '\0';
    return rte_eth_dev_get_port_by_name(name, &device->id);
}

static int begin_packets(struct device *device, uint32_t mtu)
{
    uint32_t room = RTE_PKTMBUF_HEADROOM + HF_IP_HEAD_BYTES_MAX + mtu;
    room = (room > RTE_MBUF_DEFAULT_BUF_SIZE ? room : RTE_MBUF_DEFAULT_BUF_SIZE) + 63;
    device->pool = rte_pktmbuf_pool_create("holdfast-client", MBUFS, CACHE, 0, (uint16_t)(room / 64 * 64), SOCKET_ID_ANY);
    return device->pool ? 0 : -rte_errno;
}

static int begin_device(struct device *device, struct hf_device *asked, char *error, size_t error_bytes)
{
    struct rte_eth_dev_info info;
    struct rte_ether_addr mac;
    int failed = rte_dev_probe(device->name);
    device->probed = !failed;
    if (failed || find_device(device) != 0)
        return refused(error, error_bytes, HF_E_IO, "device %s: DPDK finds no such device: %s; see docs/dpdk.md", device->name,
                       rte_strerror(failed ? -failed : ENODEV));
    failed = rte_eth_dev_info_get(device->id, &info);
    if (!failed)
        failed = rte_eth_macaddr_get(device->id, &mac);
    if (!failed)
        failed = begin_packets(device, asked->ip.mtu);
    if (!failed)
        failed = configure(device, &info, asked);
    if (failed)
        return refused(error, error_bytes, HF_E_IO, "device %s cannot be used: %s; see docs/dpdk.md", device->name, rte_strerror(-failed));
    bool memif = strcmp(info.driver_name, "net_memif") == 0;
    if (memif && !(device->place = hf_hold_take()))
        return refused(error, error_bytes, HF_E_FULL, "device %s: too many memifs in a process", device->name);
    device->again_after_ns = memif ? again_memif_ns : again_other_ns;
    memcpy(asked->ip.mac, mac.addr_bytes, sizeof asked->ip.mac);
    /* The kernel's interface has the address that DPDK reports; ours is the neighbour of it. */
    if (strcmp(info.driver_name, "net_tap") == 0)
        asked->ip.mac[5] ^= 1;
    hf_ip_init(&device->ip, &asked->ip);
    (void)rte_eth_allmulticast_enable(device->id);
    return 0;
}

static void device_end(struct hf_loop_device *base)
{
    struct device *device = (struct device *)(void *)base;
    struct rte_eth_dev_info info = {0};
    if (device->probed && find_device(device) == 0) {
        (void)rte_eth_dev_info_get(device->id, &info);
        bool entered = hf_hold_enter_soon(device->place);
        if (device->started)
            (void)rte_eth_dev_stop(device->id);
        (void)rte_eth_dev_close(device->id);
        if (entered)
            hf_hold_exit(device->place);
        if (info.device)
            (void)rte_dev_remove(info.device);
    }
    rte_mempool_free(device->pool);
    hf_hold_give(device->place);
    free(device);
}

/* A loop has one device: its second client shares it or is refused. */
static int dpdk_start(struct hf_client *client, char *error, size_t error_bytes)
{
    struct hf_device asked;
    struct device *device = (struct device *)(void *)client->loop->device;
    int failed = hf_dpdk_parse(client->server, &asked, &client->address, &client->address_bytes, error, error_bytes);
    if (failed)
        return failed;
    if (device && strcmp(device->name, asked.name) == 0)
        return 0;
    if (device)
        return refused(error, error_bytes, HF_E_USAGE, "a loop has one device, and this one has %s", device->name);
    failed = begin_eal(&asked, error, error_bytes);
    if (failed)
        return failed;
    device = calloc(1, sizeof *device);
    if (!device)
        return refused(error, error_bytes, HF_E_MEMORY, "no memory for device %s", asked.name);
    device->base = (struct hf_loop_device){.poll = device_poll, .end = device_end};
    device->loop = client->loop;
    memcpy(device->name, asked.name, sizeof device->name);
    asked.ip.port = (uint16_t)(PORT_FIRST + hf_random_below(&client->random, UINT16_MAX - PORT_FIRST - PATHS_MAX));
    asked.ip.port_last = (uint16_t)(asked.ip.port + PATHS_MAX - 1);
    failed = begin_device(device, &asked, error, error_bytes);
    if (failed)
        device_end(&device->base);
    else
        client->loop->device = &device->base;
    return failed;
}

const struct hf_datagram_ops hf_dpdk_ops = {
    .start = dpdk_start, .open = dpdk_open, .bytes_max = dpdk_bytes_max, .send = dpdk_send, .receive = dpdk_receive, .close = dpdk_close};

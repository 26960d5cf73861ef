/* lossy_bridge SOCKET SERVED SEED: a bad cable between an engine's memif at SOCKET and a client's, whose end is served at SERVED, for
 * tests. Of every hundred packets each way, whatever is in them, 5 are lost, 5 doubled and 5 held back until others have overtaken them.
 * Prints `ready` once the engine's end is there; ends with its standard input, and prints how many were carried, lost, doubled and held
 * back. */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "net/dpdk/hold.h"

enum { BURST = 32, HELD_MAX = 64, PERCENT = 5, MEMIF_BYTES = 2048, IDLE_NS = 50000, POLLS_BETWEEN_LOOKS = 64 };

static struct rte_mempool *pool;
static struct hf_hold_place *place; /* for all bursts */
static uint64_t seed;
static unsigned long carried, lost, doubled, overtaken;

struct way {
    uint16_t from, to;
    struct rte_mbuf *held[HELD_MAX];
    unsigned held_count;
};

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (seed >> 11) % below;
}

static bool open_port(uint16_t port)
{
    const struct rte_eth_conf conf = {0};
    return rte_eth_dev_configure(port, 1, 1, &conf) == 0 && rte_eth_rx_queue_setup(port, 0, 512, 0, NULL, pool) == 0 &&
           rte_eth_tx_queue_setup(port, 0, 512, 0, NULL) == 0 && rte_eth_dev_start(port) == 0;
}

static bool open_ports(const char *engine, const char *client)
{
    char devices[2][256];
    snprintf(devices[0], sizeof devices[0], "--vdev=net_memif0,role=client,id=0,socket-abstract=no,socket=%s", engine);
    snprintf(devices[1], sizeof devices[1], "--vdev=net_memif1,role=server,id=0,socket-abstract=no,socket=%s", client);
    char *words[] = {"bridge",   "--no-pci", "--no-huge", "-m64", "--no-telemetry", "--log-level=*:critical", "--file-prefix=bridge",
                     devices[0], devices[1]};
    if (rte_eal_init(sizeof words / sizeof words[0], words) < 0 || rte_eth_dev_count_avail() != 2)
        return false;
    pool = rte_pktmbuf_pool_create("bridge", 4095, 64, 0, RTE_PKTMBUF_HEADROOM + MEMIF_BYTES, SOCKET_ID_ANY);
    place = hf_hold_take();
    return pool && place && open_port(0) && open_port(1);
}

static void put(const struct way *way, struct rte_mbuf *packet)
{
    carried++;
    if (rte_eth_tx_burst(way->to, 0, &packet, 1) == 0)
        rte_pktmbuf_free(packet);
}

static void carry(struct way *way, struct rte_mbuf *packet)
{
    uint64_t drawn = draw(100);
    if (drawn < PERCENT) {
        lost++;
        rte_pktmbuf_free(packet);
    } else if (drawn < 2 * PERCENT) {
        struct rte_mbuf *copy = rte_pktmbuf_copy(packet, pool, 0, UINT32_MAX);
        put(way, packet);
        doubled += copy != NULL;
        if (copy)
            put(way, copy);
    } else if (drawn < 3 * PERCENT && way->held_count < HELD_MAX) {
        overtaken++;
        way->held[way->held_count++] = packet;
    } else {
        put(way, packet);
    }
}

static unsigned turn(struct way *way)
{
    struct rte_mbuf *packets[BURST];
    unsigned count = rte_eth_rx_burst(way->from, 0, packets, BURST);
    for (unsigned i = 0; i < count; i++)
        carry(way, packets[i]);
    while (way->held_count > 0 && draw(10) < (count ? 1 : 3)) {
        unsigned i = (unsigned)draw(way->held_count);
        put(way, way->held[i]);
        way->held[i] = way->held[--way->held_count];
    }
    return count;
}

static bool wait_for_engine(void)
{
    struct rte_eth_link link = {0};
    for (int i = 0; i < 60000 && !link.link_status; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        (void)rte_eth_link_get_nowait(0, &link);
    }
    return link.link_status;
}

static void run(void)
{
    struct way ways[2] = {{.from = 0, .to = 1}, {.from = 1, .to = 0}};
    struct pollfd end = {.fd = STDIN_FILENO, .events = POLLIN};
    for (unsigned polls = 0; !(end.revents & (POLLIN | POLLHUP)); polls++) {
        unsigned count = 0;
        if (hf_hold_enter(place)) {
            count = turn(&ways[0]) + turn(&ways[1]);
            hf_hold_exit(place);
        }
        if (count == 0 || polls % POLLS_BETWEEN_LOOKS == 0)
            (void)ppoll(&end, 1, &(struct timespec){.tv_nsec = count ? 0 : IDLE_NS}, NULL);
    }
    for (unsigned i = 0; i < 2; i++)
        rte_pktmbuf_free_bulk(ways[i].held, ways[i].held_count);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: lossy_bridge SOCKET SERVED SEED\n", stderr);
        return 2;
    }
    seed = strtoull(argv[3], NULL, 10) | 1;
    if (!open_ports(argv[1], argv[2]) || !wait_for_engine()) {
        fputs("lossy_bridge: no two memifs\n", stderr);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    run();
    printf("%lu %lu %lu %lu\n", carried, lost, doubled, overtaken);
    bool entered = hf_hold_enter_soon(place);
    for (uint16_t port = 0; port < 2; port++) {
        rte_eth_dev_stop(port);
        rte_eth_dev_close(port);
    }
    if (entered)
        hf_hold_exit(place);
    rte_eal_cleanup();
    return 0;
}

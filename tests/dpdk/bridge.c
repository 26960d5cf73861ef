/* bridge SOCKET INTERFACE [BUFFER-BYTES]: a cable between the client end of a memif and a new interface of Linux, for tests: what one end
 * sends the other gets, byte for byte. Prints `ready` once both ends are there; ends with its standard input. */
#include <fcntl.h>
#include <ftw.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "net/dpdk/hold.h"

enum { BURST = 32, PACKET_BYTES_MAX = 9100, BUFFER_BYTES = RTE_PKTMBUF_HEADROOM + 9216, IDLE_NS = 100000 };

static struct rte_mempool *pool;

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int open_interface(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0)
        return fd;
    return -1;
}

static bool open_memif(const char *socket_path, const char *buffer_bytes)
{
    char device[256];
    snprintf(device, sizeof device, "--vdev=net_memif0,role=client,socket-abstract=no,bsize=%s,socket=%s", buffer_bytes, socket_path);
    char *words[] = {"bridge", "--no-pci", "--no-huge", "-m64", "--no-telemetry", "--log-level=*:critical", "--file-prefix=bridge", device};
    struct rte_eth_conf conf = {.rxmode = {.mtu = 1500}};
    if (rte_eal_init(sizeof words / sizeof words[0], words) < 0 || rte_eth_dev_count_avail() == 0)
        return false;
    pool = rte_pktmbuf_pool_create("bridge", 2047, 64, 0, BUFFER_BYTES, SOCKET_ID_ANY);
    return pool && rte_eth_dev_configure(0, 1, 1, &conf) == 0 && rte_eth_rx_queue_setup(0, 0, 512, 0, NULL, pool) == 0 &&
           rte_eth_tx_queue_setup(0, 0, 512, 0, NULL) == 0 && rte_eth_dev_start(0) == 0;
}

static unsigned to_interface(int fd)
{
    struct rte_mbuf *packets[BURST];
    unsigned count = rte_eth_rx_burst(0, 0, packets, BURST);
    for (unsigned i = 0; i < count; i++) {
        ssize_t written = -1;
        if (rte_pktmbuf_linearize(packets[i]) == 0)
            written = write(fd, rte_pktmbuf_mtod(packets[i], void *), packets[i]->data_len);
        (void)written;
        rte_pktmbuf_free(packets[i]);
    }
    return count;
}

static unsigned to_memif(int fd)
{
    unsigned count = 0;
    for (; count < BURST; count++) {
        struct rte_mbuf *packet = rte_pktmbuf_alloc(pool);
        ssize_t bytes = packet ? read(fd, rte_pktmbuf_mtod(packet, void *), PACKET_BYTES_MAX) : -1;
        if (bytes > 0)
            rte_pktmbuf_append(packet, (uint16_t)bytes);
        if (bytes <= 0 || rte_eth_tx_burst(0, 0, &packet, 1) == 0)
            rte_pktmbuf_free(packet);
        if (bytes <= 0)
            break;
    }
    return count;
}

static bool wait_for_peer(void)
{
    struct rte_eth_link link = {0};
    for (int i = 0; i < 60000 && !link.link_status; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        (void)rte_eth_link_get_nowait(0, &link);
    }
    return link.link_status;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4) {
        fputs("usage: bridge SOCKET INTERFACE [BUFFER-BYTES]\n", stderr);
        return 2;
    }
    char directory[] = "/tmp/hf-bridge-XXXXXX";
    if (!mkdtemp(directory))
        return fail("directory");
    setenv("RUNTIME_DIRECTORY", directory, 1);
    int fd = open_interface(argv[2]);
    if (fd < 0)
        return fail(argv[2]);
    struct hf_hold_place *place = hf_hold_take();
    bool open = place && open_memif(argv[1], argc == 4 ? argv[3] : "9216");
    if (nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0 || !open)
        return fail("memif");
    if (!wait_for_peer())
        return fail("peer");
    puts("ready");
    fflush(stdout);
    struct pollfd ends[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    while (!(ends[0].revents & (POLLIN | POLLHUP))) {
        unsigned count = 0;
        if (hf_hold_enter(place)) {
            count = to_interface(fd) + to_memif(fd);
            hf_hold_exit(place);
        }
        if (count == 0)
            (void)ppoll(ends, 2, &(struct timespec){.tv_nsec = IDLE_NS}, NULL);
    }
    bool entered = hf_hold_enter_soon(place);
    rte_eth_dev_stop(0);
    rte_eth_dev_close(0);
    if (entered)
        hf_hold_exit(place);
    rte_eal_cleanup();
    return 0;
}

/* dpdk://DEVICE-ARGS?ip=ADDRESS/PREFIX&port=PORT[&gateway=ADDRESS][&vlan=ID][&mtu=BYTES][&queues=N][&offload=no][&huge=yes], taken apart.
 * Pure; any thread.
 *
 * DEVICE-ARGS is what DPDK's --vdev takes (net_tap0,iface=hf0) or a PCI address (0000:03:00.0). ip and gateway may stand there several
 * times, for IPv4 and IPv6. */
#ifndef HF_NET_DPDK_DEVICE_H
#define HF_NET_DPDK_DEVICE_H

#include "net/dpdk/ip.h"

enum { HF_DEVICE_QUEUES_MAX = 64 };

struct hf_device {
    char name[256]; /* the DEVICE-ARGS */
    bool virtual;   /* of --vdev */
    bool huge;      /* huge pages are asked for */
    bool no_offload;
    unsigned queues; /* each way; 0: as many as help */
    struct hf_ip_options ip;
};

/* 0, or HF_E_USAGE with hf_net_error() set. The mac is left zero: the device has it. */
int hf_device_parse(const char *address, struct hf_device *out);

/* One key=value of an address; false when it is none of those above. `value` is taken apart in place. */
bool hf_device_key(const char *key, char *value, struct hf_device *out);
/* What name and keys together mean, once all keys were taken; false when the name has no room for it. The memif that makes the ring (not
 * role=server) gets places as long as a packet, unless bsize= says how long: DPDK 22.11 leaves the mark of a packet in several places on
 * the first of them, and who reads the ring then takes the next packets for more of a short one, beyond the last that is there. A memif is
 * unsummed but for offload=no. */
bool hf_device_settle(struct hf_device *out);
/* The value of `key`= in the arguments of the device's name; false: there is none, or no room for it. */
bool hf_device_argument(const struct hf_device *device, const char *key, char *out, size_t room);
bool hf_device_is_memif(const struct hf_device *device);
/* Whether its other end connects to it: a memif that is the server. */
bool hf_device_serves(const struct hf_device *device);
/* IPv6, or IPv4 as ::ffff:a.b.c.d. */
bool hf_device_address(const char *text, uint8_t out[16]);

#endif

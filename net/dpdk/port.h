/* A transport of datagrams over DPDK devices: one for each shard, with an end of every device. Devices and EAL are made by the thread that
 * creates the first; all else belongs to the shard's thread. A process can start DPDK once in its life. */
#ifndef HF_NET_DPDK_PORT_H
#define HF_NET_DPDK_PORT_H

#include "net/dpdk/ip.h"
#include "net/net.h"

/* As the other transports (transport.h): 0 or an enum hf_error with hf_net_error() set. HF_E_USAGE: no such address, a device twice, or
 * more than it can; HF_E_IO: EAL or the device refused. */
int hf_dpdk_create(const struct hf_transport_options *options, struct hf_transport **out);
int hf_dpdk_listen(struct hf_transport *transport, const char *address);

/* As hf_net_device_counters(). nic_status.c. */
unsigned hf_dpdk_counters(struct hf_net_counter *out, unsigned max);

#endif

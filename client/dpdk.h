/* A device's address as a client writes it, and what carries datagrams over one. Built only with DPDK. */
#ifndef HF_CLIENT_DPDK_H
#define HF_CLIENT_DPDK_H

#include <sys/socket.h>

#include "net/dpdk/device.h"

/* dpdk://DEVICE-ARGS?ip=ADDRESS/PREFIX&to=ADDRESS:PORT, and the other keys of net/dpdk/device.h but port. `to` becomes a socket's address.
 * 0, or HF_E_USAGE with the sentence. Pure. */
int hf_dpdk_parse(const char *text, struct hf_device *device, struct sockaddr_storage *to, socklen_t *to_bytes, char *error,
                  size_t error_bytes);

#endif

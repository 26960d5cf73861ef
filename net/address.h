/* Addresses to listen on: tcp://HOST:PORT with a name, an IPv4 address or an IPv6 address in brackets. */
#ifndef HF_NET_ADDRESS_H
#define HF_NET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Whether several shards listen on a port: the first finds it free of any other process, the others join it. */
enum hf_sharing { HF_PORT_ALONE, HF_PORT_FIRST, HF_PORT_JOINED };

/* A listening socket (non-blocking, close-on-exec, no delay) and the port it got. A port in use is tried for up to 5 s: an engine before
 * this one may be about to end. 0; HF_E_USAGE: no such address, or one that others can reach without `insecure`; HF_E_IO. */
int hf_address_listen(const char *address, bool insecure, enum hf_sharing sharing, int *fd, uint16_t *port);

#endif

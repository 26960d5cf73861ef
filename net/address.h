/* Addresses to listen on: tcp://HOST:PORT with a name, an IPv4 address or an IPv6 address in brackets. */
#ifndef HF_NET_ADDRESS_H
#define HF_NET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

/* A listening socket (non-blocking, close-on-exec, no delay) and the port it got. A port in use is tried for up to 5 s: an engine before
 * this one may be about to end. 0; HF_E_USAGE: no such address, or one that others can reach without `insecure`; HF_E_IO. */
int hf_address_listen(const char *address, bool insecure, bool shared_port, int *fd, uint16_t *port);

#endif

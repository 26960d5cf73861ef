/* The addresses that an engine is given to listen on, as text: which are well-formed, and what each shard makes of them. Pure; any thread.
 */
#ifndef HF_SERVER_LISTEN_H
#define HF_SERVER_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "net/net.h"

/* Longest address with its end: unix:// and a path. */
enum { HF_LISTEN_BYTES = 1040 };

/* tcp://HOST:PORT and udp://HOST:PORT with an IPv4 address, an IPv6 address in brackets or localhost; unix://PATH;
 * dpdk:// and something. */
bool hf_listen_valid(const char *address);
/* Nobody on another machine can reach it. */
bool hf_listen_is_loopback(const char *address);

/* Shard `number`'s own address beside a shared one, for clients that know the partitions: the same host at any free port, or the path with
 * the shard's number behind it; shard 0 has the path itself. */
void hf_listen_own(const char *shared, unsigned number, char out[HF_LISTEN_BYTES]);

/* Writes what a listener really got into an address: the port chosen for 0, the short path for one that was too long. */
void hf_listen_settle(char address[HF_LISTEN_BYTES], uint16_t port, const char *path);

#endif

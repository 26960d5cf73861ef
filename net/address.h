/* Addresses to listen on: tcp://HOST:PORT and udp://HOST:PORT with a name, an IPv4 address or an IPv6 address in brackets, unix://PATH. */
#ifndef HF_NET_ADDRESS_H
#define HF_NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/net.h"

/* Whether several shards listen on a port: the first finds it free of any other process, the others join it. */
enum hf_sharing { HF_PORT_ALONE, HF_PORT_FIRST, HF_PORT_JOINED };

/* A socket to listen on. Owned by whoever called hf_address_listen(), until hf_socket_end(). */
struct hf_socket {
    int fd; /* -1: none */
    enum hf_carrier carrier;
    uint16_t port; /* host order; unix: 1, once it listens */
    char *path;    /* unix: where it is, which may be shorter than what was asked for */
    int lock_fd;   /* unix: holds the path against another engine */
};

/* Makes a socket (non-blocking, close-on-exec) that listens, or for udp:// receives. A port or path in use is tried for up to 5 s: an
 * engine before this one may be about to end. 0; HF_E_USAGE: no such address, or one that others can reach without `insecure`; HF_E_IO;
 * HF_E_MEMORY. */
int hf_address_listen(const char *address, bool insecure, enum hf_sharing sharing, struct hf_socket *out);

/* Whether it is one of IPv6. */
bool hf_socket_is_six(const struct hf_socket *socket);

/* Nobody new comes in by it: shut and closed, a unix path is unlinked. The lock on the path stays. Twice is once. */
void hf_socket_shut(struct hf_socket *socket);
/* Shuts it and gives its path back. */
void hf_socket_end(struct hf_socket *socket);

/* unix_path.c. A unix socket listens on its path or, where that is longer than a socket's name can be, on a short path made from it, under
 * /run or $TMPDIR. What a killed engine left there is cleared; anything else that stands there is not touched. Unless it is alone, other
 * shards' paths are this one with their number behind it. As hf_address_listen(). */
int hf_unix_listen(const char *address, enum hf_sharing sharing, struct hf_socket *out);

#endif

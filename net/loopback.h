/* The client's end of the in-process transport loopback://NAME or loopback://NAME:PORT (0: any free one): bytes in, bytes out, both
 * bounded. For tests: the sessions behind it are those of TCP. Any thread; the server's end belongs to the shard's thread as with every
 * transport. */
#ifndef HF_NET_LOOPBACK_H
#define HF_NET_LOOPBACK_H

#include <stddef.h>
#include <stdint.h>

struct hf_loopback;

/* Bytes that each direction holds. */
enum { HF_LOOPBACK_BYTES = 1 << 18 };

/* A connection to the listener of that name (with its port, if it has one; of several listeners of one name each in its turn); NULL when
 * there is none. Ended by hf_loopback_close(), at the latest before the port is destroyed. */
struct hf_loopback *hf_loopback_connect(const char *name);
/* Takes up to `bytes` bytes; returns how many there was room for, -1 when the other side has closed. */
long hf_loopback_push(struct hf_loopback *client, const void *data, size_t bytes);
/* Gives up to `bytes` bytes; 0 when there are none now, -1 when the other side has closed and all was taken. */
long hf_loopback_pull(struct hf_loopback *client, void *data, size_t bytes);
void hf_loopback_close(struct hf_loopback *client);

#endif

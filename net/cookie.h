/* The stateless cookie that proves a datagram's address: whoever brings it back was there to receive it. Pure; any thread. */
#ifndef HF_NET_COOKIE_H
#define HF_NET_COOKIE_H

#include <stdbool.h>
#include <stdint.h>

#include "net/transport.h"

enum { HF_COOKIE_LIFE_MS = 30000 };

/* SipHash-2-4 (Aumasson and Bernstein, 2012) of `count` whole words. */
uint64_t hf_siphash(const uint64_t key[2], const uint64_t *words, unsigned count);

/* out[0]: now_ms, out[1]: the key's mark on it and the peer. */
void hf_cookie_make(const uint64_t key[2], const struct hf_peer *peer, uint64_t now_ms, uint64_t out[2]);
/* Made by this key for this peer, within the last HF_COOKIE_LIFE_MS. */
bool hf_cookie_holds(const uint64_t key[2], const struct hf_peer *peer, uint64_t now_ms, const uint64_t cookie[2]);

#endif

#include "net/cookie.h"

#include <string.h>

#include "wire/types.h"

static void hf_sip_rounds(uint64_t v[4], int rounds)
{
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = hf_rotl64(v[1], 13) ^ v[0];
        v[3] = hf_rotl64(v[3], 16) ^ v[2];
        v[0] = hf_rotl64(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = hf_rotl64(v[1], 17) ^ v[2];
        v[3] = hf_rotl64(v[3], 21) ^ v[0];
        v[2] = hf_rotl64(v[2], 32);
    }
}

static void hf_sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    hf_sip_rounds(v, 2);
    v[0] ^= word;
}

uint64_t hf_siphash(const uint64_t key[2], const uint64_t *words, unsigned count)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull, key[0] ^ 0x6c7967656e657261ull,
                     key[1] ^ 0x7465646279746573ull};
    for (unsigned i = 0; i < count; i++)
        hf_sip_word(v, words[i]);
    /* The last word holds the length and the bytes beyond whole words, of which there are none. */
    hf_sip_word(v, (uint64_t)count * 8 << 56);
    v[2] ^= 0xff;
    hf_sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t hf_cookie_mark(const uint64_t key[2], const struct hf_peer *peer, uint64_t made_ms)
{
    uint64_t words[4];
    _Static_assert(sizeof *peer == 24, "a peer is three words without holes");
    memcpy(words, peer, sizeof *peer);
    words[3] = made_ms;
    return hf_siphash(key, words, 4);
}

void hf_cookie_make(const uint64_t key[2], const struct hf_peer *peer, uint64_t now_ms, uint64_t out[2])
{
    out[0] = now_ms;
    out[1] = hf_cookie_mark(key, peer, now_ms);
}

bool hf_cookie_holds(const uint64_t key[2], const struct hf_peer *peer, uint64_t now_ms, const uint64_t cookie[2])
{
    return cookie[0] <= now_ms && now_ms - cookie[0] <= HF_COOKIE_LIFE_MS && cookie[1] == hf_cookie_mark(key, peer, cookie[0]);
}

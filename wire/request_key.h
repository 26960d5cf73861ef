/* A request key from text: the first 16 bytes of its SHA-256 (FIPS 180-4), so that any client makes the same one with what its language
 * has, and nobody finds another text with the same key. */
#ifndef HF_WIRE_REQUEST_KEY_H
#define HF_WIRE_REQUEST_KEY_H

#include "wire/command.h"

enum { HF_SHA256_BLOCK_BYTES = 64 };

static inline uint32_t hf_rotr32(uint32_t x, int bits)
{
    return x >> bits | x << (32 - bits);
}

static inline void hf_sha256_block(uint32_t state[8], const uint8_t block[HF_SHA256_BLOCK_BYTES])
{
    static const uint32_t round[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
        0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
        0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
        0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
        0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (hf_rotr32(w[i - 15], 7) ^ hf_rotr32(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (hf_rotr32(w[i - 2], 17) ^ hf_rotr32(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]), majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        uint32_t first = s[7] + (hf_rotr32(s[4], 6) ^ hf_rotr32(s[4], 11) ^ hf_rotr32(s[4], 25)) + choice + round[i] + w[i];
        uint32_t second = (hf_rotr32(s[0], 2) ^ hf_rotr32(s[0], 13) ^ hf_rotr32(s[0], 22)) + majority;
        memmove(&s[1], &s[0], 7 * sizeof s[0]);
        s[4] += first;
        s[0] = first + second;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

/* Of any bytes, none included. */
static inline struct hf_request_key hf_request_key_of(const void *text, size_t bytes)
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const uint8_t *at = text;
    uint8_t tail[2 * HF_SHA256_BLOCK_BYTES] = {0}, out[16];
    size_t left = bytes;
    for (; left >= HF_SHA256_BLOCK_BYTES; at += HF_SHA256_BLOCK_BYTES, left -= HF_SHA256_BLOCK_BYTES)
        hf_sha256_block(state, at);
    if (left > 0)
        memcpy(tail, at, left);
    tail[left] = 0x80;
    size_t padded = left < HF_SHA256_BLOCK_BYTES - 8 ? HF_SHA256_BLOCK_BYTES : 2 * HF_SHA256_BLOCK_BYTES;
    for (unsigned i = 0; i < 8; i++)
        tail[padded - 1 - i] = (uint8_t)((uint64_t)bytes * 8 >> 8 * i);
    for (size_t done = 0; done < padded; done += HF_SHA256_BLOCK_BYTES)
        hf_sha256_block(state, tail + done);
    for (unsigned i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    struct hf_request_key key;
    memcpy(&key, out, sizeof key);
    return key;
}

#endif

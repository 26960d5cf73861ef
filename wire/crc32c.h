/* CRC-32C (RFC 3720, appendix B.4): the checksum of frames and of log blocks.
 *
 * x86-64 with SSE4.2 and PCLMULQDQ is used where the running processor has them: three streams of the crc32 instruction side by side, since
 * it has a latency of three cycles and a throughput of one (V. Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32
 * Instruction", Intel 2011). Elsewhere eight table look-ups take eight bytes (M. Kounavis, F. Berry, "Novel Table Lookup-Based Algorithms
 * for High-Performance CRC Generation", IEEE ToC 2008). No state; any thread. */
#ifndef HF_WIRE_CRC32C_H
#define HF_WIRE_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire/crc32c_table.h"

/* The parts below work on the register as it is inside, without the inversions at both ends. */
static inline uint32_t hf_crc32c_software(uint32_t state, const uint8_t *at, size_t bytes)
{
    const uint32_t(*table)[256] = hf_crc32c_table;
    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        word ^= state;
        state = table[7][word & 0xff] ^ table[6][word >> 8 & 0xff] ^ table[5][word >> 16 & 0xff] ^ table[4][word >> 24 & 0xff] ^
                table[3][word >> 32 & 0xff] ^ table[2][word >> 40 & 0xff] ^ table[1][word >> 48 & 0xff] ^ table[0][word >> 56];
    }
    for (; bytes > 0; at++, bytes--)
        state = state >> 8 ^ table[0][(state ^ *at) & 0xff];
    return state;
}

#if defined(__x86_64__)

#include <immintrin.h>

/* What carries a register over n bytes: x^(8n - 33) mod P, reflected. The crc32 instruction that ends the product supplies the other 33. */
struct hf_crc32c_stride {
    size_t bytes; /* of one of the three streams, a multiple of 8 */
    uint32_t once, twice;
};

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t hf_crc32c_carry(uint64_t state, uint32_t by)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)state), _mm_cvtsi32_si128((int)by), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

__attribute__((target("sse4.2,pclmul"))) static inline uint32_t hf_crc32c_sse42(uint32_t start, const uint8_t *at, size_t bytes)
{
    static const struct hf_crc32c_stride strides[] = {
        {1024, 0x170076fa, 0xa51b6135}, {192, 0xab7aff2a, 0xd270f1a2}, {40, 0x3da6d0cb, 0x39d3b296}};
    uint64_t state = start, word[3];
    for (unsigned s = 0; s < sizeof strides / sizeof strides[0]; s++) {
        const size_t stride = strides[s].bytes;
        for (; bytes >= 3 * stride; at += 3 * stride, bytes -= 3 * stride) {
            uint64_t second = 0, third = 0;
            for (size_t i = 0; i < stride; i += 8) {
                /* The processor sees no pattern in three streams that jump on every 3 KiB: a log read from disk waits for each. */
                if (s == 0 && i % 64 == 0)
                    for (size_t stream = 3; stream < 6; stream++)
                        __builtin_prefetch(at + stream * stride + i);
                memcpy(&word[0], at + i, 8);
                memcpy(&word[1], at + stride + i, 8);
                memcpy(&word[2], at + 2 * stride + i, 8);
                state = _mm_crc32_u64(state, word[0]);
                second = _mm_crc32_u64(second, word[1]);
                third = _mm_crc32_u64(third, word[2]);
            }
            uint64_t product = hf_crc32c_carry(state, strides[s].twice) ^ hf_crc32c_carry(second, strides[s].once);
            state = _mm_crc32_u64(0, product) ^ third;
        }
    }
    for (; bytes >= 8; at += 8, bytes -= 8) {
        memcpy(word, at, 8);
        state = _mm_crc32_u64(state, word[0]);
    }
    uint32_t last = (uint32_t)state;
    for (; bytes > 0; at++, bytes--)
        last = _mm_crc32_u8(last, *at);
    return last;
}

#endif

/* CRC-32C of `bytes` bytes that follow those of which `crc` is the checksum (0: none): crc32c(crc32c(0, a), b) is that of a and b together.
 */
static inline uint32_t hf_crc32c(uint32_t crc, const void *data, size_t bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return ~hf_crc32c_sse42(~crc, data, bytes);
#endif
    return ~hf_crc32c_software(~crc, data, bytes);
}

#endif

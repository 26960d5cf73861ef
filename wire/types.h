/* The keys and ids every other layout is made of, and the one public hash that routes them.
 *
 * All integers on the wire and on disk are little-endian; this code runs only on little-endian machines, where a layout is a struct.
 * Nothing here has state; every function may be called from any thread. */
#ifndef HF_WIRE_TYPES_H
#define HF_WIRE_TYPES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "layouts are read in place: a little-endian machine is needed");

enum {
    HF_LINES_MAX = 256,           /* lines of one command */
    HF_EXTENSION_BYTES_MAX = 512, /* typed extensions of one command, headers and padding included */
    HF_QUANTITY_MAX = 0x7fffffff, /* units of one line */
    HF_PARTITIONS_MAX = 65536,
    HF_HISTORY_MAX = 64, /* command ids newer than the mark that one order keeps */
};

/* A SKU: 16 bytes, ASCII padded with zeros or binary; all zeros is no SKU. */
struct hf_sku {
    uint64_t word[2];
};

/* An id of an order or of a command: high = route (16 bits) << 48 | milliseconds since 1970 (48 bits), low = 64 random bits.
 * Printed as 32 hex digits, high first. All zeros is no id. */
struct hf_id {
    uint64_t high, low;
};

_Static_assert(sizeof(struct hf_sku) == 16 && sizeof(struct hf_id) == 16, "keys are 16 bytes");

static inline bool hf_sku_equal(const struct hf_sku *a, const struct hf_sku *b)
{
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

static inline bool hf_sku_none(const struct hf_sku *sku)
{
    return (sku->word[0] | sku->word[1]) == 0;
}

/* A SKU from text of 1 to 16 bytes; false (and *out untouched) for any other length. */
static inline bool hf_sku_from_text(const char *text, size_t bytes, struct hf_sku *out)
{
    if (bytes < 1 || bytes > sizeof *out)
        return false;
    struct hf_sku sku = {{0, 0}};
    memcpy(&sku, text, bytes);
    *out = sku;
    return true;
}

static inline bool hf_id_equal(struct hf_id a, struct hf_id b)
{
    return a.high == b.high && a.low == b.low;
}

static inline bool hf_id_none(struct hf_id id)
{
    return (id.high | id.low) == 0;
}

/* Total order of ids: by high, then low; the order in which a sweep names those that are due together. */
static inline int hf_id_compare(struct hf_id a, struct hf_id b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low == b.low ? 0 : a.low < b.low ? -1 : 1;
}

static inline uint16_t hf_id_route(struct hf_id id)
{
    return (uint16_t)(id.high >> 48);
}

static inline uint64_t hf_id_ms(struct hf_id id)
{
    return id.high & 0xffffffffffffull;
}

static inline struct hf_id hf_id_make(uint16_t route, uint64_t ms, uint64_t random)
{
    return (struct hf_id){(uint64_t)route << 48 | (ms & 0xffffffffffffull), random};
}

static inline uint64_t hf_rotl64(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* XXH64 (Y. Collet, xxHash specification 0.1.1) of exactly 16 bytes with seed 0. */
static inline uint64_t hf_xxh64_16(const uint64_t word[2])
{
    const uint64_t p1 = 0x9E3779B185EBCA87ull, p2 = 0xC2B2AE3D27D4EB4Full, p3 = 0x165667B19E3779F9ull, p4 = 0x85EBCA77C2B2AE63ull,
                   p5 = 0x27D4EB2F165667C5ull;
    uint64_t h = p5 + 16;
    for (int i = 0; i < 2; i++) {
        h ^= hf_rotl64(word[i] * p2, 31) * p1;
        h = hf_rotl64(h, 27) * p1 + p4;
    }
    h = (h ^ h >> 33) * p2;
    h = (h ^ h >> 29) * p3;
    return h ^ h >> 32;
}

/* The route of a SKU: the low 16 bits of XXH64. An order's route is that of its first line's SKU, a stock command's that of its SKU. */
static inline uint16_t hf_route(const struct hf_sku *sku)
{
    return (uint16_t)hf_xxh64_16(sku->word);
}

/* The partition of a route among `partitions`, a power of two of at most 65,536. */
static inline uint32_t hf_partition(uint16_t route, uint32_t partitions)
{
    return route & (partitions - 1);
}

#endif

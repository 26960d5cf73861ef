/* One frame on every transport: 64 bytes of header, then commands (REQUEST) or answers (ANSWER) back to back.
 *
 * A session lives on one shard's port. Its requests are numbered from any number on (HELLO's `first`); the serial of a request counts from
 * 1, slot = serial mod credits, and at most `credits` are without an answer (else CREDIT_OVERRUN). A resend (same session, same request
 * number) of a waiting request is dropped and counted, of an answered one gets the first answer while its slot holds it. docs/protocol.md
 * says what is different over datagrams. */
#ifndef HF_WIRE_FRAME_H
#define HF_WIRE_FRAME_H

#include "wire/types.h"

enum {
    HF_FRAME_MAGIC = 0x31464648, /* "HFF1" */
    HF_FRAME_VERSION = 1,
    HF_FRAME_BYTES_MAX = 65536,        /* header included */
    HF_FRAME_ANSWER_BYTES_MAX = 65536, /* header included; the server refuses (TOO_LARGE) a request whose answers could be more */
    HF_FRAME_COMMANDS_MAX = 1000,
    HF_DATAGRAM_BYTES_MAX = 65504,     /* of UDP over IPv4, rounded down to whole words */
    HF_DATAGRAM_BYTES_MIN = 1232,      /* every path carries as much: IPv6's 1,280 less its headers (RFC 8200, section 5) */
    HF_HELLO_DATAGRAM_BYTES_MIN = 240, /* as many as WELCOME has, so that nothing is answered with more than was sent */
};

enum hf_frame_type {
    HF_HELLO = 1,   /* payload: hf_hello */
    HF_WELCOME = 2, /* payload: hf_welcome */
    HF_REQUEST = 3, /* payload: commands */
    HF_ANSWER = 4,  /* payload: answers */
    HF_REFUSED = 5, /* payload: none; `result` says why, see below */
    HF_BYE = 6,     /* either side: nothing more comes; the session ends */
    HF_COOKIE = 7,  /* datagrams, payload: hf_hello. The sender's address is not proven: HELLO again with this cookie */
};

/* REFUSED says why: BAD_FRAME, BAD_VERSION, TOO_LARGE, BAD_CRC, SESSION_EXPIRED, CREDIT_OVERRUN, DRAINING, BUSY. With request 0 it
 * concerns the connection. A number that overran is not used up: the engine does not take it as seen. Any other number that was refused is
 * used up, and none of its commands ran; a resend under it is judged anew. BYE is answered by closing the connection. */

/*  offset size
 *    0      4   magic
 *    4      1   version
 *    5      1   type
 *    6      2   flags      reserved, 0
 *    8      4   length     whole frame in bytes, multiple of 8
 *   12      4   crc        CRC-32C (RFC 3720 appendix B.4) of the whole frame with this field 0
 *   16      8   session    0 in the first HELLO
 *   24      8   request    request number; 0 outside REQUEST, ANSWER and the REFUSED that answers one
 *   32      2   credits    requests that may be without an answer at once
 *   34      2   count      commands or answers in the payload
 *   36      2   result     enum hf_result of REFUSED, else 0
 *   38      2   reserved   0
 *   40      8   nonce      0 until frames are sealed
 *   48     16   tag        0 until frames are sealed */
struct hf_frame {
    uint32_t magic;
    uint8_t version;
    uint8_t type;
    uint16_t flags;
    uint32_t length;
    uint32_t crc;
    uint64_t session;
    uint64_t request;
    uint16_t credits;
    uint16_t count;
    uint16_t result;
    uint16_t reserved;
    uint64_t nonce;
    uint8_t tag[16];
};

/* HELLO: `session` in the header is 0, or one to take up again. header.credits: credits wanted. In a datagram zeros follow, up to the size
 * that is to be used on this path. */
struct hf_hello {
    uint64_t client;    /* any number that names the client in logs */
    uint64_t first;     /* number of the new session's first request; 0: 1 */
    uint64_t cookie[2]; /* datagrams: 0, or as COOKIE gave it; streams: 0 */
};

/* WELCOME: header.session: the session (another than asked for: the old one is gone, and its unanswered requests are to be sent again as
 * new ones; command ids make that safe), header.credits: credits granted. Then shard_count ports. */
struct hf_welcome {
    uint64_t engine_time_ns;
    uint32_t partitions;
    uint16_t shard_count;
    uint16_t shard; /* the shard this session is on: partition p belongs to shard p mod shard_count */
    uint32_t frame_bytes_max;
    uint32_t answer_bytes_max;
    uint64_t retention_ms;
    uint64_t term;
    uint32_t flags;     /* 1: --durability=async */
    uint32_t resend_us; /* datagrams: resend no sooner than this; streams: 0 */
    uint16_t ports[64]; /* of the first shard_count shards (at most 64); 0: none of its own */
};

_Static_assert(sizeof(struct hf_frame) == 64 && sizeof(struct hf_hello) == 32 && sizeof(struct hf_welcome) == 176, "frame layouts");

#endif

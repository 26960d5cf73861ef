/* Who has which Ethernet address: a table of fixed size of the link's neighbours and gateways. Pure; owned by the shard's thread.
 *
 * An address is heard (it sent something, so answers can go back there) or confirmed (it answered a question of ours, RFC 826 and 4861).
 * Who is heard elsewhere than he was confirmed, be it by a question of his own, is asked for again, and moves by his answer only: a client
 * may have come back with another Ethernet address, and anybody can write his. But who has left HF_NEIGHBOUR_PATIENCE questions in a row
 * without an answer is where he is heard, as RFC 4861 gives up a neighbour after as many. */
#ifndef HF_NET_DPDK_NEIGHBOURS_H
#define HF_NET_DPDK_NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>

enum { HF_NEIGHBOUR_SETS = 256, HF_NEIGHBOUR_WAYS = 4, HF_NEIGHBOUR_PATIENCE = 3 };

enum hf_neighbour_state { HF_NEIGHBOUR_FREE, HF_NEIGHBOUR_ASKED, HF_NEIGHBOUR_HEARD, HF_NEIGHBOUR_CONFIRMED };

struct hf_neighbour {
    uint8_t address[16]; /* IPv6, or IPv4 as ::ffff:a.b.c.d */
    uint8_t mac[6];
    uint8_t state;      /* enum hf_neighbour_state */
    uint8_t unanswered; /* questions since it was confirmed; stays at 255 */
    bool doubted;       /* heard elsewhere since it was confirmed */
    uint64_t used_ns, asked_ns, confirmed_ns;
};

struct hf_neighbours {
    struct hf_neighbour all[HF_NEIGHBOUR_SETS][HF_NEIGHBOUR_WAYS];
};

/* NULL: not known. */
struct hf_neighbour *hf_neighbour_find(struct hf_neighbours *table, const uint8_t address[16]);
/* The same; a new record, in the place of the one of its set that was least known and used longest ago, when there is none. */
struct hf_neighbour *hf_neighbour_keep(struct hf_neighbours *table, const uint8_t address[16], uint64_t now_ns);
/* Something came from there. */
void hf_neighbour_hear(struct hf_neighbours *table, const uint8_t address[16], const uint8_t mac[6], uint64_t now_ns);
/* It answered. False: nobody asked, or somebody was faster, and it says nothing. */
bool hf_neighbour_confirm(struct hf_neighbour *neighbour, const uint8_t mac[6], uint64_t now_ns);
/* Whether to ask for it now: it is not confirmed, that was long ago or it is doubted; and it was not asked for within the last second. */
bool hf_neighbour_due(const struct hf_neighbour *neighbour, uint64_t now_ns);
/* Notes a question to it that goes out now. */
void hf_neighbour_ask(struct hf_neighbour *neighbour, uint64_t now_ns);

#endif

#include "net/dpdk/neighbours.h"

#include <string.h>

static const uint64_t HF_NEIGHBOUR_ASK_NS = 1000000000ull, HF_NEIGHBOUR_CONFIRMED_NS = 30 * 1000000000ull;

static struct hf_neighbour *hf_neighbour_set(struct hf_neighbours *table, const uint8_t address[16])
{
    uint64_t words[2];
    memcpy(words, address, sizeof words);
    uint64_t mixed = (words[0] ^ (words[1] << 17 | words[1] >> 47)) * 0x9e3779b97f4a7c15ull;
    return table->all[mixed >> 56 & (HF_NEIGHBOUR_SETS - 1)];
}

struct hf_neighbour *hf_neighbour_find(struct hf_neighbours *table, const uint8_t address[16])
{
    struct hf_neighbour *set = hf_neighbour_set(table, address);
    for (unsigned i = 0; i < HF_NEIGHBOUR_WAYS; i++)
        if (set[i].state != HF_NEIGHBOUR_FREE && memcmp(set[i].address, address, sizeof set[i].address) == 0)
            return &set[i];
    return NULL;
}

struct hf_neighbour *hf_neighbour_keep(struct hf_neighbours *table, const uint8_t address[16], uint64_t now_ns)
{
    struct hf_neighbour *found = hf_neighbour_find(table, address);
    if (!found) {
        struct hf_neighbour *set = hf_neighbour_set(table, address);
        found = &set[0];
        for (unsigned i = 1; i < HF_NEIGHBOUR_WAYS; i++)
            if (set[i].state < found->state || (set[i].state == found->state && set[i].used_ns < found->used_ns))
                found = &set[i];
        *found = (struct hf_neighbour){.state = HF_NEIGHBOUR_ASKED};
        memcpy(found->address, address, sizeof found->address);
    }
    found->used_ns = now_ns;
    return found;
}

void hf_neighbour_hear(struct hf_neighbours *table, const uint8_t address[16], const uint8_t mac[6], uint64_t now_ns)
{
    struct hf_neighbour *neighbour = hf_neighbour_keep(table, address, now_ns);
    if (neighbour->state == HF_NEIGHBOUR_CONFIRMED) {
        if (!neighbour->doubted && memcmp(neighbour->mac, mac, sizeof neighbour->mac) != 0) {
            neighbour->doubted = true;
            neighbour->unanswered = 0;
        }
        if (!neighbour->doubted || neighbour->unanswered < HF_NEIGHBOUR_PATIENCE)
            return;
    }
    neighbour->state = HF_NEIGHBOUR_HEARD;
    memcpy(neighbour->mac, mac, sizeof neighbour->mac);
}

bool hf_neighbour_confirm(struct hf_neighbour *neighbour, const uint8_t mac[6], uint64_t now_ns)
{
    if (neighbour->unanswered == 0 || now_ns - neighbour->asked_ns >= HF_NEIGHBOUR_PATIENCE * HF_NEIGHBOUR_ASK_NS)
        return false;
    neighbour->unanswered = 0;
    neighbour->doubted = false;
    neighbour->state = HF_NEIGHBOUR_CONFIRMED;
    neighbour->confirmed_ns = now_ns;
    memcpy(neighbour->mac, mac, sizeof neighbour->mac);
    return true;
}

bool hf_neighbour_due(const struct hf_neighbour *neighbour, uint64_t now_ns)
{
    bool fresh = now_ns - neighbour->confirmed_ns < HF_NEIGHBOUR_CONFIRMED_NS;
    if (neighbour->state == HF_NEIGHBOUR_CONFIRMED && fresh && !neighbour->doubted)
        return false;
    return neighbour->asked_ns == 0 || now_ns - neighbour->asked_ns >= HF_NEIGHBOUR_ASK_NS;
}

void hf_neighbour_ask(struct hf_neighbour *neighbour, uint64_t now_ns)
{
    neighbour->asked_ns = now_ns;
    if (neighbour->unanswered < UINT8_MAX)
        neighbour->unanswered++;
}

/* What leaves: headers of datagrams, questions for neighbours, and the sums of both. */
#include <assert.h>

#include "net/dpdk/ip_p.h"

enum { HF_IP_HOPS = 64, HF_NEIGHBOUR_HOPS = 255 };

/* Words are added up four bytes at a time as they lie in memory, which only turns the bytes of the result (RFC 1071, section 2). */
uint64_t hf_sum(const uint8_t *data, uint32_t bytes, uint64_t sum)
{
    uint64_t turned = 0;
    uint32_t at = 0, four;
    for (; at + sizeof four <= bytes; at += sizeof four) {
        memcpy(&four, data + at, sizeof four);
        turned += four;
    }
    uint16_t folded = hf_sum_fold(turned);
    sum += hf_get16((const uint8_t *)&folded);
    for (; at + 1 < bytes; at += 2)
        sum += hf_get16(data + at);
    return at < bytes ? sum + ((uint64_t)data[at] << 8) : sum;
}

uint16_t hf_sum_fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint64_t hf_sum_pseudo(const uint8_t *ip_header, bool six, uint32_t protocol, uint32_t bytes)
{
    return (six ? hf_sum(ip_header + 8, 32, 0) : hf_sum(ip_header + 12, 8, 0)) + protocol + bytes;
}

uint32_t hf_ip_write_ether(const struct hf_ip *ip, uint8_t *packet, const uint8_t to[6], uint16_t type)
{
    uint32_t at = 12;
    memcpy(packet, to, 6);
    memcpy(packet + 6, ip->options.mac, 6);
    if (ip->options.vlan) {
        hf_put16(packet + at, HF_ETHER_VLAN);
        hf_put16(packet + at + 2, ip->options.vlan);
        at += HF_VLAN_BYTES;
    }
    hf_put16(packet + at, type);
    return at + 2;
}

void hf_ip_write_four(uint8_t *header, const uint8_t from[4], const uint8_t to[4], uint8_t protocol, uint32_t payload_bytes)
{
    /* Never in fragments; a packet that cannot be one needs no number (RFC 6864). */
    const uint8_t fixed[12] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, HF_IP_HOPS, protocol, 0, 0};
    memcpy(header, fixed, sizeof fixed);
    hf_put16(header + 2, HF_IP4_BYTES + payload_bytes);
    memcpy(header + 12, from, 4);
    memcpy(header + 16, to, 4);
}

void hf_ip_write_six(uint8_t *header, const uint8_t from[16], const uint8_t to[16], uint8_t protocol, uint32_t payload_bytes, uint8_t hops)
{
    const uint8_t fixed[8] = {0x60, 0, 0, 0, 0, 0, protocol, hops};
    memcpy(header, fixed, sizeof fixed);
    hf_put16(header + 4, payload_bytes);
    memcpy(header + 8, from, 16);
    memcpy(header + 24, to, 16);
}

uint32_t hf_ip_head_bytes(const struct hf_ip *ip, const struct hf_peer *to)
{
    uint32_t ether = HF_ETHER_BYTES + (ip->options.vlan ? HF_VLAN_BYTES : 0u);
    return ether + (hf_is_four(to->address) ? HF_IP4_BYTES : HF_IP6_BYTES) + HF_UDP_HEADER_BYTES;
}

/* The Ethernet address of where a packet for the peer goes first; NULL: not known, or nowhere. */
static const uint8_t *hf_ip_next_mac(struct hf_ip *ip, uint64_t now_ns, const struct hf_peer *to)
{
    const uint8_t *hop = hf_ip_next_hop(ip, to->listener, to->address);
    if (!hop)
        return NULL;
    struct hf_neighbour *neighbour = hf_neighbour_keep(&ip->neighbours, hop, now_ns);
    /* Whoever writes sources of the link on datagrams must not have everybody on it asked. */
    bool gateway = hop != to->address, due = hf_neighbour_due(neighbour, now_ns);
    if (due &&
        (gateway || hf_ip_spend(&ip->questions_left, &ip->questions_since_ns, now_ns, HF_IP_QUESTIONS_PER_S, HF_IP_QUESTIONS_AT_ONCE))) {
        hf_neighbour_ask(neighbour, now_ns);
        memcpy(ip->ask_address, hop, sizeof ip->ask_address);
        ip->ask_from = to->listener;
    }
    return neighbour->state >= HF_NEIGHBOUR_HEARD ? neighbour->mac : NULL;
}

bool hf_ip_head(struct hf_ip *ip, uint64_t now_ns, const struct hf_peer *to, uint32_t payload_bytes, uint8_t *head)
{
    assert(to->listener < ip->options.own_count);
    bool six = !hf_is_four(to->address);
    uint32_t udp_bytes = HF_UDP_HEADER_BYTES + payload_bytes;
    if (udp_bytes + (six ? HF_IP6_BYTES : HF_IP4_BYTES) > ip->options.mtu) {
        ip->status.too_long++;
        return false;
    }
    const uint8_t *mac = hf_ip_next_mac(ip, now_ns, to), *own = ip->options.own[to->listener].address;
    if (!mac) {
        ip->status.no_neighbour++;
        return false;
    }
    uint8_t *at = head + hf_ip_write_ether(ip, head, mac, six ? HF_ETHER_IP6 : HF_ETHER_IP4);
    if (six)
        hf_ip_write_six(at, own, to->address, HF_PROTOCOL_UDP, udp_bytes, HF_IP_HOPS);
    else
        hf_ip_write_four(at, own + 12, to->address + 12, HF_PROTOCOL_UDP, udp_bytes);
    at += six ? HF_IP6_BYTES : HF_IP4_BYTES;
    hf_put16(at, ip->options.port);
    hf_put16(at + 2, to->port);
    hf_put16(at + 4, udp_bytes);
    hf_put16(at + 6, 0);
    return true;
}

void hf_ip_seal(const struct hf_ip *ip, uint8_t *packet, bool offload)
{
    uint8_t *header = packet + HF_ETHER_BYTES + (ip->options.vlan ? HF_VLAN_BYTES : 0);
    bool six = header[0] >> 4 == 6;
    uint8_t *udp = header + (six ? HF_IP6_BYTES : HF_IP4_BYTES);
    uint32_t bytes = hf_get16(udp + 4);
    uint64_t pseudo = hf_sum_pseudo(header, six, HF_PROTOCOL_UDP, bytes);
    if (offload) {
        hf_put16(udp + 6, hf_sum_fold(pseudo));
        return;
    }
    if (!six)
        hf_put16(header + 10, (uint16_t)~hf_sum_fold(hf_sum(header, HF_IP4_BYTES, 0)));
    if (!six && ip->options.unsummed)
        return;
    uint16_t sum = (uint16_t)~hf_sum_fold(hf_sum(udp, bytes, pseudo));
    hf_put16(udp + 6, sum ? sum : 0xffff);
}

/* ---- Questions ---- */

static uint32_t hf_ip_ask_four(const struct hf_ip *ip, const uint8_t *own, uint8_t *packet)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, fixed[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint32_t head = hf_ip_write_ether(ip, packet, all, HF_ETHER_ARP);
    uint8_t *arp = packet + head;
    memcpy(arp, fixed, sizeof fixed);
    memcpy(arp + 8, ip->options.mac, 6);
    memcpy(arp + 14, own + 12, 4);
    memset(arp + 18, 0, 6);
    memcpy(arp + 24, ip->ask_address + 12, 4);
    return head + HF_ARP_BYTES;
}

static uint32_t hf_ip_ask_six(const struct hf_ip *ip, const uint8_t *own, uint8_t *packet)
{
    const uint8_t *whom = ip->ask_address;
    const uint8_t group[16] = {0xff, 2, [11] = 1, [12] = 0xff, whom[13], whom[14], whom[15]};
    const uint8_t mac[6] = {0x33, 0x33, 0xff, whom[13], whom[14], whom[15]};
    uint32_t head = hf_ip_write_ether(ip, packet, mac, HF_ETHER_IP6), bytes = HF_SOLICIT_BYTES + 8;
    uint8_t *header = packet + head, *icmp = header + HF_IP6_BYTES;
    hf_ip_write_six(header, own, group, HF_PROTOCOL_ICMP6, bytes, HF_NEIGHBOUR_HOPS);
    memset(icmp, 0, bytes);
    icmp[0] = HF_ICMP6_SOLICIT;
    memcpy(icmp + 8, whom, 16);
    icmp[24] = HF_OPTION_SOURCE_MAC;
    icmp[25] = 1;
    memcpy(icmp + 26, ip->options.mac, 6);
    hf_put16(icmp + 2, (uint16_t)~hf_sum_fold(hf_sum(icmp, bytes, hf_sum_pseudo(header, true, HF_PROTOCOL_ICMP6, bytes))));
    return head + HF_IP6_BYTES + bytes;
}

uint32_t hf_ip_ask(struct hf_ip *ip, uint8_t packet[HF_IP_ASK_BYTES_MAX])
{
    if (ip->ask_from >= ip->options.own_count)
        return 0;
    const uint8_t *own = ip->options.own[ip->ask_from].address;
    ip->ask_from = ip->options.own_count;
    ip->status.neighbours_asked++;
    return hf_is_four(ip->ask_address) ? hf_ip_ask_four(ip, own, packet) : hf_ip_ask_six(ip, own, packet);
}

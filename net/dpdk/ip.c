/* What comes in: judged from the outside to the inside, each length against what is really there. */
#include <assert.h>

#include "net/dpdk/ip_p.h"

enum { HF_IP_ANSWERS_AT_ONCE = 200 };

/* A packet on its way through. */
struct hf_ip_look {
    struct hf_ip *ip;
    uint64_t now_ns;
    uint8_t *packet;
    uint32_t bytes, room;
    uint32_t at; /* what was looked at yet */
    bool checked, six;
    uint8_t *header;          /* of IP */
    uint8_t from[16], to[16]; /* of IP */
    struct hf_ip_taken *taken;
};

static enum hf_ip_verdict hf_ip_drop(uint64_t *counter)
{
    (*counter)++;
    return HF_IP_DROPPED;
}

/* ---- Addresses ---- */

static bool hf_ip_same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

unsigned hf_ip_own_index(const struct hf_ip *ip, const uint8_t address[16])
{
    unsigned i = 0;
    while (i < ip->options.own_count && memcmp(ip->options.own[i].address, address, 16) != 0)
        i++;
    return i;
}

bool hf_ip_on_link(const struct hf_ip_own *own, const uint8_t address[16])
{
    if (hf_is_four(own->address) != hf_is_four(address))
        return false;
    return hf_ip_same_bits(own->address, address, own->prefix) || (!hf_is_four(address) && hf_is_link_local(address));
}

const uint8_t *hf_ip_next_hop(const struct hf_ip *ip, unsigned own, const uint8_t address[16])
{
    static const uint8_t none[16];
    if (hf_ip_on_link(&ip->options.own[own], address))
        return address;
    const uint8_t *gateway = ip->options.gateways[hf_is_four(address) ? 0 : 1];
    return memcmp(gateway, none, sizeof none) != 0 ? gateway : NULL;
}

static bool hf_ip_on_any_link(const struct hf_ip *ip, const uint8_t address[16])
{
    for (unsigned i = 0; i < ip->options.own_count; i++)
        if (hf_ip_on_link(&ip->options.own[i], address))
            return true;
    return false;
}

/* Whether it is the last address of one of our links, which is everybody's. */
static bool hf_ip_is_broadcast(const struct hf_ip *ip, const uint8_t address[16])
{
    for (unsigned i = 0; i < ip->options.own_count; i++) {
        const struct hf_ip_own *own = &ip->options.own[i];
        if (!hf_is_four(own->address) || own->prefix >= 127 || !hf_ip_on_link(own, address))
            continue;
        uint32_t host = (uint32_t)hf_get16(address + 12) << 16 | hf_get16(address + 14), mask = UINT32_MAX >> (own->prefix - 96);
        if ((host & mask) == mask)
            return true;
    }
    return false;
}

/* Whether somebody else can have it. */
static bool hf_ip_is_source(const struct hf_ip *ip, const uint8_t address[16])
{
    static const uint8_t zeros[16], one[16] = {[15] = 1};
    if (hf_ip_own_index(ip, address) < ip->options.own_count)
        return false;
    if (hf_is_four(address))
        return address[12] != 0 && address[12] != 127 && address[12] < 224 && !hf_ip_is_broadcast(ip, address);
    return address[0] != 0xff && memcmp(address, zeros, 16) != 0 && memcmp(address, one, 16) != 0;
}

static void hf_ip_add_link_local(struct hf_ip_options *options)
{
    bool six = false;
    for (unsigned i = 0; i < options->own_count; i++) {
        const uint8_t *address = options->own[i].address;
        if (!hf_is_four(address) && hf_is_link_local(address))
            return;
        six = six || !hf_is_four(address);
    }
    if (!six || options->own_count == HF_IP_ADDRESSES_MAX)
        return;
    const uint8_t *mac = options->mac;
    options->own[options->own_count++] = (struct hf_ip_own){
        .prefix = 64,
        .address = {0xfe, 0x80, [8] = mac[0] ^ 2, [9] = mac[1], [10] = mac[2], [11] = 0xff, [12] = 0xfe, [13] = mac[3], mac[4], mac[5]}};
}

void hf_ip_init(struct hf_ip *ip, const struct hf_ip_options *options)
{
    assert(options->own_count <= HF_IP_ADDRESSES_MAX && options->mtu <= HF_IP_MTU_MAX);
    memset(ip, 0, sizeof *ip);
    ip->options = *options;
    hf_ip_add_link_local(&ip->options);
    ip->ask_from = ip->options.own_count;
    ip->answers_left = HF_IP_ANSWERS_AT_ONCE;
    ip->questions_left = HF_IP_QUESTIONS_AT_ONCE;
}

/* ---- Answers ---- */

bool hf_ip_spend(uint64_t *left, uint64_t *since_ns, uint64_t now_ns, unsigned per_s, unsigned at_once)
{
    const uint64_t each_ns = 1000000000u / per_s;
    uint64_t earned = now_ns > *since_ns ? (now_ns - *since_ns) / each_ns : 0;
    *since_ns += earned * each_ns;
    *left = *left + earned < at_once ? *left + earned : at_once;
    if (*left == 0)
        return false;
    --*left;
    return true;
}

static bool hf_ip_may_answer(struct hf_ip *ip, uint64_t now_ns)
{
    if (hf_ip_spend(&ip->answers_left, &ip->answers_since_ns, now_ns, HF_IP_ANSWERS_PER_S, HF_IP_ANSWERS_AT_ONCE))
        return true;
    ip->status.held_back++;
    return false;
}

/* The packet goes back to where it came from. */
static void hf_ip_turn_ether(const struct hf_ip_look *look)
{
    memcpy(look->packet, look->packet + 6, 6);
    memcpy(look->packet + 6, look->ip->options.mac, 6);
}

static enum hf_ip_verdict hf_ip_answered(const struct hf_ip_look *look, uint32_t bytes, uint64_t *counter)
{
    (*counter)++;
    look->taken->bytes = bytes;
    return HF_IP_ANSWERED;
}

/* A neighbour tells where it is. An answer that nobody asked for says nothing. */
static enum hf_ip_verdict hf_ip_learn(struct hf_ip *ip, const uint8_t address[16], const uint8_t mac[6], uint64_t now_ns)
{
    struct hf_neighbour *neighbour = hf_neighbour_find(&ip->neighbours, address);
    if (!neighbour || !hf_neighbour_confirm(neighbour, mac, now_ns))
        return hf_ip_drop(&ip->status.not_ours);
    ip->status.neighbours_confirmed++;
    return hf_ip_drop(&ip->status.neighbours_told);
}

/* ---- ARP ---- */

static enum hf_ip_verdict hf_ip_answer_arp(struct hf_ip_look *look, uint8_t *arp)
{
    if (!hf_ip_may_answer(look->ip, look->now_ns))
        return HF_IP_DROPPED;
    uint8_t ours[4];
    memcpy(ours, arp + 24, 4);
    hf_ip_turn_ether(look);
    arp[7] = 2;
    memcpy(arp + 18, arp + 8, 10);
    memcpy(arp + 8, look->ip->options.mac, 6);
    memcpy(arp + 14, ours, 4);
    return hf_ip_answered(look, look->bytes, &look->ip->status.arp_answered);
}

static enum hf_ip_verdict hf_ip_take_arp(struct hf_ip_look *look)
{
    static const uint8_t fixed[7] = {0, 1, 8, 0, 6, 4, 0}, zeros[4];
    struct hf_ip *ip = look->ip;
    uint8_t *arp = look->packet + look->at;
    if (look->bytes - look->at < HF_ARP_BYTES)
        return hf_ip_drop(&ip->status.malformed);
    if (memcmp(arp, fixed, sizeof fixed) != 0 || arp[7] < 1 || arp[7] > 2)
        return hf_ip_drop(&ip->status.unserved);
    hf_map_four(look->from, arp + 14);
    hf_map_four(look->to, arp + 24);
    bool probe = arp[7] == 1 && memcmp(arp + 14, zeros, 4) == 0;
    if (hf_ip_own_index(ip, look->to) == ip->options.own_count || memcmp(arp + 8, look->packet + 6, 6) != 0 ||
        (!probe && (!hf_ip_is_source(ip, look->from) || !hf_ip_on_any_link(ip, look->from))))
        return hf_ip_drop(&ip->status.not_ours);
    if (arp[7] == 2)
        return hf_ip_learn(ip, look->from, arp + 8, look->now_ns);
    if (!probe)
        hf_neighbour_hear(&ip->neighbours, look->from, arp + 8, look->now_ns);
    return hf_ip_answer_arp(look, arp);
}

/* ---- Neighbour discovery ---- */

/* The Ethernet address in an option of this kind, or the packet's source; NULL: options that are none, or an address of somebody else. */
static const uint8_t *hf_ip_option_mac(const struct hf_ip_look *look, const uint8_t *options, uint32_t bytes, uint8_t kind)
{
    while (bytes > 0) {
        uint32_t length = bytes >= 8 ? options[1] * 8u : 0;
        if (length == 0 || length > bytes)
            return NULL;
        if (options[0] == kind && memcmp(options + 2, look->packet + 6, 6) != 0)
            return NULL;
        options += length;
        bytes -= length;
    }
    return look->packet + 6;
}

static enum hf_ip_verdict hf_ip_advertise(struct hf_ip_look *look, const uint8_t target[16], bool told)
{
    static const uint8_t everybody[16] = {0xff, 2, [15] = 1}, everybody_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
    struct hf_ip *ip = look->ip;
    const uint32_t bytes = HF_SOLICIT_BYTES + 8, end = look->at + bytes;
    uint8_t own[16];
    memcpy(own, target, sizeof own);
    if (end > look->room)
        return hf_ip_drop(&ip->status.malformed);
    if (!hf_ip_may_answer(ip, look->now_ns))
        return HF_IP_DROPPED;
    hf_ip_turn_ether(look);
    if (!told)
        memcpy(look->packet, everybody_mac, 6);
    uint8_t *icmp = look->packet + look->at;
    hf_ip_write_six(look->header, own, told ? look->from : everybody, HF_PROTOCOL_ICMP6, bytes, 255);
    memset(icmp, 0, bytes);
    icmp[0] = HF_ICMP6_ADVERTISE;
    icmp[4] = told ? 0x60 : 0x20;
    memcpy(icmp + 8, own, 16);
    icmp[24] = HF_OPTION_TARGET_MAC;
    icmp[25] = 1;
    memcpy(icmp + 26, ip->options.mac, 6);
    hf_put16(icmp + 2, (uint16_t)~hf_sum_fold(hf_sum(icmp, bytes, hf_sum_pseudo(look->header, true, HF_PROTOCOL_ICMP6, bytes))));
    return hf_ip_answered(look, end, &ip->status.neighbour_answered);
}

/* A solicitation comes to the address itself or to the group of addresses that end like it. */
static bool hf_ip_is_solicited(const uint8_t to[16], const uint8_t target[16])
{
    const uint8_t group[16] = {0xff, 2, [11] = 1, [12] = 0xff, target[13], target[14], target[15]};
    return memcmp(to, target, 16) == 0 || memcmp(to, group, 16) == 0;
}

static enum hf_ip_verdict hf_ip_take_neighbour(struct hf_ip_look *look, const uint8_t *icmp, uint32_t bytes)
{
    static const uint8_t zeros[16];
    struct hf_ip *ip = look->ip;
    bool solicits = icmp[0] == HF_ICMP6_SOLICIT;
    if (bytes < HF_SOLICIT_BYTES || icmp[1] != 0 || look->header[7] != 255)
        return hf_ip_drop(&ip->status.malformed);
    const uint8_t *target = icmp + 8;
    const uint8_t *mac = hf_ip_option_mac(look, icmp + HF_SOLICIT_BYTES, bytes - HF_SOLICIT_BYTES,
                                          solicits ? HF_OPTION_SOURCE_MAC : HF_OPTION_TARGET_MAC);
    if (!mac)
        return hf_ip_drop(&ip->status.malformed);
    if (!solicits) {
        bool solicited = (icmp[4] & 0x40) != 0 && hf_ip_own_index(ip, look->to) < ip->options.own_count;
        return solicited ? hf_ip_learn(ip, target, mac, look->now_ns) : hf_ip_drop(&ip->status.not_ours);
    }
    bool told = memcmp(look->from, zeros, 16) != 0;
    if (hf_ip_own_index(ip, target) == ip->options.own_count || !hf_ip_is_solicited(look->to, target) ||
        (told && (!hf_ip_is_source(ip, look->from) || !hf_ip_on_any_link(ip, look->from))))
        return hf_ip_drop(&ip->status.not_ours);
    if (told)
        hf_neighbour_hear(&ip->neighbours, look->from, mac, look->now_ns);
    return hf_ip_advertise(look, target, told);
}

/* ---- ICMP ---- */

/* Whether the packet came to an address of ours, and to nobody else's or everybody's Ethernet address. */
static bool hf_ip_is_for_us(const struct hf_ip_look *look)
{
    const struct hf_ip *ip = look->ip;
    return memcmp(look->packet, ip->options.mac, 6) == 0 && hf_ip_own_index(ip, look->to) < ip->options.own_count &&
           hf_ip_is_source(ip, look->from);
}

static enum hf_ip_verdict hf_ip_echo(struct hf_ip_look *look, uint8_t *icmp, uint32_t bytes)
{
    const uint32_t wide = look->six ? 16 : 4;
    uint8_t *addresses = look->header + (look->six ? 8 : 12), from[16];
    if (!hf_ip_may_answer(look->ip, look->now_ns))
        return HF_IP_DROPPED;
    hf_ip_turn_ether(look);
    memcpy(from, addresses, wide);
    memcpy(addresses, addresses + wide, wide);
    memcpy(addresses + wide, from, wide);
    icmp[0] = look->six ? HF_ICMP6_ECHO_REPLY : 0;
    hf_put16(icmp + 2, 0);
    uint64_t sum = look->six ? hf_sum_pseudo(look->header, true, HF_PROTOCOL_ICMP6, bytes) : 0;
    hf_put16(icmp + 2, (uint16_t)~hf_sum_fold(hf_sum(icmp, bytes, sum)));
    look->header[look->six ? 7 : 8] = 64;
    if (!look->six) {
        hf_put16(look->header + 10, 0);
        hf_put16(look->header + 10, (uint16_t)~hf_sum_fold(hf_sum(look->header, HF_IP4_BYTES, 0)));
    }
    return hf_ip_answered(look, look->at + bytes, &look->ip->status.echo_answered);
}

static enum hf_ip_verdict hf_ip_take_icmp(struct hf_ip_look *look, uint32_t bytes)
{
    struct hf_ip *ip = look->ip;
    uint8_t *icmp = look->packet + look->at;
    if (bytes < HF_ICMP_BYTES)
        return hf_ip_drop(&ip->status.malformed);
    uint64_t sum = look->six ? hf_sum_pseudo(look->header, true, HF_PROTOCOL_ICMP6, bytes) : 0;
    if (hf_sum_fold(hf_sum(icmp, bytes, sum)) != 0xffff)
        return hf_ip_drop(&ip->status.bad_checksum);
    if (look->six && (icmp[0] == HF_ICMP6_SOLICIT || icmp[0] == HF_ICMP6_ADVERTISE))
        return hf_ip_take_neighbour(look, icmp, bytes);
    if (!hf_ip_is_for_us(look))
        return hf_ip_drop(&ip->status.not_ours);
    if (icmp[0] != (look->six ? HF_ICMP6_ECHO : 8) || icmp[1] != 0)
        return hf_ip_drop(&ip->status.unserved);
    return hf_ip_echo(look, icmp, bytes);
}

/* ---- UDP ---- */

static bool hf_ip_udp_sum_holds(const struct hf_ip_look *look, const uint8_t *udp, uint32_t bytes)
{
    if (look->checked)
        return true;
    if (hf_get16(udp + 6) == 0)
        return !look->six; /* IPv4 allows to have none (RFC 768) */
    return hf_sum_fold(hf_sum(udp, bytes, hf_sum_pseudo(look->header, look->six, HF_PROTOCOL_UDP, bytes))) == 0xffff;
}

static bool hf_ip_is_our_port(const struct hf_ip_options *options, uint16_t port)
{
    return port == options->port || (port > options->port && port <= options->port_last);
}

static enum hf_ip_verdict hf_ip_take_udp(struct hf_ip_look *look, uint32_t bytes)
{
    struct hf_ip *ip = look->ip;
    const uint8_t *udp = look->packet + look->at;
    if (bytes < HF_UDP_HEADER_BYTES || hf_get16(udp + 4) < HF_UDP_HEADER_BYTES || hf_get16(udp + 4) > bytes)
        return hf_ip_drop(&ip->status.malformed);
    if (!hf_ip_is_for_us(look) || !hf_ip_is_our_port(&ip->options, hf_get16(udp + 2)) || hf_get16(udp) == 0)
        return hf_ip_drop(&ip->status.not_ours);
    bytes = hf_get16(udp + 4);
    if (!hf_ip_udp_sum_holds(look, udp, bytes))
        return hf_ip_drop(&ip->status.bad_checksum);
    unsigned own = hf_ip_own_index(ip, look->to);
    const uint8_t *hop = hf_ip_next_hop(ip, own, look->from);
    if (hop)
        hf_neighbour_hear(&ip->neighbours, hop, look->packet + 6, look->now_ns);
    struct hf_ip_taken *taken = look->taken;
    taken->offset = look->at + HF_UDP_HEADER_BYTES;
    taken->bytes = bytes - HF_UDP_HEADER_BYTES;
    taken->port = hf_get16(udp + 2);
    taken->from = (struct hf_peer){.port = hf_get16(udp), .listener = (uint16_t)own};
    memcpy(taken->from.address, look->from, sizeof taken->from.address);
    ip->status.datagrams_in++;
    return HF_IP_DATAGRAM;
}

/* ---- IP ---- */

static enum hf_ip_verdict hf_ip_take_protocol(struct hf_ip_look *look, uint8_t protocol, uint32_t bytes)
{
    if (protocol == HF_PROTOCOL_UDP)
        return hf_ip_take_udp(look, bytes);
    if (protocol == (look->six ? HF_PROTOCOL_ICMP6 : HF_PROTOCOL_ICMP))
        return hf_ip_take_icmp(look, bytes);
    return hf_ip_drop(look->six && protocol == HF_PROTOCOL_FRAGMENT6 ? &look->ip->status.fragments : &look->ip->status.unserved);
}

static enum hf_ip_verdict hf_ip_take_four(struct hf_ip_look *look)
{
    struct hf_ip *ip = look->ip;
    uint8_t *header = look->header = look->packet + look->at;
    uint32_t there = look->bytes - look->at;
    if (there < HF_IP4_BYTES || header[0] >> 4 != 4 || (header[0] & 15) < 5)
        return hf_ip_drop(&ip->status.malformed);
    uint32_t total = hf_get16(header + 2);
    if (total > there || total < (header[0] & 15) * 4u)
        return hf_ip_drop(&ip->status.malformed);
    if (header[0] != 0x45)
        return hf_ip_drop(&ip->status.unserved);
    if (!look->checked && hf_sum_fold(hf_sum(header, HF_IP4_BYTES, 0)) != 0xffff)
        return hf_ip_drop(&ip->status.bad_checksum);
    if (hf_get16(header + 6) & 0x3fff)
        return hf_ip_drop(&ip->status.fragments);
    hf_map_four(look->from, header + 12);
    hf_map_four(look->to, header + 16);
    look->at += HF_IP4_BYTES;
    return hf_ip_take_protocol(look, header[9], total - HF_IP4_BYTES);
}

static enum hf_ip_verdict hf_ip_take_six(struct hf_ip_look *look)
{
    struct hf_ip *ip = look->ip;
    uint8_t *header = look->header = look->packet + look->at;
    uint32_t there = look->bytes - look->at;
    if (there < HF_IP6_BYTES || header[0] >> 4 != 6 || hf_get16(header + 4) > there - HF_IP6_BYTES)
        return hf_ip_drop(&ip->status.malformed);
    look->six = true;
    memcpy(look->from, header + 8, 16);
    memcpy(look->to, header + 24, 16);
    /* An IPv4 address in disguise would be taken for one. */
    if (hf_is_four(look->from) || hf_is_four(look->to))
        return hf_ip_drop(&ip->status.not_ours);
    look->at += HF_IP6_BYTES;
    return hf_ip_take_protocol(look, header[6], hf_get16(header + 4));
}

/* ---- Ethernet ---- */

static bool hf_ip_is_our_ether(const struct hf_ip *ip, const uint8_t *packet)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    bool to_us = memcmp(packet, ip->options.mac, 6) == 0 || memcmp(packet, all, 6) == 0 || (packet[0] == 0x33 && packet[1] == 0x33);
    return to_us && !(packet[6] & 1) && memcmp(packet + 6, ip->options.mac, 6) != 0;
}

enum hf_ip_verdict hf_ip_take(struct hf_ip *ip, uint64_t now_ns, uint8_t *packet, uint32_t bytes, uint32_t room, bool checked,
                              struct hf_ip_taken *taken)
{
    struct hf_ip_look look = {.ip = ip,
                              .now_ns = now_ns,
                              .packet = packet,
                              .bytes = bytes,
                              .room = room,
                              .at = HF_ETHER_BYTES,
                              .checked = checked,
                              .taken = taken};
    *taken = (struct hf_ip_taken){0};
    ip->status.packets_in++;
    if (bytes < HF_ETHER_BYTES)
        return hf_ip_drop(&ip->status.malformed);
    if (!hf_ip_is_our_ether(ip, packet))
        return hf_ip_drop(&ip->status.not_ours);
    uint16_t type = hf_get16(packet + 12), vlan = 0;
    if (type == HF_ETHER_VLAN) {
        if (bytes < HF_ETHER_BYTES + HF_VLAN_BYTES)
            return hf_ip_drop(&ip->status.malformed);
        vlan = hf_get16(packet + 14) & 0xfff;
        type = hf_get16(packet + 16);
        look.at += HF_VLAN_BYTES;
    }
    if (vlan != ip->options.vlan)
        return hf_ip_drop(&ip->status.not_ours);
    switch (type) {
    case HF_ETHER_ARP:
        return hf_ip_take_arp(&look);
    case HF_ETHER_IP4:
        return hf_ip_take_four(&look);
    case HF_ETHER_IP6:
        return hf_ip_take_six(&look);
    default:
        return hf_ip_drop(&ip->status.unserved);
    }
}

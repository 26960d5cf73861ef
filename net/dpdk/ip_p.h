/* What the files of the network have in common: where things stand in a packet, and sums over it. */
#ifndef HF_NET_DPDK_IP_P_H
#define HF_NET_DPDK_IP_P_H

#include <string.h>

#include "net/dpdk/ip.h"

enum {
    HF_ETHER_BYTES = 14,
    HF_VLAN_BYTES = 4,
    HF_ARP_BYTES = 28,
    HF_IP4_BYTES = 20,
    HF_IP6_BYTES = 40,
    HF_UDP_HEADER_BYTES = 8,
    HF_ICMP_BYTES = 8,
    HF_SOLICIT_BYTES = 24, /* of neighbour discovery, without options */
    HF_ETHER_IP4 = 0x0800,
    HF_ETHER_ARP = 0x0806,
    HF_ETHER_VLAN = 0x8100,
    HF_ETHER_IP6 = 0x86dd,
    HF_PROTOCOL_ICMP = 1,
    HF_PROTOCOL_UDP = 17,
    HF_PROTOCOL_FRAGMENT6 = 44,
    HF_PROTOCOL_ICMP6 = 58,
    HF_ICMP6_ECHO = 128,
    HF_ICMP6_ECHO_REPLY = 129,
    HF_ICMP6_SOLICIT = 135,
    HF_ICMP6_ADVERTISE = 136,
    HF_OPTION_SOURCE_MAC = 1,
    HF_OPTION_TARGET_MAC = 2,
};

static inline uint16_t hf_get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void hf_put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline bool hf_is_four(const uint8_t address[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(address, mapped, sizeof mapped) == 0;
}

static inline void hf_map_four(uint8_t address[16], const uint8_t four[4])
{
    memset(address, 0, 10);
    address[10] = address[11] = 0xff;
    memcpy(address + 12, four, 4);
}

static inline bool hf_is_link_local(const uint8_t address[16])
{
    return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

/* Index of the own address that equals it, or own_count. */
unsigned hf_ip_own_index(const struct hf_ip *ip, const uint8_t address[16]);
/* Whether both stand on the link of the own address. */
bool hf_ip_on_link(const struct hf_ip_own *own, const uint8_t address[16]);
/* Where a packet for it goes first, from this own address; NULL: nowhere. */
const uint8_t *hf_ip_next_hop(const struct hf_ip *ip, unsigned own, const uint8_t address[16]);
/* Takes one of what is left, after adding what was earned since; at most `at_once` stay. False: none is left. */
bool hf_ip_spend(uint64_t *left, uint64_t *since_ns, uint64_t now_ns, unsigned per_s, unsigned at_once);
/* Sum of big-endian words (RFC 1071), to be added up and folded. */
uint64_t hf_sum(const uint8_t *data, uint32_t bytes, uint64_t sum);
uint16_t hf_sum_fold(uint64_t sum);
/* That of the addresses, protocol and length that UDP's and ICMPv6's sums begin with. */
uint64_t hf_sum_pseudo(const uint8_t *ip_header, bool six, uint32_t protocol, uint32_t bytes);
/* Ethernet header, with the VLAN; its bytes. */
uint32_t hf_ip_write_ether(const struct hf_ip *ip, uint8_t *packet, const uint8_t to[6], uint16_t type);
void hf_ip_write_six(uint8_t *header, const uint8_t from[16], const uint8_t to[16], uint8_t protocol, uint32_t payload_bytes, uint8_t hops);
void hf_ip_write_four(uint8_t *header, const uint8_t from[4], const uint8_t to[4], uint8_t protocol, uint32_t payload_bytes);

#endif

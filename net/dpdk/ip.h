/* Just enough network: Ethernet with an optional VLAN, ARP (RFC 826), IPv4 and IPv6 without options or fragments, ICMP echo, neighbour
 * discovery (RFC 4861) and UDP, over the bytes of single packets. Knows no device. Pure but for its own state; owned by the shard's thread.
 *
 * It answers only what is for it, to whoever sent it, once, and at most HF_IP_ANSWERS_PER_S times a second. All else is
 * counted and dropped without a word: its sender may be anybody. */
#ifndef HF_NET_DPDK_IP_H
#define HF_NET_DPDK_IP_H

#include "net/dpdk/neighbours.h"
#include "net/transport.h"

enum {
    HF_IP_ADDRESSES_MAX = 8,
    HF_IP_ANSWERS_PER_S = 1000,
    HF_IP_QUESTIONS_PER_S = 100, /* for neighbours, not gateways; who is not asked for is answered where he was heard */
    HF_IP_QUESTIONS_AT_ONCE = 50,
    HF_IP_HEAD_BYTES_MAX = 14 + 4 + 40 + 8,
    HF_IP_ASK_BYTES_MAX = 14 + 4 + 40 + 32,
    HF_IP_MTU_MIN = 1280,
    HF_IP_MTU_MAX = 9000,
};

/* An address of ours, or a gateway. */
struct hf_ip_own {
    uint8_t address[16]; /* IPv6, or IPv4 as ::ffff:a.b.c.d */
    uint8_t prefix;      /* bits of the 128 that name the link */
};

struct hf_ip_options {
    uint8_t mac[6];
    uint16_t vlan;      /* 1..4094; 0: none */
    uint16_t port;      /* of UDP, host order */
    uint16_t port_last; /* all from port to this one are ours; 0: port alone */
    uint32_t mtu;       /* bytes of an IP packet */
    bool unsummed;      /* what leaves by IPv4 has no UDP checksum, as RFC 768 allows: the link is memory */
    struct hf_ip_own own[HF_IP_ADDRESSES_MAX];
    unsigned own_count;
    uint8_t gateways[2][16]; /* of IPv4, of IPv6; zeros: none */
};

struct hf_ip_status {
    uint64_t packets_in, datagrams_in;
    uint64_t arp_answered, neighbour_answered, echo_answered, neighbours_confirmed, neighbours_asked;
    uint64_t neighbours_told; /* what we asked for; each packet in is counted here, as answered, as a datagram or below */
    uint64_t not_ours;        /* another's Ethernet or IP address, VLAN or port; a source that cannot be one */
    uint64_t malformed;       /* too short for what it says it is, or lengths that contradict each other */
    uint64_t bad_checksum;
    uint64_t fragments;
    uint64_t unserved;     /* protocols, options, extension headers and messages that nobody here knows */
    uint64_t held_back;    /* answers beyond what may leave in a second */
    uint64_t no_neighbour; /* a datagram out, whose next hop is not known (asked for) or does not exist */
    uint64_t too_long;     /* a datagram out, longer than the MTU carries */
};

struct hf_ip {
    struct hf_ip_options options;
    struct hf_ip_status status;
    struct hf_neighbours neighbours;
    uint8_t ask_address[16]; /* whom to ask for next, if ask_from is one of ours */
    unsigned ask_from;       /* index of the own address; own_count: nobody */
    uint64_t answers_left, answers_since_ns, questions_left, questions_since_ns;
};

enum hf_ip_verdict { HF_IP_DROPPED, HF_IP_ANSWERED, HF_IP_DATAGRAM };

struct hf_ip_taken {
    uint32_t offset, bytes; /* of a datagram within the packet; of an answer, all of it from 0 */
    uint16_t port;          /* of a datagram: where it came to, host order */
    struct hf_peer from;    /* of a datagram; listener is the index of the own address it came to */
};

/* With an IPv6 address a link-local one is added if there is none (and room for it), made from the mac. */
void hf_ip_init(struct hf_ip *ip, const struct hf_ip_options *options);

/* Takes a packet of `bytes` in memory of `room` bytes. HF_IP_ANSWERED: it was made into the answer, to be sent as it is; HF_IP_DATAGRAM:
 * the packet's bytes at offset are for the port. `checked`: a device has found its IP and UDP checksums good. */
enum hf_ip_verdict hf_ip_take(struct hf_ip *ip, uint64_t now_ns, uint8_t *packet, uint32_t bytes, uint32_t room, bool checked,
                              struct hf_ip_taken *taken);

/* What stands before a datagram to this peer in a packet; 0: it cannot be sent. hf_ip_head() then writes as many bytes, and checksums that
 * are right once hf_ip_seal() ran over the whole packet. */
uint32_t hf_ip_head_bytes(const struct hf_ip *ip, const struct hf_peer *to);
/* False, and counted, when it cannot be sent: no neighbour, or too long. Ask hf_ip_ask() after it. Its port is options.port; who has
 * several writes another one, big-endian, 8 bytes before the end. */
bool hf_ip_head(struct hf_ip *ip, uint64_t now_ns, const struct hf_peer *to, uint32_t payload_bytes, uint8_t *head);
/* Fills in the checksums of a packet made by hf_ip_head(); `offload`: only what a device wants to find there. Where the
 * options say `unsummed`, a datagram over IPv4 stays without one of its own: every frame has a CRC-32C. */
void hf_ip_seal(const struct hf_ip *ip, uint8_t *packet, bool offload);

/* The bytes of a packet that asks for the next hop of what was to be sent last, 0: none. */
uint32_t hf_ip_ask(struct hf_ip *ip, uint8_t packet[HF_IP_ASK_BYTES_MAX]);

#endif

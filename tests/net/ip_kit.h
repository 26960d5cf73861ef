/* Packets made by hand, from and for a network of net/dpdk. */
#ifndef HF_TESTS_NET_IP_KIT_H
#define HF_TESTS_NET_IP_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "net/dpdk/ip.h"

#define US        0x02, 0, 0, 0, 0, 1
#define THEM      0x02, 0, 0, 0, 0, 2
#define THEM_NOW  0x02, 0, 0, 0, 0, 7
#define ALL       0xff, 0xff, 0xff, 0xff, 0xff, 0xff
#define IP4_US    10, 9, 0, 2
#define IP4_THEM  10, 9, 0, 1
#define IP6_US    0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2
#define IP6_THEM  0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
#define IP6_GROUP 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2

enum { ROOM = 2048, PORT = 7000 };

struct fixture {
    struct hf_ip ip;
    uint64_t now_ns;
    uint8_t packet[ROOM];
    uint32_t bytes;
    struct hf_ip_taken taken;
};

#define OVER_IP(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int set_up(void **state);
int tear_down(void **state);
void add(struct fixture *f, const void *bytes, uint32_t count);
#define ADD(f, ...) add(f, (const uint8_t[]){__VA_ARGS__}, (uint32_t)sizeof((const uint8_t[]){__VA_ARGS__}))
void begin(struct fixture *f);
/* One's complement sum, written apart from the one under test. */
uint16_t sum_of(const uint8_t *at, uint32_t bytes, uint32_t sum);
void put(uint8_t *at, uint32_t value);
uint32_t get(const uint8_t *at);
/* Fills in the sums and lengths of a packet that begins with 14 bytes of Ethernet, as a sender would. */
void finish_four(struct fixture *f);
uint32_t pseudo_six(const uint8_t *ip, uint32_t bytes);
void finish_six(struct fixture *f);
enum hf_ip_verdict take(struct fixture *f);
void expect_dropped(struct fixture *f, const uint64_t *counter);
void make_udp4(struct fixture *f);
void make_udp6(struct fixture *f);
void make_echo4(struct fixture *f);
void make_echo6(struct fixture *f);
void make_arp(struct fixture *f);
void make_solicit(struct fixture *f);
struct hf_peer peer_four(struct fixture *f);

#endif

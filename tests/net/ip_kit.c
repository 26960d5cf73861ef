#include "tests/net/ip_kit.h"

#include <string.h>

int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const struct hf_ip_options options = {
        .mac = {US},
        .port = PORT,
        .mtu = 1500,
        .own = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, IP4_US}, 120}, {{IP6_US}, 64}},
        .own_count = 2,
        .gateways = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 9, 0, 254}},
    };
    assert_non_null(f);
    hf_ip_init(&f->ip, &options);
    f->now_ns = 1000000000u;
    *state = f;
    return 0;
}

int tear_down(void **state)
{
    free(*state);
    return 0;
}

void add(struct fixture *f, const void *bytes, uint32_t count)
{
    assert_true(f->bytes + count <= ROOM);
    memcpy(f->packet + f->bytes, bytes, count);
    f->bytes += count;
}

void begin(struct fixture *f)
{
    memset(f->packet, 0xee, sizeof f->packet);
    f->bytes = 0;
}

uint16_t sum_of(const uint8_t *at, uint32_t bytes, uint32_t sum)
{
    for (uint32_t i = 0; i < bytes; i++)
        sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
    sum = (sum >> 16) + (sum & 0xffff);
    sum += sum >> 16;
    return (uint16_t)~sum;
}

void put(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

uint32_t get(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

void finish_four(struct fixture *f)
{
    uint8_t *ip = f->packet + 14, *rest = ip + 20;
    uint32_t bytes = f->bytes - 34;
    put(ip + 2, 20 + bytes);
    put(ip + 10, 0);
    put(ip + 10, sum_of(ip, 20, 0));
    if (ip[9] == 17) {
        put(rest + 4, bytes);
        put(rest + 6, 0);
        uint32_t pseudo = 17 + bytes + get(ip + 12) + get(ip + 14) + get(ip + 16) + get(ip + 18);
        put(rest + 6, sum_of(rest, bytes, pseudo));
    } else {
        put(rest + 2, 0);
        put(rest + 2, sum_of(rest, bytes, 0));
    }
}

uint32_t pseudo_six(const uint8_t *ip, uint32_t bytes)
{
    uint32_t pseudo = ip[6] + bytes;
    for (unsigned i = 8; i < 40; i += 2)
        pseudo += get(ip + i);
    return pseudo;
}

void finish_six(struct fixture *f)
{
    uint8_t *ip = f->packet + 14, *rest = ip + 40, *sum = rest + (ip[6] == 17 ? 6 : 2);
    uint32_t bytes = f->bytes - 54;
    put(ip + 4, bytes);
    if (ip[6] == 17)
        put(rest + 4, bytes);
    put(sum, 0);
    put(sum, sum_of(rest, bytes, pseudo_six(ip, bytes)));
}

enum hf_ip_verdict take(struct fixture *f)
{
    /* Memory of just that size, so that a sanitizer sees a read beyond it; answers may need a little more. */
    uint32_t room = f->bytes + 8;
    uint8_t *exact = malloc(room);
    assert_non_null(exact);
    memcpy(exact, f->packet, f->bytes);
    enum hf_ip_verdict verdict = hf_ip_take(&f->ip, f->now_ns, exact, f->bytes, room, false, &f->taken);
    assert_true(verdict == HF_IP_DROPPED || f->taken.offset + f->taken.bytes <= room);
    memcpy(f->packet, exact, room < ROOM ? room : ROOM);
    if (verdict == HF_IP_ANSWERED)
        f->bytes = f->taken.bytes;
    free(exact);
    return verdict;
}

void expect_dropped(struct fixture *f, const uint64_t *counter)
{
    uint64_t before = *counter;
    assert_int_equal(take(f), HF_IP_DROPPED);
    assert_int_equal(*counter, before + 1);
}

void make_udp4(struct fixture *f)
{
    begin(f);
    ADD(f, US, THEM, 8, 0, 0x45, 0, 0, 0, 0, 7, 0, 0, 64, 17, 0, 0, IP4_THEM, IP4_US, 0x9c, 0x40, PORT >> 8, PORT & 255, 0, 0, 0, 0);
    ADD(f, 'h', 'o', 'l', 'd', '!');
    finish_four(f);
}

void make_udp6(struct fixture *f)
{
    begin(f);
    ADD(f, US, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64, IP6_THEM, IP6_US, 0x9c, 0x40, PORT >> 8, PORT & 255, 0, 0, 0, 0);
    ADD(f, 'f', 'a', 's', 't');
    finish_six(f);
}

void make_echo4(struct fixture *f)
{
    begin(f);
    ADD(f, US, THEM, 8, 0, 0x45, 0, 0, 0, 0, 7, 0, 0, 64, 1, 0, 0, IP4_THEM, IP4_US, 8, 0, 0, 0, 1, 2, 3, 4, 'a', 'b', 'c');
    finish_four(f);
}

void make_echo6(struct fixture *f)
{
    begin(f);
    ADD(f, US, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 64, IP6_THEM, IP6_US, 128, 0, 0, 0, 1, 2, 3, 4, 'a', 'b', 'c', 'd');
    finish_six(f);
}

void make_arp(struct fixture *f)
{
    begin(f);
    ADD(f, ALL, THEM, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, THEM, IP4_THEM, 0, 0, 0, 0, 0, 0, IP4_US);
}

void make_solicit(struct fixture *f)
{
    begin(f);
    ADD(f, 0x33, 0x33, 0xff, 0, 0, 2, THEM, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 58, 255, IP6_THEM, IP6_GROUP);
    ADD(f, 135, 0, 0, 0, 0, 0, 0, 0, IP6_US, 1, 1, THEM);
    finish_six(f);
}

struct hf_peer peer_four(struct fixture *f)
{
    make_udp4(f);
    assert_int_equal(take(f), HF_IP_DATAGRAM);
    return f->taken.from;
}

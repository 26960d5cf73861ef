/* What a DPDK device is asked to do, for each kind of device that there is, and whose packet is whose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "net/dpdk/plan.h"

static const struct hf_capabilities NIC = {.rx_queues_max = 16,
                                           .tx_queues_max = 16,
                                           .spreads = true,
                                           .checks_ip = true,
                                           .checks_udp = true,
                                           .sums_ip = true,
                                           .sums_udp = true,
                                           .mtu_min = 68,
                                           .mtu_max = 9702};
static const struct hf_capabilities MEMIF = {.rx_queues_max = 255, .tx_queues_max = 255, .unbounded = true, .mtu_min = 46, .mtu_max = 1500};
static const struct hf_capabilities AF_PACKET = {.rx_queues_max = 1, .tx_queues_max = 1, .spreads = true, .mtu_min = 46, .mtu_max = 65535};

static void test_each_shard_has_a_queue_where_the_device_spreads_packets(void **state)
{
    (void)state;
    struct hf_plan plan;
    assert_int_equal(hf_plan_make(&NIC, &(struct hf_wishes){.shards = 4, .mtu = 9000}, &plan), HF_PLAN_GOOD);
    assert_int_equal(plan.queues, 4);
    assert_true(plan.spread && plan.checks && plan.sums);
    assert_int_equal(plan.device_mtu, 9000);
    assert_int_equal(hf_plan_make(&NIC, &(struct hf_wishes){.shards = 40, .mtu = 1500}, &plan), HF_PLAN_GOOD);
    assert_int_equal(plan.queues, 16);
    assert_int_equal(hf_plan_make(&NIC, &(struct hf_wishes){.shards = 1, .mtu = 1500}, &plan), HF_PLAN_GOOD);
    assert_int_equal(plan.queues, 1);
    assert_false(plan.spread);
}

static void test_one_queue_serves_all_where_nothing_spreads(void **state)
{
    (void)state;
    struct hf_plan plan;
    assert_int_equal(hf_plan_make(&MEMIF, &(struct hf_wishes){.shards = 4, .mtu = 1500}, &plan), HF_PLAN_GOOD);
    assert_int_equal(plan.queues, 1);
    assert_false(plan.spread);
    assert_int_equal(hf_plan_make(&AF_PACKET, &(struct hf_wishes){.shards = 4, .mtu = 1500}, &plan), HF_PLAN_GOOD);
    assert_int_equal(plan.queues, 1);
    assert_false(plan.spread || plan.checks || plan.sums);
}

static void test_queues_that_are_asked_for_are_had_or_refused(void **state)
{
    (void)state;
    struct hf_plan plan = {.queues = 77};
    assert_int_equal(hf_plan_make(&MEMIF, &(struct hf_wishes){.shards = 4, .queues = 2, .mtu = 1500}, &plan), HF_PLAN_GOOD);
    assert_int_equal(plan.queues, 2);
    assert_int_equal(hf_plan_make(&NIC, &(struct hf_wishes){.shards = 2, .queues = 8, .mtu = 1500}, &plan), HF_PLAN_GOOD);
    assert_int_equal(plan.queues, 2);
    plan.queues = 77;
    assert_int_equal(hf_plan_make(&AF_PACKET, &(struct hf_wishes){.shards = 2, .queues = 2, .mtu = 1500}, &plan), HF_PLAN_QUEUES);
    const struct hf_capabilities deaf = {.tx_queues_max = 1, .mtu_max = 1500};
    assert_int_equal(hf_plan_make(&deaf, &(struct hf_wishes){.shards = 1, .mtu = 1500}, &plan), HF_PLAN_NO_QUEUES);
    assert_int_equal(plan.queues, 77);
}

static void test_a_packet_no_longer_than_the_device_carries_unless_it_does_not_care(void **state)
{
    (void)state;
    struct hf_plan plan;
    struct hf_capabilities small = NIC;
    small.mtu_max = 1500;
    assert_int_equal(hf_plan_make(&small, &(struct hf_wishes){.shards = 1, .mtu = 9000}, &plan), HF_PLAN_MTU);
    small.mtu_min = 1400;
    assert_int_equal(hf_plan_make(&small, &(struct hf_wishes){.shards = 1, .mtu = 1280}, &plan), HF_PLAN_MTU);
    assert_int_equal(hf_plan_make(&MEMIF, &(struct hf_wishes){.shards = 1, .mtu = 9000}, &plan), HF_PLAN_GOOD);
    assert_int_equal(plan.device_mtu, 1500);
}

static void test_sums_are_the_devices_only_if_it_makes_them_all_and_may(void **state)
{
    (void)state;
    struct hf_plan plan;
    struct hf_capabilities half = NIC;
    half.sums_ip = false;
    half.checks_udp = false;
    assert_int_equal(hf_plan_make(&half, &(struct hf_wishes){.shards = 1, .mtu = 1500}, &plan), HF_PLAN_GOOD);
    assert_false(plan.sums || plan.checks);
    assert_int_equal(hf_plan_make(&NIC, &(struct hf_wishes){.shards = 1, .mtu = 1500, .no_offload = true}, &plan), HF_PLAN_GOOD);
    assert_false(plan.sums || plan.checks);
}

enum { PORT = 65000, SHARDS = 3, SELF = 1, ROOM = 100 };

/* A packet with an IP protocol (or ARP's operation, big-endian, 6 bytes behind) and a destination port. */
static uint32_t packet_make(uint8_t packet[ROOM], bool vlan, uint16_t type, uint8_t protocol, uint16_t port)
{
    uint32_t at = 12;
    memset(packet, 0, ROOM);
    if (vlan) {
        packet[12] = 0x81;
        at += 4;
    }
    packet[at] = (uint8_t)(type >> 8);
    packet[at + 1] = (uint8_t)type;
    at += 2;
    if (type == 0x0806) {
        packet[at + 7] = protocol;
        return at + 28;
    }
    uint32_t head = type == 0x86dd ? 40 : 20;
    packet[at + (type == 0x86dd ? 6 : 9)] = protocol;
    packet[at + head] = protocol == 58 ? (uint8_t)port : 0;
    packet[at + head + 2] = (uint8_t)(port >> 8);
    packet[at + head + 3] = (uint8_t)port;
    return at + head + 8;
}

static int owner(bool vlan, uint16_t type, uint8_t protocol, uint16_t port)
{
    uint8_t packet[ROOM];
    uint32_t bytes = packet_make(packet, vlan, type, protocol, port);
    return hf_plan_owner(packet, bytes, packet, PORT, SHARDS, SELF);
}

static void test_a_packet_is_for_the_shard_of_its_port(void **state)
{
    (void)state;
    for (int vlan = 0; vlan < 2; vlan++) {
        for (int shard = 0; shard < SHARDS; shard++) {
            assert_int_equal(owner(vlan, 0x0800, 17, (uint16_t)(PORT + shard)), shard);
            assert_int_equal(owner(vlan, 0x86dd, 17, (uint16_t)(PORT + shard)), shard);
        }
        assert_int_equal(owner(vlan, 0x0800, 17, PORT + SHARDS), SELF);
        assert_int_equal(owner(vlan, 0x0800, 17, PORT - 1), SELF);
        assert_int_equal(owner(vlan, 0x0800, 1, PORT), SELF);
        assert_int_equal(owner(vlan, 0x0806, 1, 0), SELF);
        assert_int_equal(owner(vlan, 0x0806, 2, 0), HF_PLAN_EVERYBODY);
        assert_int_equal(owner(vlan, 0x86dd, 58, 135), SELF);
        assert_int_equal(owner(vlan, 0x86dd, 58, 136), HF_PLAN_EVERYBODY);
        assert_int_equal(owner(vlan, 0x88cc, 17, PORT), SELF);
    }
}

static void test_what_a_neighbour_tells_somebody_else_is_not_handed_to_every_shard(void **state)
{
    (void)state;
    static const uint8_t ours[6] = {2, 0, 0, 0, 0, 1}, all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, group[6] = {0x33, 0x33, 0, 0, 0, 1};
    const struct {
        uint16_t type;
        uint8_t protocol;
        uint16_t port;
    } kinds[] = {{0x0806, 2, 0}, {0x86dd, 58, 136}};
    for (unsigned kind = 0; kind < 2; kind++) {
        uint8_t packet[ROOM];
        uint32_t bytes = packet_make(packet, kind == 1, kinds[kind].type, kinds[kind].protocol, kinds[kind].port);
        memcpy(packet, ours, 6);
        assert_int_equal(hf_plan_owner(packet, bytes, ours, PORT, SHARDS, SELF), HF_PLAN_EVERYBODY);
        memcpy(packet, all, 6);
        assert_int_equal(hf_plan_owner(packet, bytes, ours, PORT, SHARDS, SELF), SELF);
        memcpy(packet, group, 6);
        assert_int_equal(hf_plan_owner(packet, bytes, ours, PORT, SHARDS, SELF), SELF);
    }
}

static void test_a_packet_cut_anywhere_is_whoevers_has_it_and_not_read_beyond_its_end(void **state)
{
    (void)state;
    static const uint16_t types[] = {0x0800, 0x86dd, 0x0806};
    for (unsigned kind = 0; kind < 3; kind++) {
        uint8_t packet[ROOM];
        uint32_t bytes = packet_make(packet, true, types[kind], kind == 2 ? 2 : 17, PORT);
        assert_int_not_equal(hf_plan_owner(packet, bytes, packet, PORT, SHARDS, SELF), SELF);
        for (uint32_t cut = 0; cut < bytes; cut++) {
            uint8_t *copy = test_malloc(cut + 1);
            memcpy(copy, packet, cut);
            assert_int_equal(hf_plan_owner(copy, cut, packet, PORT, SHARDS, SELF), SELF);
            test_free(copy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_shard_has_a_queue_where_the_device_spreads_packets),
        cmocka_unit_test(test_one_queue_serves_all_where_nothing_spreads),
        cmocka_unit_test(test_queues_that_are_asked_for_are_had_or_refused),
        cmocka_unit_test(test_a_packet_no_longer_than_the_device_carries_unless_it_does_not_care),
        cmocka_unit_test(test_sums_are_the_devices_only_if_it_makes_them_all_and_may),
        cmocka_unit_test(test_a_packet_is_for_the_shard_of_its_port),
        cmocka_unit_test(test_what_a_neighbour_tells_somebody_else_is_not_handed_to_every_shard),
        cmocka_unit_test(test_a_packet_cut_anywhere_is_whoevers_has_it_and_not_read_beyond_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

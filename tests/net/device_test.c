/* dpdk:// addresses: what is taken from them, and what is refused with a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/dpdk/device.h"

static void everything_in_an_address_is_taken(void **state)
{
    struct hf_device device;
    (void)state;
    assert_int_equal(
        hf_device_parse("dpdk://net_tap0,iface=hf0?ip=10.9.0.2/24&ip=fd00:9::2/64&port=7000&gateway=10.9.0.1&gateway=fd00:9::1&"
                        "vlan=42&mtu=9000&huge=yes",
                        &device),
        0);
    assert_string_equal(device.name, "net_tap0,iface=hf0");
    assert_true(device.virtual && device.huge);
    assert_int_equal(device.ip.own_count, 2);
    assert_memory_equal(device.ip.own[0].address, ((const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 9, 0, 2}), 16);
    assert_int_equal(device.ip.own[0].prefix, 120);
    assert_int_equal(device.ip.own[1].address[15], 2);
    assert_int_equal(device.ip.own[1].prefix, 64);
    assert_int_equal(device.ip.gateways[0][15], 1);
    assert_int_equal(device.ip.gateways[1][0], 0xfd);
    assert_int_equal(device.ip.port, 7000);
    assert_int_equal(device.ip.vlan, 42);
    assert_int_equal(device.ip.mtu, 9000);
}

static void what_is_left_out_has_its_usual_value(void **state)
{
    struct hf_device device;
    (void)state;
    assert_int_equal(hf_device_parse("dpdk://0000:03:00.0?port=1&ip=192.0.2.1/32", &device), 0);
    assert_string_equal(device.name, "0000:03:00.0");
    assert_false(device.virtual || device.huge);
    assert_int_equal(device.ip.mtu, 1500);
    assert_int_equal(device.ip.vlan, 0);
    assert_int_equal(device.ip.own[0].prefix, 128);
}

static void a_memif_has_no_sums_and_where_it_makes_the_ring_places_as_long_as_a_packet(void **state)
{
    static const char keys[] = "?ip=10.0.0.1/8&port=1&mtu=9000";
    static const struct {
        const char *given, *taken;
    } cases[] = {
        {"net_memif0", "net_memif0,bsize=9088"},
        {"net_memif0,role=client,socket=a", "net_memif0,role=client,socket=a,bsize=9088"},
        {"net_memif0,role=slave", "net_memif0,role=slave,bsize=9088"},
        {"net_memif0,role=client,bsize=4096,rsize=8", "net_memif0,role=client,bsize=4096,rsize=8"},
        {"net_memif0,role=server", "net_memif0,role=server"},
        {"net_memif0,role=master", "net_memif0,role=master"},
        {"net_tap0,iface=net_memif0", "net_tap0,iface=net_memif0"},
    };
    struct hf_device device;
    char address[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(address, sizeof address, "dpdk://%s%s", cases[i].given, keys);
        assert_int_equal(hf_device_parse(address, &device), 0);
        assert_string_equal(device.name, cases[i].taken);
        assert_int_equal(device.ip.unsummed, i < 6);
    }
    assert_int_equal(hf_device_parse("dpdk://net_memif0?ip=10.0.0.1/8&port=1", &device), 0);
    assert_string_equal(device.name, "net_memif0");
    assert_int_equal(hf_device_parse("dpdk://net_memif0?ip=10.0.0.1/8&port=1&offload=no", &device), 0);
    assert_false(device.ip.unsummed);
}

static void a_memif_name_without_room_for_its_size_is_refused(void **state)
{
    struct hf_device device;
    char address[512];
    (void)state;
    snprintf(address, sizeof address, "dpdk://net_memif0,socket=%0230d?ip=10.0.0.1/8&port=1&mtu=9000", 0);
    assert_int_equal(hf_device_parse(address, &device), HF_E_USAGE);
}

static void what_makes_no_sense_is_refused(void **state)
{
    static const char *const wrong[] = {
        "dpdk://",
        "dpdk://?ip=10.0.0.1/8&port=1",
        "dpdk://net_tap0",
        "dpdk://net_tap0?ip=10.0.0.1/8",
        "dpdk://net_tap0?port=1",
        "dpdk://net_tap0?ip=10.0.0.1&port=1",
        "dpdk://net_tap0?ip=10.0.0.1/33&port=1",
        "dpdk://net_tap0?ip=10.0.0.1/0&port=1",
        "dpdk://net_tap0?ip=10.0.0/8&port=1",
        "dpdk://net_tap0?ip=fd00::1/129&port=1",
        "dpdk://net_tap0?ip=::ffff:10.0.0.1/120&port=1",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=0",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=65536",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=+1",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=1&vlan=4095",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=1&mtu=1279",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=1&gateway=somewhere",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=1&huge=maybe",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=1&colour=red",
        "dpdk://net_tap0?ip=10.0.0.1/8&port=1&",
        "dpdk://net_tap0?port=1&ip=::1/8&ip=::2/8&ip=::3/8&ip=::4/8&ip=::5/8&ip=::6/8&ip=::7/8&ip=::8/8&ip=::9/8",
    };
    char longest[600];
    struct hf_device device;
    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(hf_device_parse(wrong[i], &device), HF_E_USAGE);
    for (size_t bytes = 250; bytes < sizeof longest - 40; bytes += 10) {
        memset(longest, 'x', sizeof longest);
        memcpy(longest, "dpdk://", 7);
        memcpy(longest + 7 + bytes, "?ip=10.0.0.1/8&port=1", 22);
        assert_int_equal(hf_device_parse(longest, &device), bytes < sizeof device.name ? 0 : HF_E_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_in_an_address_is_taken),
        cmocka_unit_test(what_is_left_out_has_its_usual_value),
        cmocka_unit_test(a_memif_has_no_sums_and_where_it_makes_the_ring_places_as_long_as_a_packet),
        cmocka_unit_test(a_memif_name_without_room_for_its_size_is_refused),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests_name("net/device", tests, NULL, NULL);
}

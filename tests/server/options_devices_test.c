/* The dpdk section of a configuration file: what it becomes, and what it is refused for. */
#include "server/options.h"

#include "wire/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct hf_server_options options;
static char error[512];
static char config_path[64];

static int parse(const char *text, char *flag)
{
    char *arguments[] = {"holdfastd", "--data", "d", "--insecure-listen", "--config", config_path, flag, NULL};
    FILE *file = fopen(config_path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return hf_server_options_parse(flag ? 7 : 6, arguments, &options, error, sizeof error);
}

static void devices_become_addresses_beside_the_others(void **state)
{
    (void)state;
    assert_int_equal(parse("dpdk:\n"
                           "  eal: [-m, 512, --telemetry]\n"
                           "  devices:\n"
                           "    - device: 0000:03:00.0\n"
                           "      ip: [10.9.0.2/24, fd00:9::2/64]\n"
                           "      gateway: 10.9.0.1\n"
                           "      port: 7000\n"
                           "      vlan: 7\n"
                           "      mtu: 9000\n"
                           "      queues: 2\n"
                           "      offload: false\n"
                           "      huge: yes\n"
                           "    - {device: 'net_tap0,iface=hf0', ip: 10.8.0.2/24, port: 7100}\n"
                           "listen: tcp://127.0.0.1:1\n",
                           NULL),
                     0);
    assert_int_equal(options.listen_count, 3);
    assert_string_equal(options.listen[0], "tcp://127.0.0.1:1");
    assert_string_equal(options.listen[1], "dpdk://0000:03:00.0?ip=10.9.0.2/24&ip=fd00:9::2/64&gateway=10.9.0.1&port=7000&vlan=7&mtu=9000"
                                           "&queues=2&offload=no&huge=yes");
    assert_string_equal(options.listen[2], "dpdk://net_tap0,iface=hf0?ip=10.8.0.2/24&port=7100");
    assert_string_equal(options.dpdk_eal, "-m 512 --telemetry");
}

static void addresses_of_flags_leave_the_devices(void **state)
{
    (void)state;
    char flag[] = "--listen=tcp://127.0.0.1:2";
    assert_int_equal(parse("dpdk: {eal: --telemetry, devices: [{device: net_null0, ip: 10.8.0.2/24, port: 1}]}\n", flag), 0);
    assert_int_equal(options.listen_count, 2);
    assert_string_equal(options.listen[0], "tcp://127.0.0.1:2");
    assert_string_equal(options.dpdk_eal, "--telemetry");
}

static void what_makes_no_sense_is_refused_with_its_line(void **state)
{
    static const char *const cases[][2] = {
        {"dpdk: yes\n", ":1: dpdk: expected eal and devices"},
        {"dpdk: {}\nshards: 1\ndpdk: {}\n", ":3: dpdk: stands here a second time"},
        {"dpdk:\n  queues: 2\n", ":2: queues: unknown key; a dpdk section has eal and devices"},
        {"dpdk:\n  eal: -m 1\n  eal: -m 2\n", ":3: eal: stands here a second time"},
        {"dpdk:\n  eal: {a: b}\n", ":2: eal: expected a value"},
        {"dpdk:\n  eal: ''\n", ":2: eal: expected a value"},
        {"dpdk:\n  devices: net_null0\n", ":2: devices: expected a list"},
        {"dpdk:\n  devices:\n    - net_null0\n", ":3: devices: expected a device's keys"},
        {"dpdk:\n  devices:\n    - device: net_null0\n      port: 1\n", ":3: devices: a device needs device, ip and port"},
        {"dpdk:\n  devices:\n    - device: a b\n", ":3: device: expected a PCI address"},
        {"dpdk:\n  devices:\n    - device: a?ip=1\n", ":3: device: expected a PCI address"},
        {"dpdk:\n  devices:\n    - device: a\n      speed: 3\n", ":4: speed: unknown key; a device has"},
        {"dpdk:\n  devices:\n    - device: a\n      device: b\n", ":4: device: stands here a second time"},
        {"dpdk:\n  devices:\n    - ip: 10.9.0.2\n", ":3: ip: '10.9.0.2' makes no sense"},
        {"dpdk:\n  devices:\n    - ip:\n      - 10.9.0.2/24\n      - 10.9.0.3/33\n", ":5: ip: '10.9.0.3/33' makes no sense"},
        {"dpdk:\n  devices:\n    - port: 70000\n", ":3: port: '70000' makes no sense"},
        {"dpdk:\n  devices:\n    - port: [1, 2]\n", ":3: port: expected a value"},
        {"dpdk:\n  devices:\n    - mtu: 600\n", ":3: mtu: '600' makes no sense"},
        {"dpdk:\n  devices:\n    - offload: perhaps\n", ":3: offload: 'perhaps' makes no sense"},
        {"dpdk:\n  devices:\n    - vlan: 7&huge=yes\n", ":3: vlan: '7&huge=yes' makes no sense"},
        {"dpdk:\n  devices: [\n", ":"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(parse(cases[i][0], NULL), HF_E_USAGE);
        if (!strstr(error, cases[i][1]))
            fail_msg("'%s' does not say '%s'", error, cases[i][1]);
    }
}

static void more_devices_than_an_engine_serves_are_refused(void **state)
{
    char text[1024] = "dpdk:\n  devices:\n";
    (void)state;
    for (unsigned i = 0; i <= HF_DPDK_DEVICES_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "    - {device: net_null%u, ip: 10.8.0.2/24, port: 7000}\n", i);
    assert_int_equal(parse(text, NULL), HF_E_USAGE);
    assert_non_null(strstr(error, ":7: devices: more devices than"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_become_addresses_beside_the_others),
        cmocka_unit_test(addresses_of_flags_leave_the_devices),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_its_line),
        cmocka_unit_test(more_devices_than_an_engine_serves_are_refused),
    };
    snprintf(config_path, sizeof config_path, "/tmp/hf-devices-%d.yaml", (int)getpid());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(config_path);
    return failed;
}

#include "net/dpdk/device.h"

#include <string.h>

static const char hf_dpdk_scheme[] = "dpdk://";

int hf_device_parse(const char *address, struct hf_device *out)
{
    char text[512];
    memset(out, 0, sizeof *out);
    out->ip.mtu = 1500;
    size_t scheme = sizeof hf_dpdk_scheme - 1, bytes = strlen(address);
    const char *mark = strchr(address, '?');
    if (strncmp(address, hf_dpdk_scheme, scheme) != 0 || !mark || mark == address + scheme || bytes >= sizeof text ||
        (size_t)(mark - address) - scheme >= sizeof out->name)
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': write dpdk://DEVICE-ARGS?ip=ADDRESS/PREFIX&port=PORT", address);
    memcpy(out->name, address + scheme, (size_t)(mark - address) - scheme);
    out->virtual = strncmp(out->name, "net_", 4) == 0;
    memcpy(text, mark + 1, bytes - (size_t)(mark - address));
    for (char *rest = text, *word; (word = strsep(&rest, "&"));) {
        char *value = strchr(word, '=');
        if (value)
            *value++ = '\0';
        if (!value || !hf_device_key(word, value, out))
            return hf_net_fail(HF_E_USAGE,
                               "cannot listen on '%s': '%s' is no ip=ADDRESS/PREFIX, gateway=ADDRESS, port=1..65535, vlan=1..4094, "
                               "mtu=%d..%d, queues=1..%d, offload=yes|no or huge=yes|no",
                               address, word, HF_IP_MTU_MIN, HF_IP_MTU_MAX, HF_DEVICE_QUEUES_MAX);
    }
    if (out->ip.own_count == 0 || out->ip.port == 0)
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': a port and at least one ip are needed", address);
    if (!hf_device_settle(out))
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': the device's arguments are too long", address);
    return 0;
}

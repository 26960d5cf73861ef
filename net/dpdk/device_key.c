/* What stands behind the ? of a device's address: the same for the engine and for a client. */
#include "net/dpdk/device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/dpdk/ip_p.h"

/* A number without sign or blanks, of at most `max`. */
static bool hf_device_number(const char *text, unsigned long min, unsigned long max, unsigned long *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && *out >= min && *out <= max;
}

bool hf_device_address(const char *text, uint8_t out[16])
{
    uint8_t four[4];
    if (inet_pton(AF_INET, text, four) == 1) {
        hf_map_four(out, four);
        return true;
    }
    return inet_pton(AF_INET6, text, out) == 1 && !hf_is_four(out);
}

static bool hf_device_own(char *text, struct hf_ip_options *ip)
{
    unsigned long bits;
    char *slash = strchr(text, '/');
    if (!slash || ip->own_count == HF_IP_ADDRESSES_MAX)
        return false;
    *slash = '\0';
    struct hf_ip_own *own = &ip->own[ip->own_count];
    bool good = hf_device_address(text, own->address);
    bool four = good && hf_is_four(own->address);
    good = good && hf_device_number(slash + 1, 1, four ? 32 : 128, &bits);
    if (!good)
        return false;
    own->prefix = (uint8_t)(bits + (four ? 96 : 0));
    ip->own_count++;
    return true;
}

static bool hf_device_gateway(const char *text, struct hf_ip_options *ip)
{
    uint8_t address[16];
    if (!hf_device_address(text, address))
        return false;
    memcpy(ip->gateways[hf_is_four(address) ? 0 : 1], address, sizeof address);
    return true;
}

bool hf_device_key(const char *key, char *value, struct hf_device *out)
{
    unsigned long number = 0;
    if (strcmp(key, "ip") == 0)
        return hf_device_own(value, &out->ip);
    if (strcmp(key, "gateway") == 0)
        return hf_device_gateway(value, &out->ip);
    if (strcmp(key, "port") == 0 && hf_device_number(value, 1, UINT16_MAX, &number)) {
        out->ip.port = (uint16_t)number;
        return true;
    }
    if (strcmp(key, "vlan") == 0 && hf_device_number(value, 1, 4094, &number)) {
        out->ip.vlan = (uint16_t)number;
        return true;
    }
    if (strcmp(key, "mtu") == 0 && hf_device_number(value, HF_IP_MTU_MIN, HF_IP_MTU_MAX, &number)) {
        out->ip.mtu = (uint32_t)number;
        return true;
    }
    if (strcmp(key, "queues") == 0 && hf_device_number(value, 1, HF_DEVICE_QUEUES_MAX, &number)) {
        out->queues = (unsigned)number;
        return true;
    }
    bool yes = strcmp(value, "yes") == 0;
    if (!yes && strcmp(value, "no") != 0)
        return false;
    if (strcmp(key, "offload") == 0)
        out->no_offload = !yes;
    else if (strcmp(key, "huge") == 0)
        out->huge = yes;
    else
        return false;
    return true;
}

bool hf_device_argument(const struct hf_device *device, const char *key, char *out, size_t room)
{
    size_t key_bytes = strlen(key);
    for (const char *at = device->name; (at = strchr(at, ','));) {
        at++;
        if (strncmp(at, key, key_bytes) != 0 || at[key_bytes] != '=')
            continue;
        at += key_bytes + 1;
        size_t bytes = strcspn(at, ",");
        if (bytes >= room)
            return false;
        memcpy(out, at, bytes);
        out[bytes] = '\0';
        return true;
    }
    return false;
}

bool hf_device_is_memif(const struct hf_device *device)
{
    return strncmp(device->name, "net_memif", strlen("net_memif")) == 0;
}

bool hf_device_serves(const struct hf_device *device)
{
    char role[16];
    return hf_device_is_memif(device) && hf_device_argument(device, "role", role, sizeof role) &&
           (strcmp(role, "server") == 0 || strcmp(role, "master") == 0);
}

bool hf_device_settle(struct hf_device *out)
{
    enum { MEMIF_PLACE_BYTES = 2048, LINE_BYTES = 64 };
    uint32_t packet_bytes = (HF_IP_HEAD_BYTES_MAX + out->ip.mtu + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
    size_t length = strlen(out->name), room = sizeof out->name - length;
    char told[16];
    bool makes_ring = hf_device_is_memif(out) && !hf_device_serves(out);
    out->ip.unsummed = hf_device_is_memif(out) && !out->no_offload;
    if (!makes_ring || packet_bytes <= MEMIF_PLACE_BYTES || hf_device_argument(out, "bsize", told, sizeof told))
        return true;
    return (size_t)snprintf(out->name + length, room, ",bsize=%u", packet_bytes) < room;
}

#include "client/dpdk.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static const char scheme[] = "dpdk://";

/* ADDRESS:PORT or [ADDRESS]:PORT, numbers only: on a device of one's own there is no resolver. */
static bool parse_to(char *text, struct sockaddr_storage *to, socklen_t *to_bytes)
{
    char *colon = strrchr(text, ':'), *host = text;
    if (!colon || colon == text)
        return false;
    *colon = '\0';
    if (text[0] == '[' && colon[-1] == ']') {
        host++;
        colon[-1] = '\0';
    }
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST}, *found = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return false;
    memcpy(to, found->ai_addr, found->ai_addrlen);
    *to_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

int hf_dpdk_parse(const char *text, struct hf_device *device, struct sockaddr_storage *to, socklen_t *to_bytes, char *error,
                  size_t error_bytes)
{
    char words[512];
    const char *name = text + sizeof scheme - 1, *mark = strchr(text, '?');
    memset(device, 0, sizeof *device);
    device->ip.mtu = 1500;
    *to_bytes = 0;
    if (strncmp(text, scheme, sizeof scheme - 1) != 0 || !mark || mark <= name || (size_t)(mark - name) >= sizeof device->name ||
        strlen(mark + 1) >= sizeof words) {
        snprintf(error, error_bytes, "'%.100s' is no address: write dpdk://DEVICE-ARGS?ip=ADDRESS/PREFIX&to=ADDRESS:PORT", text);
        return HF_E_USAGE;
    }
    memcpy(device->name, name, (size_t)(mark - name));
    device->virtual = strncmp(device->name, "net_", 4) == 0;
    memcpy(words, mark + 1, strlen(mark + 1) + 1);
    for (char *rest = words, *word; (word = strsep(&rest, "&"));) {
        char *value = strchr(word, '=');
        if (value)
            *value++ = '\0';
        bool good = value && strcmp(word, "port") != 0 && strcmp(word, "queues") != 0 &&
                    (strcmp(word, "to") == 0 ? parse_to(value, to, to_bytes) : hf_device_key(word, value, device));
        if (good)
            continue;
        snprintf(error, error_bytes,
                 "'%.100s' is no address: '%.40s' is no ip=ADDRESS/PREFIX, to=ADDRESS:PORT, gateway=ADDRESS, vlan=1..4094, mtu=%d..%d, "
                 "offload=no or huge=yes|no",
                 text, word, HF_IP_MTU_MIN, HF_IP_MTU_MAX);
        return HF_E_USAGE;
    }
    bool whole = *to_bytes != 0 && device->ip.own_count > 0;
    if (whole && hf_device_settle(device))
        return 0;
    snprintf(error, error_bytes,
             whole ? "'%.100s' is no address: the device's arguments are too long"
                   : "'%.100s' is no address: it needs to=ADDRESS:PORT, where the engine is, and an ip=ADDRESS/PREFIX of its own",
             text);
    return HF_E_USAGE;
}

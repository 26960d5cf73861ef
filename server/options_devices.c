/* The dpdk section of the YAML file. Each device becomes the address that --listen would be given; `eal` stays as it is. */
#include "server/options_yaml_p.h"

#include "net/dpdk/device.h"

#include <string.h>

/* A device while its lines are read. */
struct device_reader {
    struct hf_yaml_reader *reader;
    struct hf_device device; /* only to judge values */
    char name[sizeof((struct hf_device *)NULL)->name];
    char keys[512];
    char seen[256]; /* names of keys, a blank before and behind each */
};

typedef int (*hf_yaml_value)(void *context, const char *key, const char *text);

static size_t present_line(const struct hf_yaml_reader *reader)
{
    return reader->event.start_mark.line;
}

static bool append(char *text, size_t bytes, const char *between, const char *more)
{
    size_t used = strlen(text);
    int wanted = snprintf(text + used, bytes - used, "%s%s", used ? between : "", more);
    return wanted >= 0 && (size_t)wanted < bytes - used;
}

static int scalar_take(struct hf_yaml_reader *reader, const char *key, hf_yaml_value take, void *context)
{
    const char *text = (const char *)reader->event.data.scalar.value;
    if (reader->event.type != YAML_SCALAR_EVENT || strlen(text) != reader->event.data.scalar.length || *text == '\0')
        return hf_yaml_fault(reader, present_line(reader), key, "expected a value");
    return take(context, key, text);
}

/* One value, or a list of them where several make sense. */
static int values_take(struct hf_yaml_reader *reader, const char *key, bool several, hf_yaml_value take, void *context)
{
    int status = hf_yaml_next(reader);
    if (status != 0)
        return status;
    if (reader->event.type != YAML_SEQUENCE_START_EVENT || !several)
        return scalar_take(reader, key, take, context);
    while ((status = hf_yaml_next(reader)) == 0 && reader->event.type != YAML_SEQUENCE_END_EVENT)
        if ((status = scalar_take(reader, key, take, context)) != 0)
            break;
    return status;
}

/* The present event's text into key[]. */
static int key_take(struct hf_yaml_reader *reader, char *key, size_t bytes)
{
    if (reader->event.type != YAML_SCALAR_EVENT)
        return hf_yaml_fault(reader, present_line(reader), "dpdk", "expected a name");
    snprintf(key, bytes, "%s", (const char *)reader->event.data.scalar.value);
    return 0;
}

/* ---- One device ---- */

static int device_name_take(void *context, const char *key, const char *text)
{
    struct device_reader *device = context;
    if (strpbrk(text, "?& \t") || strlen(text) >= sizeof device->name)
        return hf_yaml_fault(device->reader, present_line(device->reader), key,
                             "expected a PCI address like 0000:03:00.0, or what --vdev takes, like net_tap0,iface=hf0");
    snprintf(device->name, sizeof device->name, "%s", text);
    return 0;
}

static bool device_key_good(struct device_reader *device, const char *key, const char *text, char *pair, size_t pair_bytes)
{
    char value[128];
    size_t bytes = strlen(text);
    if (bytes >= sizeof value || strpbrk(text, "?& \t"))
        return false;
    memcpy(value, text, bytes + 1);
    if (strcmp(value, "true") == 0)
        memcpy(value, "yes", sizeof "yes");
    else if (strcmp(value, "false") == 0)
        memcpy(value, "no", sizeof "no");
    snprintf(pair, pair_bytes, "%.40s=%s", key, value);
    return hf_device_key(key, value, &device->device);
}

static int device_key_take(void *context, const char *key, const char *text)
{
    struct device_reader *device = context;
    char pair[192], what[256];
    size_t line = present_line(device->reader);
    if (!device_key_good(device, key, text, pair, sizeof pair)) {
        snprintf(what, sizeof what, "'%.80s' makes no sense; docs/dpdk.md lists what a device's keys take", text);
        return hf_yaml_fault(device->reader, line, key, what);
    }
    if (!append(device->keys, sizeof device->keys, "&", pair))
        return hf_yaml_fault(device->reader, line, key, "too much for one device");
    return 0;
}

/* A key of a device and its value. */
static int device_pair_take(struct device_reader *device)
{
    static const char keys[] = " device ip gateway port vlan mtu queues offload huge ";
    struct hf_yaml_reader *reader = device->reader;
    char key[32], word[40];
    int status = key_take(reader, key, sizeof key);
    if (status != 0)
        return status;
    snprintf(word, sizeof word, " %s ", key);
    if (!strstr(keys, word))
        return hf_yaml_fault(reader, present_line(reader), key,
                             "unknown key; a device has device, ip, gateway, port, vlan, mtu, queues, offload and huge");
    if (strstr(device->seen, word) || !append(device->seen, sizeof device->seen, "", word))
        return hf_yaml_fault(reader, present_line(reader), key, "stands here a second time; keep one");
    if (strcmp(key, "device") == 0)
        return values_take(reader, key, false, device_name_take, device);
    return values_take(reader, key, strcmp(key, "ip") == 0 || strcmp(key, "gateway") == 0, device_key_take, device);
}

static int device_take(struct hf_yaml_reader *reader)
{
    struct hf_server_options *options = reader->options;
    struct device_reader device = {.reader = reader};
    size_t line = present_line(reader);
    int status;
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return hf_yaml_fault(reader, line, "devices", "expected a device's keys");
    while ((status = hf_yaml_next(reader)) == 0 && reader->event.type != YAML_MAPPING_END_EVENT)
        if ((status = device_pair_take(&device)) != 0)
            break;
    if (status != 0)
        return status;
    if (!device.name[0] || !strstr(device.seen, " ip ") || !strstr(device.seen, " port "))
        return hf_yaml_fault(reader, line, "devices", "a device needs device, ip and port");
    if (options->dpdk_device_count == HF_DPDK_DEVICES_MAX)
        return hf_yaml_fault(reader, line, "devices", "more devices than an engine serves");
    snprintf(options->dpdk_devices[options->dpdk_device_count++], sizeof options->dpdk_devices[0], "dpdk://%s?%s", device.name,
             device.keys);
    return 0;
}

/* ---- The section ---- */

static int eal_take(void *context, const char *key, const char *text)
{
    struct hf_yaml_reader *reader = context;
    if (!append(reader->options->dpdk_eal, sizeof reader->options->dpdk_eal, " ", text))
        return hf_yaml_fault(reader, present_line(reader), key, "too many arguments");
    return 0;
}

static int devices_take(struct hf_yaml_reader *reader)
{
    int status = hf_yaml_next(reader);
    if (status == 0 && reader->event.type != YAML_SEQUENCE_START_EVENT)
        return hf_yaml_fault(reader, present_line(reader), "devices", "expected a list of devices");
    while (status == 0 && (status = hf_yaml_next(reader)) == 0 && reader->event.type != YAML_SEQUENCE_END_EVENT)
        status = device_take(reader);
    return status;
}

int hf_yaml_take_dpdk(struct hf_yaml_reader *reader)
{
    char key[32], seen[128] = "", word[40];
    size_t line = present_line(reader);
    int status = hf_yaml_next(reader);
    if (status != 0)
        return status;
    if (reader->dpdk_seen)
        return hf_yaml_fault(reader, line, "dpdk", "stands here a second time; keep one");
    reader->dpdk_seen = true;
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return hf_yaml_fault(reader, line, "dpdk", "expected eal and devices");
    while ((status = hf_yaml_next(reader)) == 0 && reader->event.type != YAML_MAPPING_END_EVENT) {
        status = key_take(reader, key, sizeof key);
        snprintf(word, sizeof word, " %s ", key);
        if (status == 0 && strstr(seen, word))
            status = hf_yaml_fault(reader, present_line(reader), key, "stands here a second time; keep one");
        (void)append(seen, sizeof seen, "", word);
        if (status == 0 && strcmp(key, "eal") == 0)
            status = values_take(reader, key, true, eal_take, reader);
        else if (status == 0 && strcmp(key, "devices") == 0)
            status = devices_take(reader);
        else if (status == 0)
            status = hf_yaml_fault(reader, present_line(reader), key, "unknown key; a dpdk section has eal and devices");
        if (status != 0)
            break;
    }
    return status;
}

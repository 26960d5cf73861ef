/* Between options_yaml.c (the file) and options_devices.c (its dpdk section). */
#ifndef HF_SERVER_OPTIONS_YAML_P_H
#define HF_SERVER_OPTIONS_YAML_P_H

#include "server/options_p.h"

#include <yaml.h>

enum { HF_YAML_KEYS_MAX = 64 };

struct hf_yaml_reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the present one; at most one is held at a time */
    struct hf_server_options *options;
    const struct hf_option *seen[HF_YAML_KEYS_MAX];
    unsigned seen_count;
    bool dpdk_seen;
    char *error;
    size_t error_bytes;
};

/* HF_E_USAGE with "file:line: name: what" in the reader's error; name may be NULL. */
int hf_yaml_fault(struct hf_yaml_reader *reader, size_t line, const char *name, const char *what);
/* The next event, or a fault. */
int hf_yaml_next(struct hf_yaml_reader *reader);
/* The key `dpdk` is the present event; ends with the last event of its value. 0 or a fault. */
int hf_yaml_take_dpdk(struct hf_yaml_reader *reader);

#endif

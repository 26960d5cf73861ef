/* Between options.c (the table and what a value may be) and options_yaml.c (where values stand in a file). */
#ifndef HF_SERVER_OPTIONS_P_H
#define HF_SERVER_OPTIONS_P_H

#include "server/options.h"

enum hf_option_kind {
    HF_OPTION_PATH,
    HF_OPTION_LISTEN,
    HF_OPTION_CONTROL,
    HF_OPTION_CPUS,
    HF_OPTION_COUNT32,
    HF_OPTION_COUNT64,
    HF_OPTION_SECONDS,
    HF_OPTION_BYTES,
    HF_OPTION_CHOICE,
    HF_OPTION_SWITCH,
};

struct hf_option {
    const char *name; /* without the dashes */
    const char *argument;
    const char *help;
    size_t offset; /* in struct hf_server_options */
    enum hf_option_kind kind;
    bool flag_only; /* makes no sense in a file */
    bool power_of_two;
    uint64_t least, most;
    const char *choices[5]; /* in the order of their enum, NULL at the end */
};

/* The row of this name, or NULL. */
const struct hf_option *hf_option_find(const char *name, size_t bytes);

/* Whether several values make sense. */
bool hf_option_is_list(const struct hf_option *option);

/* Empties a list before its first value of a source. */
void hf_option_clear(const struct hf_option *option, struct hf_server_options *options);

/* Takes one value. 0, or HF_E_USAGE with what was expected in error[] (without naming the option). */
int hf_option_take(const struct hf_option *option, const char *text, struct hf_server_options *options, char *error, size_t error_bytes);

/* Reads options->config. 0, or HF_E_USAGE with "file:line: ..." in error[]. */
int hf_options_read_file(struct hf_server_options *options, char *error, size_t error_bytes);

#endif

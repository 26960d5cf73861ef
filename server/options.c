#include "server/options_p.h"

#include "wire/error.h"
#include "wire/types.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(field) offsetof(struct hf_server_options, field)

static const uint64_t rows_most = 1ull << 31;
static const uint64_t second_ns = 1000000000ull;
static const uint64_t seconds_most = 10ull * 366 * 86400;
#define MIB (1ull << 20)

_Static_assert(sizeof(enum hf_idle) == sizeof(unsigned), "choices are stored as unsigned");

static const struct hf_option table[] = {
    {"data", "DIR", "data directory; made and formatted when missing or empty", AT(data), HF_OPTION_PATH, .least = 1},
    {"listen", "ADDRESS", "where clients connect, up to 16 times [tcp://127.0.0.1:7420]", AT(listen), HF_OPTION_LISTEN},
    {"control", "ADDRESS", "where gRPC is served, tcp or unix, up to 16 times [unix://DIR/control.sock]", AT(control), HF_OPTION_CONTROL},
    {"shards", "N", "engine threads [online cores - 1, at least 1]", AT(shards), HF_OPTION_COUNT32, .least = 1, .most = HF_SHARDS_MAX},
    {"cpus", "LIST", "cores for the shards in their order, like 1,2 or 4-7 [chosen]", AT(cpus), HF_OPTION_CPUS},
    {"partitions", "P", "of a new directory, a power of two [256]; 0: what the directory says", AT(partitions), HF_OPTION_COUNT32,
     .power_of_two = true, .most = HF_PARTITIONS_MAX},
    {"durability", "sync|async", "answer after the flush, or before it [sync]", AT(durability), HF_OPTION_CHOICE,
     .choices = {"sync", "async"}},
    {"max-skus", "N", "SKUs [1048576]", AT(skus_max), HF_OPTION_COUNT64, .least = 1, .most = rows_most},
    {"max-orders", "N", "open and remembered orders = rate x (life + retention) [16777216]", AT(orders_max), HF_OPTION_COUNT64, .least = 1,
     .most = rows_most},
    {"max-cells", "N", "(SKU, location) pairs with stock [2097152]", AT(cells_max), HF_OPTION_COUNT64, .least = 1, .most = rows_most},
    {"max-lines", "N", "lines of all those orders [16777216]", AT(lines_max), HF_OPTION_COUNT64, .least = 1, .most = rows_most},
    {"max-command-ids", "N", "remembered ids of writes other than place [4194304]", AT(command_ids_max), HF_OPTION_COUNT64, .least = 1,
     .most = rows_most},
    {"max-limits", "N", "counters of limits per customer [4194304]", AT(limits_max), HF_OPTION_COUNT64, .least = 1, .most = rows_most},
    {"max-request-keys", "N", "remembered request ids of writes [4194304]", AT(request_keys_max), HF_OPTION_COUNT64, .least = 1,
     .most = rows_most},
    {"retention", "SECONDS", "how long a finished order is remembered [600]", AT(retention_ns), HF_OPTION_SECONDS, .most = seconds_most},
    {"session-idle", "SECONDS", "how long a session without a connection can be taken up again [60]", AT(session_idle_ns),
     HF_OPTION_SECONDS, .most = seconds_most},
    {"follower-stall", "SECONDS", "drop a follower of events that takes too little for so long [30]", AT(follower_stall_ns),
     HF_OPTION_SECONDS, .most = seconds_most},
    {"slow-request-ms", "MS", "log calls of the control plane that take longer; 0: none [1000]", AT(slow_request_ms), HF_OPTION_COUNT64,
     .most = 86400000},
    {"log-ahead", "BYTES", "log space filled with zeros ahead of the tail [128M]", AT(log_ahead_bytes), HF_OPTION_BYTES, .least = MIB,
     .most = 1ull << 40},
    {"segment-bytes", "BYTES", "size of a log file of a new directory [64M]", AT(segment_bytes), HF_OPTION_BYTES, .least = MIB / 4,
     .most = 1ull << 36},
    {"block-max", "BYTES", "most that one log write takes, of a new directory, a power of two [1M]", AT(block_max_bytes), HF_OPTION_BYTES,
     .power_of_two = true, .least = MIB / 64, .most = MIB},
    {"log-backend", "file|null", "null keeps nothing: for benches [file]", AT(log_backend), HF_OPTION_CHOICE, .choices = {"file", "null"}},
    {"drainer", "inline|thread", "who writes the log: shard 0 or a thread of its own [inline]", AT(drainer), HF_OPTION_CHOICE,
     .choices = {"inline", "thread"}},
    {"idle", "spin|pause|sleep", "what a shard without work does [sleep]", AT(idle), HF_OPTION_CHOICE,
     .choices = {"spin", "pause", "sleep"}},
    {"prefault", NULL, "touch the tables' memory at start", AT(prefault), HF_OPTION_SWITCH},
    {"max-clock-gap", "SECONDS", "refuse to start when the clock is further ahead of the log [3600]", AT(clock_gap_max_ns),
     HF_OPTION_SECONDS, .most = seconds_most},
    {"accept-clock", NULL, "start however far the clock is ahead of the log", AT(accept_clock), HF_OPTION_SWITCH},
    {"insecure-listen", NULL, "allow addresses that other machines reach; there is no authentication", AT(insecure_listen),
     HF_OPTION_SWITCH},
    {"log-level", "debug|info|warn", "least level said on stderr [info]", AT(log_level), HF_OPTION_CHOICE,
     .choices = {"debug", "info", "warn"}},
    {"config", "FILE", "YAML file: the names above as keys; flags win", AT(config), HF_OPTION_PATH, .flag_only = true, .least = 1},
    {"check-config", NULL, "say whether the configuration is good, and end", AT(check_config), HF_OPTION_SWITCH, .flag_only = true},
    {"version", NULL, "say the version, and end", AT(version), HF_OPTION_SWITCH, .flag_only = true},
    {"help", NULL, "say this, and end", AT(help), HF_OPTION_SWITCH, .flag_only = true},
};

enum { TABLE_COUNT = sizeof table / sizeof table[0] };

void hf_server_options_default(struct hf_server_options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *options = (struct hf_server_options){
        .listen_count = 1,
        .shards = cores < 2                   ? 1
                  : cores - 1 > HF_SHARDS_MAX ? HF_SHARDS_MAX
                                              : (uint32_t)(cores - 1),
        .idle = HF_IDLE_SLEEP,
        .log_level = HF_LEVEL_INFO,
        .skus_max = 1ull << 20,
        .orders_max = 1ull << 24,
        .cells_max = 1ull << 21,
        .lines_max = 1ull << 24,
        .command_ids_max = 1ull << 22,
        .limits_max = 1ull << 22,
        .request_keys_max = 1ull << 22,
        .retention_ns = 600 * second_ns,
        .clock_gap_max_ns = 3600 * second_ns,
        .session_idle_ns = 60 * second_ns,
        .follower_stall_ns = 30 * second_ns,
        .slow_request_ms = 1000,
        .log_ahead_bytes = 128 * MIB,
    };
    snprintf(options->listen[0], sizeof options->listen[0], "tcp://127.0.0.1:7420");
}

const struct hf_option *hf_option_find(const char *name, size_t bytes)
{
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (strlen(table[i].name) == bytes && memcmp(table[i].name, name, bytes) == 0)
            return &table[i];
    return NULL;
}

bool hf_option_is_list(const struct hf_option *option)
{
    return option->kind == HF_OPTION_LISTEN || option->kind == HF_OPTION_CONTROL || option->kind == HF_OPTION_CPUS;
}

void hf_option_clear(const struct hf_option *option, struct hf_server_options *options)
{
    if (option->kind == HF_OPTION_LISTEN)
        options->listen_count = 0;
    else if (option->kind == HF_OPTION_CONTROL)
        options->control_count = 0;
    else if (option->kind == HF_OPTION_CPUS)
        options->cpu_count = 0;
}

/* Digits only: strtoull alone would take signs and spaces. *end gets the first byte behind them. */
static bool number_read(const char *text, uint64_t *value, const char **end)
{
    if (*text < '0' || *text > '9')
        return false;
    char *stop;
    errno = 0;
    unsigned long long read = strtoull(text, &stop, 10);
    *value = read;
    *end = stop;
    return errno == 0;
}

static int expected(char *error, size_t bytes, const char *what, const char *got)
{
    snprintf(error, bytes, "expected %s, got '%.80s'", what, got);
    return HF_E_USAGE;
}

static int count_take(const struct hf_option *option, const char *text, uint64_t *value, char *error, size_t bytes)
{
    char what[96];
    const char *end;
    snprintf(what, sizeof what, "%s from %" PRIu64 " to %" PRIu64, option->power_of_two ? "0 or a power of two" : "a whole number",
             option->least, option->most);
    if (!number_read(text, value, &end) || *end != '\0' || *value < option->least || *value > option->most ||
        (option->power_of_two && (*value & (*value - 1)) != 0))
        return expected(error, bytes, what, text);
    return 0;
}

static int bytes_take(const struct hf_option *option, const char *text, uint64_t *value, char *error, size_t bytes)
{
    static const char suffixes[] = "KMG";
    char what[120];
    const char *end;
    snprintf(what, sizeof what, "%s from %" PRIu64 " to %" PRIu64 " bytes (suffix K, M or G)",
             option->power_of_two ? "a power of two" : "a size", option->least, option->most);
    bool good = number_read(text, value, &end);
    const char *suffix = good && *end != '\0' ? strchr(suffixes, *end) : NULL;
    unsigned shift = suffix ? 10 * ((unsigned)(suffix - suffixes) + 1) : 0;
    good = good && (suffix ? end[1] : *end) == '\0' && *value <= UINT64_MAX >> shift;
    *value <<= good ? shift : 0;
    if (!good || *value < option->least || *value > option->most || (option->power_of_two && (*value & (*value - 1)) != 0))
        return expected(error, bytes, what, text);
    return 0;
}

/* Decimal by hand, so that 0.1 is exactly 100,000,000 ns and no locale matters. */
static int seconds_take(const struct hf_option *option, const char *text, uint64_t *ns, char *error, size_t bytes)
{
    char what[96];
    const char *end;
    uint64_t whole = 0, fraction = 0;
    snprintf(what, sizeof what, "seconds from 0 to %" PRIu64 ", like 600 or 0.5", option->most);
    bool good = number_read(text, &whole, &end) && whole <= option->most;
    if (good && *end == '.') {
        good = end[1] != '\0';
        uint64_t unit = second_ns / 10;
        for (end++; *end >= '0' && *end <= '9'; end++, unit /= 10)
            fraction += (uint64_t)(*end - '0') * unit;
    }
    if (!good || *end != '\0')
        return expected(error, bytes, what, text);
    *ns = whole * second_ns + fraction;
    return 0;
}

static int choice_take(const struct hf_option *option, const char *text, unsigned *value, char *error, size_t bytes)
{
    for (unsigned i = 0; option->choices[i]; i++)
        if (strcmp(text, option->choices[i]) == 0) {
            *value = i;
            return 0;
        }
    return expected(error, bytes, option->argument, text);
}

static int switch_take(const char *text, bool *value, char *error, size_t bytes)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return expected(error, bytes, "true or false", text);
    *value = *text == 't';
    return 0;
}

static int path_take(const char *text, char *path, char *error, size_t bytes)
{
    size_t length = strlen(text);
    if (length < 1 || length >= HF_PATH_BYTES)
        return expected(error, bytes, "a path of 1 to 1023 bytes", text);
    memcpy(path, text, length + 1);
    return 0;
}

static int cpus_take(const char *text, struct hf_server_options *options, char *error, size_t bytes)
{
    static const char what[] = "core numbers from 0 to 1023, at most 64 and none twice, like 1,2 or 4-7";
    for (const char *at = text;; at++) {
        uint64_t first, last;
        if (!number_read(at, &first, &at))
            return expected(error, bytes, what, text);
        last = first;
        if (*at == '-' && !number_read(at + 1, &last, &at))
            return expected(error, bytes, what, text);
        if (last < first || last > HF_CPU_NUMBER_MAX || (*at != '\0' && *at != ','))
            return expected(error, bytes, what, text);
        for (uint64_t cpu = first; cpu <= last; cpu++) {
            for (uint32_t i = 0; i < options->cpu_count; i++)
                if (options->cpus[i] == cpu)
                    return expected(error, bytes, what, text);
            if (options->cpu_count == HF_CPUS_MAX)
                return expected(error, bytes, what, text);
            options->cpus[options->cpu_count++] = (uint32_t)cpu;
        }
        if (*at == '\0')
            return 0;
    }
}

static int listen_take(const char *text, struct hf_server_options *options, char *error, size_t bytes)
{
    if (!hf_listen_valid(text))
        return expected(error, bytes, "an address like tcp://127.0.0.1:7420, udp://[::1]:7420, unix:///run/holdfast.sock or dpdk://...",
                        text);
    if (options->listen_count == HF_LISTEN_MAX) {
        snprintf(error, bytes, "more than %d addresses; leave some out", HF_LISTEN_MAX);
        return HF_E_USAGE;
    }
    snprintf(options->listen[options->listen_count++], HF_LISTEN_BYTES, "%s", text);
    return 0;
}

static int control_take(const char *text, struct hf_server_options *options, char *error, size_t bytes)
{
    enum hf_carrier carrier = hf_carrier_of(text);
    if (!hf_listen_valid(text) || (carrier != HF_CARRIER_TCP && carrier != HF_CARRIER_UNIX))
        return expected(error, bytes, "an address like tcp://127.0.0.1:7421 or unix:///run/holdfast.sock", text);
    if (options->control_count == HF_LISTEN_MAX) {
        snprintf(error, bytes, "more than %d addresses; leave some out", HF_LISTEN_MAX);
        return HF_E_USAGE;
    }
    snprintf(options->control[options->control_count++], HF_LISTEN_BYTES, "%s", text);
    options->control_chosen = true;
    return 0;
}

int hf_option_take(const struct hf_option *option, const char *text, struct hf_server_options *options, char *error, size_t error_bytes)
{
    void *field = (char *)options + option->offset;
    uint64_t value = 0;
    unsigned choice = 0;
    int status;
    switch (option->kind) {
    case HF_OPTION_PATH:
        return path_take(text, field, error, error_bytes);
    case HF_OPTION_LISTEN:
        return listen_take(text, options, error, error_bytes);
    case HF_OPTION_CONTROL:
        return control_take(text, options, error, error_bytes);
    case HF_OPTION_CPUS:
        return cpus_take(text, options, error, error_bytes);
    case HF_OPTION_SWITCH:
        return switch_take(text, field, error, error_bytes);
    case HF_OPTION_CHOICE:
        status = choice_take(option, text, &choice, error, error_bytes);
        if (status == 0)
            memcpy(field, &choice, sizeof choice);
        return status;
    case HF_OPTION_SECONDS:
        status = seconds_take(option, text, &value, error, error_bytes);
        break;
    case HF_OPTION_BYTES:
        status = bytes_take(option, text, &value, error, error_bytes);
        break;
    default:
        status = count_take(option, text, &value, error, error_bytes);
    }
    if (status == 0 && option->kind == HF_OPTION_COUNT32)
        *(uint32_t *)field = (uint32_t)value;
    else if (status == 0)
        *(uint64_t *)field = value;
    return status;
}

/* One argument; *value gets its value, taken from the next one where it has none of its own (*used: how many were read). */
static const struct hf_option *argument_split(int argc, char *const *argv, int at, const char **value, int *used)
{
    const char *text = argv[at];
    *used = 1;
    *value = NULL;
    if (strncmp(text, "--", 2) != 0)
        return NULL;
    const char *equals = strchr(text, '=');
    const struct hf_option *option = hf_option_find(text + 2, equals ? (size_t)(equals - text - 2) : strlen(text + 2));
    if (!option)
        return NULL;
    if (equals)
        *value = equals + 1;
    else if (option->kind == HF_OPTION_SWITCH)
        *value = "true";
    else if (at + 1 < argc) {
        *value = argv[at + 1];
        *used = 2;
    }
    return option;
}

static int flags_take(int argc, char *const *argv, struct hf_server_options *options, char *error, size_t bytes)
{
    bool seen[TABLE_COUNT] = {false};
    int used;
    for (int i = 1; i < argc; i += used) {
        const char *value;
        char fault[256];
        const struct hf_option *option = argument_split(argc, argv, i, &value, &used);
        if (!option) {
            snprintf(error, bytes, "unknown argument '%.80s'; holdfastd --help lists what there is", argv[i]);
            return HF_E_USAGE;
        }
        if (!value) {
            snprintf(error, bytes, "--%s needs %s behind it", option->name, option->argument);
            return HF_E_USAGE;
        }
        if (!seen[option - table])
            hf_option_clear(option, options);
        seen[option - table] = true;
        if (hf_option_take(option, value, options, fault, sizeof fault) != 0) {
            snprintf(error, bytes, "--%s: %s", option->name, fault);
            return HF_E_USAGE;
        }
        if (options->help || options->version)
            return 0;
    }
    return 0;
}

static int reach_check(const struct hf_server_options *options, const char *address, char *error, size_t bytes)
{
    if (options->insecure_listen || hf_listen_is_loopback(address))
        return 0;
    snprintf(error, bytes,
             "%s can be reached from other machines and there is no authentication; listen on 127.0.0.1, or say --insecure-listen",
             address);
    return HF_E_USAGE;
}

/* What no single value shows. */
static int options_check(const struct hf_server_options *options, char *error, size_t bytes)
{
    uint64_t block = options->block_max_bytes ? options->block_max_bytes : MIB;
    uint32_t partitions = options->partitions ? options->partitions : 256;
    if (options->data[0] == '\0' && !options->check_config)
        snprintf(error, bytes, "--data is missing; name the data directory, like --data /var/lib/holdfast");
    else if (options->segment_bytes % block != 0)
        snprintf(error, bytes, "segment-bytes %" PRIu64 " is no multiple of block-max %" PRIu64 "; take a multiple", options->segment_bytes,
                 block);
    else if (options->partitions && options->shards > partitions)
        snprintf(error, bytes, "%u shards for %u partitions; take at most one shard a partition", options->shards, partitions);
    else if (options->cpu_count && options->cpu_count < options->shards)
        snprintf(error, bytes, "cpus names %u cores for %u shards; name one for each shard", options->cpu_count, options->shards);
    else {
        int status = 0;
        for (uint32_t i = 0; i < options->listen_count && status == 0; i++)
            status = reach_check(options, options->listen[i], error, bytes);
        for (uint32_t i = 0; i < options->control_count && status == 0; i++)
            status = reach_check(options, options->control[i], error, bytes);
        return status;
    }
    return HF_E_USAGE;
}

/* The devices of a file's dpdk section are addresses beside those that are given anyhow. */
static int devices_add(struct hf_server_options *options, char *error, size_t bytes)
{
    char address[HF_LISTEN_BYTES];
    int status = 0;
    for (uint32_t i = 0; i < options->dpdk_device_count && status == 0; i++) {
        memcpy(address, options->dpdk_devices[i], sizeof address);
        status = listen_take(address, options, error, bytes);
    }
    return status;
}

/* The control socket stands in the data directory unless something else was asked for. */
static void control_default(struct hf_server_options *options)
{
    if (options->control_chosen || options->data[0] == '\0')
        return;
    int bytes = snprintf(options->control[0], HF_LISTEN_BYTES, "unix://%s/control.sock", options->data);
    options->control_count = bytes < HF_LISTEN_BYTES;
}

int hf_server_options_parse(int argc, char *const *argv, struct hf_server_options *options, char *error, size_t error_bytes)
{
    hf_server_options_default(options);
    error[0] = '\0';
    /* The flags are read twice: once to find the file, and again because they win over it. */
    int status = flags_take(argc, argv, options, error, error_bytes);
    if (status != 0 || options->help || options->version)
        return status;
    if (options->config[0] != '\0') {
        struct hf_server_options flags = *options;
        hf_server_options_default(options);
        memcpy(options->config, flags.config, sizeof flags.config);
        options->check_config = flags.check_config;
        status = hf_options_read_file(options, error, error_bytes);
        if (status == 0)
            status = flags_take(argc, argv, options, error, error_bytes);
        if (status == 0)
            status = devices_add(options, error, error_bytes);
    }
    control_default(options);
    return status != 0 ? status : options_check(options, error, error_bytes);
}

void hf_server_options_help(FILE *out)
{
    fprintf(out, "holdfastd --data DIR [options]: the order and inventory engine\n\n");
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        char left[48];
        snprintf(left, sizeof left, "--%s%s%s", table[i].name, table[i].argument ? " " : "", table[i].argument ? table[i].argument : "");
        fprintf(out, "  %-28s %s\n", left, table[i].help);
    }
    fprintf(out, "\nSizes in BYTES take K, M and G. Exit: 0 clean, 2 usage, 3 directory in use, 4 damaged, 5 I/O, 6 newer format, 7 clock "
                 "refused.\n");
}

int hf_server_options_act(const struct hf_server_options *options, int parsed, const char *error, const char *version)
{
    if (parsed != 0) {
        fprintf(stderr, "holdfastd: %s\n", error);
        return hf_error_exit(parsed);
    }
    if (options->help)
        hf_server_options_help(stdout);
    else if (options->version)
        printf("holdfastd %s\n", version);
    else if (options->check_config)
        printf("configuration ok\n");
    else
        return -1;
    return 0;
}

/* What holdfastd is told at start: one table feeds the flags, the YAML file and --help.
 *
 * Runs once, before any thread. Nothing here exits or prints by itself except hf_server_options_act(); every fault is one sentence that
 * says what to do. A file is named by --config; its keys are the flags' names without the dashes, and a flag wins over it. */
#ifndef HF_SERVER_OPTIONS_H
#define HF_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "server/listen.h"

enum { HF_LISTEN_MAX = 16, HF_CPUS_MAX = 64, HF_CPU_NUMBER_MAX = 1023, HF_PATH_BYTES = 1024, HF_DPDK_DEVICES_MAX = 4 };

/* As many as the largest log buffer (64 MiB) has room for, a batch of the largest commands each, with a quarter of it to spare. */
enum { HF_SHARDS_MAX = 16 };

enum hf_durability { HF_DURABILITY_SYNC = 0, HF_DURABILITY_ASYNC = 1 };
enum hf_drainer { HF_DRAINER_INLINE = 0, HF_DRAINER_THREAD = 1 };
enum hf_idle { HF_IDLE_SPIN = 0, HF_IDLE_PAUSE = 1, HF_IDLE_SLEEP = 2 };
enum hf_log_choice { HF_LOG_CHOICE_FILE = 0, HF_LOG_CHOICE_NULL = 1 };
enum hf_log_level {
    HF_LEVEL_DEBUG = 0,
    HF_LEVEL_INFO = 1,
    HF_LEVEL_WARN = 2,
    HF_LEVEL_ERROR = 3 /* cannot be chosen: errors are always said */
};

struct hf_server_options {
    char data[HF_PATH_BYTES]; /* directory */
    char config[HF_PATH_BYTES];
    uint32_t listen_count;
    char listen[HF_LISTEN_MAX][HF_LISTEN_BYTES]; /* checked by hf_listen_valid() */
    uint32_t dpdk_device_count;
    char dpdk_devices[HF_DPDK_DEVICES_MAX][HF_LISTEN_BYTES]; /* of the file's dpdk section: more to listen on, whatever `listen` is */
    char dpdk_eal[HF_PATH_BYTES];                            /* more arguments for DPDK, blanks between them */
    uint32_t control_count;
    char control[HF_LISTEN_MAX][HF_LISTEN_BYTES]; /* of the control plane: tcp or unix; 0: none */
    bool control_chosen;                          /* false: control[0] is what nobody asked for */
    uint32_t cpu_count;                           /* 0: the shell chooses */
    uint32_t cpus[HF_CPUS_MAX];
    uint32_t shards;     /* 1 to HF_SHARDS_MAX */
    uint32_t partitions; /* of a new directory; 0: 256, and an existing one says its own */
    enum hf_durability durability;
    enum hf_drainer drainer;
    enum hf_idle idle;
    enum hf_log_choice log_backend;
    enum hf_log_level log_level;
    uint64_t skus_max, orders_max, cells_max, lines_max, command_ids_max, limits_max, request_keys_max; /* rows, of the node */
    uint64_t retention_ns, clock_gap_max_ns;
    uint64_t session_idle_ns;   /* how long a session without a connection is kept; 0: 60 s */
    uint64_t slow_request_ms;   /* calls of the control plane that take longer are logged; 0: none */
    uint64_t follower_stall_ns; /* how long a follower of events may take too little; 0: 30 s */
    uint64_t log_ahead_bytes;
    uint64_t segment_bytes;   /* of a new directory; 0: persist's own size */
    uint64_t block_max_bytes; /* of a new directory; 0: persist's own size */
    bool prefault, accept_clock, insecure_listen;
    bool check_config, version, help;
};

/* Defaults of this machine: shards = online cores - 1, at least 1. */
void hf_server_options_default(struct hf_server_options *options);

/* Defaults, then the file that --config names, then the flags of argv[1..argc-1] ("--name value" or "--name=value"; switches also
 * "--name=false"). A list (listen, cpus) given by flags replaces the file's. Returns 0, or HF_E_USAGE with one sentence in error[];
 * *options then holds what was read so far, and of it only check_config may be relied on. --help and --version end the reading. */
int hf_server_options_parse(int argc, char *const *argv, struct hf_server_options *options, char *error, size_t error_bytes);

/* Every option with its default and meaning. */
void hf_server_options_help(FILE *out);

/* What main does after parsing: prints the fault, the help, the version or `configuration ok`. Returns the exit status (0 or 2), or -1: go
 * on and serve. */
int hf_server_options_act(const struct hf_server_options *options, int parsed, const char *error, const char *version);

#endif

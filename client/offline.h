/* A stopped data directory as the tool's offline commands see it: its log, read only, and an engine to replay it into. One thread. */
#ifndef HF_CLIENT_OFFLINE_H
#define HF_CLIENT_OFFLINE_H

#include "client/tool.h"
#include "engine/engine.h"
#include "persist/log.h"

enum { HF_OFFLINE_SHARDS_MAX = 64, HF_OFFLINE_OPTIONS = 9 };

/* What the command line says; zeros are filled by hf_offline_open(). */
struct hf_offline_options {
    const char *dir;
    uint64_t skus_max, orders_max, cells_max, lines_max, command_ids_max, limits_max; /* 0: eight times holdfastd's default, or what fits */
    uint64_t request_keys_max;                                                        /* the same */
    uint64_t shards;                                                                  /* quotas to replay with; 0: 1 */
    bool prefault; /* takes the memory of the sizes named, or of holdfastd's, at once and in huge pages */
};

struct hf_offline {
    struct hf_log *log;
    struct hf_log_info info;
    struct hf_engine *engine;
    unsigned shards;
    struct hf_quota quotas[HF_OFFLINE_SHARDS_MAX];
};

/* Rows for hf_tool_options(): --data and the sizes, HF_OFFLINE_OPTIONS of them into rows[]. */
void hf_offline_option_rows(struct hf_offline_options *options, bool data_required, struct hf_tool_option *rows);

/* Opens the log and makes an empty engine for it. 0, or an exit status (holdfastd's) after a sentence on stderr. */
int hf_offline_open(const struct hf_tool *tool, const struct hf_offline_options *options, struct hf_offline *out);
void hf_offline_close(struct hf_offline *offline);

/* A 16-digit digest. */
json_t *hf_offline_digest(uint64_t digest);

#endif

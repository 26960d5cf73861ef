/* `holdfast`: the operator's and the load tool. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/tool.h"

#ifndef HF_VERSION
#define HF_VERSION "unknown"
#endif

static int version(struct hf_tool *tool, int argc, char **argv)
{
    (void)argv;
    if (argc > 0)
        return hf_tool_usage(tool, "'version' takes nothing");
    hf_tool_print(tool, json_pack("{s:s, s:i}", "version", HF_VERSION, "protocol", HF_FRAME_VERSION));
    return HF_EXIT_DONE;
}

const struct hf_tool_command hf_tool_commands[] = {
    {"sku", hf_tool_sku_command, "sku define|get          a SKU, its name and policy"},
    {"location", hf_tool_location, "location define|list    stores and warehouses"},
    {"stock", hf_tool_stock, "stock import|receive|adjust|set|get    quantities of cells"},
    {"order", hf_tool_order, "order place|get|settle|result|ship|cancel|extend    orders"},
    {"status", hf_tool_status, "status                  what the engine says about itself"},
    {"top", hf_tool_top, "top                     rates, latency, queues, log, stalls and hot SKUs, once a second"},
    {"shards", hf_tool_shards, "shards                  what each shard does: loop, queues, words, records, sessions"},
    {"stalls", hf_tool_stalls, "stalls                  where each shard's loop is, and the longest time of each of its stages"},
    {"log", hf_tool_log, "log                     where the log stands, how it is written, what room is left"},
    {"log-level", hf_tool_log_level, "log-level [debug|info|warn]    of the engine's own log, until its next start; needs --control"},
    {"drain", hf_tool_drain, "drain                   stops the engine as SIGTERM does; needs --control"},
    {"digest", hf_tool_digest, "digest                  position and digest of the engine's state"},
    {"load", hf_tool_load, "load                    offers orders at a rate or as fast as they are answered, and measures"},
    {"follow", hf_tool_follow, "follow                  every durable record's outcome, as it comes"},
    {"audit", hf_tool_audit, "audit                   recomputes from the log what must hold, and what clients were told"},
    {"journal", hf_tool_journal, "journal info|verify|dump|replay    the log in a data directory, without an engine"},
    {"version", version, "version                 the version of this tool"},
    {NULL, NULL, NULL},
};

static const char usage[] =
    "holdfast [--server ADDR | --control ADDR] [--json] COMMAND ...\n"
    "  --server ADDR   tcp://HOST:PORT, udp://HOST:PORT or unix://PATH; default $HOLDFAST_SERVER, then " HF_CLIENT_DEFAULT_SERVER "\n"
    "  --control ADDR  the control plane instead: a data directory, unix://PATH or tcp://HOST:PORT\n"
    "  --json          exactly one line on stdout\n"
    "exit status: 0 done, 1 refused by the engine, 2 usage, 3 the engine cannot be reached\n"
    "commands ('holdfast COMMAND --help' says more):";

/* Takes --server, --control and --json out, wherever they stand. */
static int take_common(struct hf_tool *tool, int argc, char **argv)
{
    int kept = 0;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            tool->json = true;
        else if (strcmp(argv[i], "--server") == 0 && i + 1 < argc)
            tool->server = argv[++i];
        else if (strncmp(argv[i], "--server=", 9) == 0)
            tool->server = argv[i] + 9;
        else if (strcmp(argv[i], "--control") == 0 && i + 1 < argc)
            tool->control = argv[++i];
        else if (strncmp(argv[i], "--control=", 10) == 0)
            tool->control = argv[i] + 10;
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    return kept;
}

int main(int argc, char **argv)
{
    struct hf_tool tool = {.server = getenv("HOLDFAST_SERVER"), .command = "", .usage = usage};
    if (!tool.server || !*tool.server)
        tool.server = HF_CLIENT_DEFAULT_SERVER;
    int kept = take_common(&tool, argc - 1, argv + 1);
    int status = hf_tool_dispatch(&tool, hf_tool_commands, kept, argv + 1);
    if (fflush(stdout) != 0 && status == HF_EXIT_DONE)
        status = hf_tool_fail(&tool, HF_EXIT_USAGE, "stdout cannot be written");
    return status;
}

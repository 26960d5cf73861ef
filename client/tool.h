/* What the commands of `holdfast` share: the command table, options, output, and the simple call.
 *
 * A command builds one JSON object and prints it with hf_tool_print(): as one line with --json, as readable text without. */
#ifndef HF_CLIENT_TOOL_H
#define HF_CLIENT_TOOL_H

#include <jansson.h>

#include "client/holdfast.h"
#include "wire/record.h"

enum { HF_EXIT_DONE = 0, HF_EXIT_REFUSED = 1, HF_EXIT_USAGE = 2, HF_EXIT_UNREACHABLE = 3 };

struct hf_control_client;

struct hf_tool {
    const char *server;
    const char *control; /* instead of `server`; NULL: none was given */
    bool json;
    const char *command; /* for messages: "stock set" */
    const char *usage;
};

struct hf_tool_command {
    const char *name;                                        /* "version", or the word before its subcommands */
    int (*run)(struct hf_tool *tool, int argc, char **argv); /* argv[0] is the word behind the name; returns the exit status */
    const char *usage;                                       /* lines for --help */
};

/* The rows of the tool; ends with a NULL name. */
extern const struct hf_tool_command hf_tool_commands[];

/* Runs the subcommand that argv[0] names, with usage errors and --help. */
int hf_tool_dispatch(struct hf_tool *tool, const struct hf_tool_command *rows, int argc, char **argv);

enum hf_tool_kind { HF_KIND_FLAG, HF_KIND_TEXT, HF_KIND_U64, HF_KIND_I64, HF_KIND_REAL };
struct hf_tool_option {
    const char *name; /* "--ttl", or without dashes: the next positional argument */
    enum hf_tool_kind kind;
    void *out; /* bool, const char *, uint64_t, int64_t, double */
    bool required;
    bool *given; /* may be NULL */
};

/* 0, or HF_EXIT_USAGE after a sentence on stderr. --help prints the usage and returns -1. */
int hf_tool_options(const struct hf_tool *tool, int argc, char **argv, const struct hf_tool_option *options, size_t count);
/* A sentence and the usage on stderr; returns HF_EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int hf_tool_usage(const struct hf_tool *tool, const char *format, ...);
/* A sentence on stderr, with `status` handed through. */
__attribute__((format(printf, 3, 4))) int hf_tool_fail(const struct hf_tool *tool, int status, const char *format, ...);

/* Prints the object and drops it. */
void hf_tool_print(const struct hf_tool *tool, json_t *object);
/* One durable record: its outcome as a line. `command` is the record's own. */
void hf_tool_print_record(const struct hf_tool *tool, const struct hf_follow_head *head, const struct hf_record *record,
                          const struct hf_command *command);
/* Keys of an answer that every command prints: result and, where they mean something, position, version, flags. */
void hf_tool_answer_keys(json_t *object, const struct hf_answer *answer);
/* Prints the answer's keys and `more` (taken, may be NULL); 0 for OK, else HF_EXIT_REFUSED with code and advice on stderr. */
int hf_tool_finish(const struct hf_tool *tool, const struct hf_answer *answer, json_t *more);

/* A connection to an engine's data port, or to its control plane, and one command at a time over it. */
struct hf_tool_call {
    struct hf_client *client;          /* one of these two is NULL */
    struct hf_control_client *control; /* commands go as bytes, by Admin.Execute */
    struct hf_batch *batch;
    struct hf_command *command;
    uint64_t deadline_ns; /* 0: the client's */
    uint64_t time_ms, time_at_ns;
    uint32_t partitions;
    struct hf_answer *answer;
    _Alignas(8) uint8_t room[HF_FRAME_ANSWER_BYTES_MAX];
    _Alignas(8) uint8_t command_room[HF_COMMAND_BYTES_MAX];
};

/* Connects to what --server or --control names, or says why not: 0 or HF_EXIT_UNREACHABLE (HF_EXIT_USAGE for a bad address). */
int hf_tool_connect(const struct hf_tool *tool, struct hf_tool_call *call);
/* One command and its answer. open: connects and lends a command to fill; send: 0 with *answer valid until close, or an exit status after a
 * sentence; discard: the lent command is not to be sent. */
int hf_tool_call_open(const struct hf_tool *tool, struct hf_tool_call *call, uint16_t opcode, uint16_t lines, uint16_t ext_bytes,
                      struct hf_command **command);
/* The same over the connection that is open. */
struct hf_command *hf_tool_call_again(struct hf_tool_call *call, uint16_t opcode, uint16_t lines, uint16_t ext_bytes);
int hf_tool_call_send(const struct hf_tool *tool, struct hf_tool_call *call);
void hf_tool_call_discard(struct hf_tool_call *call);
void hf_tool_call_close(struct hf_tool_call *call);
/* The items of `each` bytes behind the first `head_bytes` of an answer's items: *count of them, none where it was refused or is shorter. */
const void *hf_tool_items(const struct hf_answer *answer, size_t head_bytes, size_t each_bytes, size_t *count);
/* Where a list that comes in pages has got to. */
struct hf_tool_page {
    uint32_t first;        /* asked for */
    uint64_t next, listed; /* where the next page begins; items that came so far */
    bool more;
};
/* Behind a page: whether to ask on, from where `next` says. 0, or an exit status after a sentence when the peer says MORE and brings
 * nothing behind `first`, or more than any engine holds: what it sends need not end. */
int hf_tool_page_turn(const struct hf_tool *tool, const struct hf_answer *answer, struct hf_tool_page *page);
/* A fresh id; the engine's number of partitions; the most bytes of a frame that the path carries. */
struct hf_id hf_tool_call_id(struct hf_tool_call *call, uint16_t route);
uint32_t hf_tool_call_partitions(const struct hf_tool_call *call);
unsigned hf_tool_call_frame_bytes_max(const struct hf_tool_call *call);

/* HF_EXIT_UNREACHABLE, said of a command that was sent and had no answer. */
int hf_tool_fail_unknown(const struct hf_tool *tool, const char *why);

/* Commands over a control plane, many at once (tool_control.c). begin: `done` gets the answer, NULL when there is none, and then the name
 * of the result that refused the call or 0. False: too many are out. */
bool hf_tool_execute(struct hf_tool_call *call, const struct hf_command *command,
                     void (*done)(void *context, const struct hf_answer *answer, uint16_t refused), void *context);
/* Steps on: 0, or HF_EXIT_UNREACHABLE after a sentence. */
int hf_tool_execute_poll(const struct hf_tool *tool, struct hf_tool_call *call);
/* A lent command without its fields, as hf_batch_add() does. */
struct hf_command *hf_tool_blank_command(void *room, uint16_t opcode, uint16_t lines, uint16_t ext_bytes);

/* Text and keys. 0 or HF_EXIT_USAGE. */
int hf_tool_sku(const struct hf_tool *tool, const char *text, struct hf_sku *out);
int hf_tool_id(const struct hf_tool *tool, const char *text, struct hf_id *out);
json_t *hf_json_sku(const struct hf_sku *sku); /* its text, or "0x" and 32 hex digits where it is not printable */
json_t *hf_json_id(struct hf_id id);
json_t *hf_json_cell(const struct hf_cell_item *cell);
json_t *hf_json_u64(uint64_t value);
void hf_id_text(struct hf_id id, char out[33]);
const char *hf_order_state_name(unsigned state);
const char *hf_payment_state_name(unsigned state);
const char *hf_fulfilment_state_name(unsigned state);
const char *hf_opcode_name(unsigned opcode);

/* The commands, by file. */
int hf_tool_sku_command(struct hf_tool *tool, int argc, char **argv);
int hf_tool_location(struct hf_tool *tool, int argc, char **argv);
int hf_tool_stock(struct hf_tool *tool, int argc, char **argv);
int hf_tool_import(struct hf_tool *tool, int argc, char **argv);
int hf_tool_order(struct hf_tool *tool, int argc, char **argv);
int hf_tool_status(struct hf_tool *tool, int argc, char **argv);
int hf_tool_digest(struct hf_tool *tool, int argc, char **argv);
int hf_tool_shards(struct hf_tool *tool, int argc, char **argv);
int hf_tool_stalls(struct hf_tool *tool, int argc, char **argv);
int hf_tool_log(struct hf_tool *tool, int argc, char **argv);
int hf_tool_log_level(struct hf_tool *tool, int argc, char **argv);
int hf_tool_drain(struct hf_tool *tool, int argc, char **argv);
int hf_tool_top(struct hf_tool *tool, int argc, char **argv);
/* The whole of what STATUS says as one object, its shards in the array "shards": 0 with *out, or an exit status after a sentence. `call` is
 * connected. */
int hf_tool_ask_status(const struct hf_tool *tool, struct hf_tool_call *call, json_t **out);
/* The stage where a shard of the status stands, by its name. */
const char *hf_tool_stage_name(const json_t *shard);
int hf_tool_follow(struct hf_tool *tool, int argc, char **argv);
int hf_tool_load(struct hf_tool *tool, int argc, char **argv);
int hf_tool_journal(struct hf_tool *tool, int argc, char **argv); /* offline_journal.c */
int hf_tool_audit(struct hf_tool *tool, int argc, char **argv);   /* offline_audit.c */

#endif

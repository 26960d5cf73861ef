/* An engine and the oracle side by side, and the list of what was done to them, so that a failure can be done again in part. */
#ifndef HF_PROPERTY_WORLD_H
#define HF_PROPERTY_WORLD_H

#include "engine/engine.h"
#include "tests/oracle/oracle.h"
#include "wire/command_check.h"

#define MS_NS    1000000ull
#define S_NS     1000000000ull
#define START_NS 1800000000000000000ull

enum hf_deed_kind {
    HF_DEED_COMMAND, /* a client's command */
    HF_DEED_SWEEP,   /* what is due in a partition, all of it */
    HF_DEED_MARK,
    HF_DEED_CRASH, /* the engine starts again, with some of what was not acknowledged gone */
};

/* One thing done. */
struct hf_deed {
    enum hf_deed_kind kind;
    uint64_t now_ns, latest_ns;
    uint32_t partition, ids_max; /* of a sweep */
    uint16_t shed;               /* refuse new orders with this result; 0: take them */
    bool hint, digest;           /* hand the step a hint; compare digests around a refusal */
    uint32_t late;               /* the answer arrives so many deeds later */
    uint64_t draw;               /* of a crash: how much is gone */
    size_t command;              /* where its bytes stand */
};

struct hf_script {
    struct hf_deed *deed;
    size_t count, room;
    uint8_t *bytes;
    size_t used, bytes_room;
};

void hf_script_add(struct hf_script *script, const struct hf_deed *deed, const struct hf_command *command);
const struct hf_command *hf_script_command(const struct hf_script *script, const struct hf_deed *deed);
void hf_script_clear(struct hf_script *script); /* to begin again */
void hf_script_end(struct hf_script *script);

/* How one episode is set up; all of it drawn from its seed. */
struct hf_setting {
    uint32_t partitions;
    uint64_t retention_ms;
    bool wall_differs, small; /* small: tables so small that they fill up */
    bool history;             /* answers arrive late, and the engine crashes */
    uint64_t key[2];
};

/* An answer on its way. */
struct hf_late {
    struct hf_oracle_span span;
    uint64_t due; /* deeds until it arrives */
    _Alignas(8) uint8_t command[HF_COMMAND_BYTES_MAX];
    _Alignas(8) uint8_t answer[16384];
};

enum { HF_LATE_MAX = 24 };

struct hf_world {
    struct hf_setting setting;
    struct hf_engine *engine;
    struct hf_oracle *oracle;
    struct hf_engine_options options;
    struct hf_quota quota;
    uint64_t position, commands, records, deeds, acknowledged, crashes;
    struct hf_late *late; /* HF_LATE_MAX of them; due 0: none */
    uint8_t *log;
    size_t log_bytes, log_room;
    uint64_t alter_at, alter_draw; /* one bit of that record's outcome, as drawn, is flipped before the oracle sees it; 0: none */
    uint64_t lie_from;             /* the first answer from that many commands on that can be made a lie is made one; 0: none */
    uint32_t alter_bit;
    bool altered, refused; /* whether that was done, and what the oracle said */
    char fault[1400];      /* empty: none */
    _Alignas(8) uint8_t command[HF_COMMAND_BYTES_MAX];
    _Alignas(8) uint8_t record[HF_RECORD_BYTES_MAX];
    _Alignas(8) uint8_t answer[65536];
};

/* Both or neither; false without memory. */
bool hf_world_open(struct hf_world *world, const struct hf_setting *setting);
void hf_world_close(struct hf_world *world);

/* Does one thing to both; false (and world->fault) where they differ. */
bool hf_world_do(struct hf_world *world, const struct hf_script *script, const struct hf_deed *deed);

/* The answer to the last command. */
const struct hf_answer *hf_world_answer(const struct hf_world *world);

/* Everything: each order, cell and SKU by queries, the engine's audit, the oracle's invariants, and a replay into another engine. */
bool hf_world_compare(struct hf_world *world, uint64_t now_ns);

#endif

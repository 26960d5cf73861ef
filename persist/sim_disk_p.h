/* Inside of the simulated disk: shared by sim_disk.c (what lies on it, its faults), sim_damage.c (damage at rest, what a start must make of
 * it) and backend_sim.c (the operations of a process that has it open). */
#ifndef HF_PERSIST_SIM_DISK_P_H
#define HF_PERSIST_SIM_DISK_P_H

#include "persist/backend_sim.h"
#include "persist/manifest.h"

enum { SIM_INFLIGHT_MAX = 8, SIM_SECTOR_BYTES = 512, SIM_SEGMENTS_MAX = 1 << 16 };

/* Where a sector's newest content lies: on the medium alone, in the volatile cache, or in a page cache that lost it and does not know. */
enum sim_sector { SIM_CLEAN, SIM_DIRTY, SIM_STALE };

struct sim_write {
    uint64_t position;
    uint32_t bytes;
    uint8_t *data;
    uint64_t cached_ns, due_ns;
    bool cached, over;
    bool orphan, late, unflushed; /* nobody waits for it; because of a kill; its flush will not come */
    enum hf_sim_fault fault;      /* HF_SIM_FAULTS: none */
};

/* A block that was reported durable; those before it may not have been. */
struct sim_block {
    uint64_t position, stated, term, number;
    uint32_t bytes, length;
};

struct sim_manifest {
    uint8_t now[HF_MANIFEST_BYTES], medium[HF_MANIFEST_BYTES], truth[HF_MANIFEST_BYTES];
    uint32_t bytes;
};

/* Space being zeroed by a process: [from, end); `from` is where the published space ends. */
struct sim_slice {
    uint64_t from, end, due_ns;
    bool under_way, makes_segment;
};

struct hf_sim_disk {
    struct hf_sim_options options;
    uint64_t random, now_ns;
    uint8_t *medium, *cache, *truth; /* `bytes` each */
    uint8_t *sectors, *harmed;       /* one a sector: enum sim_sector; 1: damaged, so not what was written */
    uint64_t bytes;
    uint64_t segment_bytes, segments;        /* 0 before the first was made */
    uint64_t segment_have[SIM_SEGMENTS_MAX]; /* length of each file; 0: none */
    uint64_t settled;                        /* segments below this number are durable entries of the directory */
    struct sim_manifest manifest[HF_MANIFEST_COPIES];
    struct sim_write writes[SIM_INFLIGHT_MAX];
    unsigned write_count;
    struct sim_slice slice;
    struct sim_block *blocks;
    uint64_t block_count, block_room;
    uint64_t operations, crash_at, kill_at, full_until_ns;
    bool crashed, locked;
    uint64_t plans[HF_SIM_FAULTS];
    uint32_t rates[HF_SIM_FAULTS];
    uint64_t counts[HF_SIM_FAULTS];
};

uint64_t sim_random(struct hf_sim_disk *disk);
/* Makes the images at least this large. */
void sim_grow(struct hf_sim_disk *disk, uint64_t end);
/* Counts an operation that ends the life where one was asked for; true when nobody lives (any more). */
bool sim_gone(struct hf_sim_disk *disk);
/* Whether this operation meets the fault, by plan or by chance; counts it. */
bool sim_meets(struct hf_sim_disk *disk, enum hf_sim_fault fault);
/* What is due by now lands in the cache, or is over. */
void sim_advance(struct hf_sim_disk *disk);
/* Ends a write: takes it off the list. */
void sim_write_gone(struct hf_sim_disk *disk, unsigned index);
/* Sectors are not what was written there, by a fault that no rule can prevent. */
void sim_harm(struct hf_sim_disk *disk, uint64_t position, uint64_t bytes, bool harmed);
/* Puts a write's sectors where they go: on the medium, or volatile. */
void sim_land(struct hf_sim_disk *disk, uint64_t position, const uint8_t *data, uint32_t bytes, enum sim_sector as);
/* `bytes` at `position` as a process reads them now; false: at least a part lies in no segment (and reads as zeros). */
bool sim_look(const struct hf_sim_disk *disk, uint64_t position, uint8_t *to, uint64_t bytes);
/* Volatile sectors from `position` on become durable; pages that were lost are dropped. */
void sim_settle(struct hf_sim_disk *disk, uint64_t position);
void sim_manifest_torn(struct hf_sim_disk *disk, struct sim_manifest *copy);
/* Remembers a block that was reported durable. */
void sim_block_add(struct hf_sim_disk *disk, const struct sim_write *write);
/* A manifest was written: what a new beginning in it cuts is forgotten, what it builds on is remembered. */
void sim_term_begins(struct hf_sim_disk *disk, const uint8_t *manifest);

#endif

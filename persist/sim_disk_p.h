/* Inside of the simulated disk: shared by sim_disk.c (what lies on it, its faults), sim_damage.c (damage at rest, what a start must make of
 * it) and backend_sim.c (the operations of a process that has it open). */
#ifndef HF_PERSIST_SIM_DISK_P_H
#define HF_PERSIST_SIM_DISK_P_H

#include "persist/backend_sim.h"
#include "persist/manifest.h"

enum { HF_SIM_INFLIGHT_MAX = 8, HF_SIM_SECTOR_BYTES = 512, HF_SIM_SEGMENTS_MAX = 1 << 16 };

/* Where a sector's newest content lies: on the medium alone, in the volatile cache, or in a page cache that lost it and does not know. */
enum hf_sim_sector { HF_SIM_CLEAN, HF_SIM_DIRTY, HF_SIM_STALE };

struct hf_sim_write {
    uint64_t position;
    uint32_t bytes;
    uint8_t *data;
    uint64_t cached_ns, due_ns;
    bool cached, over;
    bool orphan, late, unflushed; /* nobody waits for it; because of a kill; its flush will not come */
    enum hf_sim_fault fault;      /* HF_SIM_FAULTS: none */
};

/* A block that was reported durable; those before it may not have been. */
struct hf_sim_block {
    uint64_t position, stated, term, number;
    uint32_t bytes, length;
};

struct hf_sim_manifest {
    uint8_t now[HF_MANIFEST_BYTES], medium[HF_MANIFEST_BYTES], truth[HF_MANIFEST_BYTES];
    uint32_t bytes;
};

/* Space being zeroed by a process: [from, end); `from` is where the published space ends. */
struct hf_sim_slice {
    uint64_t from, end, due_ns;
    bool under_way, makes_segment;
};

struct hf_sim_disk {
    struct hf_sim_options options;
    uint64_t random, now_ns;
    uint8_t *medium, *cache, *truth; /* `bytes` each */
    uint8_t *sectors, *harmed;       /* one a sector: enum hf_sim_sector; 1: damaged, so not what was written */
    uint64_t bytes;
    uint64_t segment_bytes, segments;           /* 0 before the first was made */
    uint64_t segment_have[HF_SIM_SEGMENTS_MAX]; /* length of each file; 0: none */
    uint64_t settled;                           /* segments below this number are durable entries of the directory */
    struct hf_sim_manifest manifest[HF_MANIFEST_COPIES];
    struct hf_sim_write writes[HF_SIM_INFLIGHT_MAX];
    unsigned write_count;
    struct hf_sim_slice slice;
    struct hf_sim_block *blocks;
    uint64_t block_count, block_room;
    uint64_t operations, crash_at, kill_at, full_until_ns;
    bool crashed, locked;
    uint64_t plans[HF_SIM_FAULTS];
    uint32_t rates[HF_SIM_FAULTS];
    uint64_t counts[HF_SIM_FAULTS];
};

uint64_t hf_sim_random(struct hf_sim_disk *disk);
/* Makes the images at least this large. */
void hf_sim_grow(struct hf_sim_disk *disk, uint64_t end);
/* Counts an operation that ends the life where one was asked for; true when nobody lives (any more). */
bool hf_sim_gone(struct hf_sim_disk *disk);
/* Whether this operation meets the fault, by plan or by chance; counts it. */
bool hf_sim_meets(struct hf_sim_disk *disk, enum hf_sim_fault fault);
/* What is due by now lands in the cache, or is over. */
void hf_sim_advance(struct hf_sim_disk *disk);
/* Ends a write: takes it off the list. */
void hf_sim_write_gone(struct hf_sim_disk *disk, unsigned index);
/* Sectors are not what was written there, by a fault that no rule can prevent. */
void hf_sim_harm(struct hf_sim_disk *disk, uint64_t position, uint64_t bytes, bool harmed);
/* Puts a write's sectors where they go: on the medium, or volatile. */
void hf_sim_land(struct hf_sim_disk *disk, uint64_t position, const uint8_t *data, uint32_t bytes, enum hf_sim_sector as);
/* `bytes` at `position` as a process reads them now; false: at least a part lies in no segment (and reads as zeros). */
bool hf_sim_look(const struct hf_sim_disk *disk, uint64_t position, uint8_t *to, uint64_t bytes);
/* Volatile sectors from `position` on become durable; pages that were lost are dropped. */
void hf_sim_settle(struct hf_sim_disk *disk, uint64_t position);
void hf_sim_manifest_torn(struct hf_sim_disk *disk, struct hf_sim_manifest *copy);
/* Remembers a block that was reported durable. */
void hf_sim_block_add(struct hf_sim_disk *disk, const struct hf_sim_write *write);
/* A manifest was written: what a new beginning in it cuts is forgotten, what it builds on is remembered. */
void hf_sim_term_begins(struct hf_sim_disk *disk, const uint8_t *manifest);

#endif

/* A disk in memory that fails on order: for tests of the log without a file system.
 *
 * Purpose: power cuts that keep any subset of the sectors under way, torn and failed writes, a full disk, slowness; all of it from one
 * seed. Threads: one. Memory: grows with what is written (tests only). It outlives the logs that are opened on it: pass it as
 * backend_options. */
#ifndef HF_PERSIST_BACKEND_SIM_H
#define HF_PERSIST_BACKEND_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct hf_sim_disk;

struct hf_sim_options {
    uint64_t seed;
    uint64_t capacity_bytes; /* log space that can ever be had; 0: no limit */
    unsigned depth;          /* writes in flight, 1 to 4; 0: 1 */
    unsigned polls_max;      /* a write ends after 1 to this many polls, in any order; 0: 1 */
};

enum hf_sim_fault { HF_SIM_WRITE_ERROR, HF_SIM_WRITE_SHORT, HF_SIM_FENCED };

struct hf_sim_disk *hf_sim_disk_new(const struct hf_sim_options *options);
void hf_sim_disk_free(struct hf_sim_disk *disk);

/* The power goes at the `operations`-th operation from now (appends, polls with writes under way, manifest writes): everything fails from
 * then on. */
void hf_sim_disk_crash_after(struct hf_sim_disk *disk, uint64_t operations);
bool hf_sim_disk_crashed(const struct hf_sim_disk *disk);
/* Power is back: of each write under way an arbitrary subset of 512-byte sectors was kept. Also ends a log that was closed without a stop.
 */
void hf_sim_disk_restart(struct hf_sim_disk *disk);

/* The `appends`-th append from now ends with this fault. */
void hf_sim_disk_fail_append(struct hf_sim_disk *disk, uint64_t appends, enum hf_sim_fault fault);
void hf_sim_disk_set_capacity(struct hf_sim_disk *disk, uint64_t bytes);

/* Damage: bits of one byte of the log or of a manifest copy change; a range of the log becomes zeros. */
void hf_sim_disk_flip(struct hf_sim_disk *disk, uint64_t position, uint8_t mask);
void hf_sim_disk_flip_manifest(struct hf_sim_disk *disk, unsigned copy, uint32_t offset, uint8_t mask);
void hf_sim_disk_wipe(struct hf_sim_disk *disk, uint64_t position, uint64_t bytes);
/* What lies there, for comparing and forging; NULL beyond the end. */
uint8_t *hf_sim_disk_at(struct hf_sim_disk *disk, uint64_t position);
uint8_t *hf_sim_disk_manifest(struct hf_sim_disk *disk, unsigned copy);
uint64_t hf_sim_disk_bytes(const struct hf_sim_disk *disk);

#endif

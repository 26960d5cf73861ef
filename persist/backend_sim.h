/* A disk in memory that fails on order: for tests of the log, and of all above it, without a file system.
 *
 * Purpose: what a real disk, a file system and a killed process can do to a log, from one seed, under a virtual clock. It outlives the logs
 * that are opened on it: pass it as backend_options of HF_LOG_SIM. Threads: one; logs on it read with the thread that asks. Memory: grows
 * with what is written (tests only). Everything that happens depends on the seed, the calls and the times they are made at.
 *
 * Life of a write: it is submitted, some time later it lies in a volatile cache (readable, but lost by a power cut), some time later it is
 * durable, and only then poll reports it. A power cut keeps any subset of the 512-byte sectors that were under way or volatile; a kill
 * keeps what is volatile, and writes under way may still land: the directory's lock is held until the last of them is over.
 * Log space is made in segments and zeroed ahead in slices that take time and may meet a full disk; a segment whose making was cut may be
 * missing, short or whole. Time: hf_sim_disk_set_now, or one unit for each poll where no latencies are given. */
#ifndef HF_PERSIST_BACKEND_SIM_H
#define HF_PERSIST_BACKEND_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hf_sim_disk;

/* "Survives": everything acknowledged comes back. "Stops": the process may not serve on, says why, and the next start survives.
 * "Refuses": the next start says where the damage is, and never serves what is left. */
enum hf_sim_fault {
    HF_SIM_POWER_CUT,     /* survives */
    HF_SIM_KILL,          /* survives */
    HF_SIM_TORN_WRITE,    /* survives: a cut kept some sectors of a write and not others */
    HF_SIM_LOST_CACHE,    /* survives: a cut took a write that was volatile, so never reported */
    HF_SIM_LATE_WRITE,    /* survives: a killed process's write landed after the kill; the lock keeps the next start from before that */
    HF_SIM_SLOW_WRITE,    /* survives: 20 to 200 times as long as any other */
    HF_SIM_NO_SPACE,      /* survives: segments cannot be made for a while; the watermark sinks and rises again */
    HF_SIM_SEGMENT_LOST,  /* survives: a cut took a segment whose making was not durable yet; nothing is written there before it is */
    HF_SIM_MANIFEST_TORN, /* survives: a cut kept some sectors of a manifest copy; the other copy counts */
    HF_SIM_MANIFEST_ROT,  /* survives in one copy, refuses in both */
    HF_SIM_WRITE_ERROR,   /* stops: any subset of the write's sectors landed */
    HF_SIM_WRITE_SHORT,   /* stops: a first part of the write landed */
    HF_SIM_FLUSH_ERROR, /* stops (a start is refused); never retried: through the page cache what it lost still reads well until dropped */
    HF_SIM_FENCED,      /* stops: another writer has the log */
    HF_SIM_MANIFEST_ERROR, /* stops: the start or the clean stop fails; what the copy holds is unknown */
    HF_SIM_READ_ERROR,     /* refuses while it lasts, survives afterwards */
    HF_SIM_ROT,            /* bits changed at rest. Refuses in a block that is stated durable; survives where no block is */
    HF_SIM_LOST_WRITE,     /* reported durable and never written. Refuses, once a later block or a clean end states it */
    HF_SIM_MISDIRECTED,    /* reported durable and written to another place. Refuses, as above and for what stood there */
    HF_SIM_SEGMENT_GONE,   /* a segment deleted or cut short at rest. Refuses if a later one exists and the log has not ended before it */
    HF_SIM_FAULTS
};

struct hf_sim_options {
    uint64_t seed;
    uint64_t capacity_bytes; /* log space that can ever be had; 0: no limit */
    unsigned depth;          /* writes in flight, 1 to 4; 0: 1 */
    unsigned polls_max;      /* without latencies: a write ends after 1 to this many polls, in any order; 0: 1 */
    uint64_t write_ns_max;   /* with them: each write takes up to this long, in virtual time */
    uint64_t fill_ns_max;    /* a slice of zeroed space takes up to this long; 0: no time */
    uint64_t fill_bytes;     /* of a slice; 0: all at once */
    bool buffered;           /* writes go through a page cache, with a flush: no O_DIRECT */
    bool keeps_old;          /* space ahead is not zeroed but keeps what older terms left there */
};

/* What the next start must do with the disk as it is now, if the rules are kept. */
enum hf_sim_promise {
    HF_SIM_KEEPS,    /* start, and recover everything that was reported durable */
    HF_SIM_EITHER,   /* the same, or be refused: what is damaged may or may not be looked at */
    HF_SIM_REFUSES,  /* be refused */
    HF_SIM_LEFT_OVER /* damage in what was reported durable and never stated so on disk (docs/journal.md, What is left over): recover
                        everything that ends at or before the position given, or be refused */
};

struct hf_sim_disk *hf_sim_disk_new(const struct hf_sim_options *options);
void hf_sim_disk_free(struct hf_sim_disk *disk);

/* Virtual time, never back. A log's stop, and a lock that is waited for, move it on by themselves: ask hf_sim_disk_now after them. */
void hf_sim_disk_set_now(struct hf_sim_disk *disk, uint64_t now_ns);
uint64_t hf_sim_disk_now(const struct hf_sim_disk *disk);
/* When something that is under way comes next to its end; UINT64_MAX: nothing is. For a simulator that skips idle time. */
uint64_t hf_sim_disk_next_ns(const struct hf_sim_disk *disk);

/* ---- the end of a life: every operation fails from here until hf_sim_disk_restart; then close the log and restart ---- */

void hf_sim_disk_power_cut(struct hf_sim_disk *disk);
void hf_sim_disk_kill(struct hf_sim_disk *disk);
/* The power goes (or the process is killed) within the `operations`-th operation from now: appends, polls with writes under way, manifest
 * writes, flushes, slices of space. */
void hf_sim_disk_crash_after(struct hf_sim_disk *disk, uint64_t operations);
void hf_sim_disk_kill_after(struct hf_sim_disk *disk, uint64_t operations);
bool hf_sim_disk_crashed(const struct hf_sim_disk *disk);
/* A next process may open the disk. Plans that were not met are forgotten, rates stay. A log that was closed without a cut or a kill has
 * ended its writes by itself. */
void hf_sim_disk_restart(struct hf_sim_disk *disk);

/* ---- faults ---- */

/* The `nth` operation from now that `fault` can meet, meets it: SLOW_WRITE, WRITE_*, FENCED, LOST_WRITE, MISDIRECTED: an append;
 * FLUSH_ERROR: an append's flush or a flush of recovery; NO_SPACE: a slice; MANIFEST_ERROR: a manifest write; READ_ERROR: a read. */
void hf_sim_disk_plan(struct hf_sim_disk *disk, enum hf_sim_fault fault, uint64_t nth);
/* Each such operation meets it with this chance. */
void hf_sim_disk_set_rate(struct hf_sim_disk *disk, enum hf_sim_fault fault, uint32_t per_million);
/* From here on only what is said: no rates, no plans, no lack of space (capacity_bytes stays). What is damaged stays so. */
void hf_sim_disk_calm(struct hf_sim_disk *disk);
void hf_sim_disk_set_capacity(struct hf_sim_disk *disk, uint64_t bytes);
/* Segments cannot be made until the time given. */
void hf_sim_disk_fill_up(struct hf_sim_disk *disk, uint64_t until_ns);

/* Damage at rest, at a place of the disk's choosing; false: nothing to damage yet. Rot: 1 to 4 bits within one sector, in three of four
 * cases one that a block lies in. Segment: a middle one is deleted or cut short. */
bool hf_sim_disk_rot(struct hf_sim_disk *disk);
void hf_sim_disk_rot_manifest(struct hf_sim_disk *disk, unsigned copy);
bool hf_sim_disk_lose_segment(struct hf_sim_disk *disk);
/* Everything that was damaged at rest, lost or misdirected is as it should be again: the operator brought a good copy. */
void hf_sim_disk_repair(struct hf_sim_disk *disk);

/* Between a restart (or before it) and the next start. *kept: for HF_SIM_LEFT_OVER the position up to which all must come back; otherwise
 * the end of what was reported durable. */
enum hf_sim_promise hf_sim_disk_promise(const struct hf_sim_disk *disk, uint64_t *kept);

/* How often each kind happened, HF_SIM_FAULTS of them; and its name ("torn_write"). */
const uint64_t *hf_sim_disk_counts(const struct hf_sim_disk *disk);
const char *hf_sim_fault_name(enum hf_sim_fault fault);

/* ---- exact damage, and looking, for tests of the log ---- */

/* Bits of one byte of the log or of a manifest copy change; a range of the log becomes zeros. */
void hf_sim_disk_flip(struct hf_sim_disk *disk, uint64_t position, uint8_t mask);
void hf_sim_disk_flip_manifest(struct hf_sim_disk *disk, unsigned copy, uint32_t offset, uint8_t mask);
void hf_sim_disk_wipe(struct hf_sim_disk *disk, uint64_t position, uint64_t bytes);
/* What lies there, for comparing and forging; NULL beyond the end. */
uint8_t *hf_sim_disk_at(struct hf_sim_disk *disk, uint64_t position);
uint8_t *hf_sim_disk_manifest(struct hf_sim_disk *disk, unsigned copy);
uint64_t hf_sim_disk_bytes(const struct hf_sim_disk *disk);

#endif

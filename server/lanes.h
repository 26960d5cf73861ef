/* Where commands wait for words: a first-in first-out lane for each home partition, so that waiting never reorders a home. One thread. */
#ifndef HF_SERVER_LANES_H
#define HF_SERVER_LANES_H

#include "server/executor.h"

struct hf_lanes;

/* Room for `tasks_max` parked tasks over `partitions` lanes. NULL: no memory. */
struct hf_lanes *hf_lanes_create(uint32_t partitions, uint32_t tasks_max);
void hf_lanes_destroy(struct hf_lanes *lanes);

/* Whether something waits in the lane: whatever comes for this home must queue behind it. */
bool hf_lanes_busy(const struct hf_lanes *lanes, uint32_t home);

/* Adds to the end of the lane of task->home. False: no room. */
bool hf_lanes_park(struct hf_lanes *lanes, const struct hf_task *task);

/* The first task of the lane, or NULL. Valid until it is taken. */
const struct hf_task *hf_lanes_first(const struct hf_lanes *lanes, uint32_t home);
void hf_lanes_take(struct hf_lanes *lanes, uint32_t home);

/* The partition that the lane's first task lacked when it last tried (HF_LANES_NONE: none noted): its word is marked as wanted. */
enum { HF_LANES_NONE = 0xffffffffu };
uint32_t hf_lanes_lacking(const struct hf_lanes *lanes, uint32_t home);
void hf_lanes_set_lacking(struct hf_lanes *lanes, uint32_t home, uint32_t partition);

/* Homes whose lanes are busy: lanes are listed in no stated order, 0 to count - 1; taking the last task of a lane unlists it. */
uint32_t hf_lanes_count(const struct hf_lanes *lanes);
uint32_t hf_lanes_home(const struct hf_lanes *lanes, uint32_t index);
uint32_t hf_lanes_parked(const struct hf_lanes *lanes);

#endif

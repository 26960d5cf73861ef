/* Memory that is refused on order: what the production sources ask for comes from here (meson.build renames their calls). */
#ifndef HF_SIM_MEMORY_H
#define HF_SIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* The `nth` request from now is refused, and no other; 0: none is. */
void sim_memory_refuse(uint64_t nth);
/* Whether this request is the one; counts it. For requests that are made in another way (a thread's). */
bool sim_memory_refused(void);

#endif

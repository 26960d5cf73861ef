/* What production code counts cycles by here: nanoseconds of the virtual clock. */
#ifndef HF_SIM_CYCLES_H
#define HF_SIM_CYCLES_H

unsigned long long sim_cycles(void);

#endif

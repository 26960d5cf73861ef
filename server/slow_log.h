/* Slow calls of the control plane as lines of the log. */
#ifndef HF_SERVER_SLOW_LOG_H
#define HF_SERVER_SLOW_LOG_H

#include "control/api/slow.h"

/* For struct hf_slow_options. Any thread. */
void hf_slow_log_write(void *context, const struct hf_slow_report *report);

#endif

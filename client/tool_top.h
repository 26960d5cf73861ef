/* `holdfast top`: what is shown, from two looks at an engine. */
#ifndef HF_CLIENT_TOOL_TOP_H
#define HF_CLIENT_TOOL_TOP_H

#include <stdio.h>

#include "client/sketch.h"
#include "client/tool.h"

enum { HF_TOP_HOT = 10 };

/* What happened between two answers to STATUS, `seconds` apart: rates, queues, the log, stages, and the hot SKUs of the sketch. A new
 * object. */
json_t *hf_top_frame(const json_t *before, const json_t *now, double seconds, const struct hf_sketch *sketch);
/* The frame as lines of at most `columns` characters, at most `lines` of them; 0: as many as there are. `line_end` follows each. */
void hf_top_draw(const json_t *frame, const char *from, unsigned columns, unsigned lines, const char *line_end, FILE *to);

#endif

/* The tool's calls over a control plane. */
#ifndef HF_CLIENT_TOOL_CONTROL_H
#define HF_CLIENT_TOOL_CONTROL_H

#include "client/tool.h"

/* Connects and asks for WELCOME's numbers. 0, or an exit status after a sentence. */
int hf_tool_connect_control(const struct hf_tool *tool, struct hf_tool_call *call);
/* Sends the lent command and waits for its answer: 0, or an exit status after a sentence. */
int hf_tool_execute_one(const struct hf_tool *tool, struct hf_tool_call *call);

#endif

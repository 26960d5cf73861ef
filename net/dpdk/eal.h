/* DPDK's environment, EAL: started once in the life of a process, for all of its devices. The thread that creates ports. */
#ifndef HF_NET_DPDK_EAL_H
#define HF_NET_DPDK_EAL_H

#include "net/dpdk/device.h"

struct hf_eal_options {
    const struct hf_device *devices;
    unsigned device_count;
    const char *arguments; /* more of EAL's, blanks between them; NULL: none */
    unsigned memory_mib;   /* of what is not in huge pages */
};

/* 0; HF_E_USAGE: it ran before; HF_E_IO: it refused; hf_net_error() is set. Leaves the thread on the cores where it was and no files. */
int hf_eal_start(const struct hf_eal_options *options);
void hf_eal_end(void);

#endif

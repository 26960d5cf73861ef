/* The devices that there are, for what counts them. The thread that makes ports, and after it whoever only reads. */
#ifndef HF_NET_DPDK_NIC_P_H
#define HF_NET_DPDK_NIC_P_H

#include "net/dpdk/nic.h"

unsigned hf_nic_count(void);
struct hf_nic *hf_nic_at(unsigned index);

#endif

/* Files around DPDK's environment: a directory for its own, and the sockets of memif devices. Whatever an engine that was killed has left
 * of them goes when the next one starts. The thread that creates ports. */
#ifndef HF_NET_DPDK_EAL_FILES_H
#define HF_NET_DPDK_EAL_FILES_H

#include "net/dpdk/device.h"

/* Makes $TMPDIR/hf-eal-*, which has been locked before it gets that name and is as long as the process lives; those that nobody locks are
 * removed, as far as that works. Of other kinds (half made, or by an engine that did not lock them) only those that are older than a
 * minute. 0, or HF_E_IO with hf_net_error() set. */
int hf_eal_files_make(void);
/* The directory; empty: there is none. */
const char *hf_eal_files_path(void);
void hf_eal_files_remove(void);

/* Removes the socket file of a memif device that is a server, if nobody has it: bind(2) cannot tell. 0, or HF_E_IO with hf_net_error() set:
 * another process has it. */
int hf_eal_files_clear_socket(const struct hf_device *device);

#endif

/* The n-th call fails: for every n until nothing is left to fail.
 *
 * The functions named in meson.build are wrapped by the linker, in the real libraries as they are. While armed, the n-th call of a kind
 * fails once; everything that was taken meanwhile is remembered until it is given back. Threads: arm and disarm from one; calls count from
 * any, or only from that one. */
#ifndef HF_TESTS_FAILNTH_FAULTS_H
#define HF_TESTS_FAILNTH_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum faults_kind {
    FAULTS_TAKING, /* memory, mappings, threads, event descriptors: whatever a start takes. Fails with ENOMEM, or EMFILE, or EAGAIN */
    FAULTS_RING,   /* making an io_uring and registering things with it */
    FAULTS_SUBMIT, /* a call that submits to an io_uring: nothing is submitted, `error` is returned */
    FAULTS_REQUEST /* a request that is submitted: it completes with `error`, or with EBADF where the kernel cannot be told to */
};

struct faults_plan {
    enum faults_kind kind;
    uint64_t nth;      /* from 1; 0: only count */
    int error;         /* negative errno, for RING, SUBMIT and REQUEST */
    bool own_thread;   /* calls of other threads neither count nor fail */
    uint8_t operation; /* REQUEST: only of this IORING_OP; 255: any */
};

void faults_arm(const struct faults_plan *plan);
/* Ends it: whether the n-th call came. */
bool faults_disarm(void);
/* Calls since faults_arm(). */
uint64_t faults_calls(void);
/* What was taken since the first faults_arm() and not given back: pointers and mappings. */
size_t faults_live(void);
/* Open descriptors and threads of this process, for comparing before and after. */
unsigned faults_descriptors(void);
unsigned faults_threads(void);

#endif

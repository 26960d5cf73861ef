/* The one enum of what can fail inside the programs (wire results are in result.h). Functions return 0 or one of these, negative. */
#ifndef HF_WIRE_ERROR_H
#define HF_WIRE_ERROR_H

enum hf_error {
    HF_E_USAGE = -1,     /* arguments or configuration make no sense; exit 2 */
    HF_E_TOO_SMALL = -2, /* sizes too small for what the directory holds; exit 2 */
    HF_E_IN_USE = -3,    /* another process holds the directory; exit 3 */
    HF_E_DAMAGED = -4,   /* what was promised durable is not there; exit 4 */
    HF_E_IO = -5,        /* read, write, flush, socket, port in use; exit 5 */
    HF_E_NEWER = -6,     /* written by a newer format; exit 6 */
    HF_E_CLOCK = -7,     /* the wall clock is too far ahead of the log; exit 7 */
    HF_E_MEMORY = -8,    /* could not reserve or allocate; exit 5 */
    HF_E_FULL = -9,      /* a bounded thing has no room */
    HF_E_DIFFERS = -10,  /* a replay computed another outcome than the log holds; exit 4 */
    HF_E_NO_SPACE = -11, /* the disk is full */
    HF_E_CLOSED = -12,   /* the other side is gone */
    HF_E_TIMEOUT = -13,
    HF_E_PROTOCOL = -14, /* the other side does not speak the protocol */
    HF_E_ABSENT = -15,   /* what was asked for is not kept any more */
};

/* The exit status that goes with an error (docs/operations.md): 0 for 0. */
static inline int hf_error_exit(int error)
{
    switch (error) {
    case 0:
        return 0;
    case HF_E_USAGE:
    case HF_E_TOO_SMALL:
        return 2;
    case HF_E_IN_USE:
        return 3;
    case HF_E_DAMAGED:
    case HF_E_DIFFERS:
        return 4;
    case HF_E_NEWER:
        return 6;
    case HF_E_CLOCK:
        return 7;
    default:
        return 5;
    }
}

#endif

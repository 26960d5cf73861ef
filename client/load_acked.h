/* The file of what was acknowledged: `id RESULT` for a place, `id VERB RESULT` for what was done to an order (settle, result, ship, cancel;
 * the id is the order's). Appended with O_APPEND; buffered until flush. */
#ifndef HF_CLIENT_LOAD_ACKED_H
#define HF_CLIENT_LOAD_ACKED_H

#include "wire/types.h"

enum { HF_ACKED_BYTES = 1 << 16 };

struct hf_acked {
    int fd; /* -1: nothing is kept */
    bool failed;
    size_t used;
    char buffer[HF_ACKED_BYTES];
};

/* `path` NULL: keeps nothing. 0 or HF_E_IO (errno says why). */
int hf_acked_open(struct hf_acked *acked, const char *path);
void hf_acked_add(struct hf_acked *acked, struct hf_id id, const char *verb, const char *result);
void hf_acked_flush(struct hf_acked *acked);
void hf_acked_close(struct hf_acked *acked);

#endif

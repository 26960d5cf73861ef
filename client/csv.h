/* Plain comma-separated files without quotes: a header that must be exact, then lines of as many fields. Errors name file and line. */
#ifndef HF_CLIENT_CSV_H
#define HF_CLIENT_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/error.h"

enum { HF_CSV_FIELDS_MAX = 8, HF_CSV_ERROR_BYTES = 320 };

struct hf_csv_field {
    const char *text; /* not zero-terminated; valid until close */
    size_t bytes;
};

struct hf_csv {
    const char *path;
    char *data;
    size_t bytes, at;
    uint64_t line; /* of the fields last read, from 1 */
    unsigned columns;
    struct hf_csv_field fields[HF_CSV_FIELDS_MAX];
    char error[HF_CSV_ERROR_BYTES];
};

/* Maps the file and checks the header: 0, HF_E_IO, HF_E_USAGE (another header), with the sentence in ->error. Close it in every case. */
int hf_csv_open(struct hf_csv *csv, const char *path, const char *header);
void hf_csv_close(struct hf_csv *csv);
/* The next line's fields: 1, 0 at the end, HF_E_USAGE for a line of another number of fields. Empty lines are passed over. */
int hf_csv_next(struct hf_csv *csv);
/* A whole number from least to most: true, or false with the sentence in ->error. `name` is the column's. */
bool hf_csv_number(struct hf_csv *csv, unsigned column, const char *name, uint64_t least, uint64_t most, uint64_t *out);
__attribute__((format(printf, 2, 3))) int hf_csv_fail(struct hf_csv *csv, const char *format, ...);

#endif

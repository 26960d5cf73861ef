#include "client/csv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int hf_csv_fail(struct hf_csv *csv, const char *format, ...)
{
    va_list arguments;
    int used = snprintf(csv->error, sizeof csv->error, "%s:%" PRIu64 ": ", csv->path, csv->line);
    size_t at = used < 0 ? 0 : (size_t)used < sizeof csv->error ? (size_t)used : sizeof csv->error - 1;
    va_start(arguments, format);
    vsnprintf(csv->error + at, sizeof csv->error - at, format, arguments);
    va_end(arguments);
    return HF_E_USAGE;
}

static int map_file(struct hf_csv *csv)
{
    struct stat about;
    int fd = open(csv->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0) {
        snprintf(csv->error, sizeof csv->error, "%s cannot be read: %s", csv->path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return HF_E_IO;
    }
    csv->bytes = (size_t)about.st_size;
    csv->data = csv->bytes ? mmap(NULL, csv->bytes, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    int failure = errno;
    close(fd);
    if (csv->data == MAP_FAILED) {
        csv->data = NULL;
        snprintf(csv->error, sizeof csv->error, "%s cannot be read: %s", csv->path, strerror(failure));
        return HF_E_IO;
    }
    return 0;
}

/* The next line without its end; false at the end of the file. */
static bool next_line(struct hf_csv *csv, struct hf_csv_field *line)
{
    if (csv->at >= csv->bytes)
        return false;
    const char *begin = csv->data + csv->at;
    const char *end = memchr(begin, '\n', csv->bytes - csv->at);
    size_t bytes = end ? (size_t)(end - begin) : csv->bytes - csv->at;
    csv->at += bytes + (end != NULL);
    csv->line++;
    *line = (struct hf_csv_field){begin, bytes > 0 && begin[bytes - 1] == '\r' ? bytes - 1 : bytes};
    return true;
}

int hf_csv_open(struct hf_csv *csv, const char *path, const char *header)
{
    struct hf_csv_field line = {"", 0};
    *csv = (struct hf_csv){.path = path, .columns = 1};
    int failed = map_file(csv);
    if (failed)
        return failed;
    for (const char *at = header; *at; at++)
        csv->columns += *at == ',';
    if (!next_line(csv, &line) || line.bytes != strlen(header) || memcmp(line.text, header, line.bytes) != 0) {
        csv->line = 1;
        return hf_csv_fail(csv, "the header must be exactly '%s'", header);
    }
    return 0;
}

void hf_csv_close(struct hf_csv *csv)
{
    if (csv->data)
        munmap(csv->data, csv->bytes);
    csv->data = NULL;
}

int hf_csv_next(struct hf_csv *csv)
{
    struct hf_csv_field line;
    do {
        if (!next_line(csv, &line))
            return 0;
    } while (line.bytes == 0);
    const char *at = line.text, *end = line.text + line.bytes;
    unsigned count = 0;
    for (;;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;
        if (count < HF_CSV_FIELDS_MAX)
            csv->fields[count] = (struct hf_csv_field){at, (size_t)(stop - at)};
        count++;
        if (!comma)
            break;
        at = comma + 1;
    }
    if (count != csv->columns)
        return hf_csv_fail(csv, "%u fields where %u are expected", count, csv->columns);
    return 1;
}

bool hf_csv_number(struct hf_csv *csv, unsigned column, const char *name, uint64_t least, uint64_t most, uint64_t *out)
{
    const struct hf_csv_field *field = &csv->fields[column];
    uint64_t value = 0;
    bool fits = field->bytes > 0;
    for (size_t i = 0; i < field->bytes && fits; i++) {
        unsigned digit = (unsigned)(unsigned char)field->text[i] - '0';
        fits = digit <= 9 && !__builtin_mul_overflow(value, 10u, &value) && !__builtin_add_overflow(value, digit, &value);
    }
    if (!fits || value < least || value > most) {
        hf_csv_fail(csv, "%s '%.*s' is not a whole number from %" PRIu64 " to %" PRIu64, name, (int)(field->bytes < 40 ? field->bytes : 40),
                    field->text, least, most);
        return false;
    }
    *out = value;
    return true;
}

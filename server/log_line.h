/* What a running engine tells its operator: one JSON object a line on stderr.
 *
 *   {"time":"2026-01-02T03:04:05.678Z","level":"info","msg":"ready","shards":2}
 *
 * Any thread, at any time; each line is one write(2), so lines never mix. Not for hot paths. Nothing is allocated. A line is at most 4,096
 * bytes: texts that do not fit are cut and end in "...", fields that do not fit are left out. Bytes that are not UTF-8 become U+FFFD. */
#ifndef HF_SERVER_LOG_LINE_H
#define HF_SERVER_LOG_LINE_H

#include "server/options.h"

enum hf_log_line_kind { HF_FIELD_TEXT, HF_FIELD_NUMBER, HF_FIELD_SIGNED, HF_FIELD_REAL, HF_FIELD_BOOL, HF_FIELD_HEX };

struct hf_log_line_field {
    const char *key; /* plain ASCII, not escaped */
    enum hf_log_line_kind kind;
    union {
        const char *text; /* NULL is written as null */
        uint64_t number;
        int64_t signed_number;
        double real;
        bool yes;
    } value;
};

static inline struct hf_log_line_field hf_field_text(const char *key, const char *text)
{
    return (struct hf_log_line_field){key, HF_FIELD_TEXT, {.text = text}};
}

static inline struct hf_log_line_field hf_field_number(const char *key, uint64_t number)
{
    return (struct hf_log_line_field){key, HF_FIELD_NUMBER, {.number = number}};
}

static inline struct hf_log_line_field hf_field_signed(const char *key, int64_t number)
{
    return (struct hf_log_line_field){key, HF_FIELD_SIGNED, {.signed_number = number}};
}

static inline struct hf_log_line_field hf_field_real(const char *key, double number)
{
    return (struct hf_log_line_field){key, HF_FIELD_REAL, {.real = number}};
}

static inline struct hf_log_line_field hf_field_bool(const char *key, bool yes)
{
    return (struct hf_log_line_field){key, HF_FIELD_BOOL, {.yes = yes}};
}

/* Sixteen hex digits in quotes: digests. */
static inline struct hf_log_line_field hf_field_hex(const char *key, uint64_t number)
{
    return (struct hf_log_line_field){key, HF_FIELD_HEX, {.number = number}};
}

/* Lines below `level` are left out from now on. Any thread. */
void hf_log_line_set_level(enum hf_log_level level);
enum hf_log_level hf_log_line_level(void);

/* Writes one line to stderr. fields may be NULL when count is 0. A failed write is ignored: there is nowhere else to say it. */
void hf_log_line_write(enum hf_log_level level, const char *message, const struct hf_log_line_field *fields, unsigned count);

/* The same into out[] (at least 256 bytes), without the write; returns the bytes, newline included. time_ns: since 1970. */
size_t hf_log_line_format(char *out, size_t bytes, uint64_t time_ns, enum hf_log_level level, const char *message,
                          const struct hf_log_line_field *fields, unsigned count);

#endif

#include "server/log_line.h"

#include "ring/atomics.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 4096 };

/* Room behind every field for what closes a line. */
static const char closing[] = "}\n";
/* An enum hf_log_level. */
static struct hf_atomic_u32 level_least = {HF_LEVEL_INFO};

struct line {
    char *at, *end; /* end leaves room for `closing` */
};

void hf_log_line_set_level(enum hf_log_level level)
{
    hf_store_relaxed_u32(&level_least, level);
}

enum hf_log_level hf_log_line_level(void)
{
    return (enum hf_log_level)hf_load_relaxed_u32(&level_least);
}

static bool put(struct line *line, const char *text, size_t bytes)
{
    if ((size_t)(line->end - line->at) < bytes)
        return false;
    memcpy(line->at, text, bytes);
    line->at += bytes;
    return true;
}

static bool put_text(struct line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* Bytes of the UTF-8 character at `at` (RFC 3629), 0 when it is none. */
static size_t character_bytes(const unsigned char *at)
{
    static const struct {
        unsigned char first_mask, first, bytes, second_least, second_most;
    } forms[] = {
        {0x80, 0x00, 1, 0, 0},       {0xff, 0xe0, 3, 0xa0, 0xbf}, {0xff, 0xed, 3, 0x80, 0x9f}, {0xf0, 0xe0, 3, 0x80, 0xbf},
        {0xff, 0xf0, 4, 0x90, 0xbf}, {0xff, 0xf4, 4, 0x80, 0x8f}, {0xfe, 0xf0, 4, 0x80, 0xbf}, {0xfe, 0xf2, 4, 0x80, 0xbf},
    };
    if (*at >= 0xc2 && *at <= 0xdf)
        return (at[1] & 0xc0) == 0x80 ? 2 : 0;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if ((*at & forms[i].first_mask) != forms[i].first)
            continue;
        for (size_t k = 1; k < forms[i].bytes; k++)
            if ((at[k] & 0xc0) != 0x80 || (k == 1 && (at[k] < forms[i].second_least || at[k] > forms[i].second_most)))
                return 0;
        return forms[i].bytes;
    }
    return 0;
}

static bool put_character(struct line *line, const unsigned char **at)
{
    size_t bytes = character_bytes(*at);
    char escaped[8];
    if (bytes == 0) {
        ++*at;
        return put_text(line, "\\ufffd");
    }
    const unsigned char *from = *at;
    *at += bytes;
    if (*from == '"' || *from == '\\')
        snprintf(escaped, sizeof escaped, "\\%c", *from);
    else if (*from < 0x20 || *from == 0x7f)
        snprintf(escaped, sizeof escaped, "\\u%04x", *from);
    else
        return put(line, (const char *)from, bytes);
    return put_text(line, escaped);
}

/* A quoted string, cut where only "..." still fits. */
static bool put_quoted(struct line *line, const char *text)
{
    static const char cut[] = "...\"";
    const unsigned char *at = (const unsigned char *)text;
    if (line->end - line->at < 16)
        return false;
    *line->at++ = '"';
    char *end = line->end;
    line->end -= sizeof cut - 1;
    while (*at != '\0' && put_character(line, &at))
        ;
    line->end = end;
    return *at == '\0' ? put(line, "\"", 1) : put(line, cut, sizeof cut - 1);
}

static bool put_value(struct line *line, const struct hf_log_line_field *field)
{
    char text[48];
    switch (field->kind) {
    case HF_FIELD_TEXT:
        return field->value.text ? put_quoted(line, field->value.text) : put_text(line, "null");
    case HF_FIELD_NUMBER:
        snprintf(text, sizeof text, "%" PRIu64, field->value.number);
        break;
    case HF_FIELD_SIGNED:
        snprintf(text, sizeof text, "%" PRId64, field->value.signed_number);
        break;
    case HF_FIELD_REAL:
        snprintf(text, sizeof text, isfinite(field->value.real) ? "%.9g" : "null", field->value.real);
        break;
    case HF_FIELD_HEX:
        snprintf(text, sizeof text, "\"%016" PRIx64 "\"", field->value.number);
        break;
    default:
        snprintf(text, sizeof text, "%s", field->value.yes ? "true" : "false");
    }
    return put_text(line, text);
}

static bool put_field(struct line *line, const struct hf_log_line_field *field)
{
    return put(line, ",\"", 2) && put_text(line, field->key) && put(line, "\":", 2) && put_value(line, field);
}

size_t hf_log_line_format(char *out, size_t bytes, uint64_t time_ns, enum hf_log_level level, const char *message,
                          const struct hf_log_line_field *fields, unsigned count)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    struct line line = {out, out + bytes - (sizeof closing - 1)};
    time_t seconds = (time_t)(time_ns / 1000000000u);
    struct tm tm;
    char head[96], when[32];
    gmtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(head, sizeof head, "{\"time\":\"%s.%03uZ\",\"level\":\"%s\",\"msg\":", when, (unsigned)(time_ns / 1000000u % 1000u),
             levels[level & 3]);
    put_text(&line, head);
    put_quoted(&line, message);
    for (unsigned i = 0; i < count; i++) {
        char *before = line.at;
        if (!put_field(&line, &fields[i]))
            line.at = before;
    }
    memcpy(line.at, closing, sizeof closing - 1);
    return (size_t)(line.at - out) + sizeof closing - 1;
}

void hf_log_line_write(enum hf_log_level level, const char *message, const struct hf_log_line_field *fields, unsigned count)
{
    if (level < hf_log_line_level())
        return;
    char out[LINE_BYTES];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t bytes = hf_log_line_format(out, sizeof out, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, level, message, fields,
                                      count);
    if (write(STDERR_FILENO, out, bytes) < 0)
        return;
}

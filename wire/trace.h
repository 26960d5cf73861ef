/* The extension TRACE_CONTEXT: a W3C trace context, and the header `traceparent` it comes from (W3C Recommendation "Trace Context", level
 * 1).
 *
 *  offset size
 *    0     16   trace-id, not all zeros
 *   16      8   parent-id, not all zeros
 *   24      1   trace-flags: 1 sampled, 2 random (level 2); other bits are 0 */
#ifndef HF_WIRE_TRACE_H
#define HF_WIRE_TRACE_H

#include "wire/command.h"

enum { HF_TRACE_BYTES = 25, HF_TRACE_TEXT_BYTES = 56 /* with its end */, HF_TRACE_FLAGS_KNOWN = 3 };

/* Only lower case is allowed. -1: none. */
static inline int hf_trace_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `count` bytes from twice as many digits; false: not hex. *any gets whether one is not zero. */
static inline bool hf_trace_hex(const char *text, unsigned count, uint8_t *out, bool *any)
{
    *any = false;
    for (unsigned i = 0; i < count; i++) {
        int high = hf_trace_digit(text[2 * i]), low = hf_trace_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
        *any = *any || out[i] != 0;
    }
    return true;
}

/* The header's value. False: it is none, and is to be ignored; `out` may then hold anything. A version later than 00 may have more behind a
 * hyphen, and is taken for as much of it as is known. */
static inline bool hf_trace_read(const char *text, size_t bytes, uint8_t out[HF_TRACE_BYTES])
{
    uint8_t version;
    bool trace, parent, any;
    if (bytes < HF_TRACE_TEXT_BYTES - 1 || !hf_trace_hex(text, 1, &version, &any) || version == 0xff)
        return false;
    if (bytes > HF_TRACE_TEXT_BYTES - 1 && (version == 0 || text[55] != '-'))
        return false;
    if (text[2] != '-' || text[35] != '-' || text[52] != '-' || !hf_trace_hex(text + 3, 16, out, &trace) ||
        !hf_trace_hex(text + 36, 8, out + 16, &parent) || !hf_trace_hex(text + 53, 1, out + 24, &any) || !trace || !parent)
        return false;
    out[24] &= HF_TRACE_FLAGS_KNOWN;
    return true;
}

/* The header's value, of version 00, for what hf_trace_read wrote. */
static inline void hf_trace_write(const uint8_t trace[HF_TRACE_BYTES], char out[HF_TRACE_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;
    *at++ = '0';
    *at++ = '0';
    for (unsigned i = 0; i < HF_TRACE_BYTES; i++) {
        if (i == 0 || i == 16 || i == 24)
            *at++ = '-';
        *at++ = digits[trace[i] >> 4];
        *at++ = digits[trace[i] & 15];
    }
    *at = '\0';
}

/* The command's trace as text; false, and an empty text: it has none. The command has passed hf_command_check(). */
static inline bool hf_trace_of(const struct hf_command *command, char out[HF_TRACE_TEXT_BYTES])
{
    uint16_t bytes = 0;
    const uint8_t *trace = hf_command_extension(command, HF_EXT_TRACE_CONTEXT, &bytes);
    out[0] = '\0';
    if (!trace || bytes != HF_TRACE_BYTES)
        return false;
    hf_trace_write(trace, out);
    return true;
}

#endif

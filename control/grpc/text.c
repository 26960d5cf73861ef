/* The encodings of gRPC's header fields. */
#include "control/grpc/text.h"

#include <string.h>

static const char HF_GRPC_BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t hf_grpc_percent_encode(const void *in, size_t in_bytes, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    const uint8_t *bytes = in;
    size_t length = 0;
    for (size_t i = 0; i < in_bytes; i++) {
        if (bytes[i] >= 0x20 && bytes[i] <= 0x7E && bytes[i] != '%') {
            out[length++] = (char)bytes[i];
        } else {
            out[length++] = '%';
            out[length++] = hex[bytes[i] >> 4];
            out[length++] = hex[bytes[i] & 15];
        }
    }
    return length;
}

size_t hf_grpc_base64_encode(const void *in, size_t in_bytes, char *out)
{
    const uint8_t *bytes = in;
    size_t length = 0;
    for (size_t i = 0; i < in_bytes; i += 3) {
        size_t left = in_bytes - i;
        uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
        out[length++] = HF_GRPC_BASE64[group >> 18];
        out[length++] = HF_GRPC_BASE64[group >> 12 & 63];
        if (left > 1)
            out[length++] = HF_GRPC_BASE64[group >> 6 & 63];
        if (left > 2)
            out[length++] = HF_GRPC_BASE64[group & 63];
    }
    return length;
}

static int hf_grpc_base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool hf_grpc_base64_decode(const char *in, size_t in_bytes, uint8_t *out, size_t *out_bytes)
{
    size_t length = 0;
    uint32_t group = 0;
    if (in_bytes % 4 == 0) {
        for (unsigned pad = 0; pad < 2 && in_bytes > 0 && in[in_bytes - 1] == '='; pad++)
            in_bytes--;
    }
    if (in_bytes % 4 == 1)
        return false;
    for (size_t i = 0; i < in_bytes; i++) {
        int digit = hf_grpc_base64_digit(in[i]);
        if (digit < 0)
            return false;
        group = group << 6 | (uint32_t)digit;
        if (i % 4 != 0)
            out[length++] = (uint8_t)(group >> (6 - 2 * (i % 4)));
    }
    *out_bytes = length;
    return true;
}

bool hf_grpc_timeout_ns(const char *value, size_t value_bytes, uint64_t *out_ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {{'H', 3600000000000ull}, {'M', 60000000000ull}, {'S', 1000000000ull}, {'m', 1000000}, {'u', 1000}, {'n', 1}};
    uint64_t number = 0;
    if (value_bytes < 2 || value_bytes > 9)
        return false;
    for (size_t i = 0; i + 1 < value_bytes; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(value[i] - '0');
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i].unit == value[value_bytes - 1]) {
            /* 99,999,999 hours would wrap 64 bits of nanoseconds; nobody waits that long. */
            *out_ns = number > INT64_MAX / 4 / units[i].ns ? INT64_MAX / 4 : number * units[i].ns;
            return true;
        }
    }
    return false;
}

bool hf_grpc_name_ok(const char *name, size_t name_bytes)
{
    for (size_t i = 0; i < name_bytes; i++) {
        char c = name[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '_' || c == '-' || c == '.'))
            return false;
    }
    return name_bytes > 0;
}

bool hf_grpc_name_is_binary(const char *name, size_t name_bytes)
{
    return name_bytes > 4 && memcmp(name + name_bytes - 4, "-bin", 4) == 0;
}

bool hf_grpc_value_ok(const char *value, size_t value_bytes)
{
    for (size_t i = 0; i < value_bytes; i++) {
        if (value[i] < 0x20 || value[i] > 0x7E)
            return false;
    }
    return value_bytes == 0 || (value[0] != ' ' && value[value_bytes - 1] != ' ');
}

bool hf_grpc_list_has(const char *list, size_t list_bytes, const char *token)
{
    size_t token_bytes = strlen(token), at = 0;
    while (at < list_bytes) {
        size_t end = at, last;
        while (end < list_bytes && list[end] != ',')
            end++;
        last = end;
        while (at < last && list[at] == ' ')
            at++;
        while (last > at && list[last - 1] == ' ')
            last--;
        if (last - at == token_bytes && memcmp(list + at, token, token_bytes) == 0)
            return true;
        at = end + 1;
    }
    return false;
}

/* Length of the sequence that begins there, 0: none may. RFC 3629, 4: only the second byte's range depends on the first. */
static size_t hf_grpc_utf8_length(const uint8_t *at, size_t left)
{
    uint8_t first = at[0], low = 0x80, high = 0xBF;
    size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0x80)
        return first != 0;
    if (first < 0xC2 || first > 0xF4 || length > left)
        return 0;
    if (first == 0xE0)
        low = 0xA0;
    else if (first == 0xF0)
        low = 0x90;
    else if (first == 0xED)
        high = 0x9F;
    else if (first == 0xF4)
        high = 0x8F;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    }
    return length;
}

bool hf_grpc_is_text(const uint8_t *bytes, size_t count)
{
    size_t at = 0, length = 1;
    while (at < count && (length = hf_grpc_utf8_length(bytes + at, count - at)) > 0)
        at += length;
    return at == count;
}

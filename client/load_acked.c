#include "client/load_acked.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "wire/error.h"

int hf_acked_open(struct hf_acked *acked, const char *path)
{
    acked->used = 0;
    acked->failed = false;
    acked->fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    return path && acked->fd < 0 ? HF_E_IO : 0;
}

void hf_acked_flush(struct hf_acked *acked)
{
    size_t at = 0;
    while (at < acked->used && !acked->failed) {
        ssize_t wrote = write(acked->fd, acked->buffer + at, acked->used - at);
        if (wrote > 0)
            at += (size_t)wrote;
        else
            acked->failed = errno != EINTR;
    }
    acked->used = 0;
}

static char *put_hex(char *at, uint64_t word)
{
    static const char digits[] = "0123456789abcdef";
    for (int shift = 60; shift >= 0; shift -= 4)
        *at++ = digits[word >> shift & 15];
    return at;
}

static char *put_word(char *at, const char *word)
{
    size_t bytes = strlen(word);
    *at++ = ' ';
    memcpy(at, word, bytes);
    return at + bytes;
}

void hf_acked_add(struct hf_acked *acked, struct hf_id id, const char *verb, const char *result)
{
    if (acked->fd < 0)
        return;
    if (acked->used + 128 > sizeof acked->buffer)
        hf_acked_flush(acked);
    char *at = acked->buffer + acked->used;
    at = put_hex(put_hex(at, id.high), id.low);
    if (verb)
        at = put_word(at, verb);
    at = put_word(at, result);
    *at++ = '\n';
    acked->used = (size_t)(at - acked->buffer);
}

void hf_acked_close(struct hf_acked *acked)
{
    if (acked->fd < 0)
        return;
    hf_acked_flush(acked);
    close(acked->fd);
    acked->fd = -1;
}

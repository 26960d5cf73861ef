#include "persist/say.h"

#include "persist/backend.h"

#include <stdarg.h>
#include <stdio.h>

int hf_say(char *error, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, HF_ERROR_BYTES, format, args);
    va_end(args);
    return code;
}

/* Sentences for a person: what happened, where, what to do. */
#ifndef HF_PERSIST_SAY_H
#define HF_PERSIST_SAY_H

/* Formats into `error` (HF_ERROR_BYTES of it, cut if longer) and returns `code`, so that a failure is one statement. */
__attribute__((format(printf, 3, 4))) int hf_say(char *error, int code, const char *format, ...);

#endif

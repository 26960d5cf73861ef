#ifndef HF_SIM_PROMISES_H
#define HF_SIM_PROMISES_H

#include "ring/word.h"

/* Before a shard waits for a word: it holds none above it. */
void sim_promise_word_wait(const struct hf_word *word, const struct hf_word_taker *taker);

#endif

/* Rules of conduct that no answer shows: watched where the production code acts. */
#include "tests/sim/history.h"
#include "tests/sim/process.h"
#include "tests/sim/promises.h"
#include "tests/sim/sim.h"

#include "net/net.h"
#include "persist/log.h"
#include "wire/answer.h"

#include <inttypes.h>

void __wrap_hf_net_answer(struct hf_net *net, struct hf_request *request, uint32_t answer_bytes);
void __real_hf_net_answer(struct hf_net *net, struct hf_request *request, uint32_t answer_bytes);

/* A shard that waits for a word while it holds a higher one may wait for a shard that waits for it. */
void sim_promise_word_wait(const struct hf_word *word, const struct hf_word_taker *taker)
{
    const struct hf_node *node = sim_process_node();
    if (!node || word < node->words || word >= node->words + node->partitions)
        return;
    for (const struct hf_word *above = word + 1; above < node->words + node->partitions; above++)
        if (hf_word_is_held_by(above, taker))
            sim_fail("taker %" PRIu32 " waits for the word of partition %td and holds that of %td", taker->shard, word - node->words,
                     above - node->words);
}

/* What an answer tells of lies in the log's durable part. */
static void check_leaving(const struct hf_command *command, const struct hf_answer *answer, uint64_t durable)
{
    uint64_t index;
    bool tells = (answer->flags & HF_ANSWER_REPEATED) != 0 || answer->result == HF_OK;
    if ((command->flags & HF_FLAG_STALE_OK) != 0)
        return;
    if (answer->position > durable)
        sim_fail("an answer left that waits for position %" PRIu64 ", durable is %" PRIu64, answer->position, durable);
    struct hf_id id = hf_answer_command_id(answer, command);
    if (tells && !hf_id_none(id) && sim_history_find(id, &index) && sim_history_entry(index)->end_position > durable)
        sim_fail("an answer (opcode %04x, %s) left whose record ends at %" PRIu64 ", durable is %" PRIu64, command->opcode,
                 hf_result_name(answer->result), sim_history_entry(index)->end_position, durable);
}

void __wrap_hf_net_answer(struct hf_net *net, struct hf_request *request, uint32_t answer_bytes)
{
    const struct hf_node *node = sim_process_node();
    const uint8_t *command = request->commands, *answer = request->answers;
    if (node && node->options.durability == HF_DURABILITY_SYNC)
        for (uint16_t i = 0; i < request->command_count; i++) {
            const struct hf_command *asked = (const struct hf_command *)(const void *)command;
            const struct hf_answer *said = (const struct hf_answer *)(const void *)answer;
            check_leaving(asked, said, hf_log_durable(node->log));
            command += asked->length;
            answer += said->length;
        }
    __real_hf_net_answer(net, request, answer_bytes);
}

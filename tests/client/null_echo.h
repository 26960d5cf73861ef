/* The frames of a peer that answers every command with OK, as cheaply as it can. */
#ifndef HF_TESTS_CLIENT_NULL_ECHO_H
#define HF_TESTS_CLIENT_NULL_ECHO_H

#include <time.h>

#include "client/holdfast.h"
#include "wire/crc32c.h"

static inline uint32_t null_echo_seal(struct hf_frame *frame)
{
    frame->magic = HF_FRAME_MAGIC;
    frame->version = HF_FRAME_VERSION;
    frame->crc = 0;
    frame->crc = hf_crc32c(0, frame, frame->length);
    return frame->length;
}

/* A WELCOME of so many bytes, zeros after its payload, for frames of at most frame_bytes_max. */
static inline uint32_t null_echo_welcome(uint8_t *at, const struct hf_frame *hello, uint32_t bytes, uint32_t frame_bytes_max)
{
    struct hf_frame *head = (struct hf_frame *)(void *)at;
    struct hf_welcome *body = (struct hf_welcome *)(void *)(head + 1);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    memset(at, 0, bytes);
    *head = (struct hf_frame){.type = HF_WELCOME, .length = bytes, .session = 1, .credits = hello->credits};
    *body = (struct hf_welcome){.engine_time_ns = (uint64_t)now.tv_sec * 1000000000u,
                                .partitions = 256,
                                .shard_count = 1,
                                .frame_bytes_max = frame_bytes_max,
                                .answer_bytes_max = frame_bytes_max,
                                .retention_ms = 600000,
                                .resend_us = 50000};
    return null_echo_seal(head);
}

static inline uint32_t null_echo_answer(uint8_t *at, const struct hf_frame *request)
{
    struct hf_frame *head = (struct hf_frame *)(void *)at;
    struct hf_answer *answers = (struct hf_answer *)(void *)(head + 1);
    const struct hf_command *command = (const struct hf_command *)(const void *)(request + 1);
    for (unsigned i = 0; i < request->count; i++) {
        answers[i] = (struct hf_answer){
            .length = sizeof *answers, .opcode = command->opcode, .order = HF_HELD, .position = 1, .version = 1, .value = 1};
        command = hf_command_next(command);
    }
    *head = (struct hf_frame){.type = HF_ANSWER, .session = request->session, .request = request->request, .count = request->count};
    head->length = (uint32_t)(sizeof *head + request->count * sizeof *answers);
    return null_echo_seal(head);
}

#endif

/* The frame codec: what stands in a header, and whether a REQUEST's payload is a row of commands. Pure functions over bytes; any thread.
 *
 * Every check returns HF_OK or the code that the REFUSED frame carries. Bytes from outside may stand at any address; nothing is read
 * beyond the lengths given. */
#ifndef HF_NET_FRAME_H
#define HF_NET_FRAME_H

#include "wire/frame.h"
#include "wire/result.h"

/* Completes a frame in 8-byte aligned memory: magic, version, length and checksum. type, session and the like are set, the rest is zero,
 * the payload stands behind the header. `bytes`: the whole frame, a multiple of 8. */
void hf_frame_seal(struct hf_frame *frame, uint32_t bytes);

/* The same for a frame of `bytes` of which only the first `present` are there and the rest are zeros. */
void hf_frame_seal_zeros(struct hf_frame *frame, uint32_t present, uint32_t bytes);

/* Whether a stream is in step at this header: BAD_FRAME (magic, length below 64 or no multiple of 8), BAD_VERSION, TOO_LARGE. */
int hf_frame_check_head(const struct hf_frame *head);

/* Whether the checksum holds; `payload` has the head->length - 64 bytes behind the header. */
bool hf_frame_check_crc(const struct hf_frame *head, const uint8_t *payload);

/* Whether everything that must be zero in a client's frame is. */
bool hf_frame_reserved_zero(const struct hf_frame *head);

/* Walks the commands of a REQUEST by their lengths alone: BAD_FRAME (count is 0, over HF_FRAME_COMMANDS_MAX or not what stands there; a
 * length below 64, no multiple of 8 or beyond the frame; a command of the admin family in company), TOO_LARGE (its answers may not fit a
 * frame of answer_frame_bytes_max). Queries among themselves may: what they read changes nothing, so it is seen when they are answered; but
 * no more than HF_FRAME_ANSWER_BYTES_MAX. *answer_bytes gets the most that its answers can take. What is inside a command is for
 * hf_command_check(). */
int hf_frame_walk_commands(const uint8_t *payload, uint32_t bytes, unsigned count, uint32_t answer_frame_bytes_max, uint32_t *answer_bytes);

#endif

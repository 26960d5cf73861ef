/* The frames written out in docs/protocol.md, made by the code that makes frames. Argument: the page. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "net/frame.h"
#include "wire/answer.h"
#include "wire/command.h"

static char *page;
static uint8_t written[512] __attribute__((aligned(8)));
static const uint64_t session = 0x1122334455667788ull;

static int read_page(const char *path)
{
    FILE *in = fopen(path, "rb");
    if (!in)
        return -1;
    page = calloc(1, 1 << 20);
    size_t bytes = page ? fread(page, 1, (1 << 20) - 1, in) : 0;
    fclose(in);
    return bytes > 0 ? 0 : -1;
}

/* The bytes dumped in the block behind these words, 16 a row after its offset. */
static uint32_t find_frame(const char *words)
{
    uint32_t bytes = 0;
    char *at = strstr(page, words);
    assert_non_null(at);
    at = strstr(at, "```\n");
    assert_non_null(at);
    at += 4;
    memset(written, 0, sizeof written);
    while (strncmp(at, "```", 3) != 0) {
        assert_int_equal(strtoul(at, &at, 10), bytes);
        while (*at != '\n') {
            written[bytes++] = (uint8_t)strtoul(at, &at, 16);
            assert_true(bytes < sizeof written);
        }
        at++;
    }
    return bytes;
}

static void expect(const char *words, struct hf_frame head, const void *payload, uint32_t payload_bytes, uint32_t zeros)
{
    uint8_t made[512] __attribute__((aligned(8))) = {0};
    uint32_t bytes = (uint32_t)sizeof head + payload_bytes;
    memcpy(made, &head, sizeof head);
    if (payload_bytes)
        memcpy(made + sizeof head, payload, payload_bytes);
    if (zeros)
        hf_frame_seal_zeros((struct hf_frame *)(void *)made, bytes, bytes + zeros);
    else
        hf_frame_seal((struct hf_frame *)(void *)made, bytes);
    assert_int_equal(find_frame(words), bytes);
    assert_memory_equal(made, written, bytes);
}

static void the_request_and_its_answer_are_as_written(void **state)
{
    (void)state;
    struct {
        struct hf_command command;
        struct hf_line line;
    } place = {.command = {.length = 96, .opcode = HF_PLACE, .version = HF_COMMAND_VERSION, .line_count = 1, .arg = 900000},
               .line = {.location = 7, .quantity = 2, .price = 199}};
    assert_true(hf_sku_from_text("apple", 5, &place.line.sku));
    place.command.id = hf_id_make(hf_route(&place.line.sku), 1700000000000ull, 0x0123456789abcdefull);
    place.command.body.place.customer = 42;
    place.command.body.place.channel = HF_CHANNEL_WEB;
    expect("Frames. The REQUEST:", (struct hf_frame){.type = HF_REQUEST, .session = session, .request = 1, .count = 1}, &place,
           sizeof place, 0);
    const struct hf_answer answer = {
        .length = sizeof answer, .opcode = HF_PLACE, .order = 1, .position = 4096, .version = 1, .due_ns = 1700000900000000000ull};
    expect("Its ANSWER:", (struct hf_frame){.type = HF_ANSWER, .session = session, .request = 1, .credits = 64, .count = 1}, &answer,
           sizeof answer, 0);
}

static void the_greetings_are_as_written(void **state)
{
    (void)state;
    struct hf_hello hello = {.client = 7};
    expect("session 0, on a stream:", (struct hf_frame){.type = HF_HELLO, .credits = 64}, &hello, sizeof hello, 0);
    uint8_t cookie[16];
    for (uint8_t i = 0; i < 16; i++)
        cookie[i] = (uint8_t)(i + 1);
    memcpy(hello.cookie, cookie, sizeof cookie);
    hello.first = UINT64_MAX;
    expect("144 zeros follow:", (struct hf_frame){.type = HF_HELLO, .credits = 64}, &hello, sizeof hello,
           HF_HELLO_DATAGRAM_BYTES_MIN - (uint32_t)(sizeof(struct hf_frame) + sizeof hello));
    hello.client = hello.first = 0;
    expect("The COOKIE that brought it:", (struct hf_frame){.type = HF_COOKIE}, &hello, sizeof hello, 0);
}

static void the_refusal_is_as_written(void **state)
{
    (void)state;
    expect("REFUSED with SESSION_EXPIRED, to number",
           (struct hf_frame){.type = HF_REFUSED, .session = session, .request = UINT64_MAX, .result = HF_SESSION_EXPIRED}, NULL, 0, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_and_its_answer_are_as_written),
        cmocka_unit_test(the_greetings_are_as_written),
        cmocka_unit_test(the_refusal_is_as_written),
    };
    if (argc != 2 || read_page(argv[1]) != 0)
        return 2;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(page);
    return failed;
}

/* Any file as configuration, any words as a command line.
 *
 * Input: how u8 (bit 0: there is a file, bit 1: after the flags), length u16 and bytes of the file; then words, one a line. What breaks: a
 * refusal without a sentence, a setting outside of what was promised, two readings that differ. */
#include "server/options.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"
#include "wire/error.h"

enum { WORDS_MAX = 64, ERROR_BYTES = 512 };

struct words {
    char *word[WORDS_MAX + 4];
    int count;
    char text[16384];
};

static void add_config(struct words *words, const char *path)
{
    static char flag[] = "--config", copy[64];
    snprintf(copy, sizeof copy, "%s", path);
    words->word[words->count++] = flag;
    words->word[words->count++] = copy;
}

static void split(struct words *words, struct fuzz_input *input)
{
    size_t bytes = input->left < sizeof words->text - 1 ? input->left : sizeof words->text - 1;
    if (bytes == 0)
        return;
    memcpy(words->text, fuzz_bytes(input, bytes), bytes);
    words->text[bytes] = '\0';
    char *rest = words->text, *word;
    while (words->count < WORDS_MAX && (word = strsep(&rest, "\n")))
        words->word[words->count++] = word;
}

static bool ended(const char *text, size_t room)
{
    return memchr(text, '\0', room) != NULL;
}

/* What the rest of the program relies on. */
static void check_options(const struct hf_server_options *options)
{
    FUZZ_CHECK(options->shards >= 1 && options->shards <= HF_SHARDS_MAX);
    FUZZ_CHECK(options->partitions <= 65536 && (options->partitions & (options->partitions - 1)) == 0);
    FUZZ_CHECK(options->cpu_count <= HF_CPUS_MAX && options->listen_count <= HF_LISTEN_MAX);
    FUZZ_CHECK(options->cpu_count == 0 || options->cpu_count >= options->shards);
    FUZZ_CHECK(ended(options->data, sizeof options->data) && ended(options->config, sizeof options->config));
    for (uint32_t i = 0; i < options->listen_count; i++)
        FUZZ_CHECK(ended(options->listen[i], sizeof options->listen[i]) && strstr(options->listen[i], "://"));
    for (uint32_t i = 0; i < options->cpu_count; i++)
        FUZZ_CHECK(options->cpus[i] <= HF_CPU_NUMBER_MAX);
    FUZZ_CHECK(options->durability <= HF_DURABILITY_ASYNC && options->drainer <= HF_DRAINER_THREAD && options->idle <= HF_IDLE_SLEEP);
    FUZZ_CHECK(options->log_backend <= HF_LOG_CHOICE_NULL && options->log_level <= HF_LEVEL_WARN);
    FUZZ_CHECK(options->skus_max > 0 && options->orders_max > 0 && options->cells_max > 0 && options->lines_max > 0);
    FUZZ_CHECK(options->command_ids_max > 0 && options->limits_max > 0);
    FUZZ_CHECK((options->block_max_bytes & (options->block_max_bytes - 1)) == 0 && options->block_max_bytes <= 1 << 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct memory_file file;
    static struct words words;
    static struct hf_server_options options, again;
    static char name[] = "holdfastd";
    char error[ERROR_BYTES], error_again[ERROR_BYTES];
    struct fuzz_input input = {data, size};
    uint8_t how = fuzz_take8(&input);
    size_t bytes = fuzz_take16(&input);
    bytes = bytes < input.left ? bytes : input.left;
    const char *path = memory_file_fill(&file, bytes > 0 ? fuzz_bytes(&input, bytes) : NULL, bytes);
    words.count = 0;
    words.word[words.count++] = name;
    if ((how & 3) == 1)
        add_config(&words, path);
    split(&words, &input);
    if ((how & 3) == 3)
        add_config(&words, path);
    words.word[words.count] = NULL;
    memset(error, 'x', sizeof error);
    memset(error_again, 'x', sizeof error_again);
    int status = hf_server_options_parse(words.count, words.word, &options, error, sizeof error);
    FUZZ_CHECK(status == hf_server_options_parse(words.count, words.word, &again, error_again, sizeof error_again));
    FUZZ_CHECK(ended(error, sizeof error) && strcmp(error, error_again) == 0);
    FUZZ_CHECK(status == 0 || (status == HF_E_USAGE && strlen(error) > 5));
    if (status == 0 && !options.help && !options.version) {
        check_options(&options);
        FUZZ_CHECK(memcmp(&options, &again, sizeof options) == 0);
    }
    return 0;
}

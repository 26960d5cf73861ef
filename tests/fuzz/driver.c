/* Runs a fuzz target where there is no libFuzzer: its corpus, then a number of mutations that depend on the seed alone.
 *
 * fuzz_x [--mutations N] [--seed S] [--first K] FILE-OR-DIRECTORY...
 *
 * A failure says which input it was: a file, or the mutation's number with the command that runs only that one. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 4096, INPUT_BYTES_MAX = 65536, ROUNDS_MAX = 6 };

struct sample {
    char *name;
    uint8_t *bytes;
    size_t size;
};

struct driver {
    struct sample samples[FILES_MAX];
    unsigned count;
    uint64_t mutations, seed, first;
};

static struct driver driver;
static uint64_t driver_random;
static char driver_now[1024]; /* said when the process dies */

void __attribute__((weak)) __sanitizer_set_death_callback(void (*callback)(void));
#pragma weak LLVMFuzzerCustomMutator

static void say_where(void)
{
    (void)!write(STDERR_FILENO, driver_now, strlen(driver_now));
}

static void die_by(int number)
{
    say_where();
    (void)raise(number);
}

static uint64_t draw(void)
{
    uint64_t z = driver_random += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

static size_t below(size_t n)
{
    return (size_t)(draw() % n);
}

/* ---- Mutations ---- */

static size_t insert_bytes(uint8_t *data, size_t size, size_t size_max)
{
    size_t at = below(size + 1), bytes = 1 + below(16);
    if (size + bytes > size_max)
        return size;
    memmove(data + at + bytes, data + at, size - at);
    for (size_t i = 0; i < bytes; i++)
        data[at + i] = (uint8_t)draw();
    return size + bytes;
}

static size_t erase_bytes(uint8_t *data, size_t size)
{
    size_t at = below(size), bytes = 1 + below(size - at < 64 ? size - at : 64);
    memmove(data + at, data + at + bytes, size - at - bytes);
    return size - bytes;
}

static size_t repeat_bytes(uint8_t *data, size_t size, size_t size_max)
{
    size_t from = below(size), bytes = 1 + below(size - from < 128 ? size - from : 128), at = below(size + 1);
    uint8_t held[128];
    if (size + bytes > size_max)
        return size;
    memcpy(held, data + from, bytes);
    memmove(data + at + bytes, data + at, size - at);
    memcpy(data + at, held, bytes);
    return size + bytes;
}

/* Numbers at which lengths, counts and times turn. */
static void write_number(uint8_t *data, size_t size)
{
    static const uint64_t edges[] = {0, 1, 7, 8, 63, 64, 255, 256, 4095, 4096, 32767, 65535, 65536, 0x7fffffff, 0xffffffff, INT64_MAX};
    size_t bytes = (size_t)1 << below(4), at = below(size);
    uint64_t value = edges[below(sizeof edges / sizeof edges[0])] + below(3) - 1;
    memcpy(data + at, &value, bytes < size - at ? bytes : size - at);
}

static size_t splice(uint8_t *data, size_t size, size_t size_max)
{
    const struct sample *other = &driver.samples[below(driver.count)];
    if (other->size == 0)
        return size;
    size_t at = below(size + 1), from = below(other->size), bytes = 1 + below(other->size - from);
    bytes = bytes < size_max - at ? bytes : size_max - at;
    memcpy(data + at, other->bytes + from, bytes);
    return at + bytes > size ? at + bytes : size;
}

/* The driver's own stands where libFuzzer's would. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max)
{
    if (size == 0)
        return insert_bytes(data, size, size_max);
    switch (below(7)) {
    case 0:
        data[below(size)] ^= (uint8_t)(1u << below(8));
        return size;
    case 1:
        data[below(size)] = (uint8_t)draw();
        return size;
    case 2:
        write_number(data, size);
        return size;
    case 3:
        return insert_bytes(data, size, size_max);
    case 4:
        return erase_bytes(data, size);
    case 5:
        return repeat_bytes(data, size, size_max);
    default:
        return splice(data, size, size_max);
    }
}

/* ---- Running ---- */

/* A copy of its own size, so that a sanitizer sees the first byte that is read behind it. */
static void run_bytes(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    FUZZ_CHECK(copy != NULL);
    memcpy(copy, bytes, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_mutation(const char *program, uint64_t number)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    driver_random = driver.seed * 0xD1342543DE82EF95ull + number;
    const struct sample *base = &driver.samples[below(driver.count)];
    size_t size = base->size;
    memcpy(bytes, base->bytes, size);
    for (size_t rounds = 1 + below(ROUNDS_MAX); rounds > 0; rounds--)
        size = LLVMFuzzerCustomMutator ? LLVMFuzzerCustomMutator(bytes, size, sizeof bytes, (unsigned)draw())
                                       : LLVMFuzzerMutate(bytes, size, sizeof bytes);
    snprintf(driver_now, sizeof driver_now,
             "mutation %llu of %s; again: %s --seed %llu --first %llu --mutations 1, and the same files and directories\n",
             (unsigned long long)number, base->name, program, (unsigned long long)driver.seed, (unsigned long long)number);
    run_bytes(bytes, size);
}

/* ---- The corpus ---- */

static void load_file(const char *path)
{
    FILE *file = fopen(path, "rbe");
    if (!file || driver.count == FILES_MAX) {
        fprintf(stderr, "%s: %s\n", path, file ? "too many files" : "cannot be read");
        exit(2);
    }
    struct sample *sample = &driver.samples[driver.count++];
    sample->name = strdup(path);
    sample->bytes = malloc(INPUT_BYTES_MAX);
    FUZZ_CHECK(sample->name && sample->bytes);
    sample->size = fread(sample->bytes, 1, INPUT_BYTES_MAX, file);
    (void)fclose(file);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dot(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void load(const char *path)
{
    struct stat about;
    struct dirent **entries;
    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode)) {
        load_file(path);
        return;
    }
    int count = scandir(path, &entries, no_dot, by_name);
    for (int i = 0; i < count; i++) {
        char inside[4096];
        snprintf(inside, sizeof inside, "%s/%s", path, entries[i]->d_name);
        load_file(inside);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static uint64_t number_of(const char *text)
{
    char *end;
    unsigned long long value = text ? strtoull(text, &end, 10) : 0;
    if (!text || end == text || *end != '\0') {
        fprintf(stderr, "a whole number is expected, got '%s'\n", text ? text : "nothing");
        exit(2);
    }
    return value;
}

static void read_arguments(char **argv)
{
    for (char **at = argv + 1; *at; at++) {
        if (strcmp(*at, "--mutations") == 0)
            driver.mutations = number_of(*++at);
        else if (strcmp(*at, "--seed") == 0)
            driver.seed = number_of(*++at);
        else if (strcmp(*at, "--first") == 0)
            driver.first = number_of(*++at);
        else
            load(*at);
    }
    if (driver.count == 0) {
        fprintf(stderr, "usage: %s [--mutations N] [--seed S] [--first K] FILE-OR-DIRECTORY...\n", argv[0]);
        exit(2);
    }
}

static void arm(void)
{
    static const int deaths[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = die_by, .sa_flags = (int)SA_RESETHAND};
    /* A sanitizer reports the others itself, then calls back. */
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say_where);
    for (unsigned i = 0; i < (__sanitizer_set_death_callback ? 1 : sizeof deaths / sizeof deaths[0]); i++)
        (void)sigaction(deaths[i], &action, NULL);
}

int main(int argc, char **argv)
{
    (void)argc;
    driver.seed = 1;
    read_arguments(argv);
    arm();
    for (unsigned i = 0; i < driver.count; i++) {
        snprintf(driver_now, sizeof driver_now, "input %s; again: %s %s\n", driver.samples[i].name, argv[0], driver.samples[i].name);
        if (driver.first == 0)
            run_bytes(driver.samples[i].bytes, driver.samples[i].size);
    }
    for (uint64_t k = driver.first; k < driver.first + driver.mutations; k++)
        run_mutation(argv[0], k);
    printf("%u inputs, %llu mutations of seed %llu\n", driver.first == 0 ? driver.count : 0, (unsigned long long)driver.mutations,
           (unsigned long long)driver.seed);
    for (unsigned i = 0; i < driver.count; i++) {
        free(driver.samples[i].name);
        free(driver.samples[i].bytes);
    }
    return 0;
}

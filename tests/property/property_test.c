/* Random lives of a small shop, stepped by the engine and judged by the oracle. A seed replays exactly; a failure is cut down to the few
 * commands that make it.
 *
 *   property_test                     about 200,000 commands; HF_TEST_SCALE=full: ten million
 *   HF_TEST_COMMANDS=n property_test  that many
 *   HF_TEST_SEED=n property_test      the one episode of that seed */
#include "tests/property/draw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { EPISODE_COMMANDS = 4000, QUICK_COMMANDS = 200000, FULL_COMMANDS = 10000000, REDUCE_TRIES = 3000, LIES = 300 };

struct hf_tally {
    uint64_t commands, records, episodes, crashes, keyed, by_result[HF_RESULT_COUNT], by_opcode[8][16];
};

static void count_world(struct hf_tally *tally, const struct hf_world *world)
{
    struct hf_oracle_counts counts;
    hf_oracle_counts(world->oracle, &counts);
    tally->commands += world->commands;
    tally->records += world->records;
    tally->episodes++;
    tally->crashes += world->crashes;
    tally->keyed += counts.keyed;
    for (int r = 0; r < HF_RESULT_COUNT; r++)
        tally->by_result[r] += counts.by_result[r];
    for (int i = 0; i < 8 * 16; i++)
        tally->by_opcode[i / 16][i % 16] += counts.by_opcode[i / 16][i % 16];
}

/* One episode from its seed; what was done is left in *script. */
static bool live(struct hf_world *world, uint64_t seed, uint64_t commands, struct hf_script *script, struct hf_setting *setting)
{
    static struct hf_draw draw;
    struct hf_deed deed;
    hf_draw_begin(&draw, seed, setting);
    hf_script_clear(script);
    assert_true(hf_world_open(world, setting));
    while (world->commands < commands) {
        hf_draw_next(&draw, &deed);
        const struct hf_command *command = (const struct hf_command *)(const void *)draw.command;
        uint16_t detail;
        if (deed.kind == HF_DEED_COMMAND && hf_command_check(command, command->length, &detail) != HF_OK)
            continue;
        hf_script_add(script, &deed, deed.kind == HF_DEED_COMMAND || deed.kind == HF_DEED_MARK ? command : NULL);
        if (!hf_world_do(world, script, &script->deed[script->count - 1]))
            return false;
        if (deed.kind == HF_DEED_COMMAND)
            hf_draw_learn(&draw, command, hf_world_answer(world));
    }
    return hf_world_compare(world, draw.now_ns);
}

/* A fault without its numbers: one and the same kind of fault is looked for while a failure is cut down. */
static void shape_of(const char *fault, char *shape)
{
    for (bool digit = false; *fault; fault++) {
        bool now = (*fault >= '0' && *fault <= '9') || (*fault >= 'a' && *fault <= 'f' && digit);
        if (!now)
            *shape++ = *fault;
        digit = now;
    }
    *shape = 0;
}

/* The same deeds again, but for those that are struck out; true if that goes well. */
static bool again(struct hf_world *world, const struct hf_setting *setting, const struct hf_script *script, const bool *struck)
{
    bool good = true;
    uint64_t now_ns = START_NS;
    assert_true(hf_world_open(world, setting));
    for (size_t i = 0; good && i < script->count; i++) {
        if (struck[i])
            continue;
        now_ns = script->deed[i].now_ns;
        good = hf_world_do(world, script, &script->deed[i]);
    }
    good = good && hf_world_compare(world, now_ns);
    hf_world_close(world);
    return good;
}

/* Strikes out runs of deeds, long ones first, as long as the rest still fails. */
static void reduce(struct hf_world *world, const struct hf_setting *setting, const struct hf_script *script, bool *struck)
{
    char sought[sizeof world->fault], found[sizeof world->fault];
    int tries = 0;
    shape_of(world->fault, sought);
    for (size_t run = (script->count + 1) / 2; run > 0 && tries < REDUCE_TRIES; run /= 2) {
        for (size_t at = 0; at < script->count && tries < REDUCE_TRIES; at += run) {
            size_t end = at + run < script->count ? at + run : script->count, fresh = 0;
            bool *before = malloc(script->count);
            assert_non_null(before);
            memcpy(before, struck, script->count);
            for (size_t i = at; i < end; i++) {
                fresh += !struck[i];
                struck[i] = true;
            }
            bool good = fresh == 0 || (tries++, again(world, setting, script, struck));
            shape_of(world->fault, found);
            if (fresh > 0 && (good || strcmp(sought, found) != 0))
                memcpy(struck, before, script->count);
            free(before);
        }
    }
}

static void show_command(const struct hf_command *command)
{
    const struct hf_line *line = hf_command_lines(command);
    printf("opcode %04x id %016llx%016llx flags %u arg %u body %016llx %016llx %016llx %016llx ext %u", command->opcode,
           (unsigned long long)command->id.high, (unsigned long long)command->id.low, command->flags, command->arg,
           (unsigned long long)command->body.words[0], (unsigned long long)command->body.words[1],
           (unsigned long long)command->body.words[2], (unsigned long long)command->body.words[3], command->ext_bytes);
    for (uint32_t i = 0; i < command->line_count; i++)
        printf(" [%.16s %u x%u]", (const char *)&line[i].sku, line[i].location, line[i].quantity);
    printf("\n");
}

static void show(const struct hf_script *script, const struct hf_deed *deed)
{
    printf("  +%.6f ms ", (double)(deed->now_ns - START_NS) / 1e6);
    if (deed->late)
        printf("(late by %u) ", deed->late);
    if (deed->shed)
        printf("(shed %u) ", deed->shed);
    if (deed->kind == HF_DEED_CRASH)
        printf("crash\n");
    else if (deed->kind == HF_DEED_SWEEP)
        printf("sweep partition %u, at most %u\n", deed->partition, deed->ids_max);
    else
        show_command(hf_script_command(script, deed));
}

static void report(struct hf_world *world, uint64_t seed, const struct hf_setting *setting, const struct hf_script *script)
{
    bool *struck = calloc(script->count, 1);
    assert_non_null(struck);
    printf("seed %llu: %s\nagain: HF_TEST_SEED=%llu property_test\n", (unsigned long long)seed, world->fault, (unsigned long long)seed);
    hf_world_close(world);
    reduce(world, setting, script, struck);
    again(world, setting, script, struck);
    printf("reduced: %s\n  partitions %u, retention %llu ms\n", world->fault, setting->partitions,
           (unsigned long long)setting->retention_ms);
    for (size_t i = 0; i < script->count; i++)
        if (!struck[i])
            show(script, &script->deed[i]);
    fflush(stdout);
    free(struck);
}

static void show_tally(const struct hf_tally *tally, double seconds)
{
    printf("note: property: episodes %llu, crashes %llu, commands %llu, records %llu, %.0f commands/s; results:",
           (unsigned long long)tally->episodes, (unsigned long long)tally->crashes, (unsigned long long)tally->commands,
           (unsigned long long)tally->records, (double)tally->commands / seconds);
    for (unsigned r = 0; r < HF_RESULT_COUNT; r++)
        if (tally->by_result[r] > 0)
            printf(" %s %llu", hf_result_name(r), (unsigned long long)tally->by_result[r]);
    printf("; sweeps: EXPIRE %llu, MARK %llu, FORGET %llu, PURGE_LIMITS %llu, PURGE_KEYS %llu; repeats by key %llu\n",
           (unsigned long long)tally->by_opcode[6][1], (unsigned long long)tally->by_opcode[6][2],
           (unsigned long long)tally->by_opcode[6][3], (unsigned long long)tally->by_opcode[6][4],
           (unsigned long long)tally->by_opcode[6][5], (unsigned long long)tally->keyed);
}

static bool at_full_scale(void)
{
    const char *scale = getenv("HF_TEST_SCALE");
    return scale && strcmp(scale, "full") == 0;
}

static const char *given_seed(void)
{
    return getenv("HF_TEST_SEED");
}

/* By default the same lives each time: what is new is looked for at full scale. */
static uint64_t first_seed(void)
{
    if (given_seed())
        return strtoull(given_seed(), NULL, 0);
    return at_full_scale() ? (uint64_t)time(NULL) * 1000003u ^ (uint64_t)getpid() << 40 : 20261123;
}

static void engine_and_oracle_agree_on_random_lives(void **state)
{
    (void)state;
    const char *asked = getenv("HF_TEST_COMMANDS");
    uint64_t total = asked ? strtoull(asked, NULL, 0) : at_full_scale() ? FULL_COMMANDS : QUICK_COMMANDS;
    uint64_t seed = first_seed();
    struct hf_world *world = calloc(1, sizeof *world);
    struct hf_tally tally = {.commands = 0};
    struct hf_script script = {.count = 0};
    struct hf_setting setting;
    struct timespec begin, end;
    bool good = true;
    assert_non_null(world);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    printf("first seed %llu\n", (unsigned long long)seed);
    while (good && tally.commands < total) {
        good = live(world, seed, EPISODE_COMMANDS, &script, &setting);
        if (!good) {
            report(world, seed, &setting, &script);
            break;
        }
        count_world(&tally, world);
        hf_world_close(world);
        seed++;
        if (given_seed())
            break;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    show_tally(&tally, (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9 + 1e-9);
    hf_script_end(&script);
    free(world);
    assert_true(good);
}

/* Lives in each of which one outcome or one answer is altered before the oracle sees it: none may pass. */
static void refuses_lies(bool in_answers)
{
    uint64_t seed = first_seed();
    struct hf_world *world = calloc(1, sizeof *world);
    struct hf_script script = {.count = 0};
    struct hf_setting setting;
    assert_non_null(world);
    for (int number = 0; number < (given_seed() ? 1 : LIES); number++, seed++) {
        uint64_t at = 1 + seed * 2654435761u % 300;
        world->alter_at = in_answers ? 0 : at;
        world->lie_from = in_answers ? at + 40 : 0;
        world->alter_draw = seed * 0x9E3779B97F4A7C15ull;
        bool good = live(world, seed, EPISODE_COMMANDS / 4, &script, &setting);
        if (world->altered ? !world->refused : !good) {
            printf("seed %llu: %s (altered: %d, refused: %d, bit %u, draw %llu)\nagain: HF_TEST_SEED=%llu property_test\n",
                   (unsigned long long)seed, world->fault, world->altered, world->refused, world->alter_bit,
                   (unsigned long long)world->alter_draw, (unsigned long long)seed);
            show(&script, &script.deed[script.count - 1]);
        }
        assert_true(world->altered ? world->refused : good);
        hf_world_close(world);
    }
    hf_script_end(&script);
    free(world);
}

static void the_oracle_refuses_an_outcome_of_which_a_bit_was_altered(void **state)
{
    (void)state;
    refuses_lies(false);
}

static void the_oracle_refuses_an_answer_that_lies(void **state)
{
    (void)state;
    refuses_lies(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oracle_refuses_an_outcome_of_which_a_bit_was_altered),
        cmocka_unit_test(the_oracle_refuses_an_answer_that_lies),
        cmocka_unit_test(engine_and_oracle_agree_on_random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

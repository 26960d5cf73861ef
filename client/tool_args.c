/* Arguments of the tool's commands, by table. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/tool.h"

static void say(const struct hf_tool *tool, const char *format, va_list arguments)
{
    fprintf(stderr, "holdfast%s%s: ", *tool->command ? " " : "", tool->command);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

int hf_tool_fail(const struct hf_tool *tool, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(tool, format, arguments);
    va_end(arguments);
    return status;
}

int hf_tool_usage(const struct hf_tool *tool, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(tool, format, arguments);
    va_end(arguments);
    fprintf(stderr, "usage: %s\n", tool->usage);
    return HF_EXIT_USAGE;
}

static void print_rows(FILE *to, const struct hf_tool *tool, const struct hf_tool_command *rows)
{
    fprintf(to, "usage: %s\n", tool->usage);
    for (; rows->name; rows++)
        fprintf(to, "  %s\n", rows->usage);
}

int hf_tool_dispatch(struct hf_tool *tool, const struct hf_tool_command *rows, int argc, char **argv)
{
    static char words[64];
    if (argc == 0 || strcmp(argv[0], "--help") == 0) {
        print_rows(argc == 0 ? stderr : stdout, tool, rows);
        return argc == 0 ? HF_EXIT_USAGE : HF_EXIT_DONE;
    }
    for (const struct hf_tool_command *row = rows; row->name; row++) {
        if (strcmp(row->name, argv[0]) != 0)
            continue;
        size_t used = strlen(words);
        snprintf(words + used, sizeof words - used, "%s%s", used ? " " : "", row->name);
        tool->command = words;
        tool->usage = row->usage;
        return row->run(tool, argc - 1, argv + 1);
    }
    hf_tool_fail(tool, HF_EXIT_USAGE, "'%s' is no command", argv[0]);
    print_rows(stderr, tool, rows);
    return HF_EXIT_USAGE;
}

static bool read_number(const struct hf_tool_option *option, const char *text)
{
    char *end = NULL;
    errno = 0;
    if (option->kind == HF_KIND_U64)
        *(uint64_t *)option->out = strtoull(text, &end, 10);
    else if (option->kind == HF_KIND_I64)
        *(int64_t *)option->out = strtoll(text, &end, 10);
    else
        *(double *)option->out = strtod(text, &end);
    bool negative = option->kind == HF_KIND_U64 && strchr(text, '-');
    return errno == 0 && end != text && *end == 0 && !negative;
}

static int read_value(const struct hf_tool *tool, const struct hf_tool_option *option, const char *text)
{
    if (option->given)
        *option->given = true;
    if (option->kind == HF_KIND_TEXT)
        *(const char **)option->out = text;
    else if (!read_number(option, text))
        return hf_tool_usage(tool, "%s: '%s' is not a%s number that fits", option->name, text,
                             option->kind == HF_KIND_U64 ? " whole, non-negative" : "");
    return 0;
}

static const struct hf_tool_option *find(const struct hf_tool_option *options, size_t count, const char *name, size_t bytes)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(options[i].name) == bytes && memcmp(options[i].name, name, bytes) == 0)
            return &options[i];
    return NULL;
}

/* One --option at argv[*at]; steps *at over a value of its own. */
static int read_option(const struct hf_tool *tool, int argc, char **argv, int *at, const struct hf_tool_option *options, size_t count,
                       bool *seen)
{
    const char *word = argv[*at], *value = strchr(word, '=');
    const struct hf_tool_option *option = find(options, count, word, value ? (size_t)(value - word) : strlen(word));
    if (!option)
        return hf_tool_usage(tool, "'%s' is no option of this command", word);
    seen[option - options] = true;
    if (option->kind == HF_KIND_FLAG) {
        *(bool *)option->out = true;
        return value ? hf_tool_usage(tool, "%s takes no value", option->name) : 0;
    }
    if (!value && *at + 1 >= argc)
        return hf_tool_usage(tool, "%s needs a value", option->name);
    return read_value(tool, option, value ? value + 1 : argv[++*at]);
}

int hf_tool_options(const struct hf_tool *tool, int argc, char **argv, const struct hf_tool_option *options, size_t count)
{
    bool seen[64] = {false};
    size_t place = 0;
    assert(count <= 64);
    for (int i = 0; i < argc; i++) {
        int failed;
        if (strcmp(argv[i], "--help") == 0) {
            printf("usage: %s\n", tool->usage);
            return -1;
        }
        if (strncmp(argv[i], "--", 2) == 0) {
            failed = read_option(tool, argc, argv, &i, options, count, seen);
        } else {
            while (place < count && options[place].name[0] == '-')
                place++;
            if (place == count)
                return hf_tool_usage(tool, "'%s' is one argument too many", argv[i]);
            seen[place] = true;
            failed = read_value(tool, &options[place], argv[i]);
            place++;
        }
        if (failed)
            return failed;
    }
    for (size_t i = 0; i < count; i++)
        if (options[i].required && !seen[i])
            return hf_tool_usage(tool, "%s is missing", options[i].name);
    return 0;
}

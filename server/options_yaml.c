/* The YAML file: one mapping from option names to a value, or to a list where several make sense; and the dpdk section. */
#include "server/options_yaml_p.h"

#include "wire/error.h"

#include <errno.h>
#include <string.h>

int hf_yaml_fault(struct hf_yaml_reader *reader, size_t line, const char *name, const char *what)
{
    snprintf(reader->error, reader->error_bytes, "%s:%zu: %s%s%s", reader->options->config, line + 1, name ? name : "", name ? ": " : "",
             what);
    return HF_E_USAGE;
}

int hf_yaml_next(struct hf_yaml_reader *reader)
{
    yaml_event_delete(&reader->event);
    if (yaml_parser_parse(&reader->parser, &reader->event))
        return 0;
    return hf_yaml_fault(reader, reader->parser.problem_mark.line, NULL,
                         reader->parser.problem ? reader->parser.problem : "this is not YAML");
}

static int value_take(struct hf_yaml_reader *reader, const struct hf_option *option)
{
    char expected[256];
    const char *text = (const char *)reader->event.data.scalar.value;
    if (strlen(text) != reader->event.data.scalar.length)
        return hf_yaml_fault(reader, reader->event.start_mark.line, option->name, "a value may not hold a zero byte");
    if (hf_option_take(option, text, reader->options, expected, sizeof expected) != 0)
        return hf_yaml_fault(reader, reader->event.start_mark.line, option->name, expected);
    return 0;
}

static int list_take(struct hf_yaml_reader *reader, const struct hf_option *option)
{
    if (!hf_option_is_list(option))
        return hf_yaml_fault(reader, reader->event.start_mark.line, option->name, "expected one value, got a list");
    for (;;) {
        int status = hf_yaml_next(reader);
        if (status != 0)
            return status;
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        if (reader->event.type != YAML_SCALAR_EVENT)
            return hf_yaml_fault(reader, reader->event.start_mark.line, option->name, "expected a list of plain values");
        status = value_take(reader, option);
        if (status != 0)
            return status;
    }
}

/* The key is the present event; ends with the last event of its value. */
static int pair_take(struct hf_yaml_reader *reader)
{
    size_t line = reader->event.start_mark.line;
    if (reader->event.type != YAML_SCALAR_EVENT)
        return hf_yaml_fault(reader, line, NULL, "expected an option's name");
    if (strcmp((const char *)reader->event.data.scalar.value, "dpdk") == 0)
        return hf_yaml_take_dpdk(reader);
    const struct hf_option *option = hf_option_find((const char *)reader->event.data.scalar.value, reader->event.data.scalar.length);
    if (!option || option->flag_only) {
        char name[81];
        snprintf(name, sizeof name, "%s", (const char *)reader->event.data.scalar.value);
        return hf_yaml_fault(reader, line, name, option ? "can only be a flag" : "unknown key; holdfastd --help lists what there is");
    }
    for (unsigned i = 0; i < reader->seen_count; i++)
        if (reader->seen[i] == option)
            return hf_yaml_fault(reader, line, option->name, "stands here a second time; keep one");
    reader->seen[reader->seen_count++] = option;
    hf_option_clear(option, reader->options);
    int status = hf_yaml_next(reader);
    if (status != 0)
        return status;
    if (reader->event.type == YAML_SCALAR_EVENT)
        return value_take(reader, option);
    if (reader->event.type == YAML_SEQUENCE_START_EVENT)
        return list_take(reader, option);
    return hf_yaml_fault(reader, line, option->name, hf_option_is_list(option) ? "expected a value or a list" : "expected one value");
}

static int mapping_take(struct hf_yaml_reader *reader)
{
    for (;;) {
        int status = hf_yaml_next(reader);
        if (status != 0 || reader->event.type == YAML_MAPPING_END_EVENT)
            return status;
        status = pair_take(reader);
        if (status != 0)
            return status;
    }
}

/* Whether the document is nothing but comments and blanks. */
static bool document_is_empty(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0 && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static int stream_take(struct hf_yaml_reader *reader)
{
    for (unsigned documents = 0;;) {
        int status = hf_yaml_next(reader);
        if (status != 0 || reader->event.type == YAML_STREAM_END_EVENT)
            return status;
        if (reader->event.type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
            return hf_yaml_fault(reader, reader->event.start_mark.line, NULL, "a second document; keep one");
        if (reader->event.type == YAML_MAPPING_START_EVENT)
            status = mapping_take(reader);
        else if ((reader->event.type == YAML_SCALAR_EVENT && !document_is_empty(&reader->event)) ||
                 reader->event.type == YAML_SEQUENCE_START_EVENT)
            status = hf_yaml_fault(reader, reader->event.start_mark.line, NULL, "expected lines of the form `name: value`");
        if (status != 0)
            return status;
    }
}

int hf_options_read_file(struct hf_server_options *options, char *error, size_t error_bytes)
{
    struct hf_yaml_reader reader = {.options = options, .error = error, .error_bytes = error_bytes};
    FILE *file = fopen(options->config, "re");
    if (!file) {
        snprintf(error, error_bytes, "--config: %s cannot be read: %s", options->config, strerror(errno));
        return HF_E_USAGE;
    }
    int status = HF_E_USAGE;
    if (yaml_parser_initialize(&reader.parser)) {
        yaml_parser_set_input_file(&reader.parser, file);
        status = stream_take(&reader);
        yaml_event_delete(&reader.event);
        yaml_parser_delete(&reader.parser);
    } else {
        snprintf(error, error_bytes, "no memory to read %s", options->config);
    }
    fclose(file);
    return status;
}

/* `holdfast top`: looks at an engine once a second.
 *
 * Numbers come from STATUS. Hot SKUs are sampled from the tail of the log, which this tool follows itself, as fast as it may without
 * holding up the next look: the engine counts nothing for it. */
#include "client/tool_top.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "wire/record_check.h"

enum { FADE_LOOKS = 8, LAG_MOST_BYTES = 1 << 20 };

static volatile sig_atomic_t stopped, resized;

static void on_signal(int signal_number)
{
    if (signal_number == SIGWINCH)
        resized = 1;
    else
        stopped = 1;
}

struct top {
    struct hf_tool_call call;
    const struct hf_tool *tool;
    uint64_t interval_ms, frames; /* 0: until it is told to stop */
    bool screen;
    struct termios before;
    bool raw;
    struct hf_sketch sketch;
    bool follows;
    uint64_t position, looks;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the tail of the log ---- */

static void count_record(struct top *top, const struct hf_record *record, const struct hf_command *command)
{
    if (command->opcode != HF_PLACE || record->result != HF_OK)
        return;
    for (unsigned i = 0; i < command->line_count; i++)
        hf_sketch_add(&top->sketch, &hf_command_lines(command)[i].sku, 1);
}

static void count_records(struct top *top, const struct hf_answer *answer)
{
    const uint8_t *at = (const uint8_t *)(answer + 1), *end = (const uint8_t *)answer + answer->length;
    while ((size_t)(end - at) > sizeof(struct hf_follow_head)) {
        const struct hf_record *record = (const struct hf_record *)(const void *)(at + sizeof(struct hf_follow_head));
        const struct hf_command *command;
        if (!hf_record_check(record, (size_t)(end - at) - sizeof(struct hf_follow_head), &command))
            return;
        count_record(top, record, command);
        at = (const uint8_t *)record + record->length;
    }
}

/* Follows until it is at the end, or time is up; what it could not keep up with is left out. */
static int sample(struct top *top, uint64_t durable, uint64_t until_ns)
{
    if (top->position + LAG_MOST_BYTES < durable)
        top->position = durable;
    while (top->follows && !stopped && now_ns() < until_ns) {
        struct hf_command *command = hf_tool_call_again(&top->call, HF_FOLLOW, 0, 0);
        unsigned most = hf_tool_call_frame_bytes_max(&top->call);
        command->body.follow.position = top->position;
        command->arg = most == HF_FRAME_BYTES_MAX ? 0 : most - (unsigned)(sizeof(struct hf_frame) + sizeof(struct hf_answer));
        int failed = hf_tool_call_send(top->tool, &top->call);
        if (failed)
            return failed;
        if (top->call.answer->result == HF_BUSY)
            break;
        /* A log that is no file cannot be followed; a position of before a restart may be none any more. */
        if (top->call.answer->result != HF_OK) {
            top->follows = top->call.answer->result != HF_NOT_FOUND;
            top->position = durable;
            break;
        }
        count_records(top, top->call.answer);
        if (top->call.answer->value == top->position)
            break;
        top->position = top->call.answer->value;
    }
    return 0;
}

/* ---- the terminal ---- */

static void screen_begin(struct top *top)
{
    if (!top->screen)
        return;
    struct termios raw;
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &top->before) == 0) {
        raw = top->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        top->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    fputs("\033[?1049h\033[?25l\033[2J", stdout);
}

static void screen_end(struct top *top)
{
    if (!top->screen)
        return;
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    if (top->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &top->before);
}

static void draw(struct top *top, json_t *frame)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    const char *from = top->tool->control ? top->tool->control : top->tool->server;
    if (top->tool->json) {
        json_dumpf(frame, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else if (!top->screen) {
        hf_top_draw(frame, from, 0, 0, "\n", stdout);
        putchar('\n');
    } else {
        resized = 0;
        ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
        fputs("\033[H", stdout);
        hf_top_draw(frame, from, size.ws_col ? size.ws_col : 80, size.ws_row ? size.ws_row : 24, "\n", stdout);
    }
    fflush(stdout);
}

/* Until the next look; a resize draws the same frame again, q ends. */
static void wait_until(struct top *top, uint64_t until_ns, json_t *frame)
{
    for (uint64_t now; !stopped && (now = now_ns()) < until_ns;) {
        struct pollfd key = {.fd = top->raw ? STDIN_FILENO : -1, .events = POLLIN};
        struct timespec left = {(time_t)((until_ns - now) / 1000000000u), (long)((until_ns - now) % 1000000000u)};
        char pressed = 0;
        if (ppoll(&key, 1, &left, NULL) > 0 && (read(STDIN_FILENO, &pressed, 1) <= 0 || pressed == 'q'))
            stopped = 1;
        if (resized && frame && top->screen)
            draw(top, frame);
    }
}

/* ---- the looks ---- */

static int look(struct top *top, json_t **status, uint64_t *at_ns)
{
    int failed = hf_tool_ask_status(top->tool, &top->call, status);
    *at_ns = now_ns();
    return failed;
}

static int run(struct top *top)
{
    json_t *before, *now, *frame = NULL;
    uint64_t before_ns, at_ns, interval_ns = top->interval_ms * 1000000;
    int failed = look(top, &before, &before_ns);
    if (failed)
        return failed;
    top->position = (uint64_t)json_integer_value(json_object_get(before, "durable_position"));
    top->follows = true;
    screen_begin(top);
    for (uint64_t drawn = 0; !failed && !stopped && (top->frames == 0 || drawn < top->frames); drawn++) {
        wait_until(top, before_ns + interval_ns, frame);
        if (stopped || (failed = look(top, &now, &at_ns)) != 0)
            break;
        if (top->looks++ % FADE_LOOKS == FADE_LOOKS - 1)
            hf_sketch_fade(&top->sketch);
        failed = sample(top, (uint64_t)json_integer_value(json_object_get(now, "durable_position")), at_ns + interval_ns / 2);
        json_decref(frame);
        frame = hf_top_frame(before, now, (double)(at_ns - before_ns) / 1e9, &top->sketch);
        draw(top, frame);
        json_decref(before);
        before = now;
        before_ns = at_ns;
    }
    screen_end(top);
    if (failed && top->screen) /* what was said went with the screen */
        hf_tool_fail(top->tool, failed, "the engine answers no more");
    json_decref(frame);
    json_decref(before);
    return failed;
}

int hf_tool_top(struct hf_tool *tool, int argc, char **argv)
{
    struct top top = {.tool = tool, .interval_ms = 1000};
    bool once = false;
    const struct hf_tool_option options[] = {
        {"--once", HF_KIND_FLAG, &once},
        {"--batch", HF_KIND_U64, &top.frames},
        {"--interval", HF_KIND_U64, &top.interval_ms},
    };
    struct sigaction action = {.sa_handler = on_signal};
    tool->usage = "top [--once | --batch N] [--interval MS]\n"
                  "  --once          one look, over one interval, and the end\n"
                  "  --batch N       N looks, one below the other; without a terminal or with --json as many as until it is stopped\n"
                  "  --interval MS   between two looks [1000]\n"
                  "q or ^C ends it";
    int failed = hf_tool_options(tool, argc, argv, options, sizeof options / sizeof options[0]);
    if (!failed && (top.interval_ms == 0 || top.interval_ms > 3600000))
        failed = hf_tool_usage(tool, "--interval is 1 to 3600000");
    if (failed)
        return failed < 0 ? 0 : failed;
    top.frames = once ? 1 : top.frames;
    top.screen = !tool->json && top.frames == 0 && isatty(STDOUT_FILENO);
    failed = hf_tool_connect(tool, &top.call);
    if (failed)
        return failed;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGWINCH, &action, NULL);
    failed = run(&top);
    hf_tool_call_close(&top.call);
    return failed;
}

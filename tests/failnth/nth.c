#include "tests/failnth/nth.h"

#include <stdlib.h>
#include <time.h>

enum { NTH_MAX = 20000, WAIT_MS = 2000 };

static void check_refusal(const char *name, uint64_t nth, int code, const char *sentence)
{
    if (code < HF_E_PROTOCOL || code > 0)
        fail_msg("%s: at %llu: %d is no error of ours", name, (unsigned long long)nth, code);
    if (strlen(sentence) < 12 || strchr(sentence, '\n') || strstr(sentence, "(null)"))
        fail_msg("%s: at %llu: '%s' does not say what failed", name, (unsigned long long)nth, sentence);
}

struct held {
    unsigned descriptors, threads;
};

static struct held held_now(void)
{
    return (struct held){faults_descriptors(), faults_threads()};
}

/* The other end of a connection closes its own in its own time; what it still had open at first is no measure. */
static void check_given_back(const char *name, uint64_t nth, struct held *most, const char *sentence)
{
    struct held now = held_now();
    for (unsigned i = 0; i < WAIT_MS && (now.descriptors > most->descriptors || now.threads > most->threads); i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        now = held_now();
    }
    if (faults_live() != 0 || now.descriptors > most->descriptors || now.threads > most->threads)
        fail_msg("%s: at %llu: left behind: %zu pieces of memory, %d descriptors, %d threads (%s)", name, (unsigned long long)nth,
                 faults_live(), (int)now.descriptors - (int)most->descriptors, (int)now.threads - (int)most->threads, sentence);
    *most = now;
}

void nth_for_every(const char *name, nth_attempt *try, enum faults_kind kind, int error, bool own_thread)
{
    char sentence[NTH_SENTENCE_BYTES];
    uint64_t refused = 0, nth;
    bool fired = true;
    assert_int_equal(try(sentence, sizeof sentence), 0); /* what is made once and kept is made now */
    struct held most = held_now();
    for (nth = 1; fired && nth < NTH_MAX; nth++) {
        struct faults_plan plan = {.kind = kind, .nth = nth, .error = error, .own_thread = own_thread};
        sentence[0] = '\0';
        faults_arm(&plan);
        int code = try(sentence, sizeof sentence);
        fired = faults_disarm();
        if (code != 0 && !fired)
            fail_msg("%s: nothing failed, but: %d %s", name, code, sentence);
        if (code != 0)
            check_refusal(name, nth, code, sentence);
        refused += code != 0;
        check_given_back(name, nth, &most, sentence);
    }
    assert_false(fired);
    assert_true(refused > 0);
    assert_int_equal(try(sentence, sizeof sentence), 0);
    print_message("%s: %llu places, %llu refusals\n", name, (unsigned long long)nth - 2, (unsigned long long)refused);
}

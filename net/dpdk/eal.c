#include "net/dpdk/eal.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "net/dpdk/eal_files.h"
#include "net/net.h"

enum { HF_EAL_WORDS_MAX = 96, HF_EAL_TEXT_BYTES = 8192 };

static const char hf_runtime_variable[] = "RUNTIME_DIRECTORY";

/* The command line that is made of the options. */
struct hf_eal_words {
    char *words[HF_EAL_WORDS_MAX];
    int count;
    char text[HF_EAL_TEXT_BYTES];
    size_t used;
    bool full;
};

static bool hf_eal_started;

__attribute__((format(printf, 2, 3))) static void hf_eal_add(struct hf_eal_words *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof line->text - line->used;
    int bytes = vsnprintf(line->text + line->used, room, format, arguments);
    va_end(arguments);
    line->full = line->full || bytes < 0 || (size_t)bytes >= room || line->count == HF_EAL_WORDS_MAX - 1;
    if (line->full)
        return;
    line->words[line->count++] = line->text + line->used;
    line->used += (size_t)bytes + 1;
}

/* An operator's own words go behind ours, so that what can be said twice is as they say. */
static void hf_eal_add_given(struct hf_eal_words *line, const char *given)
{
    while (given && *given) {
        given += strspn(given, " \t");
        size_t bytes = strcspn(given, " \t");
        if (bytes > 0)
            hf_eal_add(line, "%.*s", (int)bytes, given);
        given += bytes;
    }
}

static bool hf_eal_says(const struct hf_eal_words *line, const char *word)
{
    for (int i = 0; i < line->count; i++)
        if (strncmp(line->words[i], word, strlen(word)) == 0)
            return true;
    return false;
}

static void hf_eal_write(struct hf_eal_words *line, const struct hf_eal_options *options, const cpu_set_t *cpus)
{
    bool physical = false, huge = false, memif = false;
    unsigned first = 0;
    while (first < CPU_SETSIZE - 1 && !CPU_ISSET(first, cpus))
        first++;
    hf_eal_add(line, "holdfastd");
    hf_eal_add(line, "--lcores=0@%u", first);
    hf_eal_add(line, "--file-prefix=holdfast-%d", (int)getpid());
    for (unsigned i = 0; i < options->device_count; i++) {
        const struct hf_device *device = &options->devices[i];
        hf_eal_add(line, device->virtual ? "--vdev=%s" : "--allow=%s", device->name);
        physical = physical || !device->virtual;
        huge = huge || device->huge;
        memif = memif || hf_device_is_memif(device);
    }
    hf_eal_add_given(line, options->arguments);
    if (!hf_eal_says(line, "--log-level"))
        hf_eal_add(line, "--log-level=*:critical");
    if (!hf_eal_says(line, "--telemetry"))
        hf_eal_add(line, "--no-telemetry");
    if (!physical && !hf_eal_says(line, "--no-pci"))
        hf_eal_add(line, "--no-pci");
    /* In memory it needs no file system of huge pages, but memif devices refuse that. */
    if (huge && !hf_eal_says(line, "--huge-unlink") && !hf_eal_says(line, "--in-memory"))
        hf_eal_add(line, memif ? "--huge-unlink" : "--in-memory");
    if (!huge && !hf_eal_says(line, "--no-huge"))
        hf_eal_add(line, "--no-huge");
    if (!huge && !hf_eal_says(line, "-m"))
        hf_eal_add(line, "-m%u", options->memory_mib);
}

/* What EAL keeps there is for other processes of DPDK, and there are none; open files and maps outlive their names. Not its --no-shconf,
 * which keeps it off the disk as well: memif devices refuse that. */
static bool hf_eal_init(struct hf_eal_words *line)
{
    const char *before = getenv(hf_runtime_variable);
    char *kept = before ? strdup(before) : NULL;
    /* With huge pages of a file system it takes more memory only while it sees that no other process is there to be told. Asked now: it
     * changes the words. */
    bool files = hf_eal_says(line, "--telemetry") || hf_eal_says(line, "--huge-unlink");
    setenv(hf_runtime_variable, hf_eal_files_path(), 1);
    bool done = rte_eal_init(line->count, line->words) >= 0;
    if (kept)
        setenv(hf_runtime_variable, kept, 1);
    else
        unsetenv(hf_runtime_variable);
    free(kept);
    if (!done || !files)
        hf_eal_files_remove();
    return done;
}

int hf_eal_start(const struct hf_eal_options *options)
{
    static struct hf_eal_words line;
    cpu_set_t cpus;
    if (hf_eal_started)
        return hf_net_fail(HF_E_USAGE, "DPDK starts once in the life of a process");
    pthread_getaffinity_np(pthread_self(), sizeof cpus, &cpus);
    hf_eal_write(&line, options, &cpus);
    if (line.full)
        return hf_net_fail(HF_E_USAGE, "too many arguments for DPDK");
    int error = 0;
    for (unsigned i = 0; i < options->device_count && !error; i++)
        error = hf_eal_files_clear_socket(&options->devices[i]);
    if (!error)
        error = hf_eal_files_make();
    if (error)
        return error;
    hf_eal_started = true;
    bool done = hf_eal_init(&line);
    pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    if (done)
        return 0;
    char names[512] = "";
    bool huge = false;
    for (unsigned i = 0; i < options->device_count; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? " and " : "", options->devices[i].name);
        huge = huge || options->devices[i].huge;
    }
    return hf_net_fail(HF_E_IO, "DPDK cannot start with device %s%s: %s; see docs/dpdk.md", names, huge ? " and huge pages" : "",
                       rte_strerror(rte_errno));
}

void hf_eal_end(void)
{
    rte_eal_cleanup();
    hf_eal_files_remove();
}

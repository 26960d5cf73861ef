/* Any file as a trace, as rows of a table, as a list of acknowledgements.
 *
 * Input: one byte that says as what, then the file. What breaks: a refusal that does not name file and line, a trace that reads otherwise
 * once it is written down again. */
#include "client/audit_acked.h"
#include "client/trace.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

enum { WRITTEN_BYTES_MAX = 4 << 20 };

static struct memory_file file;

static void check_said(int failed, const char *error, const char *path)
{
    FUZZ_CHECK(failed == HF_E_USAGE || failed == HF_E_IO || failed == HF_E_MEMORY);
    FUZZ_CHECK(memchr(error, '\0', HF_CSV_ERROR_BYTES) && strncmp(error, path, strlen(path)) == 0);
}

/* ---- Traces ---- */

static size_t sku_bytes(const struct hf_sku *sku)
{
    const uint8_t *at = (const uint8_t *)sku;
    size_t bytes = sizeof *sku;
    while (bytes > 0 && at[bytes - 1] == 0)
        bytes--;
    return bytes;
}

static size_t write_down(const struct hf_trace *trace, char *to)
{
    size_t at = (size_t)snprintf(to, WRITTEN_BYTES_MAX, "time,order,customer,store,sku,quantity,price\n");
    for (uint64_t o = 0; o < trace->order_count; o++) {
        const struct hf_trace_order *order = &trace->orders[o];
        FUZZ_CHECK(order->line_count >= 1 && order->line_count <= HF_LINES_MAX && order->time_ms <= trace->length_ms);
        FUZZ_CHECK((uint64_t)order->first_line + order->line_count <= trace->line_count);
        for (unsigned i = 0; i < order->line_count; i++) {
            const struct hf_line *line = &trace->lines[order->first_line + i];
            FUZZ_CHECK(WRITTEN_BYTES_MAX - at > 256);
            at += (size_t)snprintf(to + at, WRITTEN_BYTES_MAX - at, "%llu,o%llu,%llu,%u,", (unsigned long long)order->time_ms,
                                   (unsigned long long)o, (unsigned long long)order->customer, line->location);
            memcpy(to + at, &line->sku, sku_bytes(&line->sku));
            at += sku_bytes(&line->sku);
            at += (size_t)snprintf(to + at, WRITTEN_BYTES_MAX - at, ",%u,%llu\n", line->quantity, (unsigned long long)line->price);
        }
    }
    return at;
}

static void check_same(const struct hf_trace *a, const struct hf_trace *b)
{
    FUZZ_CHECK(a->order_count == b->order_count && a->line_count == b->line_count && a->length_ms == b->length_ms);
    for (uint64_t o = 0; o < a->order_count; o++) {
        const struct hf_trace_order *one = &a->orders[o], *other = &b->orders[o];
        FUZZ_CHECK(one->time_ms == other->time_ms && one->customer == other->customer && one->line_count == other->line_count);
    }
    FUZZ_CHECK(memcmp(a->lines, b->lines, a->line_count * sizeof *a->lines) == 0);
}

static void read_trace(const char *path)
{
    static char written[WRITTEN_BYTES_MAX];
    struct hf_trace trace, again;
    char error[HF_CSV_ERROR_BYTES];
    int failed = hf_trace_read(path, &trace, error);
    if (failed) {
        check_said(failed, error, path);
        return;
    }
    FUZZ_CHECK(trace.order_count > 0 && trace.line_count >= trace.order_count);
    size_t bytes = write_down(&trace, written);
    FUZZ_CHECK(hf_trace_read(memory_file_fill(&file, (const uint8_t *)written, bytes), &again, error) == 0);
    check_same(&trace, &again);
    hf_trace_free(&trace);
    hf_trace_free(&again);
}

/* ---- Tables ---- */

static void read_table(const char *path)
{
    struct hf_csv csv;
    uint64_t number, line = 0;
    int more, failed = hf_csv_open(&csv, path, "sku,location,quantity");
    while (!failed && (more = hf_csv_next(&csv)) != 0) {
        if (more < 0) {
            failed = more;
            break;
        }
        FUZZ_CHECK(csv.line > line);
        line = csv.line;
        for (unsigned i = 0; i < csv.columns; i++)
            FUZZ_CHECK(!memchr(csv.fields[i].text, ',', csv.fields[i].bytes) && !memchr(csv.fields[i].text, '\n', csv.fields[i].bytes));
        if (!hf_csv_number(&csv, 1, "location", 1, UINT32_MAX, &number))
            check_said(HF_E_USAGE, csv.error, path);
        else
            FUZZ_CHECK(number >= 1 && number <= UINT32_MAX);
    }
    if (failed)
        check_said(failed, csv.error, path);
    hf_csv_close(&csv);
}

/* ---- Acknowledgements ---- */

static void read_acked(const char *path)
{
    struct hf_audit_acked *acked;
    struct hf_audit_acked_counts counts;
    char error[256];
    int failed = hf_audit_acked_read(path, &acked, error, sizeof error);
    FUZZ_CHECK(!failed);
    hf_audit_acked_count(acked, &counts);
    FUZZ_CHECK(counts.missing <= counts.acked && counts.wrong == 0 && counts.note_count <= 20);
    hf_audit_acked_destroy(acked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(const char *) = {read_trace, read_table, read_acked};
    struct fuzz_input input = {data, size};
    uint8_t what = fuzz_take8(&input);
    readers[what % 3](memory_file_fill(&file, input.at, input.left));
    return 0;
}

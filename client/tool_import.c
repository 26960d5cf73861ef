/* `holdfast stock import`: makes cells hold what a file says. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/csv.h"
#include "client/tool.h"

enum { FRAMES = 32, CALLS = 64, ROUNDS_MAX = 500 };
enum row_state { ROW_UNREAD, ROW_EQUAL, ROW_TO_SET, ROW_APPLIED, ROW_REFUSED };

struct row {
    struct hf_sku sku;
    uint32_t location;
    int32_t quantity;
    uint32_t line; /* of the file */
    uint16_t result;
    uint8_t state;
};

struct import {
    const struct hf_tool *tool;
    struct hf_tool_call *call;
    struct row *rows;
    size_t row_count, row_room;
    uint32_t *table; /* row numbers + 1 by key; power of two, at most half full */
    size_t table_mask;
    uint32_t *work; /* rows of the present pass */
    size_t work_count;
    unsigned out; /* calls of a control plane */
    bool lost;    /* a frame had no answer */
    void (*on_answer)(struct import *import, struct row *row, const struct hf_answer *answer);
};

struct flight {
    struct import *import;
    size_t first, count;
};

/* ---- the file ---- */

static uint64_t key_hash(const struct hf_sku *sku, uint32_t location)
{
    return hf_xxh64_16((const uint64_t[2]){sku->word[0] ^ (uint64_t)location * 0x9e3779b97f4a7c15ull, sku->word[1]});
}

/* The table entry of the key, or the free one where it belongs. location 0: of the SKU. */
static uint32_t *entry(struct import *import, const struct hf_sku *sku, uint32_t location)
{
    size_t at = key_hash(sku, location) & import->table_mask;
    for (;; at = (at + 1) & import->table_mask) {
        uint32_t *found = &import->table[at];
        const struct row *row = *found ? &import->rows[*found - 1] : NULL;
        if (!row || (hf_sku_equal(&row->sku, sku) && (location == 0 || row->location == location)))
            return found;
    }
}

static int clear_table(struct import *import)
{
    size_t size = 1024;
    while (size < import->row_count * 2)
        size *= 2;
    free(import->table);
    import->table = calloc(size, sizeof *import->table);
    import->table_mask = size - 1;
    return import->table ? 0 : hf_tool_fail(import->tool, HF_EXIT_USAGE, "no memory for so long a file");
}

static int read_row(struct import *import, struct hf_csv *csv)
{
    struct row row = {.line = (uint32_t)csv->line};
    uint64_t location, quantity;
    if (!hf_sku_from_text(csv->fields[0].text, csv->fields[0].bytes, &row.sku) || hf_sku_none(&row.sku))
        return hf_csv_fail(csv, "a sku has 1 to 16 bytes");
    if (!hf_csv_number(csv, 1, "location", 1, UINT32_MAX, &location) || !hf_csv_number(csv, 2, "quantity", 0, INT32_MAX, &quantity))
        return HF_E_USAGE;
    if (import->row_count == import->row_room) {
        size_t room = import->row_room ? import->row_room * 2 : 4096;
        struct row *rows = room < UINT32_MAX ? reallocarray(import->rows, room, sizeof *rows) : NULL;
        if (!rows)
            return hf_csv_fail(csv, "no memory for so long a file");
        import->rows = rows;
        import->row_room = room;
    }
    row.location = (uint32_t)location;
    row.quantity = (int32_t)quantity;
    import->rows[import->row_count++] = row;
    return 0;
}

static int read_file(struct import *import, const char *path)
{
    struct hf_csv csv;
    int more, failed = hf_csv_open(&csv, path, "sku,location,quantity");
    while (!failed && (more = hf_csv_next(&csv)) != 0)
        failed = more < 0 ? more : read_row(import, &csv);
    hf_csv_close(&csv);
    return failed ? hf_tool_fail(import->tool, HF_EXIT_USAGE, "%s", csv.error) : 0;
}

/* Two rows of one cell say two things; which one holds would depend on when each arrives. */
static int refuse_repeats(struct import *import, const char *path)
{
    int failed = clear_table(import);
    for (size_t i = 0; i < import->row_count && !failed; i++) {
        struct row *row = &import->rows[i];
        uint32_t *found = entry(import, &row->sku, row->location);
        if (*found)
            return hf_tool_fail(import->tool, HF_EXIT_USAGE, "%s:%u: the cell stands in line %u already", path, row->line,
                                import->rows[*found - 1].line);
        *found = (uint32_t)i + 1;
    }
    return failed;
}

/* ---- passes over rows ---- */

static void flight_done(void *context, const struct hf_reply *reply)
{
    struct flight *flight = context;
    struct import *import = flight->import;
    const struct hf_answer *answer = reply->answers;
    for (size_t i = 0; i < reply->count; i++) {
        struct row *row = &import->rows[import->work[flight->first + i]];
        if (reply->error || reply->refused) {
            import->lost = import->lost || reply->error;
            row->result = reply->refused;
        } else {
            row->result = answer->result;
            import->on_answer(import, row, answer);
            answer = hf_answer_next(answer);
        }
    }
    free(flight);
}

/* In the batch, or for a control plane in the call's own room. */
static struct hf_command *add_row(struct import *import, struct hf_batch *batch, const struct row *row, uint16_t opcode)
{
    char name[16];
    memcpy(name, &row->sku, sizeof name);
    uint16_t name_bytes = opcode == HF_DEFINE_SKU ? (uint16_t)strnlen(name, sizeof name) : 0;
    uint16_t ext_bytes = name_bytes ? hf_extension_bytes(name_bytes) : 0;
    struct hf_command *command = batch ? hf_batch_add(batch, opcode, 1, ext_bytes)
                                       : hf_tool_blank_command(import->call->command_room, opcode, 1, ext_bytes);
    if (!command)
        return NULL;
    hf_command_lines_rw(command)->sku = row->sku;
    if (opcode != HF_GET_CELL)
        command->id = hf_tool_call_id(import->call, hf_route(&row->sku));
    else
        command->flags = HF_FLAG_STALE_OK;
    if (opcode != HF_DEFINE_SKU)
        hf_command_lines_rw(command)->location = row->location;
    if (opcode == HF_SET)
        command->body.stock.value = row->quantity;
    if (name_bytes)
        hf_extension_put(hf_command_extensions_rw(command), HF_EXT_NAME, name, name_bytes);
    return command;
}

static void on_executed(void *context, const struct hf_answer *answer, uint16_t refused)
{
    struct flight *flight = context;
    struct import *import = flight->import;
    struct row *row = &import->rows[import->work[flight->first]];
    row->result = answer ? answer->result : refused;
    import->lost = import->lost || (!answer && !refused);
    if (answer)
        import->on_answer(import, row, answer);
    import->out--;
    free(flight);
}

/* The same over a control plane, a command a call. */
static int pass_control(struct import *import, uint16_t opcode)
{
    size_t at = 0;
    int failed = 0;
    while (!failed && (at < import->work_count || import->out > 0)) {
        struct flight *flight = at < import->work_count && import->out < CALLS ? malloc(sizeof *flight) : NULL;
        if (flight) {
            *flight = (struct flight){import, at, 1};
            const struct hf_command *command = add_row(import, NULL, &import->rows[import->work[at]], opcode);
            if (!hf_tool_execute(import->call, command, on_executed, flight)) {
                free(flight);
                return hf_tool_fail(import->tool, HF_EXIT_UNREACHABLE, "the connection is gone; import again, what was set stays as it is");
            }
            import->out++;
            at++;
            continue;
        }
        failed = hf_tool_execute_poll(import->tool, import->call);
        if (!failed && import->lost)
            failed = hf_tool_fail(import->tool, HF_EXIT_UNREACHABLE, "no answer; import again, what was set stays as it is");
    }
    return failed;
}

/* Sends `opcode` for every row of work[], many frames in flight. 0 or HF_EXIT_UNREACHABLE. */
static int pass(struct import *import, uint16_t opcode)
{
    struct hf_client_status status = {0};
    struct hf_client *client = import->call->client;
    if (!client)
        return pass_control(import, opcode);
    size_t at = 0;
    while (at < import->work_count || status.batches_queued > 0) {
        struct hf_batch *batch = at < import->work_count ? hf_client_batch(client, 0) : NULL;
        if (batch) {
            struct flight *flight = malloc(sizeof *flight);
            if (!flight)
                return hf_tool_fail(import->tool, HF_EXIT_USAGE, "no memory");
            *flight = (struct flight){import, at, 0};
            while (at < import->work_count && add_row(import, batch, &import->rows[import->work[at]], opcode))
                at++;
            flight->count = at - flight->first;
            hf_client_submit(client, batch, 0, flight_done, flight);
        } else if (hf_loop_poll(hf_client_loop(client), 10000000) < 0) {
            return hf_tool_fail(import->tool, HF_EXIT_UNREACHABLE, "the network could not be waited for");
        }
        if (import->lost)
            return hf_tool_fail(import->tool, HF_EXIT_UNREACHABLE, "no answer in time: %s; import again, what was set stays as it is",
                                hf_client_error(client));
        hf_client_status(client, &status);
    }
    return 0;
}

static bool busy(unsigned result)
{
    return result == HF_BUSY || result == HF_DRAINING;
}

/* The pass, then again for what was answered BUSY, with a pause. */
static int pass_until_taken(struct import *import, uint16_t opcode)
{
    for (int round = 0; round < ROUNDS_MAX && import->work_count > 0; round++) {
        int failed = pass(import, opcode);
        if (failed)
            return failed;
        size_t kept = 0;
        for (size_t i = 0; i < import->work_count; i++)
            if (busy(import->rows[import->work[i]].result))
                import->work[kept++] = import->work[i];
        import->work_count = kept;
        if (kept > 0)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return 0;
}

static void on_cell(struct import *import, struct row *row, const struct hf_answer *answer)
{
    struct hf_cell_item item;
    (void)import;
    row->state = ROW_TO_SET;
    if (answer->result != HF_OK || answer->length < sizeof *answer + sizeof item)
        return;
    memcpy(&item, answer + 1, sizeof item);
    if (item.version > 0 && item.sellable == row->quantity)
        row->state = ROW_EQUAL;
}

static void on_set(struct import *import, struct row *row, const struct hf_answer *answer)
{
    (void)import;
    row->state = answer->result == HF_OK ? ROW_APPLIED : answer->result == HF_UNKNOWN_SKU ? ROW_TO_SET : ROW_REFUSED;
}

static void on_defined(struct import *import, struct row *row, const struct hf_answer *answer)
{
    (void)import;
    (void)row;
    (void)answer;
}

static void work_on_all(struct import *import)
{
    import->work_count = 0;
    for (size_t i = 0; i < import->row_count; i++)
        import->work[import->work_count++] = (uint32_t)i;
}

static void work_on(struct import *import, uint8_t state)
{
    import->work_count = 0;
    for (size_t i = 0; i < import->row_count; i++)
        if (import->rows[i].state == state)
            import->work[import->work_count++] = (uint32_t)i;
}

/* One row for each SKU that an answer said is unknown. */
static int work_on_unknown_skus(struct import *import)
{
    int failed = clear_table(import);
    import->work_count = 0;
    for (size_t i = 0; i < import->row_count && !failed; i++) {
        struct row *row = &import->rows[i];
        if (row->state != ROW_TO_SET || row->result != HF_UNKNOWN_SKU)
            continue;
        /* Keyed by SKU alone: every key of this table has location 0. */
        uint32_t *found = entry(import, &row->sku, 0);
        if (*found == 0) {
            *found = (uint32_t)i + 1;
            import->work[import->work_count++] = (uint32_t)i;
        }
    }
    return failed;
}

/* ---- locations ---- */

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Takes the locations that the engine knows out of wanted[]. */
static int drop_known(struct import *import, struct hf_tool_call *call, uint32_t *wanted, size_t *count)
{
    for (struct hf_tool_page page = {0};;) {
        struct hf_command *command = hf_tool_call_again(call, HF_LIST_LOCATIONS, 0, 0);
        command->arg = page.first;
        int failed = hf_tool_call_send(import->tool, call);
        if (failed)
            return failed;
        size_t items;
        const struct hf_location_item *item = hf_tool_items(call->answer, 0, sizeof *item, &items);
        for (size_t i = 0; i < items; i++) {
            uint32_t *known = bsearch(&item[i].location, wanted, *count, sizeof *wanted, by_number);
            if (!known)
                continue;
            memmove(known, known + 1, (size_t)(wanted + *count - known - 1) * sizeof *wanted);
            --*count;
        }
        page.next = items > 0 ? item[items - 1].location + 1ull : page.first;
        page.listed += items;
        failed = hf_tool_page_turn(import->tool, call->answer, &page);
        if (failed || !page.more)
            return failed;
    }
}

static int define_location(struct import *import, struct hf_tool_call *call, uint32_t location)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct hf_command *command = hf_tool_call_again(call, HF_DEFINE_LOCATION, 0, hf_extension_bytes(8));
        command->id = hf_tool_call_id(import->call, 0);
        command->arg = location;
        hf_extension_put(hf_command_extensions_rw(command), HF_EXT_NAME, "imported", 8);
        int failed = hf_tool_call_send(import->tool, call);
        if (failed || call->answer->result == HF_OK)
            return failed;
        if (!busy(call->answer->result))
            return hf_tool_fail(import->tool, HF_EXIT_REFUSED, "location %u: %s: %s", location, hf_result_name(call->answer->result),
                                hf_result_advice(call->answer->result));
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return hf_tool_fail(import->tool, HF_EXIT_REFUSED, "BUSY: %s", hf_result_advice(HF_BUSY));
}

static int define_locations(struct import *import, size_t *defined)
{
    struct hf_tool_call *call = import->call;
    size_t count = import->row_count, kept = 0;
    for (size_t i = 0; i < count; i++)
        import->work[i] = import->rows[i].location;
    qsort(import->work, count, sizeof *import->work, by_number);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || import->work[i] != import->work[i - 1])
            import->work[kept++] = import->work[i];
    int failed = drop_known(import, call, import->work, &kept);
    for (size_t i = 0; i < kept && !failed; i++)
        failed = define_location(import, call, import->work[i]);
    *defined = kept;
    return failed;
}

/* ---- all together ---- */

static int set_rows(struct import *import)
{
    int failed = 0;
    work_on_all(import);
    import->on_answer = on_cell;
    failed = pass_until_taken(import, HF_GET_CELL);
    for (int round = 0; round < 2 && !failed; round++) {
        failed = work_on_unknown_skus(import);
        import->on_answer = on_defined;
        if (!failed)
            failed = pass_until_taken(import, HF_DEFINE_SKU);
        import->on_answer = on_set;
        work_on(import, ROW_TO_SET);
        if (!failed)
            failed = pass_until_taken(import, HF_SET);
    }
    return failed;
}

static int report(struct import *import, size_t locations)
{
    size_t applied = 0, unchanged = 0, named = 0;
    json_t *codes = json_object();
    for (size_t i = 0; i < import->row_count; i++) {
        const struct row *row = &import->rows[i];
        applied += row->state == ROW_APPLIED;
        unchanged += row->state == ROW_EQUAL;
        if (row->state == ROW_APPLIED || row->state == ROW_EQUAL)
            continue;
        const char *name = hf_result_name(row->result);
        json_object_set_new(codes, name, json_integer(json_integer_value(json_object_get(codes, name)) + 1));
        if (named++ < 10)
            hf_tool_fail(import->tool, 0, "line %u: %s: %s", row->line, name, hf_result_advice(row->result));
    }
    size_t refused = import->row_count - applied - unchanged;
    hf_tool_print(import->tool, json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "rows", (json_int_t)import->row_count, "applied",
                                          (json_int_t)applied, "unchanged", (json_int_t)unchanged, "refused", (json_int_t)refused,
                                          "locations_defined", (json_int_t)locations, "refused_by_code", codes));
    return refused ? HF_EXIT_REFUSED : HF_EXIT_DONE;
}

/* More frames at once than a single command needs. */
static int connect_data(struct import *import)
{
    struct hf_client_options options = {.server = import->tool->server, .frames_max = FRAMES, .deadline_ns = 30000000000};
    struct hf_tool_call *call = import->call;
    char error[256];
    int failed = hf_client_create(NULL, &options, &call->client, error, sizeof error);
    if (failed)
        return hf_tool_fail(import->tool, failed == HF_E_USAGE ? HF_EXIT_USAGE : HF_EXIT_UNREACHABLE, "%s", error);
    call->answer = (struct hf_answer *)(void *)call->room;
    if (hf_client_connect(call->client, 5000000000, true) != 0)
        failed = hf_tool_fail(import->tool, HF_EXIT_UNREACHABLE, "%s", hf_client_error(call->client));
    return failed;
}

static int import_rows(struct import *import)
{
    struct hf_tool_call *call = calloc(1, sizeof *call);
    size_t locations = 0;
    if (!call)
        return hf_tool_fail(import->tool, HF_EXIT_USAGE, "no memory");
    import->call = call;
    int failed = import->tool->control ? hf_tool_connect(import->tool, call) : connect_data(import);
    if (!failed)
        failed = define_locations(import, &locations);
    if (!failed)
        failed = set_rows(import);
    if (!failed)
        failed = report(import, locations);
    hf_tool_call_close(call);
    free(call);
    return failed;
}

int hf_tool_import(struct hf_tool *tool, int argc, char **argv)
{
    struct import import = {.tool = tool};
    const char *path = NULL;
    const struct hf_tool_option options[] = {{"FILE", HF_KIND_TEXT, &path, .required = true}};
    int failed = hf_tool_options(tool, argc, argv, options, 1);
    if (failed)
        return failed < 0 ? 0 : failed;
    failed = read_file(&import, path);
    if (!failed)
        failed = refuse_repeats(&import, path);
    if (!failed) {
        import.work = calloc(import.row_count + 1, sizeof *import.work);
        failed = import.work ? import_rows(&import) : hf_tool_fail(tool, HF_EXIT_USAGE, "no memory for so long a file");
    }
    free(import.rows);
    free(import.table);
    free(import.work);
    return failed;
}

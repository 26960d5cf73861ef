#include "client/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names of the orders seen, so that one whose lines are torn apart is found: open addressing, at most half full. */
struct names {
    struct hf_csv_field *slots;
    uint64_t mask, used;
};

struct reader {
    struct hf_csv csv;
    struct names names;
    struct hf_trace trace;
    uint64_t orders_room, lines_room, first_time_ms;
    struct hf_csv_field order; /* whose lines are being read */
};

static uint64_t hash_name(const struct hf_csv_field *name)
{
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (size_t i = 0; i < name->bytes; i++)
        hash = (hash ^ (unsigned char)name->text[i]) * 0x100000001b3ull;
    return hash ^ hash >> 29;
}

static bool same_name(const struct hf_csv_field *a, const struct hf_csv_field *b)
{
    return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
}

static struct hf_csv_field *name_slot(const struct names *names, const struct hf_csv_field *name)
{
    uint64_t at = hash_name(name) & names->mask;
    while (names->slots[at].text && !same_name(&names->slots[at], name))
        at = (at + 1) & names->mask;
    return &names->slots[at];
}

static int grow_names(struct names *names)
{
    struct names larger = {.mask = names->slots ? names->mask * 2 + 1 : 1023};
    larger.slots = calloc(larger.mask + 1, sizeof *larger.slots);
    if (!larger.slots)
        return HF_E_MEMORY;
    for (uint64_t i = 0; names->slots && i <= names->mask; i++)
        if (names->slots[i].text)
            *name_slot(&larger, &names->slots[i]) = names->slots[i];
    larger.used = names->used;
    free(names->slots);
    *names = larger;
    return 0;
}

static int grow(void *rows, uint64_t used, uint64_t *room, size_t row_bytes)
{
    if (used < *room)
        return 0;
    uint64_t larger = *room ? *room * 2 : 4096;
    void *moved = reallocarray(*(void **)rows, larger, row_bytes);
    if (!moved)
        return HF_E_MEMORY;
    *(void **)rows = moved;
    *room = larger;
    return 0;
}

static int begin_order(struct reader *reader, uint64_t time_ms, uint64_t customer)
{
    struct hf_csv *csv = &reader->csv;
    struct hf_trace *trace = &reader->trace;
    const struct hf_csv_field *name = &csv->fields[1];
    if (name->bytes == 0)
        return hf_csv_fail(csv, "the order has no name");
    if (reader->names.used * 2 >= (reader->names.slots ? reader->names.mask : 0) && grow_names(&reader->names) != 0)
        return HF_E_MEMORY;
    struct hf_csv_field *slot = name_slot(&reader->names, name);
    if (slot->text)
        return hf_csv_fail(csv, "order '%.*s' was there before: the lines of an order must be adjacent",
                           (int)(name->bytes < 40 ? name->bytes : 40), name->text);
    *slot = *name;
    reader->names.used++;
    reader->order = *name;
    if (grow(&trace->orders, trace->order_count, &reader->orders_room, sizeof *trace->orders) != 0)
        return HF_E_MEMORY;
    if (trace->order_count == 0)
        reader->first_time_ms = time_ms;
    uint64_t since_ms = time_ms > reader->first_time_ms ? time_ms - reader->first_time_ms : 0;
    trace->length_ms = since_ms > trace->length_ms ? since_ms : trace->length_ms;
    trace->orders[trace->order_count++] = (struct hf_trace_order){
        .time_ms = since_ms, .customer = customer, .first_line = (uint32_t)trace->line_count};
    return 0;
}

static int read_line(struct reader *reader)
{
    struct hf_csv *csv = &reader->csv;
    struct hf_trace *trace = &reader->trace;
    uint64_t time_ms, customer, store, quantity, price;
    struct hf_line line = {.quantity = 0};
    if (!hf_csv_number(csv, 0, "time", 0, UINT64_MAX / 1000000, &time_ms) || !hf_csv_number(csv, 2, "customer", 0, UINT64_MAX, &customer) ||
        !hf_csv_number(csv, 3, "store", 1, UINT32_MAX, &store) || !hf_csv_number(csv, 5, "quantity", 1, HF_QUANTITY_MAX, &quantity) ||
        !hf_csv_number(csv, 6, "price", 0, (1ull << 48) - 1, &price))
        return HF_E_USAGE;
    if (!hf_sku_from_text(csv->fields[4].text, csv->fields[4].bytes, &line.sku) || hf_sku_none(&line.sku))
        return hf_csv_fail(csv, "a sku has 1 to %zu bytes", sizeof line.sku);
    int failed = trace->order_count && same_name(&reader->order, &csv->fields[1]) ? 0 : begin_order(reader, time_ms, customer);
    if (!failed)
        failed = grow(&trace->lines, trace->line_count, &reader->lines_room, sizeof *trace->lines);
    if (failed)
        return failed;
    struct hf_trace_order *order = &trace->orders[trace->order_count - 1];
    if (order->customer != customer)
        return hf_csv_fail(csv, "one order has two customers");
    if (order->line_count == HF_LINES_MAX)
        return hf_csv_fail(csv, "an order has at most %d lines", HF_LINES_MAX);
    line.location = (uint32_t)store;
    line.quantity = (uint32_t)quantity;
    line.price = price;
    order->line_count++;
    trace->lines[trace->line_count++] = line;
    return 0;
}

static int read_all(struct reader *reader, const char *path)
{
    int more, failed = hf_csv_open(&reader->csv, path, "time,order,customer,store,sku,quantity,price");
    while (!failed && (more = hf_csv_next(&reader->csv)) != 0)
        failed = more < 0 ? more : read_line(reader);
    if (!failed && reader->trace.order_count == 0)
        failed = hf_csv_fail(&reader->csv, "the trace has no order");
    if (failed == HF_E_MEMORY)
        hf_csv_fail(&reader->csv, "there is no memory for so long a trace");
    return failed;
}

int hf_trace_read(const char *path, struct hf_trace *out, char *error)
{
    struct reader reader = {.orders_room = 0};
    int failed = read_all(&reader, path);
    hf_csv_close(&reader.csv);
    free(reader.names.slots);
    if (failed) {
        memcpy(error, reader.csv.error, HF_CSV_ERROR_BYTES);
        hf_trace_free(&reader.trace);
        return failed;
    }
    *out = reader.trace;
    return 0;
}

void hf_trace_free(struct hf_trace *trace)
{
    free(trace->orders);
    free(trace->lines);
    *trace = (struct hf_trace){.orders = NULL};
}

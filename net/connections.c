#include "net/transport.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "net/net.h"

static _Thread_local char hf_net_sentence[512];

const char *hf_net_error(void)
{
    return hf_net_sentence;
}

int hf_net_fail(int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(hf_net_sentence, sizeof hf_net_sentence, format, arguments);
    va_end(arguments);
    return error;
}

void *hf_pages_map(size_t bytes, bool huge)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
    if (huge)
        (void)madvise(pages, bytes, MADV_HUGEPAGE);
    return pages;
}

void hf_pages_unmap(void *pages, size_t bytes)
{
    if (pages)
        munmap(pages, bytes);
}

int hf_connections_create(struct hf_connections *table, uint32_t count)
{
    table->all = calloc(count, sizeof *table->all);
    table->free = calloc(count, sizeof *table->free);
    if (!table->all || !table->free) {
        hf_connections_destroy(table);
        return hf_net_fail(HF_E_MEMORY, "no memory for %u connections", count);
    }
    table->count = table->free_count = count;
    for (uint32_t i = 0; i < count; i++) {
        table->all[i].index = i;
        table->free[i] = count - 1 - i;
    }
    return 0;
}

void hf_connections_destroy(struct hf_connections *table)
{
    free(table->all);
    free(table->free);
    *table = (struct hf_connections){0};
}

struct hf_connection *hf_connections_take(struct hf_connections *table, struct hf_transport *transport)
{
    if (table->free_count == 0)
        return NULL;
    uint32_t index = table->free[--table->free_count];
    struct hf_connection *connection = &table->all[index];
    *connection = (struct hf_connection){
        .transport = transport, .carrier = transport->carrier, .index = index, .session = HF_NONE, .fd = -1};
    return connection;
}

void hf_connections_give(struct hf_connections *table, struct hf_connection *connection)
{
    assert(connection->transport && !connection->assembly && connection->unsent_first == 0);
    connection->transport = NULL;
    table->free[table->free_count++] = connection->index;
}

#include "net/outbox.h"

#include <assert.h>

#include "net/net.h"

enum { HF_OUTBOX_BYTES_MIN = 1 << 20, HF_OUTBOX_FRAME_BYTES_MIN = 64 };

int hf_outbox_create(struct hf_outbox *outbox, uint64_t bytes, struct hf_connections *connections)
{
    uint64_t size = HF_OUTBOX_BYTES_MIN;
    while (size < bytes)
        size *= 2;
    uint64_t entries = size / HF_OUTBOX_FRAME_BYTES_MIN;
    *outbox = (struct hf_outbox){.bytes_mask = size - 1, .entries_mask = entries - 1, .first = 1, .next = 1, .connections = connections};
    outbox->bytes = hf_pages_map(size, true);
    outbox->entries = hf_pages_map(entries * sizeof *outbox->entries, true);
    if (outbox->bytes && outbox->entries)
        return 0;
    hf_outbox_destroy(outbox);
    return hf_net_fail(HF_E_MEMORY, "no memory for an answer cache of %llu bytes", (unsigned long long)size);
}

void hf_outbox_destroy(struct hf_outbox *outbox)
{
    hf_pages_unmap(outbox->bytes, outbox->bytes_mask + 1);
    hf_pages_unmap(outbox->entries, (outbox->entries_mask + 1) * sizeof *outbox->entries);
    *outbox = (struct hf_outbox){0};
}

static struct hf_outbox_entry *hf_outbox_entry(const struct hf_outbox *outbox, uint64_t number)
{
    return &outbox->entries[number & outbox->entries_mask];
}

static void hf_outbox_drop_first(struct hf_outbox *outbox)
{
    const struct hf_outbox_entry *entry = hf_outbox_entry(outbox, outbox->first);
    if (entry->connection != HF_NONE)
        outbox->give_up(outbox->context, &outbox->connections->all[entry->connection]);
    assert(entry->connection == HF_NONE);
    outbox->first++;
}

void *hf_outbox_append(struct hf_outbox *outbox, uint32_t bytes, uint64_t *number)
{
    assert(bytes >= HF_OUTBOX_FRAME_BYTES_MIN && bytes % 8 == 0 && bytes <= HF_FRAME_BYTES_MAX);
    const uint64_t size = outbox->bytes_mask + 1;
    uint64_t at = outbox->head, left = size - (at & outbox->bytes_mask);
    if (left < bytes)
        at += left;
    while (outbox->first != outbox->next &&
           (hf_outbox_entry(outbox, outbox->first)->at + size < at + bytes || outbox->next - outbox->first > outbox->entries_mask))
        hf_outbox_drop_first(outbox);
    *number = outbox->next++;
    *hf_outbox_entry(outbox, *number) = (struct hf_outbox_entry){.at = at, .bytes = bytes, .connection = HF_NONE};
    outbox->head = at + bytes;
    return outbox->bytes + (at & outbox->bytes_mask);
}

bool hf_outbox_holds(const struct hf_outbox *outbox, uint64_t number)
{
    return number >= outbox->first && number < outbox->next;
}

bool hf_outbox_queue(struct hf_outbox *outbox, uint64_t number, struct hf_connection *connection)
{
    assert(hf_outbox_holds(outbox, number));
    struct hf_outbox_entry *entry = hf_outbox_entry(outbox, number);
    if (entry->connection != HF_NONE)
        return false;
    entry->connection = connection->index;
    entry->next = 0;
    if (connection->unsent_first == 0)
        connection->unsent_first = number;
    else
        hf_outbox_entry(outbox, connection->unsent_last)->next = number;
    connection->unsent_last = number;
    outbox->unsent++;
    return true;
}

unsigned hf_outbox_gather(const struct hf_outbox *outbox, const struct hf_connection *connection, struct iovec *ranges, unsigned max)
{
    unsigned count = 0;
    uint32_t skip = connection->unsent_skip;
    for (uint64_t number = connection->unsent_first; number != 0;) {
        const struct hf_outbox_entry *entry = hf_outbox_entry(outbox, number);
        uint8_t *from = outbox->bytes + (entry->at & outbox->bytes_mask) + skip;
        if (count > 0 && (uint8_t *)ranges[count - 1].iov_base + ranges[count - 1].iov_len == from) {
            ranges[count - 1].iov_len += entry->bytes;
        } else {
            if (count == max)
                break;
            ranges[count++] = (struct iovec){from, entry->bytes - skip};
        }
        skip = 0;
        number = entry->next;
    }
    return count;
}

unsigned hf_outbox_gather_frames(const struct hf_outbox *outbox, const struct hf_connection *connection, struct iovec *ranges, unsigned max)
{
    unsigned count = 0;
    for (uint64_t number = connection->unsent_first; number != 0 && count < max; count++) {
        const struct hf_outbox_entry *entry = hf_outbox_entry(outbox, number);
        ranges[count] = (struct iovec){outbox->bytes + (entry->at & outbox->bytes_mask), entry->bytes};
        number = entry->next;
    }
    return count;
}

static void hf_outbox_pop(struct hf_outbox *outbox, struct hf_connection *connection)
{
    struct hf_outbox_entry *entry = hf_outbox_entry(outbox, connection->unsent_first);
    assert(entry->connection == connection->index);
    entry->connection = HF_NONE;
    connection->unsent_first = entry->next;
    connection->unsent_skip = 0;
    outbox->unsent--;
}

void hf_outbox_sent(struct hf_outbox *outbox, struct hf_connection *connection, size_t bytes)
{
    /* A connection that was given up has no queue left; what the kernel still took of it is of no interest. */
    while (bytes > 0 && connection->unsent_first != 0) {
        uint32_t left = hf_outbox_entry(outbox, connection->unsent_first)->bytes - connection->unsent_skip;
        if (bytes < left) {
            connection->unsent_skip += (uint32_t)bytes;
            return;
        }
        bytes -= left;
        hf_outbox_pop(outbox, connection);
    }
}

void hf_outbox_forget(struct hf_outbox *outbox, struct hf_connection *connection)
{
    while (connection->unsent_first != 0)
        hf_outbox_pop(outbox, connection);
}

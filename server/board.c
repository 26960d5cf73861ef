#include "server/board.h"

#include "server/memory.h"
#include "server/status.h"

#include <pthread.h>

struct hf_board {
    pthread_mutex_t lock; /* of kept and count */
    unsigned count, room;
    struct hf_counter_item *kept, *next;
    struct hf_answer *page;
};

int hf_board_create(unsigned shard_count, struct hf_board **out)
{
    struct hf_board *board = hf_memory_zeroed(sizeof *board);
    if (!board)
        return HF_E_MEMORY;
    /* An answer holds at least one shard's, and the node's with the first. */
    board->room = (shard_count + 1) * (HF_ADMIN_ANSWER_BYTES_MAX / (unsigned)sizeof(struct hf_counter_item) / 2);
    board->kept = hf_memory_zeroed(board->room * sizeof *board->kept);
    board->next = hf_memory_zeroed(board->room * sizeof *board->next);
    board->page = hf_memory_zeroed(HF_ADMIN_ANSWER_BYTES_MAX);
    pthread_mutex_init(&board->lock, NULL);
    *out = board;
    if (board->kept && board->next && board->page)
        return 0;
    hf_board_destroy(board);
    *out = NULL;
    return HF_E_MEMORY;
}

void hf_board_destroy(struct hf_board *board)
{
    if (!board)
        return;
    pthread_mutex_destroy(&board->lock);
    hf_memory_free(board->kept);
    hf_memory_free(board->next);
    hf_memory_free(board->page);
    hf_memory_free(board);
}

void hf_board_refresh(struct hf_board *board, struct hf_node *node, const struct hf_executor *service)
{
    unsigned count = 0;
    uint32_t first = 0;
    do {
        hf_status_answer(node, service, first, board->page);
        unsigned more = board->page->item_count;
        more = more < board->room - count ? more : board->room - count;
        memcpy(board->next + count, board->page + 1, more * sizeof *board->next);
        count += more;
        first = (uint32_t)board->page->value;
    } while (board->page->flags & HF_ANSWER_MORE);
    pthread_mutex_lock(&board->lock);
    struct hf_counter_item *before = board->kept;
    board->kept = board->next;
    board->next = before;
    board->count = count;
    pthread_mutex_unlock(&board->lock);
}

unsigned hf_board_read(struct hf_board *board, struct hf_counter_item *out, unsigned max)
{
    pthread_mutex_lock(&board->lock);
    unsigned count = board->count;
    memcpy(out, board->kept, (count < max ? count : max) * sizeof *out);
    pthread_mutex_unlock(&board->lock);
    return count;
}

#include "client/audit_acked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/audit_table.h"
#include "wire/command_check.h"
#include "wire/error.h"
#include "wire/result.h"

enum verb { PLACE, SETTLE, RESULT, SHIP, CANCEL, EXTEND, VERBS, NO_VERB = VERBS };
enum { FIRST_SLOTS = 1 << 16, COUNT_MAX = 255 };

static const char *const verb_names[VERBS] = {"place", "settle", "result", "ship", "cancel", "extend"};

/* Counts saturate: beyond 255 of one verb on one order nothing more is told apart. */
struct entry {
    struct hf_id id;
    uint8_t acked[VERBS]; /* answered OK */
    uint8_t good[5];      /* records that say OK; of a place: 1 bit in `flags` */
    uint8_t other[4];     /* records that say otherwise: settle, result, ship, cancel */
    uint8_t flags;
};

enum entry_flag { PLACED = 1, PLACED_OTHERWISE = 2, EXTENDED_OTHERWISE = 4 };

_Static_assert(sizeof(struct entry) == 32, "two entries a cache line");

struct hf_audit_acked {
    struct entry *slots;
    uint64_t mask, count;
    uint64_t acked, unreadable;
};

const char *hf_audit_verb_name(unsigned verb)
{
    return verb < VERBS ? verb_names[verb] : "unknown";
}

static struct entry *slot_of(const struct hf_audit_acked *acked, struct hf_id id)
{
    uint64_t at = hf_fold_multiply(id.high ^ 0x9ae16a3b2f90404full, id.low ^ 0xc3a5c85c97cb3127ull) & acked->mask;
    while (!hf_id_none(acked->slots[at].id) && !hf_id_equal(acked->slots[at].id, id))
        at = (at + 1) & acked->mask;
    return &acked->slots[at];
}

static bool grow(struct hf_audit_acked *acked)
{
    struct hf_audit_acked bigger = *acked;
    bigger.mask = 2 * acked->mask + 1;
    bigger.slots = hf_audit_reserve((bigger.mask + 1) * sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (uint64_t i = 0; i <= acked->mask; i++)
        if (!hf_id_none(acked->slots[i].id))
            *slot_of(&bigger, acked->slots[i].id) = acked->slots[i];
    hf_audit_release(acked->slots, (acked->mask + 1) * sizeof *acked->slots);
    *acked = bigger;
    return true;
}

static void count_up(uint8_t *count)
{
    if (*count < COUNT_MAX)
        ++*count;
}

static bool acked_add(struct hf_audit_acked *acked, struct hf_id id, enum verb verb)
{
    if (acked->count >= acked->mask / 8 * 5 && !grow(acked))
        return false;
    struct entry *entry = slot_of(acked, id);
    if (hf_id_none(entry->id)) {
        entry->id = id;
        acked->count++;
    }
    acked->acked++;
    if (verb == PLACE)
        entry->acked[PLACE] = 1;
    else
        count_up(&entry->acked[verb]);
    return true;
}

static bool id_parse(const char *text, struct hf_id *id)
{
    uint64_t words[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return false;
        words[i / 16] = words[i / 16] << 4 | (uint64_t)digit;
    }
    *id = (struct hf_id){words[0], words[1]};
    return !hf_id_none(*id);
}

static enum verb verb_parse(const char *text, size_t bytes)
{
    for (unsigned verb = SETTLE; verb < VERBS; verb++)
        if (strlen(verb_names[verb]) == bytes && memcmp(verb_names[verb], text, bytes) == 0)
            return verb;
    return NO_VERB;
}

/* One line without its newline. False only without memory. */
static bool line_take(struct hf_audit_acked *acked, const char *line, size_t bytes)
{
    struct hf_id id;
    enum verb verb = PLACE;
    if (bytes < 34 || !id_parse(line, &id) || line[32] != ' ') {
        acked->unreadable++;
        return true;
    }
    const char *word = line + 33, *space = memchr(word, ' ', bytes - 33), *result = space ? space + 1 : word;
    if (space)
        verb = verb_parse(word, (size_t)(space - word));
    if (verb == NO_VERB || *result < 'A' || *result > 'Z' || memchr(result, ' ', (size_t)(line + bytes - result))) {
        acked->unreadable++;
        return true;
    }
    bool ok = line + bytes - result == 2 && memcmp(result, "OK", 2) == 0;
    return !ok || acked_add(acked, id, verb);
}

static int file_take(struct hf_audit_acked *acked, FILE *file)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    bool memory = true;
    while (memory && (bytes = getline(&line, &room, file)) > 0)
        if (line[bytes - 1] == '\n')
            memory = line_take(acked, line, (size_t)bytes - 1);
    free(line);
    return !memory ? HF_E_MEMORY : ferror(file) ? HF_E_IO : 0;
}

int hf_audit_acked_read(const char *path, struct hf_audit_acked **out, char *error, size_t error_bytes)
{
    struct hf_audit_acked *acked = calloc(1, sizeof *acked);
    FILE *file = fopen(path, "re");
    int status = file ? HF_E_MEMORY : HF_E_IO;
    snprintf(error, error_bytes, "no memory for what %s holds", path);
    if (acked && file) {
        acked->mask = FIRST_SLOTS - 1;
        acked->slots = hf_audit_reserve(FIRST_SLOTS * sizeof *acked->slots);
        status = acked->slots ? file_take(acked, file) : HF_E_MEMORY;
    }
    if (status == HF_E_IO)
        snprintf(error, error_bytes, "%s cannot be read: %s", path, strerror(errno));
    if (file)
        fclose(file);
    if (status != 0) {
        hf_audit_acked_destroy(acked);
        return status;
    }
    error[0] = '\0';
    *out = acked;
    return 0;
}

void hf_audit_acked_destroy(struct hf_audit_acked *acked)
{
    if (!acked)
        return;
    hf_audit_release(acked->slots, (acked->mask + 1) * sizeof *acked->slots);
    free(acked);
}

static enum verb verb_of(const struct hf_command *command)
{
    static const uint8_t verbs[] = {[HF_PLACE & 0xff] = PLACE,           [HF_EXTEND & 0xff] = EXTEND, [HF_SETTLE & 0xff] = SETTLE,
                                    [HF_PAYMENT_RESULT & 0xff] = RESULT, [HF_SHIP & 0xff] = SHIP,     [HF_CANCEL & 0xff] = CANCEL};
    unsigned number = command->opcode & 0xff;
    return hf_opcode_family(command->opcode) == HF_FAMILY_ORDER && number >= 1 && number < sizeof verbs ? verbs[number] : NO_VERB;
}

static struct hf_id order_of(const struct hf_command *command, enum verb verb)
{
    return verb == PLACE ? command->id : command->body.verb.order;
}

void hf_audit_acked_see(struct hf_audit_acked *acked, const struct hf_record *record, const struct hf_command *command)
{
    enum verb verb = verb_of(command);
    struct entry *entry = verb == NO_VERB ? NULL : slot_of(acked, order_of(command, verb));
    if (!entry || hf_id_none(entry->id))
        return;
    bool ok = record->result == HF_OK;
    if (verb == PLACE)
        entry->flags |= ok && record->order == HF_HELD && record->line_count == command->line_count ? PLACED : PLACED_OTHERWISE;
    else if (ok)
        count_up(&entry->good[verb - 1]);
    else if (verb == EXTEND)
        entry->flags |= EXTENDED_OTHERWISE;
    else
        count_up(&entry->other[verb - 1]);
}

void hf_audit_acked_prefetch(const struct hf_audit_acked *acked, const struct hf_command *command)
{
    enum verb verb = verb_of(command);
    if (verb == NO_VERB)
        return;
    struct hf_id id = order_of(command, verb);
    __builtin_prefetch(&acked->slots[hf_fold_multiply(id.high ^ 0x9ae16a3b2f90404full, id.low ^ 0xc3a5c85c97cb3127ull) & acked->mask], 1);
}

static void note(struct hf_audit_acked_counts *out, struct hf_id id, unsigned verb, bool wrong)
{
    if (out->note_count < sizeof out->notes / sizeof out->notes[0])
        out->notes[out->note_count++] = (struct hf_audit_acked_note){.id = id, .verb = (uint8_t)verb, .wrong = wrong};
}

static void entry_count(const struct entry *entry, struct hf_audit_acked_counts *out)
{
    for (unsigned verb = 0; verb < VERBS; verb++) {
        unsigned good = verb == PLACE ? (entry->flags & PLACED) != 0 : entry->good[verb - 1];
        unsigned other = verb == PLACE    ? (entry->flags & PLACED_OTHERWISE) != 0
                         : verb == EXTEND ? (entry->flags & EXTENDED_OTHERWISE) != 0
                                          : entry->other[verb - 1];
        if (entry->acked[verb] <= good)
            continue;
        unsigned lacking = entry->acked[verb] - good, wrong = lacking < other ? lacking : other;
        out->wrong += wrong;
        out->missing += lacking - wrong;
        note(out, entry->id, verb, wrong != 0);
    }
}

void hf_audit_acked_count(const struct hf_audit_acked *acked, struct hf_audit_acked_counts *out)
{
    *out = (struct hf_audit_acked_counts){.acked = acked->acked, .unreadable = acked->unreadable};
    for (uint64_t i = 0; i <= acked->mask; i++)
        if (!hf_id_none(acked->slots[i].id))
            entry_count(&acked->slots[i], out);
}

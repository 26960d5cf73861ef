/* Damage at rest on a simulated disk, and what the next start must make of it. */
#include "persist/block_check.h"
#include "persist/sim_disk_p.h"
#include "wire/block.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void block_insert(struct hf_sim_disk *disk, const uint8_t *data, uint64_t position, uint32_t bytes)
{
    struct hf_block head;
    memcpy(&head, data, sizeof head);
    hf_sim_grow(disk, position + bytes);
    memcpy(disk->truth + position, data, bytes);
    if (disk->block_count == disk->block_room) {
        disk->block_room = disk->block_room == 0 ? 256 : 2 * disk->block_room;
        disk->blocks = realloc(disk->blocks, disk->block_room * sizeof *disk->blocks);
        assert(disk->blocks != NULL);
    }
    uint64_t at = disk->block_count++;
    for (; at > 0 && disk->blocks[at - 1].position > position; at--)
        disk->blocks[at] = disk->blocks[at - 1];
    disk->blocks[at] = (struct hf_sim_block){
        .position = position, .stated = head.durable, .term = head.term, .number = head.number, .bytes = bytes, .length = head.length};
}

void hf_sim_block_add(struct hf_sim_disk *disk, const struct hf_sim_write *write)
{
    block_insert(disk, write->data, write->position, write->bytes);
}

/* Durable is what was reported without a gap. */
static uint64_t durable_blocks(const struct hf_sim_disk *disk)
{
    uint64_t count = 0;
    while (count < disk->block_count && disk->blocks[count].number == count)
        count++;
    return count;
}

/* Blocks that were never reported, but found whole by a start, are as good as reported once its beginning names what they lead to. */
static void blocks_found(struct hf_sim_disk *disk, const struct hf_manifest *manifest, uint64_t end)
{
    uint32_t chain = manifest->seed, room = manifest->block_max;
    uint64_t from = 0;
    if (disk->block_count != 0) {
        const struct hf_sim_block *last = &disk->blocks[disk->block_count - 1];
        struct hf_block head;
        memcpy(&head, disk->truth + last->position, sizeof head);
        chain = head.checksum;
        from = last->position + last->bytes;
    }
    uint8_t *now = malloc(room);
    assert(now != NULL);
    for (uint64_t at = from, step; at < end; at += step) {
        struct hf_block head;
        step = HF_BLOCK_ALIGN;
        hf_sim_look(disk, at, now, room - at % room);
        memcpy(&head, now, sizeof head);
        if (hf_block_judge(now, at, room - at % room, manifest->seed) != HF_BLOCK_SOUND || head.previous != chain)
            continue;
        step = hf_block_padded_bytes(head.length);
        block_insert(disk, now, at, (uint32_t)step);
        chain = head.checksum;
    }
    free(now);
}

void hf_sim_term_begins(struct hf_sim_disk *disk, const uint8_t *image)
{
    struct hf_manifest manifest;
    if (hf_manifest_decode(image, HF_MANIFEST_BYTES, &manifest) != 0)
        return;
    const struct hf_beginning *newest = hf_manifest_newest(&manifest);
    if (newest == NULL || manifest.clean)
        return;
    uint64_t keep = durable_blocks(disk);
    while (keep != 0 && disk->blocks[keep - 1].position >= newest->position && disk->blocks[keep - 1].term < newest->term)
        keep--;
    disk->block_count = keep;
    blocks_found(disk, &manifest, newest->position);
}

/* ---- damage ---- */

static void flip(struct hf_sim_disk *disk, uint64_t position, uint8_t mask)
{
    disk->medium[position] ^= mask;
    hf_sim_harm(disk, position, 1, true);
    if (disk->sectors[position / HF_SIM_SECTOR_BYTES] != HF_SIM_CLEAN)
        disk->cache[position] ^= mask;
}

void hf_sim_disk_flip(struct hf_sim_disk *disk, uint64_t position, uint8_t mask)
{
    assert(position < disk->bytes);
    flip(disk, position, mask);
}

void hf_sim_disk_flip_manifest(struct hf_sim_disk *disk, unsigned copy, uint32_t offset, uint8_t mask)
{
    assert(copy < HF_MANIFEST_COPIES && offset < HF_MANIFEST_BYTES);
    disk->manifest[copy].now[offset] ^= mask;
    disk->manifest[copy].medium[offset] ^= mask;
}

void hf_sim_disk_wipe(struct hf_sim_disk *disk, uint64_t position, uint64_t bytes)
{
    if (position + bytes > disk->bytes)
        bytes = disk->bytes - position;
    memset(disk->medium + position, 0, bytes);
    hf_sim_harm(disk, position, bytes, true);
    memset(disk->sectors + position / HF_SIM_SECTOR_BYTES, HF_SIM_CLEAN, bytes / HF_SIM_SECTOR_BYTES);
}

bool hf_sim_disk_rot(struct hf_sim_disk *disk)
{
    uint64_t end = disk->segments * disk->segment_bytes;
    if (end > disk->bytes)
        end = disk->bytes;
    if (end == 0)
        return false;
    uint64_t place = hf_sim_random(disk) % end;
    if (disk->block_count != 0 && hf_sim_random(disk) % 4 != 0) {
        const struct hf_sim_block *block = &disk->blocks[hf_sim_random(disk) % disk->block_count];
        place = block->position + hf_sim_random(disk) % block->bytes;
    }
    uint64_t sector = place / HF_SIM_SECTOR_BYTES * HF_SIM_SECTOR_BYTES;
    for (uint64_t bits = 1 + hf_sim_random(disk) % 4; bits != 0; bits--) {
        uint64_t bit = hf_sim_random(disk) % (HF_SIM_SECTOR_BYTES * 8);
        flip(disk, sector + bit / 8, (uint8_t)(1u << bit % 8));
    }
    disk->counts[HF_SIM_ROT]++;
    return true;
}

void hf_sim_disk_rot_manifest(struct hf_sim_disk *disk, unsigned copy)
{
    hf_sim_disk_flip_manifest(disk, copy, (uint32_t)(hf_sim_random(disk) % HF_MANIFEST_BYTES), (uint8_t)(1u << hf_sim_random(disk) % 8));
    disk->counts[HF_SIM_MANIFEST_ROT]++;
}

bool hf_sim_disk_lose_segment(struct hf_sim_disk *disk)
{
    if (disk->segments < 2)
        return false;
    uint64_t segment = hf_sim_random(disk) % (disk->segments - 1);
    bool is_short = hf_sim_random(disk) % 2 == 0;
    disk->segment_have[segment] = is_short ? 4096 * (hf_sim_random(disk) % (disk->segment_bytes / 4096)) : 0;
    disk->counts[HF_SIM_SEGMENT_GONE]++;
    return true;
}

void hf_sim_disk_repair(struct hf_sim_disk *disk)
{
    for (uint64_t i = 0; i < disk->block_count; i++) {
        const struct hf_sim_block *block = &disk->blocks[i];
        memcpy(disk->medium + block->position, disk->truth + block->position, block->bytes);
        memset(disk->sectors + block->position / HF_SIM_SECTOR_BYTES, HF_SIM_CLEAN, block->bytes / HF_SIM_SECTOR_BYTES);
        hf_sim_harm(disk, block->position, block->bytes, false);
    }
    for (uint64_t i = 0; i < disk->settled; i++)
        disk->segment_have[i] = disk->segment_bytes;
    for (unsigned i = 0; i < HF_MANIFEST_COPIES; i++) {
        struct hf_sim_manifest *copy = &disk->manifest[i];
        memcpy(copy->now, copy->truth, sizeof copy->now);
        memcpy(copy->medium, copy->truth, sizeof copy->medium);
    }
}

/* ---- what a start must make of it ---- */

struct stated {
    uint64_t position; /* the manifest, or an intact block, says that all before this was durable */
    bool manifest, stale, all;
};

/* What is left of the manifest: nothing; a copy older than the newest; or the newest, which states where its last term began. */
static struct stated look_at_manifest(const struct hf_sim_disk *disk)
{
    struct stated stated = {0};
    struct hf_manifest manifest;
    uint64_t newest = 0, believed = 0;
    for (unsigned i = 0; i < HF_MANIFEST_COPIES; i++)
        if (hf_manifest_decode(disk->manifest[i].truth, disk->manifest[i].bytes, &manifest) == 0 && manifest.sequence > newest)
            newest = manifest.sequence;
    for (unsigned i = 0; i < HF_MANIFEST_COPIES; i++) {
        if (hf_manifest_decode(disk->manifest[i].now, disk->manifest[i].bytes, &manifest) != 0 || manifest.sequence < believed)
            continue;
        const struct hf_beginning *beginning = hf_manifest_newest(&manifest);
        believed = manifest.sequence;
        stated = (struct stated){.manifest = true, .position = beginning == NULL ? 0 : beginning->position, .all = manifest.clean};
    }
    stated.stale = believed < newest;
    return stated;
}

/* What is neither what was written nor harmed was believed to be durable before it was: no excuse for losing it. */
static bool intact(const struct hf_sim_disk *disk, const struct hf_sim_block *block)
{
    uint8_t now[HF_SIM_SECTOR_BYTES];
    for (uint64_t at = 0; at < block->length; at += HF_SIM_SECTOR_BYTES) {
        uint64_t position = block->position + at,
                 bytes = block->length - at < HF_SIM_SECTOR_BYTES ? block->length - at : HF_SIM_SECTOR_BYTES;
        bool there = hf_sim_look(disk, position, now, sizeof now);
        bool excuse = !there || disk->harmed[position / HF_SIM_SECTOR_BYTES] != 0;
        if (excuse && memcmp(now, disk->truth + position, bytes) != 0)
            return false;
    }
    return true;
}

static bool segments_lack(const struct hf_sim_disk *disk, uint64_t from)
{
    bool lacks = false;
    for (uint64_t i = from; i < disk->segments; i++)
        lacks = lacks || disk->segment_have[i] < disk->segment_bytes;
    return lacks;
}

enum hf_sim_promise hf_sim_disk_promise(const struct hf_sim_disk *disk, uint64_t *kept)
{
    struct stated stated = look_at_manifest(disk);
    uint64_t first = 0, durable = durable_blocks(disk);
    while (first < durable && intact(disk, &disk->blocks[first]))
        first++;
    bool all = first == durable;
    *kept = first == 0 ? 0 : disk->blocks[first - 1].position + disk->blocks[first - 1].length;
    if (!stated.manifest)
        return stated.stale && disk->segments != 0 ? HF_SIM_REFUSES : HF_SIM_KEEPS;
    if (all)
        return stated.stale || segments_lack(disk, 0) ? HF_SIM_EITHER : HF_SIM_KEEPS;
    uint64_t hole = disk->blocks[first].position;
    for (uint64_t i = first + 1; i < disk->block_count; i++)
        if (disk->blocks[i].stated > hole && intact(disk, &disk->blocks[i]))
            return HF_SIM_REFUSES;
    uint64_t segment = hole / disk->segment_bytes;
    if (disk->segment_have[segment] <= hole % disk->segment_bytes && segment + 1 < disk->segments && disk->segment_have[segment + 1] != 0)
        return HF_SIM_REFUSES;
    return stated.all || stated.position > hole ? HF_SIM_REFUSES : HF_SIM_LEFT_OVER;
}

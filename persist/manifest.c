#include "persist/manifest.h"

#include "wire/crc32c.h"
#include "wire/error.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

struct image {
    uint64_t magic;
    uint32_t format;
    uint32_t bytes;
    uint64_t sequence;
    uint32_t checksum;
    uint32_t seed;
    uint32_t partitions;
    uint32_t block_max;
    uint64_t segment_bytes;
    uint64_t created_ns;
    uint32_t clean;
    uint32_t beginning_count;
    uint64_t clean_end;
    uint32_t clean_chain;
    uint32_t reserved;
    uint8_t snapshots[432];
    struct hf_beginning beginnings[HF_MANIFEST_BEGINNINGS_MAX];
    uint8_t rest[1024];
};

_Static_assert(sizeof(struct hf_beginning) == 40, "beginning layout");
_Static_assert(sizeof(struct image) == HF_MANIFEST_BYTES && offsetof(struct image, beginnings) == 512, "manifest layout");

static uint32_t image_checksum(const uint8_t *copy, uint32_t bytes)
{
    static const uint8_t zero[sizeof(uint32_t)];
    const size_t at = offsetof(struct image, checksum);
    uint32_t crc = hf_crc32c(0, copy, at);
    crc = hf_crc32c(crc, zero, sizeof zero);
    return hf_crc32c(crc, copy + at + sizeof zero, bytes - at - sizeof zero);
}

void hf_manifest_encode(const struct hf_manifest *manifest, uint8_t out[HF_MANIFEST_BYTES])
{
    struct image image = {.magic = HF_MANIFEST_MAGIC,
                          .format = HF_MANIFEST_FORMAT,
                          .bytes = HF_MANIFEST_BYTES,
                          .sequence = manifest->sequence,
                          .seed = manifest->seed,
                          .partitions = manifest->partitions,
                          .block_max = manifest->block_max,
                          .segment_bytes = manifest->segment_bytes,
                          .created_ns = manifest->created_ns,
                          .clean = manifest->clean,
                          .beginning_count = manifest->beginning_count,
                          .clean_end = manifest->clean_end,
                          .clean_chain = manifest->clean_chain};
    memcpy(image.beginnings, manifest->beginnings, manifest->beginning_count * sizeof image.beginnings[0]);
    memcpy(out, &image, sizeof image);
    image.checksum = image_checksum(out, sizeof image);
    memcpy(out, &image, sizeof image);
}

/* A copy that checks was written by us, so a value that makes no sense in it is damage from before the checksum, not a newer format. */
static bool image_sound(const struct image *image)
{
    bool blocks = image->block_max >= 16384 && image->block_max <= 1u << 20 && (image->block_max & (image->block_max - 1)) == 0;
    bool partitions = image->partitions >= 1 && image->partitions <= 65536 && (image->partitions & (image->partitions - 1)) == 0;
    return blocks && partitions && image->segment_bytes != 0 && image->segment_bytes % image->block_max == 0 &&
           image->beginning_count <= HF_MANIFEST_BEGINNINGS_MAX && image->clean <= 1;
}

int hf_manifest_decode(const uint8_t *copy, uint32_t bytes, struct hf_manifest *out)
{
    struct image image;
    if (bytes < sizeof image)
        return HF_E_DAMAGED;
    memcpy(&image, copy, sizeof image);
    if (image.magic != HF_MANIFEST_MAGIC || image.bytes < sizeof image || image.bytes > bytes || image.bytes % HF_MANIFEST_BYTES != 0)
        return HF_E_DAMAGED;
    if (image_checksum(copy, image.bytes) != image.checksum)
        return HF_E_DAMAGED;
    if (image.format > HF_MANIFEST_FORMAT)
        return HF_E_NEWER;
    if (image.format != HF_MANIFEST_FORMAT || !image_sound(&image))
        return HF_E_DAMAGED;
    *out = (struct hf_manifest){.sequence = image.sequence,
                                .seed = image.seed,
                                .partitions = image.partitions,
                                .block_max = image.block_max,
                                .segment_bytes = image.segment_bytes,
                                .created_ns = image.created_ns,
                                .clean = image.clean != 0,
                                .clean_end = image.clean_end,
                                .clean_chain = image.clean_chain,
                                .beginning_count = image.beginning_count};
    memcpy(out->beginnings, image.beginnings, image.beginning_count * sizeof image.beginnings[0]);
    return 0;
}

const struct hf_beginning *hf_manifest_newest(const struct hf_manifest *manifest)
{
    return manifest->beginning_count == 0 ? NULL : &manifest->beginnings[manifest->beginning_count - 1];
}

void hf_manifest_begin(struct hf_manifest *manifest, const struct hf_beginning *beginning)
{
    assert(manifest->beginning_count <= HF_MANIFEST_BEGINNINGS_MAX);
    if (manifest->beginning_count == HF_MANIFEST_BEGINNINGS_MAX) {
        memmove(manifest->beginnings, manifest->beginnings + 1, (HF_MANIFEST_BEGINNINGS_MAX - 1) * sizeof *beginning);
        manifest->beginning_count--;
    }
    manifest->beginnings[manifest->beginning_count++] = *beginning;
    manifest->clean = false;
    manifest->clean_end = 0;
    manifest->clean_chain = 0;
}

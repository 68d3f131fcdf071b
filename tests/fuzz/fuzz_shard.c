/* One shard file (io/shards.h). Input: the file. `mend` makes the footer, the index and the
 * checksums of frames and index fit. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/frame.h"
#include "io/shard_layout.h"
#include "tests/fuzz/target.h"
#include "tests/support/random.h"

/* Frames that claim more than MOST_RAW are not decoded: whoever reads frames knows what they may
 * hold (folders/output_load.h), which the target `output` tries. */
enum { MOST = 4096, MOST_RAW = 1 << 20 };

static sb_codec *codec;

static void begin(void) {
  codec = sb_codec_create(1);
  fuzz_require(codec != NULL);
}

typedef struct content {
  sb_filter filter;
  size_t bytes;
  bool noise;
} content;

static void seed(fuzz_take take, void *context, const content *frames, size_t count) {
  static const sb_section sections[] = {{16, 0}, {40, 16}, {60, 3}, {84, 4}};
  const char *path = fuzz_path("seed.sbz");
  uint8_t raw[512];
  sb_shard_writer *writer = NULL;
  unlink(path);
  fuzz_require(sb_shard_writer_create(path, 1, &writer) == SB_OK);
  for (size_t i = 0; i < count; i++) {
    fill_random(raw, sizeof raw, i);
    if (!frames[i].noise) memset(raw, (int)i, sizeof raw);
    const bool parts = frames[i].filter == SB_FILTER_SECTIONS;
    const sb_frame_in in = {(uint32_t)(i / 2), (uint32_t)(i % 2),       frames[i].filter, raw,
                            frames[i].bytes,   parts ? sections : NULL, parts ? 4 : 0};
    fuzz_require(sb_shard_writer_add_batch(writer, &in, 1) == SB_OK);
  }
  fuzz_require(sb_shard_writer_finish(writer, NULL) == SB_OK);
  sb_shard_writer_free(&writer);
  size_t bytes;
  char *file = fuzz_get(path, &bytes);
  take(context, file, bytes);
  free(file);
}

static void seeds(fuzz_take take, void *context) {
  static const content frames[] = {
      {SB_FILTER_NONE, 100, true},     {SB_FILTER_SPLIT16, 101, true},
      {SB_FILTER_SPLIT32, 203, false}, {SB_FILTER_SECTIONS, 200, true},
      {SB_FILTER_NONE, 0, false},      {SB_FILTER_SECTIONS, 200, false}};
  for (size_t n = 0; n <= sizeof frames / sizeof *frames; n++) seed(take, context, frames, n);
}

/* The checksum of what the frame decodes to, whatever it is now. */
static void mend_entry(const uint8_t *data, uint8_t *entry_at, uint64_t index_at) {
  static uint8_t raw[MOST_RAW];
  sb_shard_entry e;
  sb_shard_get_entry(entry_at, &e);
  if (e.offset > index_at || e.bytes > index_at - e.offset || e.raw_bytes > sizeof raw) return;
  (void)sb_codec_decode(codec, e.filter, data + e.offset, (size_t)e.bytes, raw, (size_t)e.raw_bytes,
                        0);
  e.checksum = sb_checksum(raw, (size_t)e.raw_bytes);
  sb_shard_put_entry(entry_at, &e);
}

/* The index that the footer's count gives, at the end of the file; frames follow one another. */
static void mend(uint8_t *data, size_t size) {
  if (size < SB_SHARD_HEADER_BYTES + SB_SHARD_SKIP_BYTES + SB_SHARD_FOOTER_BYTES) return;
  const size_t footer = size - SB_SHARD_FOOTER_BYTES,
               room = footer - SB_SHARD_HEADER_BYTES - SB_SHARD_SKIP_BYTES;
  const size_t count = sb_get_u64(data + footer + 8) % (room / SB_SHARD_ENTRY_BYTES + 1);
  const size_t index_at = footer - count * SB_SHARD_ENTRY_BYTES, skip = index_at - 8;
  sb_put_u32(data, sb_shard_header_skip);
  sb_put_u32(data + 4, SB_SHARD_HEADER_BYTES - SB_SHARD_SKIP_BYTES);
  memcpy(data + 8, sb_shard_magic, sizeof sb_shard_magic);
  sb_put_u32(data + skip, sb_shard_index_skip);
  sb_put_u32(data + skip + 4, (uint32_t)(size - index_at));
  for (size_t i = 0; i < count; i++)
    mend_entry(data, data + index_at + i * SB_SHARD_ENTRY_BYTES, skip);
  sb_put_u64(data + footer, index_at);
  sb_put_u64(data + footer + 8, count);
  sb_put_u64(data + footer + 16, sb_checksum(data + index_at, footer - index_at));
  memcpy(data + footer + 24, sb_shard_end_magic, sizeof sb_shard_end_magic);
}

static void read_frames(const sb_shard_reader *reader) {
  bool small = true;
  for (size_t i = 0; i < sb_shard_reader_count(reader); i++) {
    const sb_shard_entry *e = sb_shard_reader_at(reader, i);
    fuzz_require(sb_shard_reader_find(reader, e->tensor, e->row) == e);
    if (e->raw_bytes > MOST_RAW) {
      small = false;
      continue;
    }
    uint8_t *raw = malloc((size_t)e->raw_bytes + 1);
    if (fuzz_settle(sb_shard_read_frame(reader, e, raw, (size_t)e->raw_bytes)))
      fuzz_require(sb_checksum(raw, (size_t)e->raw_bytes) == e->checksum);
    free(raw);
  }
  if (small) fuzz_settle(sb_shard_verify(reader, SB_NO_TICKER));
}

static void run(const uint8_t *data, size_t size) {
  sb_shard_reader *reader = NULL;
  uint64_t hash;
  if (!fuzz_settle(sb_shard_reader_open(fuzz_put("shard.sbz", data, size, 0), &reader))) {
    fuzz_require(reader == NULL);
    return;
  }
  read_frames(reader);
  fuzz_require(sb_shard_content_hash(&reader, 1, &hash) == SB_OK);
  sb_shard_reader_close(&reader);
}

const fuzz_target fuzz_shard = {"shard", MOST, begin, seeds, mend, run};

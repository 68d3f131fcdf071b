/* Frames: filter, sections and zstd (io/frame.h, io/sections.h), without a file around them.
 *
 * Input: u8 filter, u32 bytes of the content, then the filtered content. It is undone as it stands,
 * and, compressed by zstd, decoded as a frame. What comes out must come out of its own encoding. */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "io/bytes.h"
#include "io/frame.h"
#include "io/sections.h"
#include "tests/fuzz/target.h"
#include "tests/support/random.h"

enum { MOST = 4096, MOST_SECTIONS = 512 };

static sb_codec *codec;

static void begin(void) {
  codec = sb_codec_create(-5);
  fuzz_require(codec != NULL);
}

static void seed(fuzz_take take, void *context, const sb_section *sections, size_t count) {
  uint8_t raw[MOST], input[5 + 2 * MOST];
  size_t bytes = 0, run_ends[SB_SECTION_MAX_RUNS];
  for (size_t i = 0; i < count; i++) bytes += sections[i].bytes;
  fill_random(raw, bytes, count);
  input[0] = SB_FILTER_SECTIONS;
  sb_put_u32(input + 1, (uint32_t)bytes);
  sb_sections_apply(input + 5, raw, sections, count, run_ends);
  take(context, input, 5 + sb_sections_size(sections, count, bytes));
}

static void seeds(fuzz_take take, void *context) {
  static const sb_section block_row[] = {{16, 0}, {32, 16}, {12, 35}, {60, 3}, {33, 16}, {5, 37},
                                         {80, 5}, {7, 6},   {9, 7},   {1, 3},  {0, 5},   {17, 4}};
  uint8_t split[] = {SB_FILTER_SPLIT32, 9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  for (size_t n = 0; n <= sizeof block_row / sizeof *block_row; n += 4)
    seed(take, context, block_row, n);
  take(context, split, sizeof split);
  split[0] = SB_FILTER_SPLIT16;
  take(context, split, sizeof split);
}

/* Content, decoded from sections that the input describes, is what these sections encode. */
static void there_and_back(const uint8_t *filtered, size_t filtered_bytes, const uint8_t *raw,
                           size_t bytes) {
  static sb_section sections[MOST_SECTIONS];
  static uint8_t again[MOST];
  const size_t count = sb_get_u32(filtered);
  if (count > MOST_SECTIONS) return;
  for (size_t i = 0; i < count; i++)
    sections[i] = (sb_section){sb_get_u32(filtered + 4 + 4 * i), filtered[4 + 4 * count + i]};
  fuzz_require(sb_sections_size(sections, count, bytes) == filtered_bytes);
  const void *frame;
  size_t frame_bytes;
  fuzz_require(sb_codec_encode(codec, SB_FILTER_SECTIONS, sections, count, raw, bytes, &frame,
                               &frame_bytes) == NULL);
  void *copy = malloc(frame_bytes);
  memcpy(copy, frame, frame_bytes);
  fuzz_require(sb_codec_decode(codec, SB_FILTER_SECTIONS, copy, frame_bytes, again, bytes,
                               sb_checksum(raw, bytes)) == NULL);
  fuzz_require(memcmp(again, raw, bytes) == 0);
  free(copy);
}

static void run(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const unsigned filter = fuzz_u8(&in);
  const size_t bytes = fuzz_u32(&in);
  if (!sb_filter_known(filter) || bytes > MOST) return;
  uint8_t *raw = malloc(bytes ? bytes : 1), frame[2 * MOST + 64];
  if (filter == SB_FILTER_SECTIONS && sb_sections_undo(raw, bytes, in.at, in.left))
    there_and_back(in.at, in.left, raw, bytes);
  const size_t got = ZSTD_compress(frame, sizeof frame, in.at, in.left, -5);
  fuzz_require(!ZSTD_isError(got));
  (void)sb_codec_decode(codec, (sb_filter)filter, frame, got, raw, bytes, 0); /* any checksum */
  (void)sb_codec_decode(codec, (sb_filter)filter, in.at, in.left, raw, bytes, 0);
  free(raw);
}

const fuzz_target fuzz_sections = {"sections", MOST, begin, seeds, NULL, run};

/* Sections: the filtered bytes spelled out by hand, every kind there and back, damaged lists, and
 * frames in a shard. */
#include "io/sections.h"

#include "io/frame.h"

#include <zstd.h>

#include "io/shards.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"

/* Codes 0..7 in 3 bits, a 16-bit part, plain bytes, and 3-bit codes once more:
 * worked out on paper. */
static void by_hand(void **state) {
  (void)state;
  static const sb_section parts[] = {{3, 3}, {4, SB_SECTION_U16}, {2, SB_SECTION_PLAIN}, {4, 3}};
  /* sum of c << 3c for c = 0..7 is 0xfac688; the second group is all 5s, 0xb6db6d,
   * with one byte over */
  static const uint8_t content[] = {0x88, 0xc6, 0xfa, 0x11, 0x22, 0x33, 0x44,
                                    'x',  'y',  0x6d, 0xdb, 0xb6, 0xee};
  static const uint8_t want[] = {4,          0,          0,          0,          3,    0, 0, 0, 4,
                                 0,          0,          0,          2,          0,    0, 0, 4, 0,
                                 0,          0,          3,          16,         0,    3, /* list */
                                 'x',        'y',                                      /* kind 0 */
                                 0 | 1 << 3, 2 | 3 << 3, 4 | 5 << 3, 6 | 7 << 3,       /* kind 3 */
                                 5 | 5 << 3, 5 | 5 << 3, 5 | 5 << 3, 5 | 5 << 3, 0xee, /* kind 3 */
                                 0x11,       0x33,       0x22,       0x44};            /* kind 16 */
  uint8_t got[sizeof want], back[sizeof content];
  size_t ends[SB_SECTION_MAX_RUNS];
  assert_int_equal(sb_sections_size(parts, 4, sizeof content), sizeof want);
  assert_int_equal(sb_sections_size(parts, 4, sizeof content + 1), 0);
  assert_int_equal(sb_sections_size(parts, 3, sizeof content), 0);
  assert_int_equal(sb_sections_apply(got, content, parts, 4, ends), 5);
  assert_memory_equal(got, want, sizeof want);
  assert_int_equal(ends[0], 24);
  assert_int_equal(ends[1], 26);
  assert_int_equal(ends[2], 35);
  assert_int_equal(ends[3], 37);
  assert_int_equal(ends[4], 39);
  assert_true(sb_sections_undo(back, sizeof back, got, sizeof got));
  assert_memory_equal(back, content, sizeof content);
}

enum { PARTS = 40, BYTES = 1 << 16 };

/* Parts of many kinds and sizes, empty ones too; returns the size of the content. */
static size_t make_parts(sb_section *parts, uint64_t seed) {
  static const uint8_t kinds[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 200, 255};
  uint8_t random[PARTS * 2];
  size_t bytes = 0;
  fill_random(random, sizeof random, seed);
  for (size_t i = 0; i < PARTS; i++) {
    parts[i] = (sb_section){.bytes = random[2 * i] * (i % 4),
                            .kind = kinds[random[2 * i + 1] % sizeof kinds]};
    bytes += parts[i].bytes;
  }
  return bytes;
}

static void every_kind_round_trips(void **state) {
  (void)state;
  static uint8_t content[BYTES], filtered[2 * BYTES], back[BYTES];
  size_t ends[SB_SECTION_MAX_RUNS];
  sb_section parts[PARTS];
  for (uint64_t seed = 1; seed <= 50; seed++) {
    size_t bytes = make_parts(parts, seed), size = sb_sections_size(parts, PARTS, bytes);
    fill_random(content, bytes, seed + 1000);
    assert_in_range(size, bytes, sizeof filtered);
    size_t runs = sb_sections_apply(filtered, content, parts, PARTS, ends);
    assert_int_equal(ends[runs - 1], size);
    memset(back, 0, bytes);
    assert_true(sb_sections_undo(back, bytes, filtered, size));
    assert_memory_equal(back, content, bytes);
    assert_false(sb_sections_undo(back, bytes + 1, filtered, size));
    assert_false(sb_sections_undo(back, bytes, filtered, size - 1));
    assert_false(sb_sections_undo(back, bytes, filtered, 3));
  }
}

/* Lists altered at random never make undo leave its buffers (the sanitizer build watches). */
static void damaged_lists(void **state) {
  (void)state;
  size_t ends[SB_SECTION_MAX_RUNS], refused = 0;
  sb_section parts[PARTS];
  for (uint64_t seed = 1; seed <= 300; seed++) {
    size_t bytes = make_parts(parts, seed), size = sb_sections_size(parts, PARTS, bytes);
    uint8_t *content = calloc(1, bytes + 1), *filtered = malloc(size), *back = malloc(bytes + 1),
            where[3];
    sb_sections_apply(filtered, content, parts, PARTS, ends);
    fill_random(where, sizeof where, seed + 7);
    filtered[(where[0] + 256u * where[1]) % (4 + 5 * PARTS)] ^= where[2];
    refused += !sb_sections_undo(back, bytes, filtered, size);
    free(content);
    free(filtered);
    free(back);
  }
  assert_in_range(refused, 150, 300); /* most change a size; a changed kind may fit */
}

/* In a shard: read back, smaller than without, and plain zstd gives the filtered bytes. */
static void in_a_shard(void **state) {
  (void)state;
  enum { CODES = 48000, CONTENT = CODES * 3 / 8 + CODES / 2 };
  static uint8_t content[CONTENT], back[CONTENT], filtered[2 * CONTENT], unpacked[2 * CONTENT];
  const sb_section parts[] = {{CODES * 3 / 8, 3}, {CODES / 2, 4}};
  size_t ends[SB_SECTION_MAX_RUNS], image_bytes;
  uint8_t random[3];
  for (size_t i = 0; i < CODES;
       i++) { /* binomial codes: about 2.0 bits of entropy in 3, and 2.0 in 4 */
    fill_random(random, 3, i);
    unsigned code = 0;
    for (unsigned k = 0; k < 7; k++) code += random[0] >> k & 1u;
    for (unsigned k = 0; k < 3; k++)
      if (code >> k & 1u) content[(3 * i + k) / 8] |= (uint8_t)(1u << ((3 * i + k) % 8));
    content[CODES * 3 / 8 + i / 2] |= (uint8_t)(code << (4 * (i % 2)));
  }
  sb_frame_in frames[2] = {{.tensor = 0, .raw = content, .bytes = CONTENT},
                           {.tensor = 1,
                            .filter = SB_FILTER_SECTIONS,
                            .raw = content,
                            .bytes = CONTENT,
                            .sections = parts,
                            .section_count = 2}};
  sb_shard_writer *writer;
  sb_shard_reader *reader;
  assert_ok(sb_shard_writer_create(scratch_path("s"), 1, &writer));
  assert_ok(sb_shard_writer_add_batch(writer, frames, 2));
  assert_ok(sb_shard_writer_finish(writer, NULL));
  sb_shard_writer_free(&writer);
  assert_ok(sb_shard_reader_open(scratch_path("s"), &reader));
  const sb_shard_entry *plain = sb_shard_reader_find(reader, 0, 0),
                       *apart = sb_shard_reader_find(reader, 1, 0);
  assert_true(plain->checksum == apart->checksum); /* of the content, whatever the filter */
  assert_true(apart->bytes * 20 < plain->bytes * 19);
  assert_ok(sb_shard_read_frame(reader, apart, back, CONTENT));
  assert_memory_equal(back, content, CONTENT);
  assert_ok(sb_shard_verify(reader, SB_NO_TICKER));
  unsigned char *image = get_file(scratch_path("s"), &image_bytes);
  sb_sections_apply(filtered, content, parts, 2, ends);
  assert_int_equal(ZSTD_decompress(unpacked, sizeof unpacked, image + apart->offset, apart->bytes),
                   ends[2]);
  assert_memory_equal(unpacked, filtered, ends[2]);
  free(image);
  sb_shard_reader_close(&reader);
}

/* No frame that is written is longer than readers allow: incompressible content in parts as small
 * as can be, whose list is longer than they are. */
static void frames_within_their_bound(void **state) {
  (void)state;
  enum { MANY = 20000 };
  static uint8_t content[MANY * 5], back[MANY * 5];
  static sb_section parts[MANY];
  sb_codec *codec = sb_codec_create(1);
  fill_random(content, sizeof content, 3);
  for (uint32_t bytes = 1; bytes <= 5; bytes += 4)
    for (size_t count = 0; count <= MANY; count += MANY / 2) {
      const void *frame;
      size_t frame_bytes, size = count * bytes;
      for (size_t i = 0; i < count; i++)
        parts[i] = (sb_section){bytes, (uint8_t)(bytes == 5 ? 5 : i % 251)};
      assert_null(sb_codec_encode(codec, SB_FILTER_SECTIONS, parts, count, content, size, &frame,
                                  &frame_bytes));
      assert_true(frame_bytes <= sb_codec_most_bytes(size));
      uint8_t *copy = malloc(frame_bytes);
      memcpy(copy, frame, frame_bytes);
      assert_null(sb_codec_decode(codec, SB_FILTER_SECTIONS, copy, frame_bytes, back, size,
                                  sb_checksum(content, size)));
      assert_memory_equal(back, content, size);
      free(copy);
    }
  assert_true(sb_codec_most_bytes(UINT64_MAX) >= UINT64_MAX / 2);
  sb_codec_free(codec);
}

static void wrong_sections_are_refused(void **state) {
  (void)state;
  const sb_section parts[] = {{10, 3}};
  const sb_frame_in frame = {.tensor = 3,
                             .row = 4,
                             .filter = SB_FILTER_SECTIONS,
                             .raw = "0123456789a",
                             .bytes = 11,
                             .sections = parts,
                             .section_count = 1};
  sb_shard_writer *writer;
  assert_ok(sb_shard_writer_create(scratch_path("w"), 1, &writer));
  assert_fails(sb_shard_writer_add_batch(writer, &frame, 1), SB_ERR_INTERNAL,
               "tensor 3, block row 4", "sections");
  sb_shard_writer_free(&writer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(by_hand),
      cmocka_unit_test(every_kind_round_trips),
      cmocka_unit_test(damaged_lists),
      cmocka_unit_test(in_a_shard),
      cmocka_unit_test(wrong_sections_are_refused),
      cmocka_unit_test(frames_within_their_bound),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}

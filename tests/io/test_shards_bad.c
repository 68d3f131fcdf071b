/* Damaged shards: every byte of a small one is altered, and the right thing is named. */
#include "io/bytes.h"
#include "io/shards.h"

#include <omp.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"

enum { ROWS = 3, BYTES = 300, ENTRY = 48, FOOTER = 32 };
static uint8_t content[ROWS][BYTES];
static unsigned char *good;
static size_t good_bytes;

static int make_shard(void **state) {
  sb_shard_writer *writer;
  if (scratch_setup(state) != 0 ||
      sb_shard_writer_create(scratch_path("good"), 1, &writer) != SB_OK)
    return -1;
  for (uint32_t r = 0; r < ROWS; r++) {
    fill_random(content[r], BYTES, r);
    if (sb_shard_writer_add(writer, 7, r, SB_FILTER_SPLIT16, content[r], BYTES) != SB_OK) return -1;
  }
  if (sb_shard_writer_finish(writer, NULL) != SB_OK) return -1;
  sb_shard_writer_free(&writer);
  good = get_file(scratch_path("good"), &good_bytes);
  return 0;
}

static int drop_shard(void **state) {
  free(good);
  return scratch_teardown(state);
}

static sb_status open_image(const unsigned char *image, size_t bytes, sb_shard_reader **reader) {
  put_file(scratch_path("bad"), image, bytes);
  return sb_shard_reader_open(scratch_path("bad"), reader);
}

/* One bit flipped in any byte: opening or verifying fails and names the file. (Bit 4 of a zstd
 * frame's first byte after its magic is unused by zstd; so other bits are taken.) */
static void every_byte(void **state) {
  (void)state;
  static const unsigned char flips[] = {0x01, 0x80};
  unsigned char *image = malloc(good_bytes);
  int threads = omp_get_max_threads();
  omp_set_num_threads(
      1); /* thousands of small checks: starting threads would take most of the time */
  for (size_t i = 0; i < sizeof flips * good_bytes; i++) {
    sb_shard_reader *reader;
    memcpy(image, good, good_bytes);
    image[i / sizeof flips] ^= flips[i % sizeof flips];
    sb_status status = open_image(image, good_bytes, &reader);
    if (status == SB_OK) status = sb_shard_verify(reader, SB_NO_TICKER);
    if (status == SB_OK)
      fail_msg("flipping bits %#x of byte %zu went unseen", flips[i % sizeof flips],
               i / sizeof flips);
    assert_non_null(strstr(sb_message(), "/bad"));
    sb_shard_reader_close(&reader);
  }
  omp_set_num_threads(threads);
  free(image);
}

static void damaged_frame_is_named(void **state) {
  (void)state;
  sb_shard_reader *reader;
  uint8_t got[BYTES];
  assert_ok(sb_shard_reader_open(scratch_path("good"), &reader));
  const sb_shard_entry entry = *sb_shard_reader_find(reader, 7, 1);
  sb_shard_reader_close(&reader);
  unsigned char *image = malloc(good_bytes);
  memcpy(image, good, good_bytes);
  image[entry.offset + entry.bytes - 1] ^=
      1; /* random bytes are stored as they are: this is the last byte of content */
  char offset[40];
  snprintf(offset, sizeof offset, "byte %llu", (unsigned long long)entry.offset);
  assert_ok(open_image(image, good_bytes, &reader));
  assert_ok(sb_shard_read_frame(reader, sb_shard_reader_find(reader, 7, 0), got, BYTES));
  assert_fails(sb_shard_read_frame(reader, sb_shard_reader_find(reader, 7, 1), got, BYTES),
               SB_ERR_FORMAT, "/bad", "tensor 7", "block row 1", offset, "checksum", "again");
  const sb_frame_out out[2] = {{sb_shard_reader_find(reader, 7, 0), got},
                               {sb_shard_reader_find(reader, 7, 1), got}};
  assert_fails(sb_shard_read_batch(reader, out, 2), SB_ERR_FORMAT, "tensor 7, block row 1");
  assert_fails(sb_shard_verify(reader, SB_NO_TICKER), SB_ERR_FORMAT, "/bad", "1 of 3 frames",
               "block row 1", offset);
  assert_fails(sb_shard_read_frame(reader, sb_shard_reader_find(reader, 7, 0), got, BYTES - 1),
               SB_ERR_FORMAT, "300", "299");
  sb_shard_reader_close(&reader);
  free(image);
}

static void every_truncation(void **state) {
  (void)state;
  for (size_t bytes = 0; bytes < good_bytes; bytes++) {
    sb_shard_reader *reader;
    assert_fails(open_image(good, bytes, &reader), SB_ERR_FORMAT, "/bad");
    assert_null(reader);
  }
}

/* Changes that keep the index checksum right, as only a faulty writer would make them. */
static sb_status forged(size_t entry, size_t field, unsigned char value, sb_shard_reader **reader) {
  unsigned char *image = malloc(good_bytes);
  memcpy(image, good, good_bytes);
  unsigned char *footer = image + good_bytes - FOOTER, *entries = footer - ROWS * ENTRY;
  entries[entry * ENTRY + field] = value;
  uint64_t checksum = XXH64(entries, ROWS * ENTRY, 0);
  memcpy(footer + 16, &checksum, 8);
  sb_status status = open_image(image, good_bytes, reader);
  free(image);
  return status;
}

static void faulty_indexes(void **state) {
  (void)state;
  sb_shard_reader *reader;
  assert_fails(forged(1, 4, 0, &reader), SB_ERR_FORMAT, "not in order");    /* a row twice */
  assert_fails(forged(0, 8, 33, &reader), SB_ERR_FORMAT, "does not match"); /* offset */
  assert_fails(forged(2, 16 + 7, 0x7f, &reader), SB_ERR_FORMAT,
               "does not match"); /* huge compressed size */
  assert_fails(forged(0, 40, 200, &reader), SB_ERR_UNSUPPORTED, "filter 200", "update");
  assert_ok(forged(0, 24 + 6, 0x7f,
                   &reader)); /* a huge raw size is found out without such an allocation */
  assert_fails(sb_shard_verify(reader, SB_NO_TICKER), SB_ERR_FORMAT, "block row 0", "size");
  sb_shard_reader_close(&reader);
}

static void other_files(void **state) {
  (void)state;
  sb_shard_reader *reader;
  unsigned char *image = malloc(good_bytes);
  memcpy(image, good, good_bytes);
  image[16] = 2;
  assert_fails(open_image(image, good_bytes, &reader), SB_ERR_UNSUPPORTED, "/bad", "version 2",
               "update");
  memset(image, 'x', good_bytes);
  assert_fails(open_image(image, good_bytes, &reader), SB_ERR_FORMAT, "/bad",
               "does not start as a shard");
  free(image);
  assert_fails(sb_shard_reader_open(scratch_path("missing"), &reader), SB_ERR_IO, "missing",
               "No such file");
  assert_fails(sb_shard_reader_open(scratch, &reader), SB_ERR_IO, "is a folder");
}

/* zstd steps over skippable frames: one behind a frame makes it as long as one likes. More bytes
 * than a frame of that content can have are refused before they are read. */
static void padded_frame(void **state) {
  (void)state;
  enum { PAD = 200000 };
  unsigned char *image = calloc(1, good_bytes + PAD), *footer = good + good_bytes - FOOTER, *at;
  sb_shard_reader *reader;
  const size_t index_at = (size_t)sb_get_u64(footer), frames_end = index_at - 8,
               tail = good_bytes - frames_end;
  memcpy(image, good, frames_end);
  sb_put_u32(image + frames_end, 0x184D2A50u);
  sb_put_u32(image + frames_end + 4, PAD - 8);
  memcpy(image + frames_end + PAD, good + frames_end, tail);
  for (uint32_t r = 0; r < ROWS; r++) { /* the frame that lies last */
    at = image + index_at + PAD + r * ENTRY;
    if (sb_get_u64(at + 8) + sb_get_u64(at + 16) == frames_end)
      sb_put_u64(at + 16, sb_get_u64(at + 16) + PAD);
  }
  at = image + good_bytes + PAD - FOOTER;
  sb_put_u64(at, index_at + PAD);
  sb_put_u64(at + 16, XXH64(image + index_at + PAD, ROWS * ENTRY, 0));
  assert_ok(open_image(image, good_bytes + PAD, &reader));
  assert_fails(sb_shard_verify(reader, SB_NO_TICKER), SB_ERR_FORMAT, "1 of 3 frames",
               "more bytes than its content can take");
  sb_shard_reader_close(&reader);
  free(image);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_byte),       cmocka_unit_test(damaged_frame_is_named),
      cmocka_unit_test(every_truncation), cmocka_unit_test(faulty_indexes),
      cmocka_unit_test(other_files),      cmocka_unit_test(padded_frame),
  };
  return cmocka_run_group_tests(tests, make_shard, drop_shard);
}

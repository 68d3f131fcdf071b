/* Shards: what is written is read back, by our reader and by zstd alone; equal bytes for any number
 * of threads. */
#include "io/shards.h"

#include <omp.h>
#include <xxhash.h>
#include <zstd.h>

#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"

enum { FRAMES = 37, MAX_BYTES = 50000 };
static uint8_t *content[FRAMES];
static sb_frame_in frames[FRAMES];

/* Frames of many sizes (one empty, one odd), in an order that is not the
 * key order, some compressible. */
static int make_frames(void **state) {
  for (uint32_t i = 0; i < FRAMES; i++) {
    size_t bytes = i == 0 ? 0 : (i * 7919u) % MAX_BYTES + 1;
    content[i] = malloc(bytes + 1);
    fill_random(content[i], bytes, i);
    for (size_t j = 0; i % 2 && j < bytes; j++) content[i][j] &= 3;
    frames[i] = (sb_frame_in){.tensor = (FRAMES - i) / 5,
                              .row = (FRAMES - i) % 5,
                              .filter = (sb_filter)(i % 3),
                              .raw = content[i],
                              .bytes = bytes};
  }
  return scratch_setup(state);
}

static int drop_frames(void **state) {
  for (int i = 0; i < FRAMES; i++) free(content[i]);
  return scratch_teardown(state);
}

static void write_shard(const char *path, size_t first, size_t end, sb_shard_stats *stats) {
  sb_shard_writer *writer;
  assert_ok(sb_shard_writer_create(path, 3, &writer));
  assert_ok(sb_shard_writer_add_batch(writer, frames + first, end - first));
  assert_ok(sb_shard_writer_finish(writer, stats));
  sb_shard_writer_free(&writer);
  assert_null(writer);
}

static void round_trip(void **state) {
  (void)state;
  sb_shard_stats stats;
  sb_shard_reader *reader;
  static uint8_t got[MAX_BYTES + 1];
  uint64_t raw = 0;
  write_shard(scratch_path("a.shard"), 0, FRAMES, &stats);
  assert_ok(sb_shard_reader_open(scratch_path("a.shard"), &reader));
  assert_int_equal(sb_shard_reader_count(reader), FRAMES);
  for (size_t i = 0; i < FRAMES; i++) {
    const sb_shard_entry *e = sb_shard_reader_find(reader, frames[i].tensor, frames[i].row);
    assert_non_null(e);
    assert_int_equal(e->raw_bytes, frames[i].bytes);
    assert_true(e->checksum == XXH64(frames[i].raw, frames[i].bytes, 0));
    memset(got, 0xee, sizeof got);
    assert_ok(sb_shard_read_frame(reader, e, got, frames[i].bytes));
    assert_memory_equal(got, frames[i].raw, frames[i].bytes);
    assert_int_equal(got[frames[i].bytes], 0xee); /* nothing beyond the end */
    raw += frames[i].bytes;
  }
  assert_null(sb_shard_reader_find(reader, 0, 0)); /* keys start at 1 here: (FRAMES - i) */
  assert_null(sb_shard_reader_find(reader, UINT32_MAX, 0));
  assert_int_equal(stats.frames, FRAMES);
  assert_int_equal(stats.raw_bytes, raw);
  assert_int_equal(stats.file_bytes, sb_shard_reader_file_bytes(reader));
  assert_true(stats.index_checksum == sb_shard_reader_index_checksum(reader));
  sb_shard_reader_close(&reader);
}

static void batch_read(void **state) {
  (void)state;
  sb_shard_reader *reader;
  sb_frame_out out[FRAMES];
  write_shard(scratch_path("b.shard"), 0, FRAMES, NULL);
  assert_ok(sb_shard_reader_open(scratch_path("b.shard"), &reader));
  for (size_t i = 0; i < FRAMES; i++) {
    out[i].entry = sb_shard_reader_find(reader, frames[i].tensor, frames[i].row);
    out[i].dst = malloc(frames[i].bytes + 1);
  }
  assert_ok(sb_shard_read_batch(reader, out, FRAMES));
  for (size_t i = 0; i < FRAMES; i++) {
    assert_memory_equal(out[i].dst, frames[i].raw, frames[i].bytes);
    free(out[i].dst);
  }
  sb_shard_reader_close(&reader);
}

/* zstd's own decoder, run over the whole file, gives the filtered contents one after another. */
static void plain_zstd_reads_it(void **state) {
  (void)state;
  size_t bytes, at_byte = 0;
  write_shard(scratch_path("z.shard"), 0, FRAMES, NULL);
  unsigned char *image = get_file(scratch_path("z.shard"), &bytes);
  uint8_t *all = malloc((size_t)FRAMES * MAX_BYTES);
  size_t got = ZSTD_decompress(all, (size_t)FRAMES * MAX_BYTES, image, bytes);
  assert_false(ZSTD_isError(got));
  for (size_t i = 0; i < FRAMES; i++) {
    const uint8_t *raw = content[i];
    size_t n = frames[i].bytes, width = frames[i].filter == SB_FILTER_NONE      ? 1
                                        : frames[i].filter == SB_FILTER_SPLIT16 ? 2
                                                                                : 4;
    for (size_t j = 0; j < n; j++) {
      size_t whole = n / width, from = j < whole * width ? j % whole * width + j / whole : j;
      assert_int_equal(all[at_byte + j], raw[from]);
    }
    at_byte += n;
  }
  assert_int_equal(got, at_byte);
  free(all);
  free(image);
}

static void threads_and_batches_do_not_matter(void **state) {
  (void)state;
  size_t bytes, other_bytes;
  int threads = omp_get_max_threads();
  write_shard(scratch_path("t1.shard"), 0, FRAMES, NULL);
  unsigned char *image = get_file(scratch_path("t1.shard"), &bytes);
  for (int n = 1; n <= 5; n += 2) {
    omp_set_num_threads(n);
    sb_shard_writer *writer;
    assert_ok(sb_shard_writer_create(scratch_path("t2.shard"), 3, &writer));
    for (size_t i = 0; i < 4; i++)
      assert_ok(sb_shard_writer_add(writer, frames[i].tensor, frames[i].row, frames[i].filter,
                                    frames[i].raw, frames[i].bytes));
    assert_ok(sb_shard_writer_add_batch(writer, frames + 4, 0));
    assert_ok(sb_shard_writer_add_batch(writer, frames + 4, FRAMES - 4));
    assert_ok(sb_shard_writer_finish(writer, NULL));
    sb_shard_writer_free(&writer);
    unsigned char *other = get_file(scratch_path("t2.shard"), &other_bytes);
    assert_int_equal(other_bytes, bytes);
    assert_memory_equal(other, image, bytes);
    free(other);
    unlink(scratch_path("t2.shard")); /* shards are new files */
  }
  omp_set_num_threads(threads);
  free(image);
}

/* The content hash of one shard, of the same frames in three, and by hand. */
static void content_hash(void **state) {
  (void)state;
  sb_shard_reader *readers[3], *whole;
  uint64_t one, three, twice;
  write_shard(scratch_path("w.shard"), 0, FRAMES, NULL);
  write_shard(scratch_path("h0.shard"), 0, 5, NULL);
  write_shard(scratch_path("h1.shard"), 5, 5, NULL); /* a rank that owns nothing */
  write_shard(scratch_path("h2.shard"), 5, FRAMES, NULL);
  assert_ok(sb_shard_reader_open(scratch_path("w.shard"), &whole));
  for (int i = 0; i < 3; i++) {
    char name[16];
    snprintf(name, sizeof name, "h%d.shard", i);
    assert_ok(sb_shard_reader_open(scratch_path(name), &readers[i]));
  }
  assert_ok(sb_shard_content_hash(&whole, 1, &one));
  assert_ok(sb_shard_content_hash(readers, 3, &three));
  assert_true(one == three);
  uint8_t bytes[FRAMES * 16];
  for (uint32_t i = 0; i < FRAMES; i++) { /* falling i is rising key */
    const sb_frame_in *f = &frames[FRAMES - 1 - i];
    uint64_t checksum = XXH64(f->raw, f->bytes, 0);
    memcpy(bytes + 16 * i, &f->tensor, 4);
    memcpy(bytes + 16 * i + 4, &f->row, 4);
    memcpy(bytes + 16 * i + 8, &checksum, 8);
  }
  assert_true(one == XXH64(bytes, sizeof bytes, 0));
  sb_shard_reader *overlapping[2] = {whole, readers[0]};
  assert_fails(sb_shard_content_hash(overlapping, 2, &twice), SB_ERR_FORMAT, "tensor", "block row");
  sb_shard_reader_close(&whole);
  for (int i = 0; i < 3; i++) sb_shard_reader_close(&readers[i]);
}

static void share_grows(void *context, double done) {
  double *last = context;
  assert_true(done > *last && done <= 1);
  *last = done;
}

static void verify_ticks_to_the_end(void **state) {
  (void)state;
  sb_shard_reader *reader;
  double last = 0;
  write_shard(scratch_path("v.shard"), 0, FRAMES, NULL);
  assert_ok(sb_shard_reader_open(scratch_path("v.shard"), &reader));
  assert_ok(sb_shard_verify(reader, (sb_ticker){share_grows, &last}));
  assert_true(last == 1);
  sb_shard_reader_close(&reader);
}

/* The beginning of a frame: of filters that leave it together, and no further than it goes. */
static void heads(void **state) {
  (void)state;
  enum { LONG = 3 << 20, MAP = 48 };
  static uint8_t raw[LONG], got[LONG];
  const sb_section parts[] = {
      {MAP, SB_SECTION_PLAIN}, {LONG - 2 * MAP, 5}, {MAP, SB_SECTION_PLAIN}};
  const sb_frame_in in[] = {
      {.row = 0, .filter = SB_FILTER_NONE, .raw = raw, .bytes = LONG},
      {.row = 1, .filter = SB_FILTER_SPLIT16, .raw = raw, .bytes = LONG},
      {.row = 2, .filter = SB_FILTER_SECTIONS, .raw = raw, .bytes = LONG, parts, 3},
      {.row = 3,
       .filter = SB_FILTER_SECTIONS,
       .raw = raw,
       .bytes = LONG,
       &(sb_section){LONG, 3},
       1}};
  sb_shard_writer *writer;
  sb_shard_reader *reader;
  fill_random(raw, LONG, 5);
  assert_ok(sb_shard_writer_create(scratch_path("h.shard"), 3, &writer));
  assert_ok(sb_shard_writer_add_batch(writer, in, 4));
  assert_ok(sb_shard_writer_finish(writer, NULL));
  sb_shard_writer_free(&writer);
  assert_ok(sb_shard_reader_open(scratch_path("h.shard"), &reader));
  const sb_shard_entry *plain = sb_shard_reader_at(reader, 0);
  assert_ok(sb_shard_read_head(reader, plain, got, 1000));
  assert_memory_equal(got, raw, 1000);
  assert_fails(sb_shard_read_head(reader, plain, got, LONG + 1), SB_ERR_FORMAT, "too short");
  assert_fails(sb_shard_read_head(reader, sb_shard_reader_at(reader, 1), got, MAP), SB_ERR_FORMAT,
               "h.shard", "block row 1", "its filter");
  assert_ok(sb_shard_read_head(reader, sb_shard_reader_at(reader, 2), got, MAP));
  assert_memory_equal(got, raw, MAP);
  assert_fails(sb_shard_read_head(reader, sb_shard_reader_at(reader, 2), got, MAP + 1),
               SB_ERR_FORMAT, "block row 2", "first section");
  assert_fails(sb_shard_read_head(reader, sb_shard_reader_at(reader, 3), got, MAP), SB_ERR_FORMAT,
               "block row 3", "first section");
  sb_shard_reader_close(&reader);
}

static void misuse(void **state) {
  (void)state;
  sb_shard_writer *writer;
  assert_fails(sb_shard_writer_create(scratch_path("m.shard"), 99, &writer), SB_ERR_RANGE, "99",
               "22");
  assert_ok(sb_shard_writer_create(scratch_path("m.shard"), 1, &writer));
  assert_ok(sb_shard_writer_add(writer, 4, 2, SB_FILTER_NONE, "a", 1));
  assert_ok(sb_shard_writer_add(writer, 4, 2, SB_FILTER_NONE, "b", 1));
  assert_fails(sb_shard_writer_finish(writer, NULL), SB_ERR_INTERNAL, "m.shard",
               "tensor 4, block row 2", "twice");
  assert_fails(sb_shard_writer_add(writer, 4, 3, SB_FILTER_NONE, "b", 1), SB_ERR_INTERNAL,
               "m.shard");
  sb_shard_writer_free(&writer);
  assert_int_not_equal(access(scratch_path("m.shard"), F_OK),
                       0); /* what was not finished is gone */
  assert_fails(sb_shard_writer_create(scratch_path("no/m.shard"), 1, &writer), SB_ERR_IO,
               "no/m.shard");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip),
      cmocka_unit_test(batch_read),
      cmocka_unit_test(plain_zstd_reads_it),
      cmocka_unit_test(threads_and_batches_do_not_matter),
      cmocka_unit_test(content_hash),
      cmocka_unit_test(verify_ticks_to_the_end),
      cmocka_unit_test(heads),
      cmocka_unit_test(misuse),
  };
  return cmocka_run_group_tests(tests, make_frames, drop_frames);
}

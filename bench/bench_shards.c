/* bench_shards [FOLDER]: how fast shards are written and read, beside what bounds it: plain zstd in
 * as many threads on the same frames at the same level in memory, and writing (with fsync) or
 * reading the same stored bytes without compression.
 *
 * Two contents: packed 3-bit codes of Gaussian weights (block rows of 128 x 4096), and bf16
 * Gaussian weights, split into byte planes. Times are the best of three; "of limit" is the slower
 * of the two bounds over our time: 1.00 is perfect. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/clock.h"
#include "base/dtype.h"
#include "base/memory.h"
#include "io/file.h"
#include "io/shards.h"

enum { REPEATS = 3, ROWS = 128, COLS = 4096 };

typedef struct workload {
  const char *name;
  sb_filter filter;
  size_t frames, frame_bytes, filtered_bytes;
  sb_section part;   /* the whole of a frame, for SB_FILTER_SECTIONS */
  uint8_t *raw;      /* what goes into the container */
  uint8_t *filtered; /* what plain zstd gets, so that it sees the same bytes */
  uint8_t *back;     /* what is read back */
  uint8_t *packed;   /* plain zstd's output, packed_stride a frame */
  size_t packed_stride, *packed_bytes;
} workload;

static void must(sb_status status) {
  if (status == SB_OK) return;
  fprintf(stderr, "bench_shards: %s\n", sb_message());
  exit(1);
}

/* A standard normal number from a linear congruential generator (sum of 4 uniforms is
 * near enough for bytes). */
static float gauss(uint64_t *seed) {
  float sum = 0;
  for (int i = 0; i < 4; i++) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    sum += (float)(*seed >> 40) * 0x1p-24f - 0.5f;
  }
  return sum * 1.7320508f;
}

static void fill_codes(uint8_t *out, uint64_t seed) {
  for (size_t i = 0; i < (size_t)ROWS * COLS * 3 / 8; i += 3) {
    uint32_t word = 0;
    for (unsigned k = 0; k < 8; k++) {
      float level = roundf(gauss(&seed) * 1.4f + 3.5f);
      word |= (uint32_t)(level < 0 ? 0 : level > 7 ? 7 : level) << (3 * k);
    }
    memcpy(out + i, &word, 3);
  }
}

static void fill_bf16(uint8_t *out, uint64_t seed) {
  for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
    uint16_t value = sb_f32_to_bf16(0.02f * gauss(&seed));
    memcpy(out + 2 * i, &value, 2);
  }
}

static void make(workload *w, const char *name, sb_filter filter, size_t frame_bytes, size_t total,
                 void (*fill)(uint8_t *, uint64_t)) {
  *w = (workload){
      .name = name, .filter = filter, .frame_bytes = frame_bytes, .frames = total / frame_bytes};
  w->part = (sb_section){.bytes = (uint32_t)frame_bytes, .kind = 3};
  w->filtered_bytes =
      filter == SB_FILTER_SECTIONS ? sb_sections_size(&w->part, 1, frame_bytes) : frame_bytes;
  w->packed_stride = ZSTD_compressBound(w->filtered_bytes);
  must(sb_alloc_raw(&w->raw, w->frames, frame_bytes + 1, "bench"));
  must(sb_alloc_raw(&w->filtered, w->frames, w->filtered_bytes, "bench"));
  must(sb_alloc(&w->back, w->frames, w->filtered_bytes, "bench"));
  must(sb_alloc(&w->packed, w->frames, w->packed_stride, "bench"));
  must(sb_alloc(&w->packed_bytes, w->frames, sizeof(size_t), "bench"));
#pragma omp parallel for
  for (size_t i = 0; i < w->frames; i++) {
    uint8_t *raw = w->raw + i * frame_bytes, *filtered = w->filtered + i * w->filtered_bytes;
    size_t run_ends[SB_SECTION_MAX_RUNS];
    fill(raw, i + 1);
    if (filter == SB_FILTER_NONE)
      memcpy(filtered, raw, frame_bytes);
    else if (filter == SB_FILTER_SECTIONS)
      sb_sections_apply(filtered, raw, &w->part, 1, run_ends);
    else
      sb_filter_apply(filter, filtered, raw, frame_bytes);
  }
}

static void release(workload *w) {
  sb_free(&w->raw);
  sb_free(&w->filtered);
  sb_free(&w->back);
  sb_free(&w->packed);
  sb_free(&w->packed_bytes);
}

static void plain_compress(workload *w, int level) {
#pragma omp parallel
  {
    ZSTD_CCtx *context = ZSTD_createCCtx();
#pragma omp for schedule(dynamic, 1)
    for (size_t i = 0; i < w->frames; i++)
      w->packed_bytes[i] =
          ZSTD_compressCCtx(context, w->packed + i * w->packed_stride, w->packed_stride,
                            w->filtered + i * w->filtered_bytes, w->filtered_bytes, level);
    ZSTD_freeCCtx(context);
  }
}

static void plain_decompress(workload *w) {
#pragma omp parallel
  {
    ZSTD_DCtx *context = ZSTD_createDCtx();
#pragma omp for schedule(dynamic, 1)
    for (size_t i = 0; i < w->frames; i++)
      ZSTD_decompressDCtx(context, w->back + i * w->filtered_bytes, w->filtered_bytes,
                          w->packed + i * w->packed_stride, w->packed_bytes[i]);
    ZSTD_freeDCtx(context);
  }
}

/* The compressed frames, written as one file and brought to the disk. */
static void plain_write(const workload *w, const char *path) {
  uint64_t at = 0;
  int fd;
  must(sb_file_create_again(path, &fd));
  for (size_t i = 0; i < w->frames; i++) {
    must(sb_file_write_at(fd, path, at, w->packed + i * w->packed_stride, w->packed_bytes[i], 0));
    at += w->packed_bytes[i];
  }
  must(sb_file_sync(fd, path));
  close(fd);
}

static void plain_read(workload *w, const char *path) {
  uint64_t bytes;
  int fd;
  must(sb_file_open(path, &fd, &bytes));
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < 64; i++) {
    uint64_t begin = bytes * i / 64, end = bytes * (i + 1) / 64;
    must(sb_file_read_at(fd, path, begin, w->packed + begin, (size_t)(end - begin)));
  }
  close(fd);
}

static void shard_write(const workload *w, const char *path, int level, sb_shard_stats *stats) {
  sb_shard_writer *writer;
  sb_frame_in *frames;
  must(sb_alloc(&frames, w->frames, sizeof *frames, "bench"));
  for (size_t i = 0; i < w->frames; i++)
    frames[i] = (sb_frame_in){.row = (uint32_t)i,
                              .filter = w->filter,
                              .raw = w->raw + i * w->frame_bytes,
                              .bytes = w->frame_bytes,
                              .sections = w->filter == SB_FILTER_SECTIONS ? &w->part : NULL,
                              .section_count = w->filter == SB_FILTER_SECTIONS};
  must(sb_shard_writer_create(path, level, &writer));
  must(sb_shard_writer_add_batch(writer, frames, w->frames));
  must(sb_shard_writer_finish(writer, stats));
  sb_shard_writer_free(&writer);
  sb_free(&frames);
}

static void shard_read(workload *w, const char *path) {
  sb_shard_reader *reader;
  sb_frame_out *frames;
  must(sb_shard_reader_open(path, &reader));
  must(sb_alloc(&frames, w->frames, sizeof *frames, "bench"));
  for (size_t i = 0; i < w->frames; i++)
    frames[i] = (sb_frame_out){sb_shard_reader_at(reader, i), w->back + i * w->frame_bytes};
  must(sb_shard_read_batch(reader, frames, w->frames));
  sb_shard_reader_close(&reader);
  sb_free(&frames);
}

static double keep_best(double best, double start) {
  double seconds = sb_now() - start;
  return best == 0 || seconds < best ? seconds : best;
}

static void measure(workload *w, const char *folder, int level) {
  char shard[SB_PATH_MAX], plain[SB_PATH_MAX];
  double zip = 0, disk = 0, put = 0, unzip = 0, fetch = 0, get = 0;
  sb_shard_stats stats = {0};
  must(sb_path_join(shard, folder, "bench-shards.sbs"));
  must(sb_path_join(plain, folder, "bench-shards.raw"));
  for (int i = 0; i < REPEATS;
       i++) { /* the six in turn, so that what else runs here meets them alike */
    double start = sb_now();
    plain_compress(w, level);
    zip = keep_best(zip, start);
    start = sb_now();
    plain_write(w, plain);
    disk = keep_best(disk, start);
    start = sb_now();
    shard_write(w, shard, level, &stats);
    put = keep_best(put, start);
    start = sb_now();
    plain_decompress(w);
    unzip = keep_best(unzip, start);
    start = sb_now();
    shard_read(w, shard);
    get = keep_best(get, start);
    if (memcmp(w->back, w->raw, w->frames * w->frame_bytes) != 0)
      must(sb_fail(SB_ERR_INTERNAL, "read back differs"));
    start = sb_now();
    plain_read(w, plain); /* last: it overwrites the compressed frames */
    fetch = keep_best(fetch, start);
  }
  unlink(shard);
  unlink(plain);
  double mb = (double)stats.raw_bytes / 1e6;
  printf("%-14s %5d  %5.3f   write %6.0f MB/s  zstd %6.0f  disk %6.0f  of limit %4.2f   read %6.0f "
         "MB/s  "
         "zstd %6.0f  file %6.0f  "
         "of limit %4.2f\n",
         w->name, level, (double)stats.file_bytes / (double)stats.raw_bytes, mb / put, mb / zip,
         mb / disk, fmax(zip, disk) / put, mb / get, mb / unzip, mb / fetch,
         fmax(unzip, fetch) / get);
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".";
  const size_t total = (size_t)96 << 20;
  static const int levels[] = {1, 3, 9};
  workload w;
  printf("%d threads, %zu MiB of content, MB of content a second\n", omp_get_max_threads(),
         total >> 20);
  make(&w, "codes 3 bit", SB_FILTER_NONE, (size_t)ROWS * COLS * 3 / 8, total, fill_codes);
  for (size_t i = 0; i < 3; i++) measure(&w, folder, levels[i]);
  release(&w);
  make(&w, "same, sections", SB_FILTER_SECTIONS, (size_t)ROWS * COLS * 3 / 8, total, fill_codes);
  for (size_t i = 0; i < 2; i++) measure(&w, folder, levels[i]);
  release(&w);
  make(&w, "bf16 split", SB_FILTER_SPLIT16, (size_t)ROWS * COLS * 2, total, fill_bf16);
  for (size_t i = 0; i < 2; i++) measure(&w, folder, levels[i]);
  release(&w);
  return 0;
}

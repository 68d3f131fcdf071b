/* bench_codes [FILE.safetensors TENSOR...]: in which layout quantized codes should go into zstd.
 *
 * Each matrix (Gaussian and Laplace ones made here, or the tensors named) is rounded to 2, 3 and 4
 * bits on asymmetric min/max grids in groups of 128 along its rows; the codes of 128 rows are one
 * frame. For each layout and level: stored bits per weight, and millions of weights per second, one
 * thread, best of three, compressing and decompressing. Scales are not in the frames. "entropy" is
 * the order-0 entropy of the codes, frame by frame. Prints Markdown. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/clock.h"
#include "base/dtype.h"
#include "base/memory.h"
#include "io/frame.h"
#include "io/safetensors.h"

enum { GROUP = 128, FRAME_ROWS = 128, REPEATS = 3, LEVELS = 4, LAYOUTS = 4 };
static const int levels[LEVELS] = {1, 3, 9, 19};

static void must(sb_status status) {
  if (status == SB_OK) return;
  fprintf(stderr, "bench_codes: %s\n", sb_message());
  exit(1);
}

/* Round to nearest on each group's min/max grid: one code a byte. */
static void round_to_codes(uint8_t *codes, const float *w, size_t rows, size_t cols,
                           unsigned bits) {
  const float top = (float)((1u << bits) - 1);
  for (size_t r = 0; r < rows; r++)
    for (size_t c0 = 0; c0 < cols; c0 += GROUP) {
      size_t n = sb_min_size(GROUP, cols - c0);
      const float *group = w + r * cols + c0;
      float low = 0, high = 0; /* the grid contains 0 */
      for (size_t i = 0; i < n; i++) {
        low = fminf(low, group[i]);
        high = fmaxf(high, group[i]);
      }
      float scale = high > low ? (high - low) / top : 1, zero = roundf(-low / scale);
      for (size_t i = 0; i < n; i++)
        codes[r * cols + c0 + i] = (uint8_t)fminf(fmaxf(roundf(group[i] / scale) + zero, 0), top);
    }
}

/* Layouts return the bytes they wrote. */
static size_t put_packed(uint8_t *out, const uint8_t *codes, size_t n, unsigned bits) {
  size_t bytes = 0;
  uint32_t word = 0;
  unsigned filled = 0;
  for (size_t i = 0; i < n; i++) {
    word |= (uint32_t)codes[i] << filled;
    for (filled += bits; filled >= 8; filled -= 8, word >>= 8) out[bytes++] = (uint8_t)word;
  }
  if (filled) out[bytes++] = (uint8_t)word;
  return bytes;
}

static size_t put_bytes(uint8_t *out, const uint8_t *codes, size_t n, unsigned bits) {
  (void)bits;
  memcpy(out, codes, n);
  return n;
}

static size_t put_planes(uint8_t *out, const uint8_t *codes, size_t n, unsigned bits) {
  size_t stride = (n + 7) / 8;
  memset(out, 0, stride * bits);
  for (unsigned b = 0; b < bits; b++)
    for (size_t i = 0; i < n; i++)
      out[b * stride + i / 8] |= (uint8_t)((codes[i] >> b & 1u) << (i % 8));
  return stride * bits;
}

/* As many whole codes as fit a byte: 4, 2, 2. Differs from packed at 3 bits alone. */
static size_t put_whole(uint8_t *out, const uint8_t *codes, size_t n, unsigned bits) {
  size_t each = 8 / bits, bytes = 0;
  for (size_t i = 0; i < n; i += each) {
    unsigned byte = 0;
    for (size_t k = 0; k < each && i + k < n; k++) byte |= (unsigned)codes[i + k] << (bits * k);
    out[bytes++] = (uint8_t)byte;
  }
  return bytes;
}

static const struct {
  const char *name;
  size_t (*put)(uint8_t *, const uint8_t *, size_t, unsigned);
} layouts[LAYOUTS] = {
    {"packed", put_packed}, {"byte", put_bytes}, {"planes", put_planes}, {"whole", put_whole}};

/* Order-0 entropy, bits. */
static double entropy(const uint8_t *codes, size_t n) {
  size_t seen[16] = {0};
  double bits = 0;
  for (size_t i = 0; i < n; i++) seen[codes[i]]++;
  for (int v = 0; v < 16; v++)
    if (seen[v]) bits -= (double)seen[v] * log2((double)seen[v] / (double)n);
  return bits;
}

typedef struct result {
  double bits, put_seconds, get_seconds;
} result;

static result measure(const uint8_t *codes, size_t rows, size_t cols, unsigned bits, size_t layout,
                      int level) {
  size_t most = FRAME_ROWS * cols, bound = ZSTD_compressBound(most);
  uint8_t *raw = NULL, *packed = NULL, *back = NULL;
  result out = {0, 1e30, 1e30};
  must(sb_alloc(&raw, most, 1, "bench"));
  must(sb_alloc(&packed, bound, 1, "bench"));
  must(sb_alloc(&back, most, 1, "bench"));
  ZSTD_CCtx *compressor = ZSTD_createCCtx();
  ZSTD_DCtx *decompressor = ZSTD_createDCtx();
  for (int repeat = 0; repeat < (level > 9 ? 1 : REPEATS); repeat++) {
    double put = 0, get = 0;
    size_t stored = 0;
    for (size_t r = 0; r < rows; r += FRAME_ROWS) {
      size_t n = sb_min_size(FRAME_ROWS, rows - r) * cols;
      size_t bytes = layouts[layout].put(raw, codes + r * cols, n, bits);
      double start = sb_now();
      size_t got = ZSTD_compressCCtx(compressor, packed, bound, raw, bytes, level);
      put += sb_now() - start;
      start = sb_now();
      if (ZSTD_decompressDCtx(decompressor, back, most, packed, got) != bytes ||
          memcmp(raw, back, bytes) != 0)
        must(sb_fail(SB_ERR_INTERNAL, "zstd did not give back what it got"));
      get += sb_now() - start;
      stored += got;
    }
    out.bits = 8.0 * (double)stored / (double)(rows * cols);
    out.put_seconds = fmin(out.put_seconds, put);
    out.get_seconds = fmin(out.get_seconds, get);
  }
  ZSTD_freeCCtx(compressor);
  ZSTD_freeDCtx(decompressor);
  sb_free(&raw);
  sb_free(&packed);
  sb_free(&back);
  return out;
}

static void report(const char *name, const float *w, size_t rows, size_t cols) {
  uint8_t *codes = NULL;
  must(sb_alloc(&codes, rows, cols, "bench"));
  double millions = (double)(rows * cols) / 1e6;
  for (unsigned bits = 2; bits <= 4; bits++) {
    double bound = 0;
    round_to_codes(codes, w, rows, cols, bits);
    for (size_t r = 0; r < rows; r += FRAME_ROWS)
      bound += entropy(codes + r * cols, sb_min_size(FRAME_ROWS, rows - r) * cols);
    for (size_t layout = 0; layout < LAYOUTS; layout++) {
      if (layouts[layout].put == put_whole && bits != 3) continue;
      printf("| %s | %u | %.3f | %s |", name, bits, bound / (double)(rows * cols),
             layouts[layout].name);
      for (int l = 0; l < LEVELS; l++) {
        result got = measure(codes, rows, cols, bits, layout, levels[l]);
        printf(" %.3f (%.0f / %.0f) |", got.bits, millions / got.put_seconds,
               millions / got.get_seconds);
        fflush(stdout);
      }
      printf("\n");
    }
  }
  sb_free(&codes);
}

/* ---- block rows of mixed widths ---- */

/* Blocks of 128 columns take 2, 3, 4 and 3 bits in turn. Appends the codes of one block, in the
 * layout for its width. */
static size_t put_block(uint8_t *out, const uint8_t *codes, size_t rows, size_t cols, size_t c0,
                        unsigned bits, size_t layout) {
  uint8_t block[FRAME_ROWS * GROUP];
  size_t n = sb_min_size(GROUP, cols - c0);
  for (size_t r = 0; r < rows; r++) memcpy(block + r * n, codes + r * cols + c0, n);
  return layouts[layout].put(out, block, rows * n, bits);
}

enum { MOST_BLOCKS = 1024 };
static const unsigned turn[4] = {2, 3, 4, 3};

/* Stored bytes of one block row without a filter; `grouped` orders its blocks by width. */
static size_t mixed_bytes(sb_codec *codec, uint8_t *raw, const uint8_t *const codes[5], size_t rows,
                          size_t cols, size_t layout, bool grouped) {
  size_t bytes = 0, stored = 0;
  const void *frame;
  for (unsigned bits = grouped ? 2 : 4; bits <= 4; bits++)
    for (size_t c0 = 0; c0 < cols; c0 += GROUP) {
      unsigned own = turn[c0 / GROUP % 4];
      if (!grouped || own == bits)
        bytes += put_block(raw + bytes, codes[own], rows, cols, c0, own, layout);
    }
  if (sb_codec_encode(codec, SB_FILTER_NONE, NULL, 0, raw, bytes, &frame, &stored))
    must(sb_fail(SB_ERR_INTERNAL, "a block row could not be compressed"));
  return stored;
}

/* The same for packed blocks, side by side, with SB_FILTER_SECTIONS. */
static size_t sections_bytes(sb_codec *codec, uint8_t *raw, const uint8_t *const codes[5],
                             size_t rows, size_t cols) {
  sb_section sections[MOST_BLOCKS];
  size_t bytes = 0, stored = 0, count = 0;
  const void *frame;
  for (size_t c0 = 0; c0 < cols; c0 += GROUP) {
    unsigned own = turn[c0 / GROUP % 4];
    size_t block = put_block(raw + bytes, codes[own], rows, cols, c0, own, 0);
    sections[count++] = (sb_section){.bytes = (uint32_t)block, .kind = (uint8_t)own};
    bytes += block;
  }
  if (sb_codec_encode(codec, SB_FILTER_SECTIONS, sections, count, raw, bytes, &frame, &stored))
    must(sb_fail(SB_ERR_INTERNAL, "a block row could not be compressed"));
  return stored;
}

static void report_mixed(const char *name, const float *w, size_t rows, size_t cols) {
  uint8_t *codes[5] = {NULL}, *raw = NULL;
  sb_codec *codec = sb_codec_create(1);
  if (!codec || sb_div_up(cols, GROUP) > MOST_BLOCKS)
    must(sb_fail(SB_ERR_RANGE, "%s is too wide", name));
  const size_t packed = 0, whole = 3;
  size_t sums[4] = {0};
  for (unsigned bits = 2; bits <= 4; bits++) {
    must(sb_alloc(&codes[bits], rows, cols, "bench"));
    round_to_codes(codes[bits], w, rows, cols, bits);
  }
  must(sb_alloc(&raw, FRAME_ROWS, cols, "bench"));
  for (size_t r = 0; r < rows; r += FRAME_ROWS) {
    const uint8_t *at[5] = {NULL, NULL, codes[2] + r * cols, codes[3] + r * cols,
                            codes[4] + r * cols};
    size_t n = sb_min_size(FRAME_ROWS, rows - r);
    sums[0] += mixed_bytes(codec, raw, at, n, cols, packed, false);
    sums[1] += mixed_bytes(codec, raw, at, n, cols, whole, false);
    sums[2] += mixed_bytes(codec, raw, at, n, cols, whole, true);
    sums[3] += sections_bytes(codec, raw, at, n, cols);
  }
  sb_codec_free(codec);
  sb_free(&raw);
  printf("| %s |", name);
  for (int i = 0; i < 4; i++) printf(" %.3f |", 8.0 * (double)sums[i] / (double)(rows * cols));
  printf("\n");
  for (unsigned bits = 2; bits <= 4; bits++) sb_free(&codes[bits]);
}

/* ---- the weights ---- */

typedef void (*reporter)(const char *name, const float *w, size_t rows, size_t cols);

static double uniform(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return ((double)(*seed >> 11) + 0.5) * 0x1p-53;
}

static void made(const char *name, bool laplace, reporter report_with) {
  const size_t rows = 1024, cols = 2048;
  float *w = NULL;
  uint64_t seed = 7;
  must(sb_alloc(&w, rows, cols * sizeof *w, "bench"));
  for (size_t i = 0; i < rows * cols; i++) {
    double u = uniform(&seed), v = uniform(&seed);
    w[i] = (float)(laplace ? copysign(log(u), v - 0.5)
                           : sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
  }
  report_with(name, w, rows, cols);
  sb_free(&w);
}

static void stored(const sb_safetensors *reader, const char *name, reporter report_with) {
  const sb_tensor_info *info = sb_safetensors_find(reader, name);
  void *raw = NULL;
  float *w = NULL;
  if (!info || info->dims != 2) must(sb_fail(SB_ERR_USAGE, "%s: there is no such matrix", name));
  must(sb_safetensors_require_weight(info));
  must(sb_alloc(&raw, info->bytes, 1, name));
  must(sb_alloc(&w, info->shape[0] * info->shape[1], sizeof *w, name));
  must(sb_safetensors_read(reader, info, 0, info->bytes, raw));
  sb_to_f32(w, raw, info->dtype, info->shape[0] * info->shape[1]);
  report_with(name, w, info->shape[0], info->shape[1]);
  sb_free(&raw);
  sb_free(&w);
}

static void table(int argc, char **argv, reporter report_with) {
  sb_safetensors *reader;
  if (argc < 3) {
    made("Gaussian", false, report_with);
    made("Laplace", true, report_with);
    return;
  }
  must(sb_safetensors_open(argv[1], &reader));
  for (int i = 2; i < argc; i++) stored(reader, argv[i], report_with);
  sb_safetensors_close(&reader);
}

int main(int argc, char **argv) {
  printf("| weights | bits | entropy | layout | level 1 | level 3 | level 9 | level 19 |\n"
         "|---|---|---|---|---|---|---|---|\n");
  table(argc, argv, report);
  printf("\n| weights, blocks of 2, 3, 4, 3 bits, level 1 | packed | whole | whole, by "
         "width | sections |\n"
         "|---|---|---|---|---|\n");
  table(argc, argv, report_mixed);
  return 0;
}

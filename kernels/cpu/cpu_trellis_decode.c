#include "kernels/cpu/cpu_trellis_decode.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu_level.h"

/* The largest whole number that an x becomes. High and low numbers are then at most 2^14, and the
 * sums of 128 products with levels below 2^10 stay below 2^31. */
#define MOST 0x1p29

void sb_strip_input_make(sb_strip_input *out, const float *x, size_t cols) {
  float largest = 0.0f, flaw = 0.0f; /* of numbers alone 0 */
  for (size_t c = 0; c < cols; c++) {
    largest = fmaxf(largest, fabsf(x[c]));
    flaw += x[c] * 0.0f;
  }
  memset(out, 0, sizeof *out);
  out->scale = flaw + (float)((double)largest / MOST);
  if (!(flaw == 0.0f) || largest == 0.0f) return;
  const double by = MOST / (double)largest;
  for (size_t c = 0; c < cols; c++) {
    const int32_t whole = (int32_t)lrint((double)x[c] * by),
                  high = (whole + SB_STRIP_UNIT / 2) >> 15, low = whole - high * SB_STRIP_UNIT;
    uint32_t pair[2];
    memcpy(pair, out->pairs + c / 2 * 2, sizeof pair);
    pair[0] |= ((uint32_t)high & 0xffffu) << c % 2 * 16;
    pair[1] |= ((uint32_t)low & 0xffffu) << c % 2 * 16;
    memcpy(out->pairs + c / 2 * 2, pair, sizeof pair);
  }
}

sb_strip sb_strip_of(const sb_trellis *t, const uint8_t *codes, size_t rows, size_t row, size_t col,
                     size_t cols) {
  const size_t bytes = sb_trellis_tile_bytes(t), down = sb_trellis_tiles_down(t, rows);
  return (sb_strip){.codes = codes + (col / t->tile_cols * down + row / t->tile_rows) * bytes,
                    .stride = down * bytes,
                    .tiles = (cols + t->tile_cols - 1) / t->tile_cols,
                    .rows = rows - row < SB_STRIP_ROWS ? rows - row : SB_STRIP_ROWS};
}

/* ---- EXL3: numbers of fp16, made as floats ---- */

/* sb_trellis_number of a sum of bytes, 0 .. 1020. Rounding to fp16 is rounding to eleven bits: the
 * numbers too small for that have no more. */
static inline float exl3_number(uint32_t sum) {
  const float exact = (float)((int32_t)(1774 * sum) - 905216) * 0x1p-18f;
  uint32_t bits;
  memcpy(&bits, &exact, sizeof bits);
  bits = (bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu;
  float rounded;
  memcpy(&rounded, &bits, sizeof rounded);
  return rounded;
}

/* The ring's bits are those of 32-bit words, the most significant first; a state is the sixteen
 * bits that end with the weight's own. Fills columns of a strip. */
static void exl3_tile(float *out, const sb_trellis *t, const uint8_t *tile, float scale) {
  const uint32_t K = t->width, count = 8 * K, by = t->multiplier;
  uint32_t words[8 * 8 + 2]; /* from the last one on, around */
  uint32_t states[SB_TRELLIS_TILE];
  float values[SB_TRELLIS_TILE];
  memcpy(words + 1, tile, count * sizeof *words);
  words[0] = words[count];
  words[count + 1] = words[1];
  for (uint32_t s = 0; s < SB_TRELLIS_TILE; s++) {
    const uint32_t bit = (s + 1) * K + 16, off = bit % 32, at = bit / 32;
    const uint32_t high = words[at], low = words[at + 1];
    states[s] = (high << off | low >> 1 >> (31 - off)) >> 16;
  }
  for (uint32_t s = 0; s < SB_TRELLIS_TILE; s++) {
    const uint32_t x = states[s] * by, pairs = (x & 0xff00ffu) + (x >> 8 & 0xff00ffu);
    values[s] = scale * exl3_number((pairs & 0xffff) + (pairs >> 16));
  }
  for (unsigned lane = 0; lane < SB_TRELLIS_TILE / 8; lane++) {
    unsigned row, col; /* of the lane's first weight; the others lie as those of lane 0 */
    sb_trellis_place(t, 8 * lane, &row, &col);
    float *to = out + col * SB_STRIP_ROWS + row;
    const float *from = values + (size_t)8 * lane;
    for (unsigned j = 0; j < 8; j++)
      to[((j & 1u) + (j & 2u) * 4u) * SB_STRIP_ROWS + (j & 4u) * 2u] = from[j];
  }
}

static void columns_exl3(float *columns, const sb_trellis *t, const sb_strip *strip, float scale) {
  for (size_t n = 0; n < strip->tiles; n++)
    for (size_t row = 0; row < strip->rows; row += t->tile_rows)
      exl3_tile(columns + n * t->tile_cols * SB_STRIP_ROWS + row, t,
                strip->codes + n * strip->stride + row / t->tile_rows * sb_trellis_tile_bytes(t),
                scale);
}

/* ---- strips of any kind ---- */

void sb_strip_columns(const sb_trellis_kernels *kernels, float *columns, const sb_trellis *t,
                      const sb_strip *strip, float scale) {
  int16_t levels[SB_STRIP_LEVELS];
  if (t->exl3) {
    columns_exl3(columns, t, strip, scale);
    return;
  }
  kernels->levels(levels, t, strip);
  kernels->columns(columns, levels, strip->tiles, scale);
}

void sb_strip_rows(const sb_trellis_kernels *kernels, float *out, size_t ld, const sb_trellis *t,
                   const sb_strip *strip, float scale) {
  if (t->exl3) {
    float columns[SB_STRIP_LEVELS];
    const size_t cols = strip->tiles * t->tile_cols;
    columns_exl3(columns, t, strip, scale);
    for (size_t r = 0; r < strip->rows; r++)
      for (size_t c = 0; c < cols; c++) out[r * ld + c] = columns[c * SB_STRIP_ROWS + r];
  } else {
    int16_t levels[SB_STRIP_LEVELS];
    kernels->levels(levels, t, strip);
    kernels->rows(out, ld, levels, strip->tiles, scale);
  }
}

const sb_trellis_kernels *sb_trellis_kernels_best(void) {
  static const sb_trellis_kernels *const all[SB_CPU_LEVELS] = {&sb_trellis_plain, &sb_trellis_avx2,
                                                               &sb_trellis_avx512};
  return all[sb_cpu_best()];
}

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

/* ---- EXL3: its numbers are of fp16, which no step of integers makes, and come from a table ----
 */

typedef struct exl3_tables {
  float numbers[1021];             /* scale * number of a sum of bytes */
  uint16_t place[SB_TRELLIS_TILE]; /* of a weight in columns of a strip */
} exl3_tables;

static void fill_tables(exl3_tables *tables, const sb_trellis *t, float scale) {
  for (int i = 0; i <= 1020; i++)
    tables->numbers[i] = scale * sb_trellis_number(t, i - sb_trellis_top(t));
  for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
    unsigned row, col;
    sb_trellis_place(t, s, &row, &col);
    tables->place[s] = (uint16_t)(col * SB_STRIP_ROWS + row);
  }
}

/* The ring's bits are those of 32-bit words, the most significant first; a state is the sixteen
 * bits that end with the weight's own. */
static void exl3_tile(float *out, const sb_trellis *t, const uint8_t *tile,
                      const exl3_tables *tables) {
  const unsigned K = t->width, count = 8 * K;
  const uint32_t by = t->multiplier;
  uint32_t words[8 * 8 + 1];
  memcpy(words, tile, count * sizeof *words);
  words[count] = words[0];
  for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
    const unsigned bit = (s + 1) * K - 16 + ((s + 1) * K < 16 ? 32 * count : 0);
    const uint64_t two = (uint64_t)words[bit / 32] << 32 | words[bit / 32 + 1];
    const uint32_t x = (uint32_t)(two >> (48 - bit % 32) & 0xffff) * by,
                   pairs = (x & 0xff00ffu) + (x >> 8 & 0xff00ffu);
    out[tables->place[s]] = tables->numbers[(pairs & 0xffff) + (pairs >> 16)];
  }
}

static void columns_exl3(float *columns, const sb_trellis *t, const sb_strip *strip, float scale) {
  exl3_tables tables;
  fill_tables(&tables, t, scale);
  for (size_t n = 0; n < strip->tiles; n++)
    for (size_t row = 0; row < strip->rows; row += t->tile_rows)
      exl3_tile(columns + n * t->tile_cols * SB_STRIP_ROWS + row, t,
                strip->codes + n * strip->stride + row / t->tile_rows * sb_trellis_tile_bytes(t),
                &tables);
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

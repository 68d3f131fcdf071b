#include "kernels/cpu/cpu_trellis_decode.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu_level.h"

/* The largest whole number that an x becomes. High numbers are then at most 2^14, and the sums of
 * 128 products with levels below 2^10 stay below 2^31. */
#define MOST 0x1p30

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
    const int32_t whole = (int32_t)lrint((double)x[c] * by), high = (whole + 0x8000) >> 16,
                  low = whole - high * 0x10000;
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

/* EXL3's levels are numbers of fp16 that no step of integers makes; the tile's order is a table's
 * too. */
static void columns_exl3(float *columns, const sb_trellis *t, const sb_strip *strip, float scale) {
  float numbers[1021]; /* of levels from -510 on */
  uint16_t place[SB_TRELLIS_TILE];
  for (int i = 0; i <= 1020; i++) numbers[i] = scale * sb_trellis_number(t, i - 510);
  for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
    unsigned row, col;
    sb_trellis_place(t, s, &row, &col);
    place[s] = (uint16_t)(col * SB_STRIP_ROWS + row);
  }
  for (size_t n = 0; n < strip->tiles; n++)
    for (size_t row = 0; row < strip->rows; row += t->tile_rows) {
      const uint8_t *tile =
          strip->codes + n * strip->stride + row / t->tile_rows * sb_trellis_tile_bytes(t);
      float *out = columns + n * t->tile_cols * SB_STRIP_ROWS + row;
      for (unsigned s = 0; s < SB_TRELLIS_TILE; s++)
        out[place[s]] = numbers[510 + sb_trellis_level(t, sb_trellis_state(t, tile, s))];
    }
}

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

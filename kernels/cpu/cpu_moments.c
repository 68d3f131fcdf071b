/* Second moments of activations and of their gradients, added up exactly.
 *
 * The moments of one sequence are computed in float or double, in an order that its shape fixes.
 * They are added to whole multiples of 2^-80 in two limbs (mpi/exact.h), sixteen bytes per item. */
#include <math.h>
#include <omp.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_sgemm.h"
#include "kernels/shared/exact_add.h"

enum {
  STRIP = 64,    /* rows of a triangle per product */
  COLUMNS = 256, /* columns of a piece of add_squares and add_variances */
};

/* sums[i] += x[i] * scale * 2^-32; false if a sum does not fit. */
static bool add_exact(int64_t *sums, const float *x, size_t n, double scale) {
  bool good = true;
  for (size_t i = 0; i < n; i++) good &= sb_exact_add_float(sums + 2 * i, x[i], scale);
  return good;
}

static sb_status beyond(const char *what) {
  return sb_fail(SB_ERR_NUMERIC, "%s are not finite, or add up to more than exact sums hold", what);
}

/* Rows [first, first + rows) of the triangle of block column j. */
static bool gram_rows(int64_t *sums, float *room, const float *x, size_t tokens, size_t cols,
                      size_t first, size_t rows, double scale) {
  const size_t width = first + rows;
  if (!sb_cpu_sgemm(true, false, rows, width, tokens, 1.0f, x + first, cols, x, cols, 0.0f, room,
                    width))
    return false;
  bool good = true;
  for (size_t r = 0; r < rows; r++) {
    const size_t row = first + r;
    good &= add_exact(sums + row * (row + 1), room + r * width, row + 1, scale);
  }
  return good;
}

sb_status sb_cpu_add_grams(sb_backend *backend, sb_stream stream, int64_t *sums,
                           const void *operands, size_t tokens, size_t cols, size_t block_cols,
                           int exponent) {
  (void)stream;
  if (block_cols == 0) return sb_fail(SB_ERR_INTERNAL, "add_grams: blocks of 0 columns");
  if (tokens == 0 || cols == 0) return SB_OK;
  const int threads = sb_cpu_threads(backend);
  const size_t most = sb_min_size(block_cols, cols), each = sb_div_up(most, STRIP);
  const size_t pieces = sb_div_up(cols, block_cols) * each,
               room = STRIP * sb_div_up(most, STRIP) * STRIP;
  const double scale = ldexp(1.0, exponent + 32);
  const float *x;
  float *rooms;
  int bad = 0;
  SB_TRY(sb_cpu_floats(backend, operands, tokens * cols, &x));
  SB_TRY(
      sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, room * (size_t)threads, sizeof *rooms, &rooms));
#pragma omp parallel num_threads(threads) reduction(| : bad)
  {
    float *mine = rooms + room * (size_t)omp_get_thread_num();
    omp_set_num_threads(1); /* for the library: see gemm_f32 */
#pragma omp for schedule(dynamic, 1)
    for (size_t piece = 0; piece < pieces; piece++) {
      const size_t j = piece / each, first = piece % each * STRIP;
      const size_t n = sb_min_size(block_cols, cols - j * block_cols);
      if (first < n)
        bad |= !gram_rows(sums + 2 * sb_grams_start(block_cols, j), mine, x + j * block_cols,
                          tokens, cols, first, sb_min_size(STRIP, n - first), scale);
    }
  }
  return bad ? beyond("products of inputs") : SB_OK;
}

sb_status sb_cpu_add_squares(sb_backend *backend, sb_stream stream, int64_t *sums,
                             const void *operands, size_t tokens, size_t cols, int exponent) {
  (void)stream;
  const float *y;
  SB_TRY(sb_cpu_floats(backend, operands, tokens * cols, &y));
  const double scale = ldexp(1.0, exponent + 32);
  int bad = 0;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static) reduction(| : bad)
  for (size_t first = 0; first < cols; first += COLUMNS) {
    const size_t n = sb_min_size(COLUMNS, cols - first);
    float sum[COLUMNS] = {0};
    for (size_t t = 0; t < tokens; t++) {
      const float *row = y + t * cols + first;
      for (size_t c = 0; c < n; c++) sum[c] = fmaf(row[c], row[c], sum[c]);
    }
    bad |= !add_exact(sums + 2 * first, sum, n, scale);
  }
  return bad ? beyond("squares of activations or gradients") : SB_OK;
}

sb_status sb_cpu_add_variances(sb_backend *backend, sb_stream stream, int64_t *sums, const float *g,
                               size_t tokens, size_t cols, float scale, int exponent) {
  (void)stream;
  const double unit = ldexp(1.0, exponent + 32);
  int bad = 0;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static) reduction(| : bad)
  for (size_t first = 0; first < cols; first += COLUMNS) {
    const size_t n = sb_min_size(COLUMNS, cols - first);
    float sum[COLUMNS] = {0};
    for (size_t t = 0; t < tokens; t++) {
      const float *row = g + t * cols + first;
      for (size_t c = 0; c < n; c++) {
        const float a = fabsf(scale * row[c]);
        sum[c] = fmaf(a, 1.0f - a, sum[c]);
      }
    }
    bad |= !add_exact(sums + 2 * first, sum, n, unit);
  }
  return bad ? beyond("variances of predictions") : SB_OK;
}

/* What the error of trellis codes costs in each block, for an error of unit variance: one pass over
 * w for the sizes of rows and blocks, then one over g. Sums along a row run in sixteen float lanes
 * per block, all others in double and in order. */
#include <math.h>

#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"
#include "kernels/shared/trellis_scale.h"

typedef struct job {
  const sb_block_weights *m;
  const float *g;
  size_t ldg;
  const float *factors, *inverses; /* [cols] */
  double *squares;                 /* [rows, block columns]: of w / factors */
  double *row_squares;             /* [rows]: of the rows' factors */
} job;

/* The sum of (x f)^2. */
static double sum_squares(const float *x, const float *f, size_t n) {
  lanes sum = lanes_set(0.0f);
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    const lanes y = lanes_mul(lanes_load(x + i, m), lanes_load(f + i, m));
    sum = lanes_fma(y, y, sum);
  }
  lanes_total total;
  memset(&total, 0, sizeof total);
  lanes_add_to(&total, sum);
  return lanes_total_sum(&total);
}

static void measure_row(const job *a, size_t r) {
  const sb_tiling *t = a->m->tiling;
  const size_t across = sb_tiling_block_cols(t);
  double sum = 0.0;
  for (size_t j = 0; j < across; j++) {
    float room[SB_GROUP_MAX];
    const size_t col = j * t->block_cols, n = sb_tiling_cols_of(t, j);
    const float *w = lanes_floats(room, a->m->w, a->m->dtype, r * t->cols + col, n);
    sum += a->squares[r * across + j] = sum_squares(w, a->inverses + col, n);
  }
  const double factor =
      (double)sb_f16_to_f32(sb_trellis_row_factor(a->m->code_kind, 0, sum, t->cols, 1.0f));
  a->row_squares[r] = factor * factor;
}

static double measure_block(const job *a, size_t k) {
  const sb_tiling *t = a->m->tiling;
  const size_t across = sb_tiling_block_cols(t), i = k / across, j = k % across,
               first = i * t->block_rows, rows = sb_tiling_rows_of(t, i),
               cols = sb_tiling_cols_of(t, j);
  double size = 0.0, weight = 0.0;
  for (size_t r = first; r < first + rows; r++) {
    const size_t col = j * t->block_cols;
    size += a->squares[r * across + j] / a->row_squares[r];
    weight = fma(a->row_squares[r], sum_squares(a->g + r * a->ldg + col, a->factors + col, cols),
                 weight);
  }
  return size / (double)(rows * cols) * weight;
}

static void load_factors(float *factors, float *inverses, const uint16_t *stored, size_t n) {
  for (size_t c = 0; c < n; c++) {
    factors[c] = stored ? sb_f16_to_f32(stored[c]) : 1.0f;
    inverses[c] = 1.0f / factors[c];
  }
}

sb_status sb_cpu_block_energy(sb_backend *backend, sb_stream stream, double *energy, const float *g,
                              size_t ldg, const sb_block_weights *m, const uint16_t *col_factors) {
  const sb_tiling *t = m->tiling;
  float *factors;
  double *sums;
  (void)stream;
  SB_TRY(sb_check_tiling("block_energy", t));
  const size_t across = sb_tiling_block_cols(t), blocks = sb_tiling_block_rows(t) * across;
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_A, 2 * t->cols, sizeof *factors, &factors));
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_SHARED, t->rows * (across + 1), sizeof *sums, &sums));
  load_factors(factors, factors + t->cols, col_factors, t->cols);
  const job a = {m, g, ldg, factors, factors + t->cols, sums, sums + t->rows * across};
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t r = 0; r < t->rows; r++) measure_row(&a, r);
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t k = 0; k < blocks; k++) energy[k] = measure_block(&a, k);
  return SB_OK;
}

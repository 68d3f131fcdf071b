/* The cost of rounding a block to each width, by second moments: the sum over its rows of
 *
 *   row_weight * e H e', e = Q_b(w) - w
 *
 * For a few rows at a time, the errors e of all widths are laid one under another. One matrix
 * product gives e H for all of them: 2 n FLOP per weight and width. One thread has a block, so its
 * sums depend on its shape alone. */
#include <omp.h>

#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"
#include "kernels/cpu/cpu_sgemm.h"

enum { ROWS = 16 }; /* rows of a block per product */

typedef struct curvature {
  const float *grams, *row_weights;
  const sb_block_weights *m;
  unsigned min_bits, widths;
  const float *importance; /* [cols] or NULL */
} curvature;

/* e[widths, n]: the errors of one row. */
static void errors_of(float *e, const curvature *a, size_t at, size_t first, size_t n) {
  float room[SB_GROUP_MAX];
  const float *w = lanes_floats(room, a->m->w, a->m->dtype, at, n);
  for (unsigned b = 0; b < a->widths; b++) {
    const sb_grid grid = cpu_grid_for(w, a->importance, first, n, a->min_bits + b, a->m->code_kind);
    for (size_t i = 0; i < n; i += LANES) {
      const lanes_mask m = lanes_first(n - i);
      const lanes x = lanes_load(w + i, m);
      lanes_store(e + b * n + i, m, lanes_sub(cpu_grid_values(&grid, cpu_grid_codes(&grid, x)), x));
    }
  }
}

SB_LANES_INLINE float dot(const float *x, const float *y, size_t n) {
  lanes sum = lanes_set(0.0f);
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    sum = lanes_fma(lanes_load(x + i, m), lanes_load(y + i, m), sum);
  }
  return lanes_sum(sum);
}

/* loss[widths] of block (i, j); room for 2 x ROWS x widths x n floats. */
static bool score_block(double *loss, float *room, const curvature *a, size_t i, size_t j) {
  const size_t n = sb_tiling_cols_of(a->m->tiling, j), rows = sb_tiling_rows_of(a->m->tiling, i),
               each = a->widths * n;
  const float *gram = a->grams + j * a->m->tiling->block_cols * a->m->tiling->block_cols;
  memset(loss, 0, a->widths * sizeof *loss);
  for (size_t first = 0; first < rows; first += ROWS) {
    const size_t count = sb_min_size(ROWS, rows - first),
                 row = i * a->m->tiling->block_rows + first;
    float *e = room, *product = room + ROWS * each;
    for (size_t r = 0; r < count; r++)
      errors_of(e + r * each, a, (row + r) * a->m->tiling->cols + j * a->m->tiling->block_cols,
                j * a->m->tiling->block_cols, n);
    if (!sb_cpu_sgemm(false, false, count * a->widths, n, n, 1.0f, e, n, gram, n, 0.0f, product, n))
      return false;
    for (size_t r = 0; r < count; r++)
      for (unsigned b = 0; b < a->widths; b++)
        loss[b] += (double)a->row_weights[row + r] *
                   (double)dot(e + r * each + b * n, product + r * each + b * n, n);
  }
  return true;
}

sb_status sb_cpu_block_curvature(sb_backend *backend, sb_stream stream, double (*loss)[SB_WIDTHS],
                                 const sb_block_weights *m, size_t first, size_t count,
                                 const float *grams, const float *row_weights, unsigned min_bits,
                                 unsigned max_bits, const float *importance) {
  const sb_tiling *tiling = m->tiling;
  (void)stream;
  SB_TRY(sb_check_block_rows("block_curvature", tiling, first, count));
  SB_TRY(sb_check_widths("block_curvature", tiling, min_bits, max_bits));
  const curvature a = {grams, row_weights, m, min_bits, max_bits - min_bits + 1, importance};
  const int threads = sb_cpu_threads(backend);
  const size_t columns = sb_tiling_block_cols(tiling),
               most = sb_min_size(tiling->block_cols, tiling->cols);
  const size_t room = 2 * ROWS * a.widths * most;
  float *rooms;
  int failed = 0;
  SB_TRY(
      sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, room * (size_t)threads, sizeof *rooms, &rooms));
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    float *mine = rooms + room * (size_t)omp_get_thread_num();
    omp_set_num_threads(1); /* for the library: see gemm_f32 */
#pragma omp for schedule(dynamic, 1)
    for (size_t k = 0; k < count * columns; k++)
      failed |= !score_block(loss[k] + min_bits, mine, &a, first + k / columns, k % columns);
  }
  return failed ? sb_fail(SB_ERR_MEMORY,
                          "block_curvature: the library refused a product; is memory left?")
                : SB_OK;
}

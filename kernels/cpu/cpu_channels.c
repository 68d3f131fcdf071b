/* Row and column sums of the cost of rounding each weight: one pass over g and w.
 *
 * A matrix is cut into stripes of whole block rows, by its shape alone. A stripe adds up its
 * columns row by row; afterwards the stripes are added in order. Sums along a row run in sixteen
 * float lanes per group, and in double from group to group. */
#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"

enum { STRIPES = 64 };

typedef struct job {
  const float *g;
  size_t ldg;
  const sb_block_weights *m;
  const uint8_t *fits;
  bool absolute;
} job;

/* One group: returns its share of the row's sum; columns[i] += the score of weight i. */
SB_LANES_INLINE double score_group(double *columns, const float *w, const float *g, size_t n,
                                   const sb_grid *grid, bool absolute) {
  float scores[SB_GROUP_MAX];
  lanes row = lanes_set(0.0f);
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    const lanes x = lanes_load(w + i, m);
    const lanes d = lanes_sub(cpu_grid_values(grid, cpu_grid_codes(grid, x)), x);
    const lanes e = lanes_only(m, lanes_mul(lanes_load(g + i, m), d));
    row = absolute ? lanes_add(row, lanes_abs(e)) : lanes_fma(e, e, row);
    lanes_store(scores + i, m, absolute ? lanes_abs(e) : lanes_mul(e, e));
  }
  for (size_t i = 0; i < n; i++) columns[i] += (double)scores[i];
  lanes_total total;
  memset(&total, 0, sizeof total);
  lanes_add_to(&total, row);
  return lanes_total_sum(&total);
}

static double score_row(double *columns, const job *a, size_t r) {
  float room[SB_GROUP_MAX];
  const sb_tiling *tiling = a->m->tiling;
  const size_t across = sb_tiling_block_cols(tiling), first_block = r / tiling->block_rows * across;
  double sum = 0.0;
  for (size_t j = 0; j < across; j++) {
    const size_t col = j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j);
    const float *w = lanes_floats(room, a->m->w, a->m->dtype, r * tiling->cols + col, n);
    const float *g = a->g + r * a->ldg + col;
    const sb_grid grid = cpu_grid_of(w, n, a->m->bits[first_block + j], a->m->code_kind,
                                     a->fits ? a->fits[r * across + j] : 0);
    sum += a->absolute ? score_group(columns + col, w, g, n, &grid, true)
                       : score_group(columns + col, w, g, n, &grid, false);
  }
  return sum;
}

sb_status sb_cpu_channel_scores(sb_backend *backend, sb_stream stream, double *rows, double *cols,
                                const float *g, size_t ldg, const sb_block_weights *m,
                                const uint8_t *fits, bool absolute) {
  const sb_tiling *tiling = m->tiling;
  const job a = {g, ldg, m, fits, absolute};
  double *columns;
  (void)stream;
  SB_TRY(sb_check_blocks("channel_scores", tiling, m->bits, 1));
  const size_t block_rows = sb_tiling_block_rows(tiling),
               stripes = sb_min_size(block_rows, STRIPES);
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_SHARED, stripes * tiling->cols, sizeof *columns,
                        &columns));
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t s = 0; s < stripes; s++) {
    double *mine = columns + s * tiling->cols;
    const size_t first = s * block_rows / stripes * tiling->block_rows,
                 end =
                     sb_min_size((s + 1) * block_rows / stripes * tiling->block_rows, tiling->rows);
    memset(mine, 0, tiling->cols * sizeof *mine);
    for (size_t r = first; r < end; r++) rows[r] = score_row(mine, &a, r);
  }
  for (size_t c = 0; c < tiling->cols; c++) {
    cols[c] = 0.0;
    for (size_t s = 0; s < stripes; s++) cols[c] += columns[s * tiling->cols + c];
  }
  return SB_OK;
}

/* The gradient of a group's scale: sums of g w over each row of a block. */
#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"

static float product(const float *g, const float *w, size_t n) {
  lanes sum = lanes_set(0.0f);
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    sum = lanes_fma(lanes_load(g + i, m), lanes_load(w + i, m), sum);
  }
  lanes_total total;
  memset(&total, 0, sizeof total);
  lanes_add_to(&total, sum);
  return (float)lanes_total_sum(&total);
}

sb_status sb_cpu_group_products(sb_backend *backend, sb_stream stream, float *out, const float *g,
                                size_t ldg, const sb_block_weights *m) {
  const sb_tiling *tiling = m->tiling;
  const size_t across = sb_tiling_block_cols(tiling);
  (void)stream;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t r = 0; r < tiling->rows; r++) {
    float room[SB_GROUP_MAX];
    for (size_t j = 0; j < across; j++) {
      const size_t col = j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j);
      out[r * across + j] = product(
          g + r * ldg + col, lanes_floats(room, m->w, m->dtype, r * tiling->cols + col, n), n);
    }
  }
  return SB_OK;
}

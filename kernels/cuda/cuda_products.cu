/* The gradient of a group's scale: sums of g w over each row of a block, with the same bits as on
 * the CPU. */
#include "kernels/cuda/cuda_blocks.cuh"

template <bool MORE, typename W>
__global__ void __launch_bounds__(BLOCK_THREADS)
    group_products(float *out, const float *g, size_t ldg, const W *w, sb_tiling tiling) {
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const int lane = (int)threadIdx.x % GROUP_LANES;
  block_rows<MORE>(w, tiling, b, [&](const auto &row, size_t r, bool keep) {
    const float *slopes = g + r * ldg + b.col;
    float sum = 0.0f;
    group_pieces(row, [&](const float(&x)[GROUP_EACH], int before) {
#pragma unroll
      for (int p = 0; p < GROUP_EACH; p++) {
        const int i = before + p * GROUP_LANES + lane;
        if (i < b.n) sum = fmaf(slopes[i], x[p], sum);
      }
    });
    const double total = group_sum((double)sum);
    if (keep && lane == 0) out[r * sb_tiling_block_cols(&tiling) + b.j] = (float)total;
  });
}

sb_status sb_cuda_group_products(sb_backend *backend, sb_stream stream, float *out, const float *g,
                                 size_t ldg, const sb_block_weights *m) {
  const sb_tiling *tiling = m->tiling;
  const size_t blocks = sb_cuda_block_count(tiling);
  if (blocks == 0) return SB_OK;
  return sb_with_number(m->dtype, "weights of groups", [&](auto type) {
    typedef decltype(type) W;
    const auto kernel =
        sb_cuda_has_pieces(tiling) ? group_products<true, W> : group_products<false, W>;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "group_products", kernel,
                          (unsigned)blocks, BLOCK_THREADS, 0, out, g, ldg, (const W *)m->w,
                          *tiling);
  });
}

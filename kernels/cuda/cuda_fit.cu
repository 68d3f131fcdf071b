/* The fit of each group, by which its range is shrunk: kernels/shared/grid.h, fitted grids. */
#include "kernels/cuda/cuda_blocks.cuh"

template <typename W>
__global__ void __launch_bounds__(BLOCK_THREADS)
    fit_blocks(uint8_t *fits, const W *w, const float *importance, sb_tiling tiling,
               const uint8_t *bits, sb_code_kind code_kind) {
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const unsigned width = bits[b.k];
  block_rows<true>(w, tiling, b, [&](const auto &row, size_t r, bool keep) {
    const unsigned fit = width == 0 ? 0 : group_fit(row, importance + b.col, width, code_kind);
    if (keep && threadIdx.x % GROUP_LANES == 0)
      fits[r * sb_tiling_block_cols(&tiling) + b.j] = (uint8_t)fit;
  });
}

sb_status sb_cuda_fit_blocks(sb_backend *backend, sb_stream stream, uint8_t *fits,
                             const sb_block_weights *m, const float *importance) {
  const sb_tiling *tiling = m->tiling;
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t blocks = sb_cuda_block_count(tiling);
  uint8_t *bits_dev;
  SB_TRY(sb_check_blocks("fit_blocks", tiling, m->bits, 0));
  if (blocks == 0) return SB_OK;
  SB_TRY(sb_cuda_send(backend, queue, m->bits, blocks, &bits_dev));
  return sb_with_number(m->dtype, "weights to fit", [&](auto type) {
    typedef decltype(type) W;
    return sb_cuda_launch(backend, queue, "fit_blocks", fit_blocks<W>, (unsigned)blocks,
                          BLOCK_THREADS, 0, fits, (const W *)m->w, importance, *tiling, bits_dev,
                          m->code_kind);
  });
}

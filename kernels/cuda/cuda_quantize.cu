/* Rounding a matrix to the grids of its blocks: a thread block has a block of weights, a half warp
 * one row of it at a time. */
#include "kernels/cuda/cuda_blocks.cuh"

template <bool MORE, typename W, typename O>
__global__ void __launch_bounds__(BLOCK_THREADS)
    quantize_blocks(O *out, const W *w, sb_tiling tiling, const uint8_t *bits,
                    sb_code_kind code_kind, const uint8_t *fits) {
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const unsigned width = bits[b.k];
  block_rows<MORE>(w, tiling, b, [&](const auto &row, size_t r, bool keep) {
    const size_t at = r * tiling.cols + b.col;
    const int kept = keep ? b.n : 0;
    if (width == 0) {
      group_pieces(row, [&](const float(&x)[GROUP_EACH], int before) {
        group_store(out + at + before, x, kept - before);
      });
      return;
    }
    const sb_group_range range = group_range(row, width > 1, width == 1, code_kind);
    const sb_grid grid = sb_grid_fitted(&range, width, code_kind,
                                        fits ? fits[r * sb_tiling_block_cols(&tiling) + b.j] : 0);
    group_pieces(row, [&](const float(&x)[GROUP_EACH], int before) {
      float values[GROUP_EACH];
#pragma unroll
      for (int p = 0; p < GROUP_EACH; p++)
        values[p] = sb_grid_value(&grid, sb_grid_code(&grid, x[p]));
      group_store(out + at + before, values, kept - before);
    });
  });
}

sb_status sb_cuda_quantize_blocks(sb_backend *backend, sb_stream stream, void *out,
                                  sb_dtype out_dtype, const sb_block_weights *m,
                                  const uint8_t *fits) {
  const sb_tiling *tiling = m->tiling;
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t blocks = sb_cuda_block_count(tiling);
  uint8_t *bits_dev;
  SB_TRY(sb_check_blocks("quantize_blocks", tiling, m->bits, 0));
  if (blocks == 0) return SB_OK;
  SB_TRY(sb_cuda_send(backend, queue, m->bits, blocks, &bits_dev));
  return sb_with_number(m->dtype, "weights to round", [&](auto from) {
    return sb_with_number(out_dtype, "rounded weights", [&](auto to) {
      typedef decltype(from) W;
      typedef decltype(to) O;
      const auto kernel =
          sb_cuda_has_pieces(tiling) ? quantize_blocks<true, W, O> : quantize_blocks<false, W, O>;
      return sb_cuda_launch(backend, queue, "quantize_blocks", kernel, (unsigned)blocks,
                            BLOCK_THREADS, 0, (O *)out, (const W *)m->w, *tiling, bits_dev,
                            m->code_kind, fits);
    });
  });
}

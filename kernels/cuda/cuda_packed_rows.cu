/* Multiplication with packed weights of any tiling, in f32: a warp has a row and up to EACH tokens,
 * a lane eight codes of the row at a time. */
#include "kernels/cuda/cuda_packed.h"
#include "kernels/cuda/number.cuh"
#include "kernels/cuda/reduce.cuh"

extern "C" {
#include "base/memory.h"
#include "kernels/shared/blockrow_layout.h"
}

constexpr int EACH = 8;

template <typename X>
__global__ void __launch_bounds__(SB_CUDA_THREADS)
    packed_rows(float *y, const X *x, const uint8_t *packed, const uint64_t *blocks,
                sb_tiling tiling, sb_code_kind code_kind, size_t T, bool add) {
  const size_t row = ((size_t)blockIdx.x * SB_CUDA_THREADS + threadIdx.x) / SB_WARP,
               first = (size_t)blockIdx.y * EACH;
  if (row >= tiling.rows) return;
  const unsigned lane = threadIdx.x % SB_WARP;
  const size_t i = row / tiling.block_rows, r = row % tiling.block_rows,
               columns = sb_tiling_block_cols(&tiling);
  float sum[EACH] = {};
  for (size_t j = 0; j < columns; j++) {
    const uint64_t entry = blocks[i * columns + j];
    const uint8_t *block = packed + packed_offset(entry);
    sb_block_layout layout =
        sb_block_layout_of(sb_tiling_rows_of(&tiling, i), sb_tiling_cols_of(&tiling, j),
                           packed_bits(entry), code_kind);
    layout.anchor = packed_anchor(packed, blocks, columns, i, j, code_kind);
    const sb_grid grid = sb_block_grid(block, &layout, r, sb_block_zero(block, &layout, r));
    for (size_t c = lane * 8; c < layout.cols; c += SB_WARP * 8) {
      const size_t n = layout.cols - c < 8 ? layout.cols - c : 8, col = j * tiling.block_cols + c;
      const uint8_t *from = block + layout.codes + r * layout.code_bytes + c / 8 * layout.bits;
      uint64_t word = 0;
      for (size_t b = 0; b < sb_bitstring_bytes(n, layout.bits); b++)
        word |= (uint64_t)from[b] << 8 * b;
      word = sb_bitstring_unfold(word, layout.bits);
      for (size_t e = 0; e < n; e++) {
        const float value = sb_grid_value(&grid, (float)(word >> 8 * e & 255u));
#pragma unroll
        for (int t = 0; t < EACH; t++)
          if (first + (size_t)t < T)
            sum[t] = fmaf(value, sb_number(x[(first + (size_t)t) * tiling.cols + col + e]), sum[t]);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < EACH; t++) {
    const float all = sb_warp_sum(sum[t]);
    float *to = y + (first + (size_t)t) * tiling.rows + row;
    if (lane == 0 && first + (size_t)t < T) *to = add ? *to + all : all;
  }
}

sb_status sb_cuda_packed_rows(sb_backend *backend, cudaStream_t stream, const sb_packed_impl *w,
                              float *y, const void *x, size_t T, bool add) {
  return sb_with_operand(backend, [&](auto type) {
    typedef decltype(type) X;
    return sb_cuda_launch(backend, stream, "packed_gemm", packed_rows<X>,
                          dim3((unsigned)sb_div_up(w->tiling.rows * SB_WARP, SB_CUDA_THREADS),
                               (unsigned)sb_div_up(T, EACH)),
                          SB_CUDA_THREADS, 0, y, (const X *)x, w->packed, w->at.blocks, w->tiling,
                          w->code_kind, T, add);
  });
}

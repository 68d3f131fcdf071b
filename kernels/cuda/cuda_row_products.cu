/* Sums over rows: one block per row, its threads take columns in turn. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/reduce.cuh"

static __global__ void __launch_bounds__(SB_CUDA_THREADS) row_products(sb_row_products_args args) {
  __shared__ double scratch[SB_WARP];
  const size_t r = blockIdx.x;
  double sums[SB_ROW_PAIRS] = {0};
  for (size_t c = threadIdx.x; c < args.cols; c += blockDim.x) {
    const size_t at = r * args.cols + c;
    const float weight = args.weight ? args.weight[c] : 1.0f;
    float terms[SB_ROW_TERMS] = {0};
#pragma unroll
    for (int i = 0; i < SB_ROW_TERMS; i++)
      if ((size_t)i < args.term_count)
        terms[i] = args.terms[i].minus ? args.terms[i].plus[at] - args.terms[i].minus[at]
                                       : args.terms[i].plus[at];
#pragma unroll
    for (int p = 0; p < SB_ROW_PAIRS; p++)
      if ((size_t)p < args.pair_count)
        sums[p] += (double)(weight * (terms[args.pairs[p][0]] * terms[args.pairs[p][1]]));
  }
#pragma unroll
  for (int p = 0; p < SB_ROW_PAIRS; p++) {
    if ((size_t)p >= args.pair_count) break;
    const double sum = sb_block_sum(sums[p], scratch);
    if (threadIdx.x == 0) args.out[(size_t)p * args.rows + r] = sum;
  }
}

sb_status sb_cuda_row_products(sb_backend *backend, sb_stream stream,
                               const sb_row_products_args *args) {
  if (args->rows == 0 || args->pair_count == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "row_products", row_products,
                        (unsigned)args->rows, SB_CUDA_THREADS, 0, *args);
}

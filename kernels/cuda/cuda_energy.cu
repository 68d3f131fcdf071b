/* What the error of trellis codes costs in each block, with the same bits as on the CPU: sums along
 * the rows of blocks by half warps, then sums of these in order, by one thread each. */
#include "kernels/cuda/cuda_blocks.cuh"

extern "C" {
#include "kernels/shared/trellis_scale.h"
}

typedef struct energy_job {
  sb_tiling tiling;
  const sb_half *factors; /* [cols], or NULL for ones */
  double *squares;        /* [rows, block columns]: of w / factors */
  double *slopes;         /* [rows, block columns]: of g factors */
  double *row_squares;    /* [rows]: of the rows' factors */
  sb_code_kind code_kind;
} energy_job;

/* sums[r, j] = the sum of (x f)^2 over row r of block column j; f: the factors, or 1 / factors. */
template <bool MORE, bool INVERSE, typename W>
__global__ void __launch_bounds__(BLOCK_THREADS)
    energy_rows(double *sums, const W *x, size_t ldx, energy_job a) {
  const cuda_block b = cuda_block_at(a.tiling, blockIdx.x);
  const int lane = (int)threadIdx.x % GROUP_LANES, half = (int)threadIdx.x / GROUP_LANES;
  for (int first = 0; first < b.rows; first += BLOCK_HALVES) {
    const size_t r = b.row + (size_t)min(first + half, b.rows - 1);
    float sum = 0.0f;
    group_pieces(group_row_at<MORE>(x + r * ldx + b.col, b.n), [&](const float(&values)[GROUP_EACH],
                                                                   int before) {
#pragma unroll
      for (int p = 0; p < GROUP_EACH; p++) {
        const int i = before + p * GROUP_LANES + lane;
        if (i >= b.n) continue;
        const float factor = a.factors ? sb_number(a.factors[b.col + (size_t)i]) : 1.0f;
        const float y = __fmul_rn(values[p], INVERSE ? 1.0f / factor : factor);
        sum = fmaf(y, y, sum);
      }
    });
    const double total = group_sum((double)sum);
    if (lane == 0 && first + half < b.rows) sums[r * sb_tiling_block_cols(&a.tiling) + b.j] = total;
  }
}

__global__ void energy_factors(energy_job a) {
  const size_t across = sb_tiling_block_cols(&a.tiling);
  for (size_t r = (size_t)blockIdx.x * blockDim.x + threadIdx.x; r < a.tiling.rows;
       r += (size_t)gridDim.x * blockDim.x) {
    double sum = 0.0;
    for (size_t j = 0; j < across; j++) sum += a.squares[r * across + j];
    const double factor =
        (double)sb_grid_from_fp16(sb_trellis_row_factor(a.code_kind, 0, sum, a.tiling.cols, 1.0f));
    a.row_squares[r] = factor * factor;
  }
}

__global__ void energy_blocks(double *energy, size_t blocks, energy_job a) {
  const size_t across = sb_tiling_block_cols(&a.tiling);
  for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < blocks;
       k += (size_t)gridDim.x * blockDim.x) {
    const cuda_block b = cuda_block_at(a.tiling, k);
    double size = 0.0, weight = 0.0;
    for (size_t r = b.row; r < b.row + (size_t)b.rows; r++) {
      size += a.squares[r * across + b.j] / a.row_squares[r];
      weight = fma(a.row_squares[r], a.slopes[r * across + b.j], weight);
    }
    energy[k] = size / (double)((size_t)b.rows * (size_t)b.n) * weight;
  }
}

sb_status sb_cuda_block_energy(sb_backend *backend, sb_stream stream, double *energy,
                               const float *g, size_t ldg, const sb_block_weights *m,
                               const uint16_t *col_factors) {
  const sb_tiling *tiling = m->tiling;
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t across = sb_tiling_block_cols(tiling), blocks = sb_cuda_block_count(tiling),
               sums = tiling->rows * across;
  double *room;
  SB_TRY(sb_check_tiling("block_energy", tiling));
  if (blocks == 0) return SB_OK;
  SB_TRY(sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK,
                         (2 * sums + tiling->rows) * sizeof *room, &room));
  const energy_job a = {
      *tiling, (const sb_half *)col_factors, room, room + sums, room + 2 * sums, m->code_kind};
  const bool more = sb_cuda_has_pieces(tiling);
  SB_TRY(sb_with_number(m->dtype, "weights to score", [&](auto type) {
    typedef decltype(type) W;
    return sb_cuda_launch(backend, queue, "block_energy",
                          more ? energy_rows<true, true, W> : energy_rows<false, true, W>,
                          (unsigned)blocks, BLOCK_THREADS, 0, a.squares, (const W *)m->w,
                          tiling->cols, a);
  }));
  SB_TRY(sb_cuda_launch(backend, queue, "block_energy",
                        more ? energy_rows<true, false, float> : energy_rows<false, false, float>,
                        (unsigned)blocks, BLOCK_THREADS, 0, a.slopes, g, ldg, a));
  SB_TRY(sb_cuda_launch(backend, queue, "block_energy", energy_factors,
                        sb_cuda_blocks_for(backend, tiling->rows), SB_CUDA_THREADS, 0, a));
  return sb_cuda_launch(backend, queue, "block_energy", energy_blocks,
                        sb_cuda_blocks_for(backend, blocks), SB_CUDA_THREADS, 0, energy, blocks, a);
}

/* The cost of rounding a block to each width, by squares of gradients: one pass over g and w for
 * all widths, with the same bits as on the CPU. A thread block has a block of weights, a half warp
 * one row of it at a time. One lane per width reads the grids of the row. */
#include "kernels/cuda/cuda_blocks.cuh"

constexpr int WIDEST = SB_MAX_BITS;

/* One lane's share of one row at one width, piece by piece. Without a base the value is exact, so
 * the fused form gives the same number. */
__device__ __forceinline__ float add_piece(float sum, const sb_grid &grid, bool based,
                                           const float (&w)[GROUP_EACH],
                                           const float (&g)[GROUP_EACH]) {
#pragma unroll
  for (int p = 0; p < GROUP_EACH; p++) {
    const float x = w[p], level = sb_grid_code(&grid, x) - grid.center;
    const float error =
        based ? fmaf(level, grid.scale, grid.base) - x : fmaf(level, grid.scale, -x);
    const float step = __fmul_rn(g[p], error);
    sum = fmaf(step, step, sum);
  }
  return sum;
}

template <typename W>
__global__ void __launch_bounds__(BLOCK_THREADS)
    block_squares(double (*loss)[SB_WIDTHS], const float *g, size_t ldg, const W *w,
                  const sb_stored_grid *grids, sb_tiling tiling, unsigned min_bits,
                  unsigned widths) {
  __shared__ float room[BLOCK_TILE][WIDEST * GROUP_LANES];
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const int half = (int)threadIdx.x / GROUP_LANES, lane = (int)threadIdx.x % GROUP_LANES;
  const unsigned mine = (unsigned)lane < widths ? (unsigned)lane : 0;
  double total = 0.0;
  for (int tile = 0; tile < b.rows; tile += BLOCK_TILE) {
    for (int in_tile = half; in_tile < BLOCK_TILE; in_tile += BLOCK_HALVES) {
      const size_t r = b.row + (size_t)min(tile + in_tile, b.rows - 1);
      const sb_stored_grid stored =
          grids[(r * sb_tiling_block_cols(&tiling) + b.j) * widths + mine];
      const sb_grid grid = sb_grid_load(&stored, min_bits + mine);
      float sums[WIDEST] = {};
      for (int before = 0; before < b.n; before += GROUP_PIECE) {
        float x[GROUP_EACH], y[GROUP_EACH];
        group_load(x, w + r * tiling.cols + b.col + (size_t)before, b.n - before);
        group_load(y, g + r * ldg + b.col + (size_t)before, b.n - before);
#pragma unroll
        for (int i = 0; i < WIDEST; i++) {
          if ((unsigned)i >= widths) break;
          const sb_grid here = grid_of_lane(grid, i);
          sums[i] = here.base == 0.0f ? add_piece(sums[i], here, false, x, y)
                                      : add_piece(sums[i], here, true, x, y);
        }
      }
#pragma unroll
      for (int i = 0; i < WIDEST; i++) room[in_tile][i * GROUP_LANES + lane] = sums[i];
    }
    add_down<WIDEST>(total, room, min(b.rows - tile, BLOCK_TILE));
  }
  total = group_sum(total);
  if (lane == 0 && (unsigned)half < widths) loss[b.k][min_bits + (unsigned)half] = total;
}

sb_status sb_cuda_block_squares(sb_backend *backend, sb_stream stream, double (*loss)[SB_WIDTHS],
                                const float *g, size_t ldg, const sb_block_weights *m,
                                const sb_stored_grid *grids, unsigned min_bits, unsigned max_bits) {
  const sb_tiling *tiling = m->tiling;
  const size_t blocks = sb_cuda_block_count(tiling);
  SB_TRY(sb_check_widths("block_squares", tiling, min_bits, max_bits));
  if (blocks == 0) return SB_OK;
  return sb_with_number(m->dtype, "weights to score", [&](auto type) {
    typedef decltype(type) W;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "block_squares",
                          block_squares<W>, (unsigned)blocks, BLOCK_THREADS, 0, loss, g, ldg,
                          (const W *)m->w, grids, *tiling, min_bits, max_bits - min_bits + 1);
  });
}

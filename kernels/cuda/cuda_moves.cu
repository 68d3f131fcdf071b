/* The change of <g, W> if a block moves up or down by one bit: one pass over g and w, with the same
 * bits as on the CPU.
 *
 * A thread block has a block of weights, a half warp one row of it at a time. Three lanes read the
 * three grids of the row at once. Products with g are summed in sixteen float lanes along the row,
 * and the lanes in double down the block.
 *
 * The pass reads 6 bytes per weight (bf16 weights, float gradients). At 3 TB/s that leaves an H100
 * some 50 instructions per weight, so the inner loop must be lean. If all three grids have whole
 * centers (`WHOLE`), one subtraction rounds and takes off the center: x + 1.5 * 2^23 holds the code
 * in its last bits, and center + 1.5 * 2^23 the center. */
#include "kernels/cuda/cuda_blocks.cuh"

#define ROUNDER 0x1.8p23f

/* code - center. */
template <bool WHOLE> __device__ __forceinline__ float steps(const sb_grid &grid, float x) {
  const float code = fminf(fmaxf(fmaf(x, grid.inverse, grid.center), 0.0f), grid.top);
  if (WHOLE) return (code + ROUNDER) - (grid.center + ROUNDER);
  return sb_grid_rint(code) - grid.center;
}

typedef struct move_grids {
  sb_grid down, here, up;
  bool based_down, based_here; /* true for grids with a base */
} move_grids;

/* Adds a piece of a row to its lane's sums. */
template <bool WHOLE>
__device__ __forceinline__ void score(float &raise, float &cut, const move_grids &m,
                                      const float (&w)[GROUP_EACH], const float (&g)[GROUP_EACH]) {
#pragma unroll
  for (int p = 0; p < GROUP_EACH; p++) {
    const float x = w[p], y = g[p];
    const float current = fmaf(steps<WHOLE>(m.here, !WHOLE && m.based_here ? x - m.here.base : x),
                               m.here.scale, m.here.base);
    raise = fmaf(y, fmaf(steps<WHOLE>(m.up, x), m.up.scale, -current), raise);
    const float change =
        !WHOLE && m.based_down
            ? fmaf(steps<WHOLE>(m.down, x - m.down.base), m.down.scale, m.down.base) - current
            : fmaf(steps<WHOLE>(m.down, x), m.down.scale, -current);
    cut = fmaf(y, change, cut);
  }
}

template <bool MORE, typename W>
__global__ void __launch_bounds__(BLOCK_THREADS)
    block_moves(double *raise_out, double *cut_out, const float *g, size_t ldg, const W *w,
                const sb_stored_grid *grids, sb_tiling tiling, const uint8_t *all_bits,
                unsigned min_bits, unsigned max_bits, sb_code_kind code_kind) {
  __shared__ float room[BLOCK_TILE][2 * GROUP_LANES];
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const int half = (int)threadIdx.x / GROUP_LANES, lane = (int)threadIdx.x % GROUP_LANES,
            which = lane % 3;
  const unsigned bits = all_bits[b.k], down = sb_move_down(bits);
  const unsigned mine = which == 0 ? down : which == 1 ? bits : sb_move_up(bits);
  const bool whole = sb_has_whole_center(code_kind, down);
  double total = 0.0;
  move_grids m;
  m.based_down = sb_has_base(code_kind, down);
  m.based_here = sb_has_base(code_kind, bits);
  for (int tile = 0; tile < b.rows; tile += BLOCK_TILE) {
    for (int in_tile = half; in_tile < BLOCK_TILE; in_tile += BLOCK_HALVES) {
      const size_t r = b.row + (size_t)min(tile + in_tile, b.rows - 1),
                   at = r * tiling.cols + b.col;
      const float *slopes = g + r * ldg + b.col;
      float y[GROUP_EACH];
      const auto row = group_row_at<MORE>(w + at, b.n);
      group_load(y, slopes, b.n);
      const sb_stored_grid stored =
          grids[SB_MOVES * (r * sb_tiling_block_cols(&tiling) + b.j) + 1 + mine - bits];
      const sb_grid grid = sb_grid_load(&stored, mine);
      m.down = grid_of_lane(grid, 0);
      m.here = grid_of_lane(grid, 1);
      m.up = grid_of_lane(grid, 2);
      float raise = 0.0f, cut = 0.0f;
      group_pieces(row, [&](const float(&x)[GROUP_EACH], int before) {
        if (before > 0) group_load(y, slopes + before, b.n - before);
        if (whole)
          score<true>(raise, cut, m, x, y);
        else
          score<false>(raise, cut, m, x, y);
      });
      room[in_tile][lane] = raise;
      room[in_tile][GROUP_LANES + lane] = cut;
    }
    add_down<2>(total, room, min(b.rows - tile, BLOCK_TILE));
  }
  total = group_sum(total);
  if (threadIdx.x == 0) raise_out[b.k] = bits + 1 > max_bits ? 0.0 : total;
  if (threadIdx.x == GROUP_LANES) cut_out[b.k] = bits < min_bits + 1 ? 0.0 : total;
}

sb_status sb_cuda_block_moves(sb_backend *backend, sb_stream stream, double *raise, double *cut,
                              const float *g, size_t ldg, const sb_block_weights *m,
                              const sb_stored_grid *grids, unsigned min_bits, unsigned max_bits) {
  const sb_tiling *tiling = m->tiling;
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t blocks = sb_cuda_block_count(tiling);
  uint8_t *bits_dev;
  SB_TRY(sb_check_blocks("block_moves", tiling, m->bits, 1));
  if (blocks == 0) return SB_OK;
  SB_TRY(sb_cuda_send(backend, queue, m->bits, blocks, &bits_dev));
  return sb_with_number(m->dtype, "weights to score", [&](auto type) {
    typedef decltype(type) W;
    const auto kernel = sb_cuda_has_pieces(tiling) ? block_moves<true, W> : block_moves<false, W>;
    return sb_cuda_launch(backend, queue, "block_moves", kernel, (unsigned)blocks, BLOCK_THREADS, 0,
                          raise, cut, g, ldg, (const W *)m->w, grids, *tiling, bits_dev, min_bits,
                          max_bits, m->code_kind);
  });
}

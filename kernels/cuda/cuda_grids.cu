/* The grids of groups, chosen once for weights that then meet many gradients:
 * kernels/shared/grid.h. */
#include "kernels/cuda/cuda_blocks.cuh"

template <typename W>
__global__ void __launch_bounds__(BLOCK_THREADS)
    choose_grids(sb_stored_grid *grids, const W *w, sb_tiling tiling, unsigned min_bits,
                 unsigned widths, sb_code_kind code_kind, const float *importance) {
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  block_rows<true>(w, tiling, b, [&](const auto &row, size_t r, bool keep) {
    const unsigned lane = threadIdx.x % GROUP_LANES;
    const sb_grid grid = grids_of_widths(row, importance ? importance + b.col : nullptr, min_bits,
                                         widths, code_kind);
    const sb_stored_grid stored = sb_grid_store(&grid);
    if (keep && lane < widths)
      grids[(r * sb_tiling_block_cols(&tiling) + b.j) * widths + lane] = stored;
  });
}

template <typename W>
__global__ void __launch_bounds__(BLOCK_THREADS)
    move_grids(sb_stored_grid *grids, const W *w, sb_tiling tiling, const uint8_t *all_bits,
               sb_code_kind code_kind, const float *importance, const uint8_t *fits) {
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const unsigned bits = all_bits[b.k], down = sb_move_down(bits), up = sb_move_up(bits);
  if (bits == 0) return;
  const unsigned lane = threadIdx.x % GROUP_LANES, mine = lane == 0 ? down : lane == 1 ? bits : up;
  block_rows<true>(w, tiling, b, [&](const auto &row, size_t r, bool keep) {
    const size_t g = r * sb_tiling_block_cols(&tiling) + b.j;
    const sb_group_range range = group_range(row, true, down == 1, code_kind);
    unsigned fit = fits ? fits[g] : 0;
    if (fits && down != bits) {
      const unsigned found = group_fit(row, importance + b.col, down, code_kind);
      if (mine == down) fit = found;
    }
    if (fits && up != bits) {
      const unsigned found = group_fit(row, importance + b.col, up, code_kind);
      if (mine == up) fit = found;
    }
    const sb_grid grid = sb_grid_fitted(&range, mine, code_kind, fit);
    const sb_stored_grid stored = sb_grid_store(&grid);
    if (keep && (lane == 1 || (lane < SB_MOVES && mine != bits)))
      grids[SB_MOVES * g + lane] = stored;
  });
}

sb_status sb_cuda_choose_grids(sb_backend *backend, sb_stream stream, sb_stored_grid *grids,
                               const sb_block_weights *m, unsigned min_bits, unsigned max_bits,
                               const float *importance) {
  const sb_tiling *tiling = m->tiling;
  const size_t blocks = sb_cuda_block_count(tiling);
  SB_TRY(sb_check_widths("choose_grids", tiling, min_bits, max_bits));
  if (blocks == 0) return SB_OK;
  return sb_with_number(m->dtype, "weights to choose grids for", [&](auto type) {
    typedef decltype(type) W;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "choose_grids", choose_grids<W>,
                          (unsigned)blocks, BLOCK_THREADS, 0, grids, (const W *)m->w, *tiling,
                          min_bits, max_bits - min_bits + 1, m->code_kind, importance);
  });
}

sb_status sb_cuda_move_grids(sb_backend *backend, sb_stream stream, sb_stored_grid *grids,
                             const sb_block_weights *m, const float *importance,
                             const uint8_t *fits) {
  const sb_tiling *tiling = m->tiling;
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t blocks = sb_cuda_block_count(tiling);
  uint8_t *bits_dev;
  SB_TRY(sb_check_blocks("move_grids", tiling, m->bits, 0));
  if (blocks == 0) return SB_OK;
  SB_TRY(sb_cuda_send(backend, queue, m->bits, blocks, &bits_dev));
  return sb_with_number(m->dtype, "weights to choose grids for", [&](auto type) {
    typedef decltype(type) W;
    return sb_cuda_launch(backend, queue, "move_grids", move_grids<W>, (unsigned)blocks,
                          BLOCK_THREADS, 0, grids, (const W *)m->w, *tiling, bits_dev, m->code_kind,
                          importance, fits);
  });
}

/* kernels/shared/grid.h by half warps, with the same bits as on the CPU: a group's statistics, fit
 * and grids.
 *
 * The sixteen lanes of grid.h are sixteen threads: lane i has the weights i, i + 16, i + 32, ... of
 * its group. A group is taken in pieces of 128, eight weights per lane, 0 beyond the group's end.
 * The first piece stays in registers; it is the whole group in most models. Further pieces are read
 * again whenever they are needed. Both halves of a warp take the same path, each with its own
 * group. A load takes 16 neighbours: whole sectors of memory. */
#ifndef SB_KERNELS_CUDA_CUDA_GROUP_CUH
#define SB_KERNELS_CUDA_CUDA_GROUP_CUH

#include "kernels/cuda/number.cuh"

constexpr int GROUP_LANES = SB_GROUP_LANES, GROUP_EACH = 8, GROUP_PIECE = GROUP_EACH * GROUP_LANES;

/* w[p] = number p * 16 + lane of the n numbers at `from`, 0 beyond them; n may be negative. */
template <typename T>
__device__ __forceinline__ void group_load(float (&w)[GROUP_EACH], const T *from, int n) {
  const int lane = (int)threadIdx.x % GROUP_LANES;
  const T *mine =
      from +
      threadIdx.x % GROUP_LANES; /* the rest of each address is a constant of its instruction */
  if (n >= GROUP_PIECE) {
#pragma unroll
    for (int p = 0; p < GROUP_EACH; p++) w[p] = sb_number(mine[p * GROUP_LANES]);
  } else {
#pragma unroll
    for (int p = 0; p < GROUP_EACH; p++)
      w[p] = p * GROUP_LANES + lane < n ? sb_number(mine[p * GROUP_LANES]) : 0.0f;
  }
}

/* Stores the same n numbers, rounded. */
template <typename T>
__device__ __forceinline__ void group_store(T *to, const float (&w)[GROUP_EACH], int n) {
  const int lane = (int)threadIdx.x % GROUP_LANES;
  T *mine = to + threadIdx.x % GROUP_LANES;
  if (n >= GROUP_PIECE) {
#pragma unroll
    for (int p = 0; p < GROUP_EACH; p++) sb_store_number(mine + p * GROUP_LANES, w[p]);
  } else {
#pragma unroll
    for (int p = 0; p < GROUP_EACH; p++)
      if (p * GROUP_LANES + lane < n) sb_store_number(mine + p * GROUP_LANES, w[p]);
  }
}

/* One group: n weights at `from`, and this lane's share of the first piece. MORE = false promises
 * groups of one piece, and saves registers. */
template <typename T, bool MORE> struct group_row {
  const T *from;
  int n;
  float first[GROUP_EACH];
};
template <bool MORE, typename T>
__device__ __forceinline__ group_row<T, MORE> group_row_at(const T *from, int n) {
  group_row<T, MORE> row;
  row.from = from;
  row.n = n;
  group_load(row.first, from, n);
  return row;
}

/* Calls f(w, before) for every piece; w[p] is the weight before + p * 16 + lane. */
template <typename T, bool MORE, typename F>
__device__ __forceinline__ void group_pieces(const group_row<T, MORE> &row, F f) {
  f(row.first, 0);
  for (int before = GROUP_PIECE; MORE && before < row.n; before += GROUP_PIECE) {
    float w[GROUP_EACH];
    group_load(w, row.from + before, row.n - before);
    f(w, before);
  }
}

/* The sum of the sixteen lanes, in every lane: adds lanes i and i + 8, then 4, 2, 1. */
template <typename T> __device__ __forceinline__ T group_sum(T value) {
#pragma unroll
  for (int mask = GROUP_LANES / 2; mask > 0; mask >>= 1) value += sb_warp_xor(value, mask);
  return value;
}

/* Mean of the weights, or of |w - centre| where `absolute`. */
template <typename T, bool MORE>
__device__ __forceinline__ float group_mean(const group_row<T, MORE> &row, float centre,
                                            bool absolute) {
  const int lane = (int)threadIdx.x % GROUP_LANES;
  float sum = 0.0f;
  group_pieces(row, [&](const float(&w)[GROUP_EACH], int before) {
#pragma unroll
    for (int p = 0; p < GROUP_EACH; p++)
      if (before + p * GROUP_LANES + lane < row.n) sum += absolute ? fabsf(w[p] - centre) : w[p];
  });
  return group_sum(sum) / (float)row.n;
}

/* The statistics of a group; arguments as for cpu_group_range. */
template <typename T, bool MORE>
__device__ __forceinline__ sb_group_range group_range(const group_row<T, MORE> &row, bool low_high,
                                                      bool one_bit, sb_code_kind code_kind) {
  sb_group_range range = {};
  if (low_high || sb_one_bit_has_range(code_kind)) {
    group_pieces(row, [&](const float(&w)[GROUP_EACH], int) {
#pragma unroll
      for (int p = 0; p < GROUP_EACH; p++) {
        range.low = fminf(w[p], range.low);
        range.high = fmaxf(w[p], range.high);
      }
    });
#pragma unroll
    for (int mask = GROUP_LANES / 2; mask > 0; mask >>= 1) {
      range.low = fminf(range.low, sb_warp_xor(range.low, mask));
      range.high = fmaxf(range.high, sb_warp_xor(range.high, mask));
    }
  }
  if (one_bit && sb_grid_levels_at(code_kind, 1) == SB_GRID_SYMMETRIC)
    range.mean_magnitude = group_mean(row, 0.0f, true);
  if (one_bit && sb_has_base(code_kind, 1)) {
    range.mean = sb_grid_base(group_mean(row, 0.0f, false), code_kind);
    range.spread = group_mean(row, range.mean, true);
  }
  return range;
}

/* The grid that lane `from` of this half warp holds. */
__device__ __forceinline__ sb_grid grid_of_lane(const sb_grid &grid, int from) {
  const int lane = (int)threadIdx.x % 32 / GROUP_LANES * GROUP_LANES + from;
  sb_grid out;
  out.scale = sb_warp_get(grid.scale, lane);
  out.inverse = sb_warp_get(grid.inverse, lane);
  out.center = sb_warp_get(grid.center, lane);
  out.base = sb_warp_get(grid.base, lane);
  out.top = sb_warp_get(grid.top, lane);
  return out;
}

/* The fit of a group at `bits`, in every lane. importance [n]. */
template <typename T, bool MORE>
__device__ __forceinline__ unsigned group_fit(const group_row<T, MORE> &row,
                                              const float *importance, unsigned bits,
                                              sb_code_kind code_kind) {
  if (bits <= 1) return 0;
  const sb_group_range range = group_range(row, true, false, code_kind);
  const int lane = (int)threadIdx.x % GROUP_LANES;
  sb_fit_search search = sb_fit_begin();
  for (int step = 0; step < SB_FIT_STEPS; step++) {
    const int fit = sb_fit_candidate(&search, step);
    const sb_grid grid =
        sb_grid_fitted(&range, bits, code_kind, (unsigned)max(0, min(fit, SB_FITS - 1)));
    float error = 0.0f;
    group_pieces(row, [&](const float(&w)[GROUP_EACH], int before) {
#pragma unroll
      for (int p = 0; p < GROUP_EACH; p++) {
        const int i = before + p * GROUP_LANES + lane;
        const float e = sb_grid_value(&grid, sb_grid_code(&grid, w[p])) - w[p];
        if (i < row.n) error = fmaf(e * importance[i], e, error);
      }
    });
    sb_fit_seen(&search, fit, group_sum(error));
  }
  return (unsigned)search.best;
}

/* The grids of the widths min_bits .. min_bits + widths - 1: lane b gets the grid of min_bits + b.
 * Grids are fitted if importance [n] is not NULL. */
template <typename T, bool MORE>
__device__ __forceinline__ sb_grid grids_of_widths(const group_row<T, MORE> &row,
                                                   const float *importance, unsigned min_bits,
                                                   unsigned widths, sb_code_kind code_kind) {
  const unsigned lane = threadIdx.x % GROUP_LANES, mine = min_bits + (lane < widths ? lane : 0);
  const sb_group_range range = group_range(row, true, min_bits == 1, code_kind);
  unsigned fit = 0;
  for (unsigned b = 0; importance && b < widths; b++) {
    const unsigned found = group_fit(row, importance, min_bits + b, code_kind);
    if (min_bits + b == mine) fit = found;
  }
  return sb_grid_fitted(&range, mine, code_kind, fit);
}

#endif

/* Row and column sums of the cost of rounding each weight: one pass over g and w. Bits are the same
 * as on the CPU, because the cut is: stripes of whole block rows, whose column sums are added in
 * order at the end.
 *
 * A half warp has a stripe of one block column and walks down its rows. So one thread has the sum
 * of a column, in registers for columns of the first piece. Row sums of every block column are
 * kept, and added in order at the end, too. */
#include "kernels/cuda/cuda_blocks.cuh"

constexpr int STRIPES = 64;

typedef struct channel_job {
  const float *g;
  size_t ldg;
  sb_tiling tiling;
  const uint8_t *bits;
  const uint8_t *fits;
  bool absolute;
  sb_code_kind code_kind;
  size_t stripes;
  double *columns;  /* [stripes, cols] */
  double *row_sums; /* [rows, block columns] */
} channel_job;

/* Rows [first, end) of stripe s. */
__device__ __forceinline__ void stripe_rows(const channel_job &a, size_t s, size_t *first,
                                            size_t *end) {
  const size_t block_rows = sb_tiling_block_rows(&a.tiling),
               last = (s + 1) * block_rows / a.stripes * a.tiling.block_rows;
  *first = s * block_rows / a.stripes * a.tiling.block_rows;
  *end = last < a.tiling.rows ? last : a.tiling.rows;
}

/* Half warp `item` has stripe item / block columns and block column item % block columns. The two
 * halves of a warp may have stripes of unlike lengths and block columns of unlike widths; the
 * shorter one keeps step with the longer. */
template <typename W>
__global__ void __launch_bounds__(BLOCK_THREADS) channel_stripes(channel_job a, const W *w) {
  const size_t across = sb_tiling_block_cols(&a.tiling), items = a.stripes * across;
  const size_t item = ((size_t)blockIdx.x * BLOCK_THREADS + threadIdx.x) / GROUP_LANES;
  const size_t s = (item < items ? item : items - 1) / across,
               j = (item < items ? item : items - 1) % across;
  const int lane = (int)threadIdx.x % GROUP_LANES, n = (int)sb_tiling_cols_of(&a.tiling, j);
  const size_t col = j * a.tiling.block_cols;
  size_t first, end;
  stripe_rows(a, s, &first, &end);
  const int rows = item < items ? (int)(end - first) : 0,
            steps = max(rows, sb_warp_xor(rows, GROUP_LANES));
  double *columns = a.columns + s * a.tiling.cols + col, sums[GROUP_EACH] = {};
  for (int i = GROUP_PIECE + lane; rows > 0 && i < n; i += GROUP_LANES) columns[i] = 0.0;
  for (int step = 0; step < steps; step++) {
    const size_t r = step < rows ? first + (size_t)step : first;
    const unsigned width = a.bits[r / a.tiling.block_rows * across + j];
    const auto weights = group_row_at<true>(w + r * a.tiling.cols + col, n);
    const float *slopes = a.g + r * a.ldg + col;
    float row = 0.0f;
    /* all parts of the range, since the other half's width may need other parts */
    const sb_group_range range = group_range(weights, true, true, a.code_kind);
    const sb_grid grid =
        sb_grid_fitted(&range, width, a.code_kind, a.fits ? a.fits[r * across + j] : 0);
    group_pieces(weights, [&](const float(&x)[GROUP_EACH], int before) {
#pragma unroll
      for (int p = 0; p < GROUP_EACH; p++) {
        const int i = before + p * GROUP_LANES + lane;
        if (i >= n || step >= rows) continue;
        const float d = sb_grid_value(&grid, sb_grid_code(&grid, x[p])) - x[p];
        const float e = __fmul_rn(slopes[i], d);
        row = a.absolute ? row + fabsf(e) : fmaf(e, e, row);
        const double score = (double)(a.absolute ? fabsf(e) : __fmul_rn(e, e));
        if (before == 0)
          sums[p] += score;
        else
          columns[i] += score;
      }
    });
    const double sum = group_sum((double)row);
    if (lane == 0 && step < rows) a.row_sums[r * across + j] = sum;
  }
#pragma unroll
  for (int p = 0; p < GROUP_EACH; p++)
    if (rows > 0 && p * GROUP_LANES + lane < n) columns[p * GROUP_LANES + lane] = sums[p];
}

/* out[i] = the sum of terms[i * step + t * stride], t = 0 .. count - 1, in order. */
__global__ void channel_add(double *out, const double *terms, size_t n, size_t step, size_t stride,
                            size_t count) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += (size_t)gridDim.x * blockDim.x) {
    double sum = 0.0;
    for (size_t t = 0; t < count; t++) sum += terms[i * step + t * stride];
    out[i] = sum;
  }
}

sb_status sb_cuda_channel_scores(sb_backend *backend, sb_stream stream, double *rows, double *cols,
                                 const float *g, size_t ldg, const sb_block_weights *m,
                                 const uint8_t *fits, bool absolute) {
  const sb_tiling *tiling = m->tiling;
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t across = sb_tiling_block_cols(tiling), blocks = sb_cuda_block_count(tiling);
  uint8_t *bits_dev;
  double *room;
  SB_TRY(sb_check_blocks("channel_scores", tiling, m->bits, 1));
  if (blocks == 0) return SB_OK;
  const size_t stripes = sb_min_size(sb_tiling_block_rows(tiling), STRIPES);
  SB_TRY(sb_cuda_send(backend, queue, m->bits, blocks, &bits_dev));
  SB_TRY(sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK,
                         (stripes * tiling->cols + tiling->rows * across) * sizeof *room, &room));
  const channel_job a = {g,        ldg,          *tiling, bits_dev, fits,
                         absolute, m->code_kind, stripes, room,     room + stripes * tiling->cols};
  SB_TRY(sb_with_number(m->dtype, "weights to score", [&](auto type) {
    typedef decltype(type) W;
    return sb_cuda_launch(backend, queue, "channel_scores", channel_stripes<W>,
                          (unsigned)sb_div_up(stripes * across, BLOCK_HALVES), BLOCK_THREADS, 0, a,
                          (const W *)m->w);
  }));
  SB_TRY(sb_cuda_launch(backend, queue, "channel_scores", channel_add,
                        sb_cuda_blocks_for(backend, tiling->cols), SB_CUDA_THREADS, 0, cols,
                        a.columns, tiling->cols, 1, tiling->cols, stripes));
  return sb_cuda_launch(backend, queue, "channel_scores", channel_add,
                        sb_cuda_blocks_for(backend, tiling->rows), SB_CUDA_THREADS, 0, rows,
                        a.row_sums, tiling->rows, across, 1, across);
}

/* Rounding to low precision. A thread has one column of a band of rows as high as a scale block;
 * the threads of a scale block exchange their amax. */
#include "kernels/cuda/number.cuh"
#include "kernels/cuda/reduce.cuh"

extern "C" {
#include "kernels/shared/checks.h"
#include "kernels/shared/lowprec_code.h"
}

constexpr int BAND = 16;   /* rows at a time where scale blocks do not say */
constexpr int PARTS = 256; /* blocks that look for the amax of a matrix */

/* A column of a band: loaded when it is asked for, or rotated in registers. */
template <typename From> struct lowprec_column {
  const From *src; /* element (0, c) of the band */
  size_t ld;
  int rows;
  bool rotated;
  float turned[SB_HADAMARD];

  /* f(r, x) for every row r and its number x. Rotated rows are unrolled: an index that is not known
   * would put them into memory. */
  template <typename F> __device__ __forceinline__ void each_row(F f) const {
    if (rotated) {
#pragma unroll
      for (int r = 0; r < SB_HADAMARD; r++) f(r, turned[r]);
    } else {
      for (int r = 0; r < rows; r++) f(r, sb_number(src[(size_t)r * ld]));
    }
  }
};

template <typename From>
__device__ __forceinline__ lowprec_column<From> column_of(const sb_lowprec_rule &rule,
                                                          const From *src, size_t ld, int rows) {
  lowprec_column<From> column = {src, ld, rows, false, {}};
  if (!rule.hadamard || rows < SB_HADAMARD) return column;
#pragma unroll
  for (int r = 0; r < SB_HADAMARD; r++)
    column.turned[r] = __fmul_rn(sb_hadamard_sign((uint32_t)r), sb_number(src[(size_t)r * ld]));
#pragma unroll
  for (int apart = 1; apart < SB_HADAMARD; apart *= 2)
#pragma unroll
    for (int r = 0; r < SB_HADAMARD; r++) {
      if (r & apart) continue;
      const float x = column.turned[r], y = column.turned[r + apart];
      column.turned[r] = x + y;
      column.turned[r + apart] = x - y;
    }
  column.rotated = true;
  return column;
}

template <typename From>
__device__ __forceinline__ uint32_t highest(const lowprec_column<From> &column) {
  uint32_t high = 0;
  column.each_row([&](int, float x) { high = max(high, sb_magnitude(x)); });
  return high;
}

/* The bands of a matrix in pieces of SB_CUDA_THREADS columns. */
struct lowprec_bands {
  size_t rows, cols, pieces, count; /* pieces per band; pieces in all */
  int height;
};
static lowprec_bands bands_of(const sb_lowprec_args *args) {
  const sb_lowprec_rule &rule = args->rule;
  const int height = rule.hadamard ? (int)SB_HADAMARD : rule.tile_rows ? (int)rule.tile_rows : BAND;
  const size_t pieces = (args->cols + SB_CUDA_THREADS - 1) / SB_CUDA_THREADS;
  return {args->rows, args->cols, pieces, (args->rows + height - 1) / height * pieces, height};
}
/* This thread's column of piece i; no rows beyond the matrix. */
template <typename From>
__device__ __forceinline__ lowprec_column<From>
column_at(const lowprec_bands &bands, const sb_lowprec_rule &rule, const From *src, size_t i,
          size_t *row, size_t *col) {
  *row = i / bands.pieces * bands.height;
  *col = i % bands.pieces * SB_CUDA_THREADS + threadIdx.x;
  const size_t left = bands.rows - *row;
  const int rows = *col >= bands.cols ? 0 : left < (size_t)bands.height ? (int)left : bands.height;
  return column_of(rule, src + *row * bands.cols + *col, bands.cols, rows);
}

template <typename From>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    lowprec_amax(uint32_t *parts, const From *src, lowprec_bands bands, sb_lowprec_rule rule) {
  __shared__ uint32_t scratch[32];
  uint32_t high = 0;
  for (size_t i = blockIdx.x; i < bands.count; i += gridDim.x) {
    size_t row, col;
    high = max(high, highest(column_at(bands, rule, src, i, &row, &col)));
  }
  high = sb_block_max(high, scratch);
  if (threadIdx.x == 0) parts[blockIdx.x] = high;
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    lowprec_tensor(sb_lowprec_scale *scale, float *tensor_scale, const uint32_t *parts, int count,
                   sb_lowprec_rule rule) {
  __shared__ uint32_t scratch[32];
  const uint32_t high = sb_block_max((int)threadIdx.x < count ? parts[threadIdx.x] : 0u, scratch);
  if (threadIdx.x > 0) return;
  *scale = sb_lowprec_tensor_scale(&rule, high);
  if (tensor_scale) *tensor_scale = scale->decode;
}

/* The largest value among the `width` threads, neighbours and aligned, that share a block. All
 * threads call. */
__device__ __forceinline__ uint32_t shared_amax(uint32_t high, int width,
                                                uint32_t (&warps)[SB_CUDA_THREADS / SB_WARP]) {
  for (int mask = min(width, (int)SB_WARP) / 2; mask > 0; mask /= 2)
    high = max(high, sb_warp_xor(high, mask));
  if (width <= SB_WARP) return high;
  const int warp = (int)threadIdx.x / SB_WARP, each = width / SB_WARP;
  if (threadIdx.x % SB_WARP == 0) warps[warp] = high;
  __syncthreads();
  for (int i = 0; i < each; i++) high = max(high, warps[warp / each * each + i]);
  __syncthreads();
  return high;
}

/* The sum of squared errors of a scale block, columns in order: every thread of it gets it. */
template <typename From>
__device__ __forceinline__ float error_of(const lowprec_column<From> &column, int width,
                                          sb_lowprec_scale scale, float tensor) {
  float sum = 0.0f, total = 0.0f;
  column.each_row([&](int, float x) {
    const float q =
        __fmul_rn(sb_element_nearest(SB_ELEMENT_E2M1, __fmul_rn(x, scale.encode)), scale.decode);
    const float error = fmaf(q, tensor, -x);
    sum = fmaf(error, error, sum);
  });
  const int first = (int)threadIdx.x % SB_WARP / width * width;
  for (int i = 0; i < width; i++) total += sb_warp_get(sum, first + i);
  return total;
}

template <typename To, typename From>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    round_lowprec(To *dst, const From *src, lowprec_bands bands, sb_lowprec_rule rule, uint64_t key,
                  const sb_lowprec_scale *tensor_scale, bool apart) {
  __shared__ uint32_t warps[SB_CUDA_THREADS / SB_WARP];
  const sb_lowprec_scale none = {1.0f, 1.0f}, tensor = tensor_scale ? *tensor_scale : none;
  const float factor = apart ? 1.0f : tensor.decode;
  for (size_t i = blockIdx.x; i < bands.count; i += gridDim.x) {
    size_t row, col;
    const lowprec_column<From> column = column_at(bands, rule, src, i, &row, &col);
    To *out = dst + row * bands.cols + col;
    if (rule.element == SB_ELEMENT_NONE) {
      column.each_row([&](int r, float x) { sb_store_number(&out[(size_t)r * bands.cols], x); });
      continue;
    }
    uint32_t amax = 0;
    if (rule.tile_rows) amax = shared_amax(highest(column), (int)rule.tile_cols, warps);
    sb_lowprec_scale scale = sb_lowprec_block_scale(&rule, amax, tensor, 1.0f);
    if (rule.two_scales) {
      const sb_lowprec_scale other = sb_lowprec_block_scale(&rule, amax, tensor, 1.5f);
      const float wide = error_of(column, (int)rule.tile_cols, other, tensor.decode);
      if (wide < error_of(column, (int)rule.tile_cols, scale, tensor.decode)) scale = other;
    }
    column.each_row([&](int r, float x) {
      const float v = __fmul_rn(x, scale.encode);
      const float q =
          rule.stochastic
              ? sb_element_stochastic(
                    rule.element, v,
                    sb_lowprec_random(sb_lowprec_row_of(key, row + (size_t)r), (uint32_t)col))
              : sb_element_nearest(rule.element, v);
      sb_store_number(&out[(size_t)r * bands.cols], __fmul_rn(__fmul_rn(q, scale.decode), factor));
    });
  }
}

/* *out = the tensor's scale on the device, NULL if nothing asks for one. */
template <typename From>
static sb_status find_tensor_scale(sb_backend *backend, cudaStream_t stream,
                                   const sb_lowprec_args *args, const lowprec_bands &bands,
                                   const sb_lowprec_scale **out) {
  const bool has = sb_lowprec_has_tensor_scale(&args->rule);
  struct {
    sb_lowprec_scale scale;
    uint32_t parts[PARTS];
  } * room;
  *out = NULL;
  if (!has && !args->tensor_scale) return SB_OK;
  const unsigned parts = sb_cuda_blocks(bands.count, 1, PARTS);
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_WORK, sizeof *room, &room));
  if (has)
    SB_TRY(sb_cuda_launch(backend, stream, "round_lowprec", lowprec_amax<From>, parts,
                          SB_CUDA_THREADS, 0, room->parts, (const From *)args->src, bands,
                          args->rule));
  SB_TRY(sb_cuda_launch(backend, stream, "round_lowprec", lowprec_tensor, 1u, SB_CUDA_THREADS, 0,
                        &room->scale, args->tensor_scale, room->parts, has ? (int)parts : 0,
                        args->rule));
  *out = &room->scale;
  return SB_OK;
}

template <typename To, typename From>
static sb_status round_as(sb_backend *backend, cudaStream_t stream, const sb_lowprec_args *args) {
  const lowprec_bands bands = bands_of(args);
  const sb_lowprec_scale *tensor;
  SB_TRY(find_tensor_scale<From>(backend, stream, args, bands, &tensor));
  if (bands.count == 0) return SB_OK;
  return sb_cuda_launch(
      backend, stream, "round_lowprec", round_lowprec<To, From>,
      sb_cuda_blocks(bands.count, 1, (size_t)sb_cuda_of(backend)->multiprocessors * 16),
      SB_CUDA_THREADS, 0, (To *)args->dst, (const From *)args->src, bands, args->rule, args->key,
      tensor, args->tensor_scale != NULL);
}

sb_status sb_cuda_round_lowprec(sb_backend *backend, sb_stream stream,
                                const sb_lowprec_args *args) {
  SB_TRY(sb_check_lowprec(args));
  if (args->rule.element == SB_ELEMENT_NONE && !args->rule.hadamard) {
    const sb_lowprec_scale *tensor;
    SB_TRY(find_tensor_scale<float>(backend, sb_cuda_stream(backend, stream), args, bands_of(args),
                                    &tensor));
    return sb_cuda_convert(backend, stream, args->dst, args->dst_dtype, args->src, args->src_dtype,
                           args->rows * args->cols);
  }
  return sb_with_number(args->dst_dtype, "low precision", [&](auto to) {
    return sb_with_number(args->src_dtype, "low precision", [&](auto from) {
      return round_as<decltype(to), decltype(from)>(backend, sb_cuda_stream(backend, stream), args);
    });
  });
}

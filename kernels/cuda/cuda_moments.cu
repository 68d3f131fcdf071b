/* Second moments of activations and of their gradients, added up exactly
 * (kernels/shared/exact_add.h).
 *
 * Tensor cores compute X'X of a block column in tiles of 64 x 64 of its triangle. Each float of x
 * is split into three bf16 parts, which keep all its bits; a bf16 number is one part. The products
 * of parts that matter are added in f32, tokens in order. With few enough tokens and integers below
 * 2^8 these sums are exact. Reading x bounds the speed, unless block columns are much wider than
 * 128. */
#include "kernels/cuda/cuda_fragment.cuh"
#include "kernels/cuda/number.cuh"

extern "C" {
#include "base/memory.h"
#include "kernels/shared/exact_add.h"
}

constexpr int SIDE = 64, STEP = 32 /* tokens at a time */, THREADS = 256, STRIDE = SIDE + 8,
              CHUNK = 64 /* tokens of add_squares and add_variances */;

/* parts[0] + parts[1] + ... = x, each a bf16 number. */
template <int PARTS> __device__ __forceinline__ void split(uint16_t parts[PARTS], float x) {
#pragma unroll
  for (int i = 0; i < PARTS; i++) {
    parts[i] = sb_bf16_bits(x);
    x -= sb_bits_float((uint32_t)parts[i] << 16);
  }
}

template <typename X> constexpr int PARTS_OF = 3;
template <> constexpr int PARTS_OF<sb_brain> = 1;

/* ldmatrix reads rows of 16 bytes */
template <int PARTS> struct alignas(16) gram_room {
  uint16_t left[PARTS][STEP * STRIDE], right[PARTS][STEP * STRIDE];
};

constexpr int EACH = STEP * SIDE / THREADS;

/* This thread's share of x[t .. t + STEP)[col .. col + SIDE), zeros outside. */
template <typename X>
__device__ __forceinline__ void gram_read(float (&mine)[EACH], const X *x, size_t t, size_t tokens,
                                          size_t cols, size_t col, size_t end) {
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    const size_t row = t + (size_t)i * (THREADS / SIDE) + threadIdx.x / SIDE,
                 column = col + threadIdx.x % SIDE;
    mine[i] = row < tokens && column < end ? sb_number(x[row * cols + column]) : 0.0f;
  }
}
template <int PARTS>
__device__ __forceinline__ void gram_write(uint16_t (*tile)[STEP * STRIDE],
                                           const float (&mine)[EACH]) {
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    uint16_t parts[PARTS];
    split<PARTS>(parts, mine[i]);
#pragma unroll
    for (int p = 0; p < PARTS; p++)
      tile[p][(i * (THREADS / SIDE) + (int)threadIdx.x / SIDE) * STRIDE + (int)threadIdx.x % SIDE] =
          parts[p];
  }
}

/* A block has one tile of the triangle of a block column. Warp w has 16 rows from 16 (w / 2) and 32
 * columns from 32 (w % 2) of the tile. */
template <typename X>
__global__ void __launch_bounds__(THREADS)
    gram_tiles(int64_t *sums, const X *x, size_t tokens, size_t cols, size_t block_cols,
               unsigned tiles, double scale, int *trouble) {
  constexpr int PARTS = PARTS_OF<X>;
  __shared__ gram_room<PARTS> room;
  const size_t j = blockIdx.x / tiles, first = j * block_cols, end = min(first + block_cols, cols);
  size_t down = 0, across = blockIdx.x % tiles; /* of the tile: the triangle, row by row */
  for (; across > down; down++) across -= down + 1;
  const size_t row0 = first + down * SIDE, col0 = first + across * SIDE;
  if (row0 >= end) return; /* the last block column is narrower */
  const bool diagonal = down == across;
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, my_row = warp / 2 * 16,
            my_col = warp % 2 * 32;
  float sum[4][4] = {}, left[EACH], right[EACH];
  gram_read(left, x, 0, tokens, cols, row0, end);
  if (!diagonal) gram_read(right, x, 0, tokens, cols, col0, end);
  for (size_t t = 0; t < tokens; t += STEP) {
    gram_write<PARTS>(room.left, left);
    if (!diagonal) gram_write<PARTS>(room.right, right);
    __syncthreads();
    if (t + STEP < tokens) {
      gram_read(left, x, t + STEP, tokens, cols, row0, end);
      if (!diagonal) gram_read(right, x, t + STEP, tokens, cols, col0, end);
    }
    auto *other = diagonal ? room.left : room.right;
#pragma unroll
    for (int k = 0; k < STEP; k += 16) {
      uint32_t a[PARTS][4], b[PARTS][2][4];
#pragma unroll
      for (int p = 0; p < PARTS; p++) {
        fragment_left_turned(a[p], room.left[p], STRIDE, my_row, k);
        fragment_right(b[p][0], other[p], STRIDE, k, my_col);
        fragment_right(b[p][1], other[p], STRIDE, k, my_col + 16);
      }
      /* small products first */
#pragma unroll
      for (int order = PARTS - 1; order >= 0; order--)
#pragma unroll
        for (int p = 0; p <= order; p++)
#pragma unroll
          for (int n = 0; n < 4; n++) sb_mma_bf16(sum[n], a[p], b[order - p][n / 2] + n % 2 * 2);
    }
    __syncthreads();
  }
  int64_t *to = sums + 2 * sb_grams_start(block_cols, j);
  bool good = true;
#pragma unroll
  for (int n = 0; n < 4; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const size_t row = down * SIDE + (size_t)(my_row + lane / 4 + i / 2 * 8);
      const size_t column = across * SIDE + (size_t)(my_col + n * 8 + lane % 4 * 2 + i % 2);
      if (first + row < end && column <= row)
        good &= sb_exact_add_float(to + 2 * (row * (row + 1) / 2 + column), sum[n][i], scale);
    }
  if (!good) *trouble = SB_CUDA_TROUBLE_INPUTS;
}

/* partial[chunk][col] = the sum of squares of CHUNK tokens, in order. */
template <typename Y>
__global__ void square_chunks(float *partial, const Y *y, size_t tokens, size_t cols) {
  const size_t col = (size_t)blockIdx.x * blockDim.x + threadIdx.x,
               first = (size_t)blockIdx.y * CHUNK;
  if (col >= cols) return;
  float sum = 0.0f;
  for (size_t t = first; t < min(first + CHUNK, tokens); t++) {
    const float number = sb_number(y[t * cols + col]);
    sum = fmaf(number, number, sum);
  }
  partial[(size_t)blockIdx.y * cols + col] = sum;
}

/* The same for a (1 - a), a = |scale g|. */
__global__ void variance_chunks(float *partial, const float *g, size_t tokens, size_t cols,
                                float scale) {
  const size_t col = (size_t)blockIdx.x * blockDim.x + threadIdx.x,
               first = (size_t)blockIdx.y * CHUNK;
  if (col >= cols) return;
  float sum = 0.0f;
  for (size_t t = first; t < min(first + CHUNK, tokens); t++) {
    const float a = fabsf(scale * g[t * cols + col]);
    sum = fmaf(a, 1.0f - a, sum);
  }
  partial[(size_t)blockIdx.y * cols + col] = sum;
}

__global__ void add_chunks(int64_t *sums, const float *partial, size_t cols, size_t chunks,
                           double scale, int *trouble) {
  const size_t col = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (col >= cols) return;
  double sum = 0.0;
  for (size_t i = 0; i < chunks; i++) sum += (double)partial[i * cols + col];
  if (!sb_exact_add_float(sums + 2 * col, (float)sum, scale)) *trouble = SB_CUDA_TROUBLE_GRADIENTS;
}

sb_status sb_cuda_add_grams(sb_backend *backend, sb_stream stream, int64_t *sums, const void *x,
                            size_t tokens, size_t cols, size_t block_cols, int exponent) {
  sb_cuda *cuda = sb_cuda_of(backend);
  if (block_cols == 0) return sb_fail(SB_ERR_INTERNAL, "add_grams: blocks of 0 columns");
  if (tokens == 0 || cols == 0) return SB_OK;
  const size_t across = sb_div_up(sb_min_size(block_cols, cols), SIDE),
               tiles = across * (across + 1) / 2;
  return sb_with_operand(backend, [&](auto type) {
    typedef decltype(type) X;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "add_grams", gram_tiles<X>,
                          (unsigned)(tiles * sb_div_up(cols, block_cols)), THREADS, 0, sums,
                          (const X *)x, tokens, cols, block_cols, (unsigned)tiles,
                          ldexp(1.0, exponent + 32), cuda->trouble);
  });
}

sb_status sb_cuda_add_squares(sb_backend *backend, sb_stream stream, int64_t *sums, const void *y,
                              size_t tokens, size_t cols, int exponent) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t chunks = sb_div_up(tokens, CHUNK);
  const unsigned blocks = (unsigned)sb_div_up(cols, SB_CUDA_THREADS);
  float *partial;
  if (tokens == 0 || cols == 0) return SB_OK;
  SB_TRY(sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK, chunks * cols * sizeof *partial,
                         &partial));
  SB_TRY(sb_with_operand(backend, [&](auto type) {
    typedef decltype(type) Y;
    return sb_cuda_launch(backend, queue, "add_squares", square_chunks<Y>,
                          dim3(blocks, (unsigned)chunks), SB_CUDA_THREADS, 0, partial, (const Y *)y,
                          tokens, cols);
  }));
  return sb_cuda_launch(backend, queue, "add_squares", add_chunks, blocks, SB_CUDA_THREADS, 0, sums,
                        partial, cols, chunks, ldexp(1.0, exponent + 32),
                        sb_cuda_of(backend)->trouble);
}

sb_status sb_cuda_add_variances(sb_backend *backend, sb_stream stream, int64_t *sums,
                                const float *g, size_t tokens, size_t cols, float scale,
                                int exponent) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t chunks = sb_div_up(tokens, CHUNK);
  const unsigned blocks = (unsigned)sb_div_up(cols, SB_CUDA_THREADS);
  float *partial;
  if (tokens == 0 || cols == 0) return SB_OK;
  SB_TRY(sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK, chunks * cols * sizeof *partial,
                         &partial));
  SB_TRY(sb_cuda_launch(backend, queue, "add_variances", variance_chunks,
                        dim3(blocks, (unsigned)chunks), SB_CUDA_THREADS, 0, partial, g, tokens,
                        cols, scale));
  return sb_cuda_launch(backend, queue, "add_variances", add_chunks, blocks, SB_CUDA_THREADS, 0,
                        sums, partial, cols, chunks, ldexp(1.0, exponent + 32),
                        sb_cuda_of(backend)->trouble);
}

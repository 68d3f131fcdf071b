/* The codec of trellis codes on the tensor cores, for blocks of 128 x 128 with tiles of 64 x 4.
 *
 * A warp has 16 rows of a block, which are neighbours in a tile; a thread has two neighbouring rows
 * of them and, in every 32 columns, two tiles of four columns. So its weights are fours of
 * neighbours in the order of the trellis, and a four is one window of the tile's ring of bits. The
 * rows of an operand of the tensor cores may be any, so row g of theirs is row 2 g of the warp's,
 * and row g + 8 is row 2 g + 1.
 *
 * Levels of narrow trellises are bf16 numbers, those of wide ones the sums of two. */
#include "kernels/cuda/cuda_packed_run.cuh"
#include "kernels/cuda/cuda_packed_trellis.h"

extern "C" {
#include "kernels/shared/trellis.h"
}

constexpr int FOUR = 4; /* weights of a window */

/* The states of four weights of a tile, from weight `first` on, a multiple of 4. */
template <int K>
__device__ __forceinline__ void four_states(uint32_t (&state)[FOUR], const uint32_t *tile,
                                            int first, uint32_t mask) {
  const int at = first * K / 32, shift = first * K % 32, next = at + 1 < 8 * K ? at + 1 : 0;
  uint64_t window = ((uint64_t)tile[next] << 32 | tile[at]) >> shift;
  if constexpr (K == 7) { /* 37 bits from as far as bit 28 on */
    const int last = next + 1 < 8 * K ? next + 1 : 0;
    window |= shift > 0 ? (uint64_t)tile[last] << (64 - shift) : 0;
  }
#pragma unroll
  for (int e = 0; e < FOUR; e++) state[e] = (uint32_t)(window >> e * K) & mask;
}

/* What levels are made of (shared/trellis.h), by the interval i + 32: the bf16 number of its middle
 * in the high half, and in bytes 0 and 1 its lower edge and its width. Each lane has a copy, in a
 * bank of its own. */
typedef struct level_table {
  uint32_t of[64][SB_WARP];
} level_table;

__device__ __forceinline__ void fill_levels(level_table &table) {
  for (int k = (int)threadIdx.x; k < 64 * SB_WARP; k += THREADS) {
    const int i = k / SB_WARP - 32, low = sb_trellis_edge(i), high = sb_trellis_edge(i + 1);
    table.of[k / SB_WARP][k % SB_WARP] = (uint32_t)(low & 255) | (uint32_t)(high - low) << 8 |
                                         (uint32_t)sb_bf16_bits((float)sb_trellis_middle(i)) << 16;
  }
}

/* A whole number of -1024 .. 1023 as a float, by the bits of 2^23 + 1024 + x: faster than a
 * conversion. */
__device__ __forceinline__ float whole_float(int x) {
  return sb_bits_float(0x4b000000u + (uint32_t)(x + 1024)) - (0x1p23f + 1024.0f);
}

/* Two levels as pairs of bf16 numbers, whose sum they are: a[1] is of wide trellises alone. They
 * have more than 8 bits; a[0] is of their multiples of 8, a[1] of the rest. */
__device__ __forceinline__ void level_pair(uint32_t (&a)[2], const sb_trellis &t,
                                           const level_table &table, uint32_t low_state,
                                           uint32_t high_state) {
  const unsigned lane = threadIdx.x % SB_WARP;
  const uint32_t p[2] = {sb_trellis_product(&t, low_state), sb_trellis_product(&t, high_state)};
  const uint32_t word[2] = {table.of[p[0] >> 8 ^ 32u][lane], table.of[p[1] >> 8 ^ 32u][lane]};
  if (!sb_trellis_is_wide(&t)) {
    a[0] = word[0] >> 16 | (word[1] & 0xffff0000u);
    return;
  }
  int level[2];
#pragma unroll
  for (int k = 0; k < 2; k++)
    level[k] =
        (255 * (int8_t)(word[k] & 255u) + (int)(p[k] & 255u) * (int)(word[k] >> 8 & 255u)) >> 5;
  a[0] = sb_bf16_pair(whole_float(level[0] & ~7), whole_float(level[1] & ~7));
  a[1] = sb_bf16_pair(whole_float(level[0] & 7), whole_float(level[1] & 7));
}

/* Adds a block's product with x to this thread's sums. The scale of the block comes last. */
template <int K, int TILES, int PARTS>
__device__ __forceinline__ void
multiply(float (&sum)[TILES][4], const packed_job &w, float scale, const uint8_t *block,
         const uint32_t (*x)[TILES * 8][X_ROW], const level_table &table) {
  const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = (int)threadIdx.x / 32;
  const sb_trellis trellis = sb_trellis_of(w.code_kind, K);
  const uint32_t mask = (1u << trellis.state_bits) - 1u;
  constexpr int pitch = TRELLIS_PITCH<K> / 4;
  const uint32_t *tiles = (const uint32_t *)block + warp / 4 * 8 * K;
  const int first = warp % 4 * 32 + 4 * g; /* of the tile's first two columns; + 128: the others */
  float product[TILES][4] = {};
#pragma unroll
  for (int q = 0; q < 4; q++) {
    uint32_t left[2][2][4]; /* parts of levels, products */
#pragma unroll
    for (int s = 0; s < 2; s++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        uint32_t state[FOUR];
        four_states<K>(state, tiles + (8 * q + 2 * t + s) * pitch, first + 128 * half, mask);
#pragma unroll
        for (int i = 0; i < 2; i++) {
          uint32_t pair[2];
          level_pair(pair, trellis, table, state[2 * i], state[2 * i + 1]);
          left[0][s][2 * half + i] = pair[0];
          if (K > SB_TRELLIS_NARROW) left[1][s][2 * half + i] = pair[1];
        }
      }
#pragma unroll
    for (int part = 0; part < (K > SB_TRELLIS_NARROW ? 2 : 1); part++) {
#pragma unroll
      for (int p = PARTS - 1; p >= 0; p--)
#pragma unroll
        for (int n = 0; n < TILES; n++) {
          uint32_t b[2][2];
          partners(b, x[p][n * 8 + g], q, n * 8 + g < w.tokens);
          sb_mma_bf16(product[n], left[part][0], b[0]);
          sb_mma_bf16(product[n], left[part][1], b[1]);
        }
    }
  }
#pragma unroll
  for (int n = 0; n < TILES; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) sum[n][i] = fmaf(scale, product[n][i], sum[n][i]);
}

/* Pairs of tiles are apart by 16 bytes more than they have, so that the four threads of a row read
 * from different banks. */
struct trellis_codec {
  static constexpr int ROOM = SIDE / 4 * TRELLIS_PITCH<SB_MAX_BITS>;
  __device__ static int place(int k) {
    return k;
  }
  typedef level_table tables;
  __device__ static void fill(tables &table) {
    fill_levels(table);
  }
  __device__ static int skew(int at, unsigned bits) {
    return at + at / (int)(64 * bits) * 16;
  }
  __device__ static int row(int half) {
    return (int)threadIdx.x / 32 * 16 + (int)threadIdx.x % 32 / 4 * 2 + half;
  }
  template <int TILES, int PARTS>
  __device__ __forceinline__ static void
  multiply(float (&sum)[TILES][4], const packed_job &w, unsigned k, unsigned bits,
           const uint8_t *block, const uint32_t (*x)[TILES * 8][X_ROW], const tables &table) {
    const float scale = w.at.scales[k];
    switch (bits) {
#define MULTIPLY(width)                                                                            \
  case width:                                                                                      \
    ::multiply<width, TILES, PARTS>(sum, w, scale, block, x, table);                               \
    break
      MULTIPLY(1);
      MULTIPLY(2);
      MULTIPLY(3);
      MULTIPLY(4);
      MULTIPLY(5);
      MULTIPLY(6);
      MULTIPLY(7);
      MULTIPLY(8);
#undef MULTIPLY
    }
  }
};

sb_status sb_cuda_packed_trellis_tiles(sb_backend *backend, cudaStream_t stream,
                                       const sb_packed_impl *w, float *z, const float *x, size_t T,
                                       float *parts) {
  constexpr size_t most = SB_CUDA_TRELLIS_TOKENS;
  for (size_t first = 0; first < T; first += most) {
    const size_t tokens = sb_min_size(most, T - first);
    const packed_job job = {w->at,
                            w->packed,
                            w->tiling.rows,
                            w->tiling.cols,
                            w->code_kind,
                            x + first * w->tiling.cols,
                            z + first * w->tiling.rows,
                            parts,
                            (int)tokens,
                            false};
    const auto kernel =
        tokens <= 8 ? launch_run<trellis_codec, 1, 3> : launch_run<trellis_codec, 2, 3>;
    SB_TRY(kernel(backend, stream, w->runs, job));
  }
  return SB_OK;
}

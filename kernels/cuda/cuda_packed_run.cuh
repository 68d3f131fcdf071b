/* A run of blocks on the tensor cores (cuda_packed.h says how work is cut): blocks come to shared
 * memory ahead of their use, with the columns of x that they meet, and sums of segments leave. What
 * becomes of a block's bytes is a *codec*, a class of static members:
 *
 *   ROOM                  bytes of shared memory for a block
 *   place(k)              the place of column k of a block in a row of x, in 16-bit numbers
 *   skew(at, bits)        the place of byte `at` of a block in its room
 *   tables, fill(tables)  what it looks up, and makes once, all threads together
 *   row(half)             the rows of the block whose sums a thread has, 0 and 1
 *   multiply(sum, ...)    adds a block's product with x to this thread's sums: sum[n] has row 0 in
 *                         elements 0 and 1, row 1 in 2 and 3, and the tokens 8 n + 2 t and
 *                         8 n + 2 t + 1, with t = lane % 4 */
#ifndef SB_KERNELS_CUDA_CUDA_PACKED_RUN_CUH
#define SB_KERNELS_CUDA_CUDA_PACKED_RUN_CUH

#include "kernels/cuda/cuda_packed.h"
#include "kernels/cuda/number.cuh"

extern "C" {
#include "base/memory.h"
}

/* STAGES: blocks in shared memory, one in use and the others on their way. X_ROW: words from row to
 * row of x; it keeps the eight rows of an operand in different banks. */
constexpr int THREADS = 256, SIDE = SB_CUDA_PACKED_SIDE, STAGES = 3, X_ROW = SIDE / 2 + 16;

/* x as bf16 parts: a bf16 number is one part, a float three. */
template <int PARTS> struct packed_x { typedef float number; };
template <> struct packed_x<1> { typedef sb_brain number; };

template <typename CODEC, int TILES, int PARTS> struct packed_room {
  uint8_t block[STAGES][CODEC::ROOM];
  uint32_t x[2][PARTS][TILES * 8][X_ROW]; /* pairs of columns, as the codec's places order them */
  typename CODEC::tables tables;
  unsigned last; /* true if this thread block adds the segments */
};

typedef struct packed_job {
  packed_tables at;
  const uint8_t *packed;
  size_t rows, cols;
  sb_code_kind code_kind;
  const void *x; /* [tokens, cols] */
  float *y;      /* [tokens, rows] */
  float *parts;  /* [segments][tokens][SIDE] */
  int tokens;
  bool add;
} packed_job;

/* Two right operands: the numbers of one token in the places 8 (4 q + t) .. + 7 of its row of x. */
__device__ __forceinline__ void partners(uint32_t (&b)[2][2], const uint32_t *x, int q,
                                         bool valid) {
  uint4 four = make_uint4(0, 0, 0, 0);
  if (valid) four = *(const uint4 *)&x[q * 16 + (int)threadIdx.x % 4 * 4];
  b[0][0] = four.x, b[0][1] = four.y, b[1][0] = four.z, b[1][1] = four.w;
}

/* ---- memory ---- */

/* Starts the copy of a block to shared memory. */
template <typename CODEC>
__device__ __forceinline__ void fetch(uint8_t *room, const uint8_t *packed, uint64_t entry) {
  const uint8_t *from = packed + packed_offset(entry);
  const int bytes = (int)packed_bytes(entry);
  for (int at = (int)threadIdx.x * 16; at < bytes; at += THREADS * 16)
    sb_copy16(room + CODEC::skew(at, packed_bits(entry)), from + at, 16);
}

/* The columns of x that meet block column j. read_x reads them into registers ahead of time;
 * write_x splits them into parts and writes these to shared memory. */
template <int TILES> constexpr int X_EACH = TILES * 8 * SIDE / THREADS;
template <int TILES, typename X>
__device__ __forceinline__ void read_x(float (&mine)[X_EACH<TILES>], const X *x, size_t cols,
                                       size_t j, int tokens) {
  const int k = (int)threadIdx.x % SIDE;
#pragma unroll
  for (int i = 0; i < X_EACH<TILES>; i++) {
    const int token = i * (THREADS / SIDE) + (int)threadIdx.x / SIDE;
    mine[i] = token < tokens ? sb_number(x[(size_t)token * cols + j * SIDE + (size_t)k]) : 0.0f;
  }
}
template <typename CODEC, int TILES, int PARTS>
__device__ __forceinline__ void write_x(uint32_t (*to)[TILES * 8][X_ROW],
                                        const float (&mine)[X_EACH<TILES>], int tokens) {
  const int place = CODEC::place((int)threadIdx.x % SIDE);
#pragma unroll
  for (int i = 0; i < X_EACH<TILES>; i++) {
    const int token = i * (THREADS / SIDE) + (int)threadIdx.x / SIDE;
    float left = mine[i];
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
      const uint16_t part = sb_bf16_bits(left);
      left -= sb_bits_float((uint32_t)part << 16);
      if (token < tokens) ((uint16_t *)to[p][token])[place] = part;
    }
  }
}

/* Ends a segment of block row i. The only segment of a row goes to y; others go to `parts`, and the
 * last thread block to arrive adds all segments of the row in order. */
template <typename CODEC, int TILES>
__device__ __forceinline__ void leave(const packed_job &w, unsigned *last,
                                      const float (&sum)[TILES][4], size_t i, size_t segment) {
  const int lane = (int)threadIdx.x % 32;
  const size_t first = w.at.row[i], count = w.at.row[i + 1] - first;
#pragma unroll
  for (int n = 0; n < TILES; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int token = n * 8 + lane % 4 * 2 + e % 2, row = CODEC::row(e / 2);
      if (token >= w.tokens) continue;
      if (count > 1) {
        w.parts[(segment * (size_t)w.tokens + (size_t)token) * SIDE + (size_t)row] = sum[n][e];
      } else {
        float *to = w.y + (size_t)token * w.rows + i * SIDE + (size_t)row;
        *to = w.add ? *to + sum[n][e] : sum[n][e];
      }
    }
  if (count == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) *last = atomicAdd(&w.at.arrived[i], 1u) + 1u == count;
  __syncthreads();
  if (!*last) return;
  __threadfence();
  for (int item = (int)threadIdx.x; item < w.tokens * SIDE; item += THREADS) {
    const size_t token = (size_t)(item / SIDE), row = (size_t)(item % SIDE);
    float *to = w.y + token * w.rows + i * SIDE + row, all = 0.0f;
    for (size_t s = first; s < first + count; s++)
      all += w.parts[(s * (size_t)w.tokens + token) * SIDE + row];
    *to = w.add ? *to + all : all;
  }
  if (threadIdx.x == 0) w.at.arrived[i] = 0;
}

/* ---- the kernel ---- */

template <typename CODEC, int TILES, int PARTS>
__global__ void __launch_bounds__(THREADS, TILES == 1 && PARTS == 1 ? 3
                                           : TILES * PARTS <= 3     ? 2
                                                                    : 1) packed_run(packed_job w) {
  packed_room<CODEC, TILES, PARTS> &room = *(packed_room<CODEC, TILES, PARTS> *)sb_shared_bytes();
  const auto *x = (const typename packed_x<PARTS>::number *)w.x;
  const unsigned begin = w.at.run[blockIdx.x], end = w.at.run[blockIdx.x + 1],
                 columns = (unsigned)(w.cols / SIDE);
  unsigned segment = w.at.segment[blockIdx.x], i = begin / columns, j = begin % columns;
  if (begin == end) return;
  CODEC::fill(room.tables); /* the first block waits for all threads */
  /* The first blocks start on their way before any is used. */
  for (unsigned k = begin; k < begin + STAGES - 1; k++) {
    if (k < end) fetch<CODEC>(room.block[k - begin], w.packed, w.at.blocks[k]);
    sb_copy_commit();
  }
  uint64_t entry = w.at.blocks[begin],
           ahead = begin + STAGES - 1 < end ? w.at.blocks[begin + STAGES - 1] : 0;
  float mine[X_EACH<TILES>], sum[TILES][4] = {};
  read_x<TILES>(mine, x, w.cols, j, w.tokens);
  int stage = 0, buffer = 0;
  for (unsigned k = begin; k < end; k++) {
    const unsigned next = j + 1 < columns ? j + 1 : 0;
    const int before = stage > 0 ? stage - 1 : STAGES - 1;
    write_x<CODEC, TILES, PARTS>(room.x[buffer], mine, w.tokens);
    sb_copy_wait<STAGES - 2>();
    __syncthreads();
    /* all threads are done with the block before this one, so its room is free */
    if (k + STAGES - 1 < end) fetch<CODEC>(room.block[before], w.packed, ahead);
    sb_copy_commit();
    if (k + 1 < end) read_x<TILES>(mine, x, w.cols, next, w.tokens);
    const uint8_t *block = room.block[stage];
    const unsigned bits = packed_bits(entry);
    entry = k + 1 < end ? w.at.blocks[k + 1] : 0;
    ahead = k + STAGES < end ? w.at.blocks[k + STAGES] : 0;
    CODEC::template multiply<TILES, PARTS>(sum, w, k, bits, block, room.x[buffer], room.tables);
    /* a block row or the run ends here, and so does a segment */
    if (next == 0 || k + 1 == end) {
      leave<CODEC, TILES>(w, &room.last, sum, i++, segment++);
#pragma unroll
      for (int n = 0; n < TILES; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) sum[n][e] = 0.0f;
    }
    j = next;
    stage = stage + 1 < STAGES ? stage + 1 : 0;
    buffer = 1 - buffer;
  }
}

template <typename CODEC, int TILES, int PARTS>
static sb_status launch_run(sb_backend *backend, cudaStream_t stream, unsigned runs,
                            const packed_job &w) {
  return sb_cuda_launch(backend, stream, "packed_gemm", packed_run<CODEC, TILES, PARTS>, runs,
                        THREADS, sizeof(packed_room<CODEC, TILES, PARTS>), w);
}

#endif

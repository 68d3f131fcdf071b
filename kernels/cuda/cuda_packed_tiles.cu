/* The tensor-core kernel for packed weights; cuda_packed.h says how it works. */
#include "kernels/cuda/cuda_packed.h"
#include "kernels/cuda/number.cuh"

extern "C" {
#include "base/memory.h"
#include "kernels/shared/blockrow_layout.h"
}

/* STAGES: blocks in shared memory, one in use and the others on their way. */
constexpr int THREADS = 256, SIDE = SB_CUDA_PACKED_SIDE, STAGES = 3;
/* BLOCK_ROOM: bytes of the widest block, 8 bits with zero points. X_ROW: words from row to row of
 * x; it keeps the eight rows of an operand in different banks. */
constexpr int BLOCK_ROOM = 2 * SIDE + SIDE * SB_MAX_BITS / 8 + SIDE * SIDE, X_ROW = SIDE / 2 + 16;

/* x as bf16 parts: a bf16 number is one part, a float three. */
template <int PARTS> struct packed_x { typedef float number; };
template <> struct packed_x<1> { typedef sb_brain number; };

template <int TILES, int PARTS> struct packed_room {
  uint8_t block[STAGES][BLOCK_ROOM];
  uint32_t x[2][PARTS][TILES * 8][X_ROW]; /* pairs of columns, as place_of orders them */
  unsigned last;                          /* true if this thread block adds the segments */
};

/* ---- codes to operands ---- */

/* The place of column k of a block in a row of x, counted in 16-bit numbers. Thread t = k / 32 of a
 * row has the codes 32 t .. 32 t + 31 and pairs its code i with its code i + 16. The pairs
 * 4 q .. 4 q + 3 of the four threads are neighbours. */
__device__ __forceinline__ int place_of(int k) {
  const int t = k / 32, i = k % 16, high = k / 16 % 2;
  return (i / 4 * 16 + t * 4 + i % 4) * 2 + high;
}

/* Reads a thread's 32 codes of one row, BITS words. Moves codes 0 .. 15 to the low halves and codes
 * 16 .. 31 to the high halves, so that one shift serves two codes. */
template <int BITS>
__device__ __forceinline__ void halve(uint32_t (&out)[BITS], const uint32_t *from) {
  uint32_t w[BITS];
  if constexpr (BITS % 4 == 0) {
#pragma unroll
    for (int i = 0; i < BITS; i += 4) {
      const uint4 four = *(const uint4 *)(from + i);
      w[i] = four.x, w[i + 1] = four.y, w[i + 2] = four.z, w[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < BITS; i++) w[i] = from[i];
  }
#pragma unroll
  for (int k = 0; k < BITS; k++) {
    const uint32_t low = w[k / 2], high = w[(k + BITS) / 2];
    out[k] =
        (k % 2 ? low >> 16 : low & 0xffffu) | ((k + BITS) % 2 ? high & 0xffff0000u : high << 16);
  }
}

/* Codes i and i + 16, one per half. */
template <int BITS> __device__ __forceinline__ uint32_t codes_at(const uint32_t (&w)[BITS], int i) {
  constexpr uint32_t both = 0x10001u, all = (1u << BITS) - 1u;
  const int word = i * BITS / 16, shift = i * BITS % 16, have = 16 - shift;
  if (have >= BITS) return w[word] >> shift & all * both;
  const uint32_t low = (1u << have) - 1u;
  return (w[word] >> shift & low * both) |
         (w[word + 1 < BITS ? word + 1 : word] << have & (all - low) * both);
}

/* Codes i and i + 16 minus the center, as a pair of bf16. `shift` is a pair of -(128 + center). A
 * code of 8 bits does not fit into the bits of 128 + code, so it takes `center` instead. */
template <int BITS>
__device__ __forceinline__ uint32_t levels_at(const uint32_t (&w)[BITS], int i, uint32_t shift,
                                              float center) {
  const uint32_t codes = codes_at<BITS>(w, i);
  if constexpr (BITS < 8) return sb_bf16_add(codes | 0x43004300u, shift);
  return sb_bf16_pair((float)(codes & 0xffffu) - center, (float)(codes >> 16) - center);
}

/* A row's grid as value = (code - center) * scale + offset, with a whole center. */
typedef struct row_grid {
  float scale, center, offset;
} row_grid;

__device__ __forceinline__ row_grid grid_of(const uint8_t *block, const sb_block_layout &layout,
                                            int r) {
  const sb_grid grid =
      sb_block_grid(block, &layout, (size_t)r, sb_block_zero(block, &layout, (size_t)r));
  row_grid out;
  out.scale = grid.scale;
  out.center = floorf(grid.center);
  out.offset = fmaf(out.center - grid.center, grid.scale, grid.base);
  return out;
}

/* ---- one block ---- */

/* Two right operands: the numbers of one token that meet codes 4 q .. 4 q + 3 of this thread and
 * their partners. */
__device__ __forceinline__ void partners(uint32_t (&b)[2][2], const uint32_t *x, int q,
                                         bool valid) {
  uint4 four = make_uint4(0, 0, 0, 0);
  if (valid) four = *(const uint4 *)&x[q * 16 + (int)threadIdx.x % 4 * 4];
  b[0][0] = four.x, b[0][1] = four.y, b[1][0] = four.z, b[1][1] = four.w;
}

/* Adds a block's product with x to this thread's sums. sum[n] has rows r and r + 8, and tokens
 * 8 n + 2 t and 8 n + 2 t + 1. */
template <int BITS, int TILES, int PARTS>
__device__ __forceinline__ void multiply(float (&sum)[TILES][4], const uint8_t *block,
                                         const uint32_t (*x)[TILES * 8][X_ROW],
                                         sb_code_kind code_kind, int tokens) {
  const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4,
            r = (int)threadIdx.x / 32 * 16 + g;
  const sb_block_layout layout = sb_block_layout_of(SIDE, SIDE, BITS, code_kind);
  const row_grid upper = grid_of(block, layout, r), lower = grid_of(block, layout, r + 8);
  const uint32_t shift_upper = sb_bf16_pair(-128.0f - upper.center, -128.0f - upper.center);
  const uint32_t shift_lower = sb_bf16_pair(-128.0f - lower.center, -128.0f - lower.center);
  const uint32_t *codes = (const uint32_t *)(block + layout.codes) + (r * 4 + t) * BITS;
  uint32_t up[BITS], low[BITS];
  halve<BITS>(up, codes);
  halve<BITS>(low, codes + 8 * 4 * BITS);
  float product[TILES][4] = {};
#pragma unroll
  for (int q = 0; q < 4; q++) {
    uint32_t a[2][4];
#pragma unroll
    for (int s = 0; s < 2; s++) {
      const int i = 4 * q + 2 * s;
      a[s][0] = levels_at<BITS>(up, i, shift_upper, upper.center);
      a[s][1] = levels_at<BITS>(low, i, shift_lower, lower.center);
      a[s][2] = levels_at<BITS>(up, i + 1, shift_upper, upper.center);
      a[s][3] = levels_at<BITS>(low, i + 1, shift_lower, lower.center);
    }
#pragma unroll
    for (int p = PARTS - 1; p >= 0; p--)
#pragma unroll
      for (int n = 0; n < TILES; n++) {
        uint32_t b[2][2];
        partners(b, x[p][n * 8 + g], q, n * 8 + g < tokens);
        sb_mma_bf16(product[n], a[0], b[0]);
        sb_mma_bf16(product[n], a[1], b[1]);
      }
  }
#pragma unroll
  for (int n = 0; n < TILES; n++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      sum[n][i] = fmaf(i < 2 ? upper.scale : lower.scale, product[n][i], sum[n][i]);
  if (code_kind == SB_GRID_ASYMMETRIC && BITS > 1) return;
  /* Offsets multiply the sum of x, which the tensor cores get as a product with rows of ones. */
  const uint32_t ones[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};
#pragma unroll
  for (int n = 0; n < TILES; n++) {
    float total[4] = {};
#pragma unroll
    for (int p = PARTS - 1; p >= 0; p--)
#pragma unroll
      for (int q = 0; q < 4; q++) {
        uint32_t b[2][2];
        partners(b, x[p][n * 8 + g], q, n * 8 + g < tokens);
        sb_mma_bf16(total, ones, b[0]);
        sb_mma_bf16(total, ones, b[1]);
      }
#pragma unroll
    for (int i = 0; i < 4; i++)
      sum[n][i] = fmaf(i < 2 ? upper.offset : lower.offset, total[i], sum[n][i]);
  }
}

/* ---- memory ---- */

/* Starts the copy of a block to shared memory. */
__device__ __forceinline__ void fetch(uint8_t *room, const uint8_t *packed, uint64_t entry) {
  const uint8_t *from = packed + packed_offset(entry);
  const int bytes = (int)packed_bytes(entry);
  for (int at = (int)threadIdx.x * 16; at < bytes; at += THREADS * 16)
    sb_copy16(room + at, from + at, 16);
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
template <int TILES, int PARTS>
__device__ __forceinline__ void write_x(uint32_t (*to)[TILES * 8][X_ROW],
                                        const float (&mine)[X_EACH<TILES>], int tokens) {
  const int place = place_of((int)threadIdx.x % SIDE);
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

typedef struct packed_job {
  packed_tables at;
  const uint8_t *packed;
  size_t rows, cols;
  sb_code_kind code_kind;
  const void *x; /* [tokens, cols], operands */
  float *y;      /* [tokens, rows] */
  float *parts;  /* [segments][tokens][SIDE] */
  int tokens;
  bool add;
} packed_job;

/* Ends a segment of block row i. The only segment of a row goes to y; others go to `parts`, and the
 * last thread block to arrive adds all segments of the row in order. */
template <int TILES>
__device__ __forceinline__ void leave(const packed_job &w, unsigned *last,
                                      const float (&sum)[TILES][4], size_t i, size_t segment) {
  const int lane = (int)threadIdx.x % 32, r = (int)threadIdx.x / 32 * 16 + lane / 4;
  const size_t first = w.at.row[i], count = w.at.row[i + 1] - first;
#pragma unroll
  for (int n = 0; n < TILES; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int token = n * 8 + lane % 4 * 2 + e % 2, row = r + e / 2 * 8;
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

/* ---- a run of blocks ---- */

/* Calls multiply with the width as a constant. */
template <int TILES, int PARTS>
__device__ __forceinline__ void
multiply_at(float (&sum)[TILES][4], unsigned bits, const uint8_t *block,
            const uint32_t (*x)[TILES * 8][X_ROW], sb_code_kind code_kind, int tokens) {
  switch (bits) {
  case 1:
    multiply<1, TILES, PARTS>(sum, block, x, code_kind, tokens);
    break;
  case 2:
    multiply<2, TILES, PARTS>(sum, block, x, code_kind, tokens);
    break;
  case 3:
    multiply<3, TILES, PARTS>(sum, block, x, code_kind, tokens);
    break;
  case 4:
    multiply<4, TILES, PARTS>(sum, block, x, code_kind, tokens);
    break;
  case 5:
    multiply<5, TILES, PARTS>(sum, block, x, code_kind, tokens);
    break;
  case 6:
    multiply<6, TILES, PARTS>(sum, block, x, code_kind, tokens);
    break;
  case 7:
    multiply<7, TILES, PARTS>(sum, block, x, code_kind, tokens);
    break;
  default:
    multiply<8, TILES, PARTS>(sum, block, x, code_kind, tokens);
    break;
  }
}

template <int TILES, int PARTS>
__global__ void __launch_bounds__(THREADS, TILES == 1 && PARTS == 1 ? 3
                                           : TILES * PARTS <= 3     ? 2
                                                                : 1) packed_tiles(packed_job w) {
  packed_room<TILES, PARTS> &room = *(packed_room<TILES, PARTS> *)sb_shared_bytes();
  const auto *x = (const typename packed_x<PARTS>::number *)w.x;
  const unsigned begin = w.at.run[blockIdx.x], end = w.at.run[blockIdx.x + 1],
                 columns = (unsigned)(w.cols / SIDE);
  unsigned segment = w.at.segment[blockIdx.x], i = begin / columns, j = begin % columns;
  if (begin == end) return;
  /* The first blocks start on their way before any is used. */
  for (unsigned k = begin; k < begin + STAGES - 1; k++) {
    if (k < end) fetch(room.block[k - begin], w.packed, w.at.blocks[k]);
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
    write_x<TILES, PARTS>(room.x[buffer], mine, w.tokens);
    sb_copy_wait<STAGES - 2>();
    __syncthreads();
    /* all threads are done with the block before this one, so its room is free */
    if (k + STAGES - 1 < end) fetch(room.block[before], w.packed, ahead);
    sb_copy_commit();
    if (k + 1 < end) read_x<TILES>(mine, x, w.cols, next, w.tokens);
    const uint8_t *block = room.block[stage];
    const unsigned bits = packed_bits(entry);
    entry = k + 1 < end ? w.at.blocks[k + 1] : 0;
    ahead = k + STAGES < end ? w.at.blocks[k + STAGES] : 0;
    multiply_at<TILES, PARTS>(sum, bits, block, room.x[buffer], w.code_kind, w.tokens);
    /* a block row or the run ends here, and so does a segment */
    if (next == 0 || k + 1 == end) {
      leave<TILES>(w, &room.last, sum, i++, segment++);
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

template <int TILES, int PARTS>
static sb_status launch(sb_backend *backend, cudaStream_t stream, unsigned runs,
                        const packed_job &w) {
  return sb_cuda_launch(backend, stream, "packed_gemm", packed_tiles<TILES, PARTS>, runs, THREADS,
                        sizeof(packed_room<TILES, PARTS>), w);
}

sb_status sb_cuda_packed_tiles(sb_backend *backend, cudaStream_t stream, const sb_packed_impl *w,
                               float *y, const void *x, size_t T, bool add) {
  const bool brain = backend->operand == SB_BF16;
  const size_t most = brain ? 64 : 16; /* tokens per launch, whose sums fit into registers */
  for (size_t first = 0; first < T; first += most) {
    const size_t tokens = sb_min_size(most, T - first);
    packed_job job = {w->at,
                      w->packed,
                      w->tiling.rows,
                      w->tiling.cols,
                      w->code_kind,
                      (const char *)x + first * w->tiling.cols * sb_dtype_size(backend->operand),
                      y + first * w->tiling.rows,
                      NULL,
                      (int)tokens,
                      add};
    SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_WORK,
                           w->segments * tokens * SIDE * sizeof(float), &job.parts));
    const auto kernel = !brain         ? (tokens <= 8 ? launch<1, 3> : launch<2, 3>)
                        : tokens <= 8  ? launch<1, 1>
                        : tokens <= 16 ? launch<2, 1>
                        : tokens <= 32 ? launch<4, 1>
                                       : launch<8, 1>;
    SB_TRY(kernel(backend, stream, w->runs, job));
  }
  return SB_OK;
}

/* The codec of integer grids on the tensor cores; cuda_packed.h says how it works. */
#include "kernels/cuda/cuda_packed_run.cuh"

extern "C" {
#include "kernels/shared/blockrow_layout.h"
}

/* ---- codes to operands ---- */

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

template <int BITS>
__device__ __forceinline__ sb_block_layout layout_of(sb_code_kind code_kind, uint8_t anchor) {
  sb_block_layout layout = sb_block_layout_of(SIDE, SIDE, BITS, code_kind);
  layout.anchor = anchor;
  return layout;
}

/* ---- one block ---- */

/* Adds a block's product with x to this thread's sums. sum[n] has rows r and r + 8, and tokens
 * 8 n + 2 t and 8 n + 2 t + 1. */
template <int BITS, int TILES, int PARTS>
__device__ __forceinline__ void multiply(float (&sum)[TILES][4], const uint8_t *block,
                                         const uint32_t (*x)[TILES * 8][X_ROW],
                                         sb_code_kind code_kind, uint8_t anchor, int tokens) {
  const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4,
            r = (int)threadIdx.x / 32 * 16 + g;
  const sb_block_layout layout = layout_of<BITS>(code_kind, anchor);
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
  if (sb_has_whole_center(code_kind, BITS)) return;
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

/* Calls multiply with the width as a constant. */
template <int TILES, int PARTS>
__device__ __forceinline__ void multiply_at(float (&sum)[TILES][4], unsigned bits,
                                            const uint8_t *block,
                                            const uint32_t (*x)[TILES * 8][X_ROW],
                                            sb_code_kind code_kind, uint8_t anchor, int tokens) {
  switch (bits) {
  case 1:
    multiply<1, TILES, PARTS>(sum, block, x, code_kind, anchor, tokens);
    break;
  case 2:
    multiply<2, TILES, PARTS>(sum, block, x, code_kind, anchor, tokens);
    break;
  case 3:
    multiply<3, TILES, PARTS>(sum, block, x, code_kind, anchor, tokens);
    break;
  case 4:
    multiply<4, TILES, PARTS>(sum, block, x, code_kind, anchor, tokens);
    break;
  case 5:
    multiply<5, TILES, PARTS>(sum, block, x, code_kind, anchor, tokens);
    break;
  case 6:
    multiply<6, TILES, PARTS>(sum, block, x, code_kind, anchor, tokens);
    break;
  case 7:
    multiply<7, TILES, PARTS>(sum, block, x, code_kind, anchor, tokens);
    break;
  default:
    multiply<8, TILES, PARTS>(sum, block, x, code_kind, anchor, tokens);
    break;
  }
}

struct grid_codec {
  /* of the widest block, 8 bits with zero points */
  static constexpr int ROOM = 2 * SIDE + SIDE * SB_MAX_BITS / 8 + SIDE * SIDE;
  /* Thread t = k / 32 of a row has the codes 32 t .. 32 t + 31 and pairs its code i with its code
   * i + 16. The pairs 4 q .. 4 q + 3 of the four threads are neighbours. */
  __device__ static int place(int k) {
    const int t = k / 32, i = k % 16, high = k / 16 % 2;
    return (i / 4 * 16 + t * 4 + i % 4) * 2 + high;
  }
  struct tables {};
  __device__ static void fill(tables &) {}
  __device__ static int skew(int at, unsigned) {
    return at;
  }
  __device__ static int row(int half) {
    return (int)threadIdx.x / 32 * 16 + (int)threadIdx.x % 32 / 4 + half * 8;
  }
  template <int TILES, int PARTS>
  __device__ __forceinline__ static void
  multiply(float (&sum)[TILES][4], const packed_job &w, unsigned k, unsigned bits,
           const uint8_t *block, const uint32_t (*x)[TILES * 8][X_ROW], const tables &) {
    const size_t columns = w.cols / SIDE;
    const uint8_t anchor =
        packed_anchor(w.packed, w.at.blocks, columns, k / columns, k % columns, w.code_kind);
    multiply_at<TILES, PARTS>(sum, bits, block, x, w.code_kind, anchor, w.tokens);
  }
};

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
    const auto kernel =
        !brain         ? (tokens <= 8 ? launch_run<grid_codec, 1, 3> : launch_run<grid_codec, 2, 3>)
        : tokens <= 8  ? launch_run<grid_codec, 1, 1>
        : tokens <= 16 ? launch_run<grid_codec, 2, 1>
        : tokens <= 32 ? launch_run<grid_codec, 4, 1>
                       : launch_run<grid_codec, 8, 1>;
    SB_TRY(kernel(backend, stream, w->runs, job));
  }
  return SB_OK;
}

/* Decodes packed block rows of trellis codes. A thread block has a block; it decodes a tile of the
 * transforms into shared memory, and transforms it there. */
#include "kernels/cuda/cuda_hadamard.cuh"
#include "kernels/cuda/cuda_trellis.cuh"
#include "kernels/cuda/cuda_unpack.h"
#include "kernels/cuda/reduce.cuh"

/* A block of codes. */
typedef struct trellis_block {
  sb_trellis trellis;
  const uint8_t *codes, *row_factors;
  float scale;
} trellis_block;

/* Finds block b in its packed row. All threads of the block call. */
__device__ __forceinline__ trellis_block find_block(const uint8_t *packed, const sb_tiling &tiling,
                                                    const uint8_t *bits, sb_code_kind code_kind,
                                                    const cuda_block &b,
                                                    unsigned long long *scratch) {
  const size_t columns = sb_tiling_block_cols(&tiling);
  const sb_blockrow_head head = sb_blockrow_head_of(columns, (size_t)b.rows, code_kind);
  unsigned long long before = 0; /* bytes of the codes of the blocks before this one */
  for (size_t j = threadIdx.x; j < b.j; j += blockDim.x)
    before += trellis_code_bytes(sb_trellis_of(code_kind, bits[b.i * columns + j]), (size_t)b.rows,
                                 tiling.block_cols);
  before = sb_block_sum(before, scratch);
  trellis_block out;
  out.trellis = sb_trellis_of(code_kind, bits[b.k]);
  out.codes = packed + head.codes + before;
  out.row_factors = packed + head.row_factors;
  out.scale = sb_grid_from_fp16(packed_half(packed + head.scales, b.j));
  return out;
}

/* Decodes the rows [row, row + rows) and the columns [col, col + cols) of a block: a thread has
 * eight weights of a tile of codes. The window begins at tiles' bounds where it is as large as
 * tiles, and lies inside of tiles where it is smaller. */
__device__ __forceinline__ void decode_window(float *to, const trellis_block &w, size_t block_rows,
                                              int row, int rows, int col, int cols) {
  const sb_trellis &t = w.trellis;
  constexpr int octets = SB_TRELLIS_TILE / TRELLIS_EACH;
  const int high = (int)t.tile_rows, wide = (int)t.tile_cols;
  const int down = (rows + high - 1) / high, across = (cols + wide - 1) / wide;
  const size_t tiles_down = sb_trellis_tiles_down(&t, block_rows);
  for (int item = (int)threadIdx.x; item < down * across * octets; item += (int)blockDim.x) {
    const int i = row / high + item / octets % down, j = col / wide + item / octets / down;
    const unsigned o = (unsigned)(item % octets);
    uint32_t state[TRELLIS_EACH];
    trellis_states(state, t,
                   w.codes + ((size_t)j * tiles_down + (size_t)i) * sb_trellis_tile_bytes(&t), o);
#pragma unroll
    for (unsigned e = 0; e < TRELLIS_EACH; e++) {
      unsigned r, c;
      sb_trellis_place(&t, TRELLIS_EACH * o + e, &r, &c);
      const int at_r = i * high + (int)r - row, at_c = j * wide + (int)c - col;
      if (at_r >= 0 && at_r < rows && at_c >= 0 && at_c < cols)
        to[at_r * HADAMARD_SIDE + at_c] =
            __fmul_rn(w.scale, sb_trellis_number(&t, sb_trellis_level(&t, state[e])));
    }
  }
}

template <typename O>
static __global__ void __launch_bounds__(HADAMARD_THREADS)
    unpack_trellis(O *out, const uint8_t *packed, const size_t *offsets, sb_tiling tiling,
                   const uint8_t *bits, sb_code_kind code_kind, const uint16_t *columns) {
  __shared__ unsigned long long scratch[32];
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const trellis_block w = find_block(packed + offsets[b.i], tiling, bits, code_kind, b, scratch);
  O *to = out + b.row * tiling.cols + b.col;
  hadamard_block(
      b,
      [&](float *tile, int row, int rows, int col, int cols) {
        decode_window(tile, w, (size_t)b.rows, row, rows, col, cols);
      },
      [&](int r, int c, float x) {
        sb_store_number(
            to + (size_t)r * tiling.cols + (size_t)c,
            hadamard_weight(x, packed_half(w.row_factors, (size_t)r), columns[b.col + (size_t)c]));
      });
}

sb_status sb_cuda_unpack_trellis(sb_backend *backend, cudaStream_t queue, void *out,
                                 sb_dtype out_dtype, const uint8_t *packed,
                                 const size_t *offsets_dev, const sb_tiling *tiling,
                                 const uint8_t *bits_dev, sb_code_kind code_kind,
                                 const uint16_t *col_factors) {
  return sb_with_number(out_dtype, "unpacked weights", [&](auto type) {
    typedef decltype(type) O;
    return sb_cuda_launch(backend, queue, "unpack_blocks", unpack_trellis<O>,
                          (unsigned)sb_cuda_block_count(tiling), HADAMARD_THREADS, HADAMARD_ROOM,
                          (O *)out, packed, offsets_dev, *tiling, bits_dev, code_kind, col_factors);
  });
}

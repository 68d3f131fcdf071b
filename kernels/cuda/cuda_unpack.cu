/* Decodes packed block rows. A thread block has a block, a thread eight codes of a row per step.
 * Eight numbers of 16 bits are one store: neighbouring threads then fill whole lines of memory. */
#include "kernels/cuda/cuda_blocks.cuh"
#include "kernels/cuda/cuda_unpack.h"
#include "kernels/cuda/reduce.cuh"

extern "C" {
#include "kernels/shared/blockrow_layout.h"
}

/* n <= 8 codes, one per byte. */
__device__ __forceinline__ uint64_t unpack_codes(const uint8_t *from, size_t n, unsigned bits) {
  uint64_t word = 0;
  for (size_t i = 0; i < sb_bitstring_bytes(n, bits); i++) word |= (uint64_t)from[i] << 8 * i;
  return sb_bitstring_unfold(word, bits);
}

__device__ __forceinline__ uint32_t number_pair(sb_half *, float low, float high) {
  return (uint32_t)sb_grid_to_fp16(low) | (uint32_t)sb_grid_to_fp16(high) << 16;
}
__device__ __forceinline__ uint32_t number_pair(sb_brain *, float low, float high) {
  return sb_bf16_pair(low, high);
}

/* Eight values, by stores of 16 bytes. */
template <typename O> __device__ __forceinline__ void store_eight(O *to, const float (&x)[8]) {
  sb_store_vector(to, make_uint4(number_pair(to, x[0], x[1]), number_pair(to, x[2], x[3]),
                                 number_pair(to, x[4], x[5]), number_pair(to, x[6], x[7])));
}
__device__ __forceinline__ void store_eight(float *to, const float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 8; i += 4)
    sb_store_vector(to + i, make_uint4(sb_float_bits(x[i]), sb_float_bits(x[i + 1]),
                                       sb_float_bits(x[i + 2]), sb_float_bits(x[i + 3])));
}

/* A block, eight codes of a row per step. BITS: the rows are whole vectors, and codes have that
 * many bits; 0 takes any rows and codes. */
template <unsigned BITS, typename O>
__device__ __forceinline__ void unpack_rows(O *to, size_t cols, const uint8_t *block,
                                            const sb_block_layout &layout, const cuda_block &b) {
  const int across = (b.n + 7) / 8;
  const unsigned bits = BITS ? BITS : layout.bits;
  for (int item = (int)threadIdx.x; item < b.rows * across; item += BLOCK_THREADS) {
    const size_t r = (size_t)(item / across), first = (size_t)(item % across) * 8;
    const sb_grid grid = sb_block_grid(block, &layout, r, sb_block_zero(block, &layout, r));
    const uint8_t *from = block + layout.codes + r * layout.code_bytes + first / 8 * bits;
    const size_t n = BITS ? 8 : min((size_t)8, (size_t)b.n - first);
    const uint64_t codes = unpack_codes(from, n, bits);
    O *out = to + r * cols + first;
    if constexpr (BITS > 0) {
      float x[8];
#pragma unroll
      for (int i = 0; i < 8; i++) x[i] = sb_grid_value(&grid, (float)(codes >> 8 * i & 255u));
      store_eight(out, x);
    } else {
      for (size_t i = 0; i < n; i++)
        sb_store_number(out + i, sb_grid_value(&grid, (float)(codes >> 8 * i & 255u)));
    }
  }
}

template <typename O>
__global__ void __launch_bounds__(BLOCK_THREADS, 6)
    unpack_blocks(O *out, const uint8_t *packed, const size_t *offsets, sb_tiling tiling,
                  const uint8_t *bits, sb_code_kind code_kind, bool whole) {
  __shared__ unsigned long long scratch[32];
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const size_t columns = sb_tiling_block_cols(&tiling);
  unsigned long long before = 0; /* bytes of the blocks before this one in its row */
  for (size_t j = threadIdx.x; j < b.j; j += BLOCK_THREADS) {
    const sb_block_layout other =
        sb_block_layout_of((size_t)b.rows, tiling.block_cols, bits[b.i * columns + j], code_kind);
    before += sb_block_layout_bytes(&other);
  }
  before = sb_block_sum(before, scratch);
  sb_block_layout layout = sb_block_layout_of((size_t)b.rows, (size_t)b.n, bits[b.k], code_kind);
  const uint8_t *row = packed + offsets[b.i],
                *block = row + sb_blockrow_head_of(columns, b.rows, code_kind).codes + before;
  layout.anchor = sb_blockrow_anchor(row, columns, b.j, code_kind);
  O *to = out + b.row * tiling.cols + b.col;
  switch (whole ? layout.bits : 0u) {
#define UNPACK(bits)                                                                               \
  case bits:                                                                                       \
    unpack_rows<bits>(to, tiling.cols, block, layout, b);                                          \
    break
    UNPACK(0);
    UNPACK(1);
    UNPACK(2);
    UNPACK(3);
    UNPACK(4);
    UNPACK(5);
    UNPACK(6);
    UNPACK(7);
    UNPACK(8);
#undef UNPACK
  }
}

sb_status sb_cuda_unpack_blocks(sb_backend *backend, sb_stream stream, void *out,
                                sb_dtype out_dtype, const uint8_t *packed, const size_t *offsets,
                                const sb_tiling *tiling, const uint8_t *bits,
                                sb_code_kind code_kind, const uint16_t *col_factors) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t blocks = sb_cuda_block_count(tiling),
               table = sb_tiling_block_rows(tiling) * sizeof *offsets;
  const bool whole =
      tiling->cols % 8 == 0 && tiling->block_cols % 8 == 0 && (uintptr_t)out % 16 == 0;
  uint8_t *arguments_dev, *arguments = NULL; /* offsets, then bits */
  sb_status status = SB_OK;
  SB_TRY(sb_check_blocks("unpack_blocks", tiling, bits, 1));
  if (blocks == 0) return SB_OK;
  SB_TRY(sb_alloc_raw(&arguments, table + blocks, 1, "offsets of packed rows"));
  memcpy(arguments, offsets, table);
  memcpy(arguments + table, bits, blocks);
  SB_GO(sb_cuda_send(backend, queue, arguments, table + blocks, &arguments_dev));
  if (sb_is_trellis(code_kind)) {
    status = sb_cuda_unpack_trellis(backend, queue, out, out_dtype, packed,
                                    (const size_t *)arguments_dev, tiling, arguments_dev + table,
                                    code_kind, col_factors);
    goto done;
  }
  SB_GO(sb_with_number(out_dtype, "unpacked weights", [&](auto type) {
    typedef decltype(type) O;
    return sb_cuda_launch(backend, queue, "unpack_blocks", unpack_blocks<O>, (unsigned)blocks,
                          BLOCK_THREADS, 0, (O *)out, packed, (const size_t *)arguments_dev,
                          *tiling, arguments_dev + table, code_kind, whole);
  }));
done:
  sb_free(&arguments);
  return status;
}

/* Decodes packed block rows. A thread block has a block, a thread eight codes of a row per step. */
#include "kernels/cuda/cuda_blocks.cuh"
#include "kernels/cuda/reduce.cuh"

extern "C" {
#include "kernels/shared/blockrow_layout.h"
}

template <typename O>
__global__ void __launch_bounds__(BLOCK_THREADS)
    unpack_blocks(O *out, const uint8_t *packed, const size_t *offsets, sb_tiling tiling,
                  const uint8_t *bits, sb_symmetry symmetry) {
  __shared__ unsigned long long scratch[32];
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const size_t columns = sb_tiling_block_cols(&tiling);
  unsigned long long before = 0; /* bytes of the blocks before this one in its row */
  for (size_t j = threadIdx.x; j < b.j; j += BLOCK_THREADS) {
    const sb_block_layout other =
        sb_block_layout_of((size_t)b.rows, tiling.block_cols, bits[b.i * columns + j], symmetry);
    before += sb_block_layout_bytes(&other);
  }
  before = sb_block_sum(before, scratch);
  const sb_block_layout layout =
      sb_block_layout_of((size_t)b.rows, (size_t)b.n, bits[b.k], symmetry);
  const uint8_t *block = packed + offsets[b.i] + sb_bitmap_bytes(columns) + before;
  const int across = (b.n + 7) / 8;
  for (int item = (int)threadIdx.x; item < b.rows * across; item += BLOCK_THREADS) {
    const size_t r = (size_t)(item / across), first = (size_t)(item % across) * 8;
    const size_t n = min((size_t)8, (size_t)b.n - first);
    const sb_grid grid = sb_block_grid(block, &layout, r, sb_block_zero(block, &layout, r));
    const uint8_t *from = block + layout.codes + r * layout.code_bytes + first / 8 * layout.bits;
    O *to = out + (b.row + r) * tiling.cols + b.col + first;
    uint64_t word = 0;
    for (size_t i = 0; i < sb_bitstring_bytes(n, layout.bits); i++)
      word |= (uint64_t)from[i] << 8 * i;
    word = sb_bitstring_unfold(word, layout.bits);
    for (size_t i = 0; i < n; i++)
      sb_store_number(to + i, sb_grid_value(&grid, (float)(word >> 8 * i & 255u)));
  }
}

sb_status sb_cuda_unpack_blocks(sb_backend *backend, sb_stream stream, void *out,
                                sb_dtype out_dtype, const uint8_t *packed, const size_t *offsets,
                                const sb_tiling *tiling, const uint8_t *bits,
                                sb_symmetry symmetry) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t blocks = sb_cuda_block_count(tiling),
               table = sb_tiling_block_rows(tiling) * sizeof *offsets;
  uint8_t *arguments_dev, *arguments = NULL; /* offsets, then bits */
  sb_status status = SB_OK;
  SB_TRY(sb_check_blocks("unpack_blocks", tiling, bits, 1));
  if (blocks == 0) return SB_OK;
  SB_TRY(sb_alloc_raw(&arguments, table + blocks, 1, "offsets of packed rows"));
  memcpy(arguments, offsets, table);
  memcpy(arguments + table, bits, blocks);
  SB_GO(sb_cuda_send(backend, queue, arguments, table + blocks, &arguments_dev));
  SB_GO(sb_with_number(out_dtype, "unpacked weights", [&](auto type) {
    typedef decltype(type) O;
    return sb_cuda_launch(backend, queue, "unpack_blocks", unpack_blocks<O>, (unsigned)blocks,
                          BLOCK_THREADS, 0, (O *)out, packed, (const size_t *)arguments_dev,
                          *tiling, arguments_dev + table, symmetry);
  }));
done:
  sb_free(&arguments);
  return status;
}

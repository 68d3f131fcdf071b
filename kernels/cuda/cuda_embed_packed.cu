#include "kernels/cuda/cuda_packed.h"

extern "C" {
#include "base/memory.h"
#include "kernels/shared/blockrow_layout.h"
}

/* A thread block has a token, a thread eight codes of its row at a time. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    lookup_packed(float *x, const uint32_t *ids, const uint8_t *packed, const uint64_t *blocks,
                  sb_tiling tiling, sb_code_kind code_kind, size_t v0) {
  const size_t t = blockIdx.x, id = ids[t];
  if (id < v0 || id - v0 >= tiling.rows) return;
  const size_t i = (id - v0) / tiling.block_rows, r = (id - v0) % tiling.block_rows,
               columns = sb_tiling_block_cols(&tiling), eights = (tiling.block_cols + 7) / 8;
  for (size_t item = threadIdx.x; item < columns * eights; item += blockDim.x) {
    const size_t j = item / eights, c = item % eights * 8;
    const uint64_t entry = blocks[i * columns + j];
    const uint8_t *block = packed + packed_offset(entry);
    sb_block_layout layout =
        sb_block_layout_of(sb_tiling_rows_of(&tiling, i), sb_tiling_cols_of(&tiling, j),
                           packed_bits(entry), code_kind);
    layout.anchor = packed_anchor(packed, blocks, columns, i, j, code_kind);
    if (c >= layout.cols) continue;
    const sb_grid grid = sb_block_grid(block, &layout, r, sb_block_zero(block, &layout, r));
    const size_t n = layout.cols - c < 8 ? layout.cols - c : 8;
    const uint8_t *from = block + layout.codes + r * layout.code_bytes + c / 8 * layout.bits;
    uint64_t word = 0;
    for (size_t b = 0; b < sb_bitstring_bytes(n, layout.bits); b++)
      word |= (uint64_t)from[b] << 8 * b;
    word = sb_bitstring_unfold(word, layout.bits);
    float *to = x + t * tiling.cols + j * tiling.block_cols + c;
    for (size_t e = 0; e < n; e++) to[e] = sb_grid_value(&grid, (float)(word >> 8 * e & 255u));
  }
}

sb_status sb_cuda_embed_packed(sb_backend *backend, sb_stream stream, void *x, const uint32_t *ids,
                               sb_packed w, size_t T, size_t v0) {
  if (sb_is_trellis(w->code_kind))
    return sb_fail(SB_ERR_INTERNAL, "embed_packed: a row of trellis codes is not decoded alone");
  if (T == 0 || w->tiling.cols == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "embed_packed", lookup_packed,
                        (unsigned)T, SB_CUDA_THREADS, 0, (float *)x, ids, w->packed, w->at.blocks,
                        w->tiling, w->code_kind, v0);
}

/* Packed block rows to weights. */
#include "kernels/blockrow.h"
#include "kernels/cpu/cpu_blocks.h"

sb_status sb_cpu_unpack_blocks(sb_backend *backend, sb_stream stream, void *out, sb_dtype out_dtype,
                               const uint8_t *packed, const size_t *offsets,
                               const sb_tiling *tiling, const uint8_t *bits, sb_code_kind code_kind,
                               const uint16_t *col_factors) {
  (void)stream;
  SB_TRY(sb_check_blocks("unpack_blocks", tiling, bits, 1));
  const size_t strips = sb_cpu_strips(tiling), columns = sb_tiling_block_cols(tiling),
               size = sb_dtype_size(out_dtype);
  for (size_t i = 0; i < sb_tiling_block_rows(tiling); i++)
    if (!sb_blockrow_has_bits(packed + offsets[i], tiling, bits + i * columns, code_kind))
      return sb_fail(
          SB_ERR_INTERNAL,
          "unpack_blocks: block row %zu was packed with other bits than the bit map says", i);
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t index = 0; index < strips; index++) {
    const sb_cpu_strip s = sb_cpu_strip_at(tiling, index);
    const size_t i = s.block / columns, j = s.block % columns;
    sb_blockrow_decode((char *)out + s.row * tiling->cols * size, out_dtype, packed + offsets[i],
                       tiling, i, j, j + s.blocks, code_kind, col_factors);
  }
  return SB_OK;
}

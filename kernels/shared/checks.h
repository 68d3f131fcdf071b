/* Checks at the start of operations, the same for every backend. A broken tiling or bit map is a
 * bug of the caller (SB_ERR_INTERNAL); too wide blocks are the user's choice (SB_ERR_UNSUPPORTED).
 * All local. */
#ifndef SB_KERNELS_SHARED_CHECKS_H
#define SB_KERNELS_SHARED_CHECKS_H

#include <limits.h>

#include "base/memory.h"
#include "kernels/ops/lowprec.h"
#include "kernels/ops/matmul.h"
#include "kernels/ops/round.h"
#include "kernels/shared/grid.h"
#include "kernels/shared/tiling.h"

/* Rows and columns of A and B of a product as they lie in memory. */
static inline size_t sb_gemm_a_rows(const sb_gemm_args *g) {
  return g->a.transposed ? g->k : g->m;
}
static inline size_t sb_gemm_a_cols(const sb_gemm_args *g) {
  return g->a.transposed ? g->m : g->k;
}
static inline size_t sb_gemm_b_rows(const sb_gemm_args *g) {
  return g->b.transposed ? g->n : g->k;
}
static inline size_t sb_gemm_b_cols(const sb_gemm_args *g) {
  return g->b.transposed ? g->k : g->n;
}

/* Checks types, row lengths and sizes of a product. `backend` is for messages. */
static inline sb_status sb_check_gemm(const char *backend, const sb_gemm_args *g) {
  if (g->c_dtype != SB_F32 || !sb_dtype_is_weight(g->a.dtype) || !sb_dtype_is_weight(g->b.dtype))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "GEMM of %s and %s into %s: the %s backend takes F32, F16, BF16 and gives F32",
                   sb_dtype_name(g->a.dtype), sb_dtype_name(g->b.dtype), sb_dtype_name(g->c_dtype),
                   backend);
  if (g->type == SB_GEMM_BF16 && (g->a.dtype != SB_BF16 || g->b.dtype != SB_BF16))
    return sb_fail(SB_ERR_INTERNAL, "GEMM of %s and %s as BF16 would round them",
                   sb_dtype_name(g->a.dtype), sb_dtype_name(g->b.dtype));
  if (g->a.ld < sb_gemm_a_cols(g) || g->b.ld < sb_gemm_b_cols(g) || g->ldc < g->n)
    return sb_fail(SB_ERR_INTERNAL,
                   "GEMM %zu x %zu x %zu: a row length (%zu, %zu, %zu) is shorter than the row",
                   g->m, g->n, g->k, g->a.ld, g->b.ld, g->ldc);
  if (g->k > INT_MAX || g->a.ld > INT_MAX || g->b.ld > INT_MAX || g->ldc > INT_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "GEMM %zu x %zu x %zu: BLAS counts rows in 32 bits", g->m,
                   g->n, g->k);
  return SB_OK;
}

static inline sb_status sb_check_tiling(const char *operation, const sb_tiling *tiling) {
  if (tiling->block_rows == 0 || tiling->block_cols == 0)
    return sb_fail(SB_ERR_INTERNAL, "%s: blocks of %zu x %zu", operation, tiling->block_rows,
                   tiling->block_cols);
  if (sb_min_size(tiling->block_cols, tiling->cols) > SB_GROUP_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "blocks of %zu columns: at most %d are supported",
                   tiling->block_cols, SB_GROUP_MAX);
  return SB_OK;
}

/* Checks the tiling, and that all widths are in least .. SB_MAX_BITS; least = 0 allows unquantized
 * blocks. */
static inline sb_status sb_check_blocks(const char *operation, const sb_tiling *tiling,
                                        const uint8_t *bits, unsigned least) {
  SB_TRY(sb_check_tiling(operation, tiling));
  const size_t blocks = sb_tiling_block_rows(tiling) * sb_tiling_block_cols(tiling);
  for (size_t k = 0; k < blocks; k++)
    if (bits[k] < least || bits[k] > SB_MAX_BITS)
      return sb_fail(SB_ERR_INTERNAL, "%s: block %zu has %u bits, possible are %u to %d", operation,
                     k, bits[k], least, SB_MAX_BITS);
  return SB_OK;
}

/* Checks the block rows [first, first + count) of an operation. */
static inline sb_status sb_check_block_rows(const char *operation, const sb_tiling *tiling,
                                            size_t first, size_t count) {
  if (first + count > sb_tiling_block_rows(tiling))
    return sb_fail(SB_ERR_INTERNAL, "%s: %zu block rows from %zu on, there are %zu", operation,
                   count, first, sb_tiling_block_rows(tiling));
  return SB_OK;
}

/* Checks the columns [begin, end) of an operation on a stack. */
static inline sb_status sb_check_stack(const char *operation, const sb_stack *stack, size_t begin,
                                       size_t end) {
  const sb_tiling tiling = {stack->rows, stack->cols, stack->rows ? stack->rows : 1,
                            stack->block_cols};
  SB_TRY(sb_check_tiling(operation, &tiling));
  if (begin > end || end > stack->cols || begin % stack->block_cols != 0 ||
      (end % stack->block_cols != 0 && end != stack->cols))
    return sb_fail(SB_ERR_INTERNAL, "%s: columns %zu to %zu of %zu are no whole blocks of %zu",
                   operation, begin, end, stack->cols, stack->block_cols);
  return SB_OK;
}

/* Checks the widths min_bits .. max_bits of an operation that covers all of them. */
static inline sb_status sb_check_widths(const char *operation, const sb_tiling *tiling,
                                        unsigned min_bits, unsigned max_bits) {
  if (min_bits < SB_MIN_BITS || max_bits > SB_MAX_BITS || min_bits > max_bits)
    return sb_fail(SB_ERR_INTERNAL, "%s: widths from %u to %u bits", operation, min_bits, max_bits);
  return sb_check_tiling(operation, tiling);
}

/* Checks the types of a rounding to low precision, and that its blocks fit its scales. */
static inline sb_status sb_check_lowprec(const sb_lowprec_args *args) {
  const sb_lowprec_rule *rule = &args->rule;
  if (!sb_dtype_is_weight(args->src_dtype) || !sb_dtype_is_weight(args->dst_dtype))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "low precision from %s to %s: only F32, F16 and BF16 are rounded",
                   sb_dtype_name(args->src_dtype), sb_dtype_name(args->dst_dtype));
  const bool whole = rule->tile_rows == 0 && rule->tile_cols == 0;
  const bool cut = (rule->tile_cols == 1 && rule->tile_rows > 1) ||
                   (rule->tile_rows > 0 && rule->tile_cols >= 16 && rule->tile_cols <= 128 &&
                    (rule->tile_cols & (rule->tile_cols - 1)) == 0);
  if (rule->element != SB_ELEMENT_NONE &&
      ((!whole && !cut) || (whole && rule->scale != SB_SCALE_F32) ||
       (rule->hadamard && rule->tile_rows != 16) ||
       (rule->two_scales && (rule->scale != SB_SCALE_E4M3 || rule->tile_cols > 16))))
    return sb_fail(SB_ERR_INTERNAL, "low precision: no scales of rule %d in blocks of %u x %u",
                   (int)rule->scale, rule->tile_rows, rule->tile_cols);
  return SB_OK;
}

#endif

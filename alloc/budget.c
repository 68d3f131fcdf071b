#include "alloc/budget.h"

#include <float.h>
#include <math.h>

#include "alloc/owned.h"
#include "base/memory.h"
#include "base/text.h"
#include "kernels/blockrow.h"
#include "kernels/shared/trellis.h"
#include "model/ties.h"

/* Effective bits of the least widths and of max_bits; `orders`: of the stored orders, in bits. */
static void range_of(const sb_arch *a, const sb_blocking *blocking, uint64_t orders,
                     const sb_budget *b, double *least, double *most) {
  const double weights = (double)a->linear_parameters;
  uint64_t low, high;
  sb_storage_range(a, blocking, b->scope, b->min_bits, b->max_bits, &low, &high);
  *least = (double)(low + orders) / weights;
  *most = (double)(high + orders) / weights;
}

sb_status sb_budget_check(const sb_arch *a, const sb_blocking *blocking, sb_reorder mode,
                          const sb_budget *b) {
  const size_t rows = blocking->rows, cols = blocking->cols;
  const uint64_t orders = 8u * sb_orders_stored_bytes(a, mode, rows, cols);
  const double stored = (double)orders / (double)a->linear_parameters;
  char from[SB_TEXT_SIZE], to[SB_TEXT_SIZE];
  double least, most;
  if (b->bits <= stored)
    return sb_fail(SB_ERR_RANGE,
                   "--bits %g: the orders that --reorder indexed stores take %.4g bits a weight "
                   "alone, in blocks of %zux%zu; take larger blocks, or --reorder fused, which "
                   "stores none",
                   b->bits, stored, rows, cols);
  range_of(a, blocking, orders, b, &least, &most);
  const double low = sb_text_limit(from, sizeof from, least, true),
               high = sb_text_limit(to, sizeof to, most, false);
  /* a budget made from storage (sb_owned_bits_for) may be rounded up */
  const double highest = fmax(most * (1 + 4 * DBL_EPSILON), low);
  if (b->bits >= least && b->bits <= highest) return SB_OK;
  if (low >= high) /* all widths cost the same */
    return sb_fail(SB_ERR_RANGE,
                   "--bits %g: blocks of %zux%zu take %s effective bits a weight at any of %u to "
                   "%u bits; choose that, or larger blocks",
                   b->bits, rows, cols, from, b->min_bits, b->max_bits);
  return sb_fail(SB_ERR_RANGE,
                 "--bits %g: blocks of %zux%zu at %u to %u bits can have %s to %s effective bits a "
                 "weight (%s and stored orders count); choose a budget in between",
                 b->bits, rows, cols, b->min_bits, b->max_bits, from, to,
                 sb_is_trellis(blocking->code_kind) ? "padding to tiles, scales, factors of rows"
                                                    : "scales, zero points");
}

uint64_t sb_budget_storage(const sb_model *m, const sb_budget *b) {
  uint64_t low, high, other = 0; /* beside blocks */
  sb_storage_range(&m->arch, &m->blocking, b->scope, b->min_bits, b->max_bits, &low, &high);
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_tiling *tiling = &m->matrices[i].tiling;
    other += 8u * sb_matrix_overhead(tiling, m->blocking.code_kind);
  }
  const uint64_t storage = sb_owned_budget(m, b->bits);
  return storage > low - other ? storage : low - other;
}

/* ---- what is left ---- */

/* Storage of blocks at their present widths, and the least that one more width would take: of a
 * block, or of all blocks of an item. UINT64_MAX where all have max_bits. */
typedef struct use {
  uint64_t stored, raise;
} use;

/* Adds a matrix; returns what one more width of all its blocks takes, and sets *can_rise where
 * there is one. */
static uint64_t add_matrix(const sb_model *m, const sb_matrix *matrix, const sb_budget *b, use *u,
                           bool *can_rise) {
  const sb_tiling *t = &matrix->tiling;
  const size_t across = sb_tiling_block_cols(t), count = across * sb_tiling_block_rows(t);
  uint64_t whole = 0;
  for (size_t k = 0; k < count; k++) {
    const unsigned bits = m->bits[matrix->first_block + k];
    const size_t rows = sb_tiling_rows_of(t, k / across), cols = sb_tiling_cols_of(t, k % across);
    const uint64_t here = 8u * (uint64_t)sb_block_bytes(rows, cols, bits, m->blocking.code_kind);
    u->stored += here;
    if (bits >= b->max_bits) continue;
    const uint64_t up = 8u * (uint64_t)sb_block_bytes(rows, cols, bits + 1, m->blocking.code_kind),
                   more = up > here ? up - here : 0;
    if (b->scope == SB_WIDTH_OF_BLOCK && more > 0 && more < u->raise) u->raise = more;
    whole += more;
    *can_rise = true;
  }
  return whole;
}

/* Adds the item that begins with matrix `which` of a layer, if one does. */
static void add_item(const sb_model *m, size_t layer, size_t which, const sb_budget *b, use *u) {
  const bool ties = b->scope == SB_WIDTH_OF_TIE;
  uint64_t whole = 0;
  bool can_rise = false;
  if (ties && sb_tied_to(&m->arch, layer, which) != which) return;
  for (size_t k = which; k < (ties ? sb_arch_matrices(&m->arch, layer) : which + 1); k++)
    if (k == which || sb_tied_to(&m->arch, layer, k) == which)
      whole += add_matrix(m, sb_model_matrix(m, layer, k), b, u, &can_rise);
  if (!can_rise) return;
  if ((ties || b->scope == SB_WIDTH_OF_MATRIX) && whole < u->raise) u->raise = whole;
  if (b->scope == SB_WIDTH_OF_MODEL) u->raise = 0;
}

sb_budget_rest sb_budget_left(const sb_model *m, const sb_budget *b) {
  static const char *const why[] = {
      [SB_WIDTH_OF_BLOCK] = "no block whose bits can be raised gains by it on the calibration",
      [SB_WIDTH_OF_MATRIX] = "no matrix whose bits can be raised gains by it on the calibration",
      [SB_WIDTH_OF_TIE] = "no matrices whose bits can be raised gain by it on the calibration",
      [SB_WIDTH_OF_MODEL] = "all blocks have one width, and the next takes more"};
  use u = {0, UINT64_MAX};
  for (size_t layer = 0; layer < m->arch.config.layers; layer++)
    for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++)
      add_item(m, layer, which, b, &u);
  const uint64_t budget = sb_budget_storage(m, b);
  if (u.stored >= budget) return (sb_budget_rest){0, NULL};
  const uint64_t rest = budget - u.stored;
  const double bits = (double)rest / (double)m->arch.linear_parameters;
  if (u.raise == UINT64_MAX) return (sb_budget_rest){bits, "every block has the most bits"};
  return (sb_budget_rest){bits, u.raise <= rest ? why[b->scope] : NULL};
}

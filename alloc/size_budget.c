#include "alloc/size_budget.h"

#include <string.h>

#include "alloc/owned.h"
#include "base/text.h"
#include "kernels/blockrow.h"

/* ---- bytes at widths ---- */

/* Of a table that is given its width, or left. */
static uint64_t table_at(const sb_file_shape *s, size_t table, unsigned bits) {
  if (bits == SB_SOURCE_BITS) return sb_file_table_source(s, table);
  const sb_tiling tiling = sb_file_table_tiling(s, table);
  return sb_matrix_bytes(&tiling, sb_table_code_kind(s->blocking.code_kind), bits);
}

static uint64_t table_least(const sb_file_shape *s, const sb_size_budget *b, size_t table) {
  if (b->table_widths) return table_at(s, table, sb_width_at_least(b->table_widths, 1));
  const sb_tiling tiling = sb_file_table_tiling(s, table);
  return sb_matrix_least_bytes(&tiling, sb_table_code_kind(s->blocking.code_kind),
                               SB_TABLE_MIN_BITS, SB_TABLE_MAX_BITS);
}

/* The file with the layers at `bits`, and chosen tables at `chosen`. */
static uint64_t file_at(const sb_file_shape *s, const sb_size_budget *b, unsigned bits,
                        unsigned chosen) {
  uint64_t bytes = sb_file_fixed_bytes(s);
  for (size_t i = 0; i < s->arch->matrix_count; i++) {
    const sb_model_tensor *t = &s->arch->tensors[s->arch->matrices[i]];
    const sb_tiling tiling = {t->rows, t->cols, s->blocking.rows, s->blocking.cols};
    bytes += sb_matrix_bytes(&tiling, s->blocking.code_kind, bits);
  }
  for (size_t i = 0; i < sb_file_tables(s); i++)
    bytes += table_at(s, i, b->table_bits[i] ? b->table_bits[i] : chosen);
  return bytes;
}

/* The widths that all may have. */
static sb_width_set uniform_widths(const sb_size_budget *b) {
  const sb_width_set bounds = sb_width_range(b->min_bits, b->max_bits);
  const unsigned both =
      (b->widths ? b->widths : ~0u) & (b->table_widths ? b->table_widths : ~0u) & bounds;
  return both ? (sb_width_set)both : bounds;
}

static uint64_t smallest_uniform(const sb_file_shape *s, const sb_size_budget *b) {
  const sb_width_set widths = uniform_widths(b);
  uint64_t least = UINT64_MAX;
  for (unsigned bits = b->min_bits; bits <= b->max_bits; bits++) {
    if (!(widths >> bits & 1u)) continue;
    const uint64_t bytes = file_at(s, b, bits, bits);
    if (bytes < least) least = bytes;
  }
  return least;
}

void sb_size_range(const sb_file_shape *s, const sb_size_budget *b, uint64_t *least,
                   uint64_t *most) {
  const bool one = b->scope == SB_WIDTH_OF_MODEL;
  uint64_t low, high;
  *most = file_at(s, b, b->max_bits, one ? b->max_bits : SB_TABLE_MAX_BITS);
  if (one) {
    *least = smallest_uniform(s, b);
    return;
  }
  sb_storage_range(s->arch, &s->blocking, b->scope, b->min_bits, b->max_bits, &low, &high);
  *least = sb_file_fixed_bytes(s) + low / 8;
  for (size_t i = 0; i < sb_file_tables(s); i++)
    *least += b->table_bits[i] ? table_at(s, i, b->table_bits[i]) : table_least(s, b, i);
}

sb_status sb_size_check(const sb_file_shape *s, const sb_size_budget *b) {
  char asked[SB_TEXT_SIZE], from[SB_TEXT_SIZE], to[SB_TEXT_SIZE];
  sb_byte_size low, high;
  uint64_t least, most;
  sb_size_range(s, b, &least, &most);
  sb_byte_size_limit(from, sizeof from, least, b->size.unit, true);
  sb_byte_size_limit(to, sizeof to, most, b->size.unit, false);
  if (!sb_byte_size_read(from, &low) || !sb_byte_size_read(to, &high))
    return sb_fail(SB_ERR_INTERNAL, "--size: limits %s and %s", from, to);
  const uint64_t size = b->size.bytes;
  if (size >= least && (size <= most || size <= low.bytes)) return SB_OK;
  sb_byte_size_text(asked, sizeof asked, size, b->size.unit);
  return sb_fail(SB_ERR_RANGE,
                 "--size %s: this model can have %s to %s (layers at %u to %u bits; --head-bits, "
                 "--embed-bits, --block change the range)",
                 asked, from, low.bytes > high.bytes ? from : to, b->min_bits, b->max_bits);
}

/* ---- before losses are known ---- */

double sb_size_guess(const sb_file_shape *s, const sb_size_budget *b) {
  const double orders =
      8.0 * (double)sb_orders_stored_bytes(s->arch, s->mode, s->blocking.rows, s->blocking.cols) /
      (double)s->arch->linear_parameters;
  const double size = (double)b->size.bytes;
  double above = 0, bits = 0, effective_above = 0;
  for (unsigned width = b->max_bits; width >= b->min_bits; width--) {
    const unsigned lead = width + SB_TABLE_LEAD;
    const double here =
        (double)file_at(s, b, width, lead < SB_TABLE_MAX_BITS ? lead : (unsigned)SB_TABLE_MAX_BITS);
    const double effective = sb_effective_bits_uniform(s->arch, s->blocking.rows, s->blocking.cols,
                                                       width, s->blocking.code_kind);
    bits = effective;
    if (here <= size) {
      if (above > here) /* between two widths */
        bits += (effective_above - effective) * (size - here) / (above - here);
      break;
    }
    above = here;
    effective_above = effective;
  }
  return bits + orders;
}

/* ---- of a model ---- */

uint64_t sb_size_overhead(const sb_model *m) {
  uint64_t overhead = 0;
  for (size_t i = 0; i < m->arch.matrix_count; i++)
    overhead += sb_matrix_overhead(&m->matrices[i].tiling, m->blocking.code_kind);
  return overhead;
}

uint64_t sb_size_room(const sb_model *m, const sb_size_budget *b) {
  const sb_file_shape s = sb_file_shape_of(m, m->orders.mode);
  uint64_t other = sb_file_fixed_bytes(&s) + sb_size_overhead(m);
  for (size_t i = 0; i < m->table_count; i++)
    other += b->table_bits[i] ? table_at(&s, i, b->table_bits[i])
                              : sb_matrix_overhead(&m->tables[i].matrix.tiling,
                                                   sb_table_code_kind(m->blocking.code_kind));
  return b->size.bytes > other ? 8 * (b->size.bytes - other) : 0;
}

uint64_t sb_size_storage(const sb_model *m, const sb_size_budget *b, uint64_t bytes,
                         uint64_t table_bytes) {
  const sb_file_shape s = sb_file_shape_of(m, m->orders.mode);
  const uint64_t other = sb_file_fixed_bytes(&s) + table_bytes, overhead = sb_size_overhead(m);
  uint64_t low, high;
  sb_storage_range(s.arch, &s.blocking, b->scope, b->min_bits, b->max_bits, &low, &high);
  if (bytes < other + overhead) return 0;
  const uint64_t storage = 8 * (bytes - other - overhead), most = high - 8 * overhead;
  return storage < most ? storage : most;
}

void sb_size_set_table(sb_model *m, size_t table, unsigned bits) {
  sb_table *t = &m->tables[table];
  const sb_tiling *tiling = &t->matrix.tiling;
  t->coded = bits < SB_SOURCE_BITS;
  memset(m->bits + t->matrix.first_block, t->coded ? (int)bits : 0,
         sb_tiling_block_rows(tiling) * sb_tiling_block_cols(tiling));
}

sb_status sb_size_uniform(sb_model *m, const sb_size_budget *b) {
  const sb_file_shape s = sb_file_shape_of(m, m->orders.mode);
  SB_TRY(sb_size_check(&s, b));
  const sb_width_set widths = uniform_widths(b);
  unsigned bits = sb_width_at_most(widths, SB_MAX_BITS), cheapest = bits;
  for (; bits > 0 && file_at(&s, b, bits, bits) > b->size.bytes;
       bits = sb_width_at_most(widths, bits - 1))
    if (file_at(&s, b, bits, bits) < file_at(&s, b, cheapest, cheapest)) cheapest = bits;
  if (bits == 0) bits = cheapest; /* passes within rounding of the least */
  memset(m->bits, (int)bits, m->blocks);
  for (size_t i = 0; i < m->table_count; i++)
    sb_size_set_table(m, i, b->table_bits[i] ? b->table_bits[i] : bits);
  return SB_OK;
}

#include "model/effective_bits.h"

#include "kernels/blockrow.h"

/* A matrix has blocks of at most four shapes: whole ones, and less high or less wide ones at its
 * edges. */
typedef struct shapes {
  uint64_t overhead; /* bytes beside blocks */
  size_t rows[4], cols[4];
  uint64_t count[4];
} shapes;

static shapes shapes_of(const sb_tiling *t, sb_code_kind code_kind) {
  const size_t rest_rows = t->rows % t->block_rows, rest_cols = t->cols % t->block_cols;
  shapes s = {.overhead = sb_matrix_overhead(t, code_kind)};
  for (int i = 0; i < 4; i++) {
    const bool low = i & 1, narrow = i & 2;
    s.rows[i] = low ? rest_rows : t->block_rows;
    s.cols[i] = narrow ? rest_cols : t->block_cols;
    s.count[i] = (uint64_t)(low ? rest_rows > 0 : t->rows / t->block_rows) *
                 (narrow ? rest_cols > 0 : t->cols / t->block_cols);
  }
  return s;
}

static uint64_t shape_bytes(const shapes *s, int i, unsigned bits, sb_code_kind code_kind) {
  return s->count[i] ? s->count[i] * sb_block_bytes(s->rows[i], s->cols[i], bits, code_kind) : 0;
}

/* Of all blocks, without the bit map. */
static uint64_t blocks_bytes(const shapes *s, unsigned bits, sb_code_kind code_kind) {
  uint64_t bytes = 0;
  for (int i = 0; i < 4; i++) bytes += shape_bytes(s, i, bits, code_kind);
  return bytes;
}

static sb_tiling tiling_of(const sb_arch *arch, size_t i, size_t block_rows, size_t block_cols) {
  const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
  return (sb_tiling){t->rows, t->cols, block_rows, block_cols};
}

uint64_t sb_matrix_bytes(const sb_tiling *tiling, sb_code_kind code_kind, unsigned bits) {
  const shapes s = shapes_of(tiling, code_kind);
  return s.overhead + blocks_bytes(&s, bits, code_kind);
}

double sb_effective_bits_uniform(const sb_arch *arch, size_t block_rows, size_t block_cols,
                                 unsigned bits, sb_code_kind code_kind) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < arch->matrix_count; i++) {
    const sb_tiling tiling = tiling_of(arch, i, block_rows, block_cols);
    bytes += sb_matrix_bytes(&tiling, code_kind, bits);
  }
  return 8.0 * (double)bytes / (double)arch->linear_parameters;
}

static void lower(uint64_t *least, uint64_t bytes) {
  if (bytes < *least) *least = bytes;
}

/* Least bytes of a matrix, where its blocks or the matrix choose a width. */
static uint64_t least_of(const shapes *s, sb_width_scope scope, unsigned min_bits,
                         unsigned max_bits, sb_code_kind code_kind) {
  uint64_t each[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, whole = UINT64_MAX;
  for (unsigned bits = min_bits; bits <= max_bits; bits++) {
    for (int i = 0; i < 4; i++) lower(&each[i], shape_bytes(s, i, bits, code_kind));
    lower(&whole, blocks_bytes(s, bits, code_kind));
  }
  return scope == SB_WIDTH_OF_BLOCK ? each[0] + each[1] + each[2] + each[3] : whole;
}

uint64_t sb_matrix_least_bytes(const sb_tiling *tiling, sb_code_kind code_kind, unsigned min_bits,
                               unsigned max_bits) {
  const shapes s = shapes_of(tiling, code_kind);
  return s.overhead + least_of(&s, SB_WIDTH_OF_BLOCK, min_bits, max_bits, code_kind);
}

void sb_storage_range(const sb_arch *arch, const sb_blocking *blocking, sb_width_scope scope,
                      unsigned min_bits, unsigned max_bits, uint64_t *least, uint64_t *most) {
  uint64_t uniform[SB_WIDTHS] = {0}, overhead = 0, low = 0;
  for (size_t i = 0; i < arch->matrix_count; i++) {
    const sb_tiling tiling = tiling_of(arch, i, blocking->rows, blocking->cols);
    const shapes s = shapes_of(&tiling, blocking->code_kind);
    overhead += s.overhead;
    low += least_of(&s, scope, min_bits, max_bits, blocking->code_kind);
    for (unsigned bits = min_bits; bits <= max_bits; bits++)
      uniform[bits] += blocks_bytes(&s, bits, blocking->code_kind);
  }
  if (scope == SB_WIDTH_OF_MODEL) {
    low = UINT64_MAX;
    for (unsigned bits = min_bits; bits <= max_bits; bits++) lower(&low, uniform[bits]);
  }
  *least = 8 * (low + overhead);
  *most = 8 * (uniform[max_bits] + overhead);
}

double sb_model_order_bits(const sb_model *m, sb_reorder mode) {
  return 8.0 * (double)sb_orders_stored_bytes(&m->arch, mode, m->blocking.rows, m->blocking.cols) /
         (double)m->arch.linear_parameters;
}

double sb_model_uniform_bits(const sb_model *m, unsigned bits) {
  return sb_effective_bits_uniform(&m->arch, m->blocking.rows, m->blocking.cols, bits,
                                   m->blocking.code_kind) +
         sb_model_order_bits(m, m->orders.mode);
}

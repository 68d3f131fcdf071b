#include "model/file_size.h"

#include "kernels/blockrow.h"

sb_file_shape sb_file_shape_of(const sb_model *m, sb_reorder mode) {
  return (sb_file_shape){
      .arch = &m->arch, .dtypes = m->dtypes, .blocking = m->blocking, .mode = mode};
}

static uint64_t source_bytes(const sb_file_shape *s, size_t tensor) {
  const sb_model_tensor *t = &s->arch->tensors[tensor];
  return (uint64_t)t->rows * t->cols * sb_dtype_size(s->dtypes ? s->dtypes[tensor] : s->dtype);
}

size_t sb_file_tables(const sb_file_shape *s) {
  return s->arch->config.tie_embeddings ? 1 : 2;
}

static size_t table_tensor(const sb_file_shape *s, size_t table) {
  return sb_arch_index(s->arch, table == 0 ? SB_ROLE_EMBED : SB_ROLE_LM_HEAD, 0);
}

uint64_t sb_file_table_source(const sb_file_shape *s, size_t table) {
  return source_bytes(s, table_tensor(s, table));
}

sb_tiling sb_file_table_tiling(const sb_file_shape *s, size_t table) {
  const sb_model_tensor *t = &s->arch->tensors[table_tensor(s, table)];
  return (sb_tiling){t->rows, t->cols, s->blocking.rows, s->blocking.cols};
}

uint64_t sb_file_table_bytes(const sb_file_shape *s, size_t table, unsigned bits) {
  if (bits == SB_SOURCE_BITS) return sb_file_table_source(s, table);
  const sb_tiling tiling = sb_file_table_tiling(s, table);
  return sb_matrix_bytes(&tiling, sb_table_code_kind(s->blocking.code_kind), bits);
}

uint64_t sb_file_fixed_bytes(const sb_file_shape *s) {
  uint64_t bytes = sb_orders_stored_bytes(s->arch, s->mode, s->blocking.rows, s->blocking.cols);
  for (size_t i = 0; i < s->arch->count; i++)
    if (!s->arch->tensors[i].is_linear) bytes += source_bytes(s, i);
  for (size_t i = 0; i < sb_file_tables(s); i++) bytes -= sb_file_table_source(s, i);
  return bytes;
}

static uint64_t matrix_bytes(const sb_model *m, const sb_matrix *matrix) {
  const sb_tiling *t = &matrix->tiling;
  const size_t rows = sb_tiling_block_rows(t), across = sb_tiling_block_cols(t);
  uint64_t bytes = 0;
  for (size_t i = 0; i < rows; i++)
    bytes += sb_blockrow_bytes(t, i, m->bits + matrix->first_block + i * across,
                               sb_model_code_kind(m, matrix));
  return bytes;
}

uint64_t sb_table_bytes(const sb_model *m, const sb_table *table) {
  if (table->coded) return matrix_bytes(m, &table->matrix);
  return (uint64_t)table->matrix.tiling.rows * sb_model_row_bytes(m, table->matrix.tensor);
}

uint64_t sb_file_bytes(const sb_model *m) {
  const sb_file_shape shape = sb_file_shape_of(m, m->orders.mode);
  uint64_t bytes = sb_file_fixed_bytes(&shape);
  for (size_t i = 0; i < m->arch.matrix_count; i++) bytes += matrix_bytes(m, &m->matrices[i]);
  for (size_t i = 0; i < m->table_count; i++) bytes += sb_table_bytes(m, &m->tables[i]);
  return bytes;
}

double sb_file_bits(const sb_arch *arch, uint64_t bytes) {
  return 8.0 * (double)bytes / (double)arch->parameters;
}

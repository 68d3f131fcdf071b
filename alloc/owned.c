#include "alloc/owned.h"

#include <math.h>

#include "base/memory.h"
#include "kernels/blockrow.h"

/* Weights in all matrices, and bits of what is stored beside their blocks: bit maps, factors of
 * rows, orders. */
static void totals(const sb_model *m, uint64_t *weights, uint64_t *other_bits) {
  *weights = 0;
  *other_bits =
      8u * sb_orders_stored_bytes(&m->arch, m->orders.mode, m->blocking.rows, m->blocking.cols);
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_tiling *tiling = &m->matrices[i].tiling;
    *weights += (uint64_t)tiling->rows * tiling->cols;
    *other_bits += 8u * sb_matrix_overhead(tiling, m->blocking.code_kind);
  }
}

uint64_t sb_owned_budget(const sb_model *m, double effective_bits) {
  uint64_t weights, other_bits;
  totals(m, &weights, &other_bits);
  return (uint64_t)(effective_bits * (double)weights) - other_bits;
}

double sb_owned_bits_for(const sb_model *m, uint64_t storage) {
  double bits = sb_owned_effective_bits(m, storage);
  while (sb_owned_budget(m, bits) < storage) bits = nextafter(bits, INFINITY);
  return bits;
}

double sb_owned_effective_bits(const sb_model *m, uint64_t storage) {
  uint64_t weights, other_bits;
  totals(m, &weights, &other_bits);
  return (double)(storage + other_bits) / (double)weights;
}

size_t sb_owned_bytes(size_t count) {
  const sb_owned o = {0};
  return count * (sizeof *o.id + sizeof *o.rows + sizeof *o.cols + sizeof *o.matrix);
}

static sb_status allocate(sb_owned *out, size_t count) {
  *out = (sb_owned){0};
  SB_TRY(sb_alloc(&out->id, count, sizeof *out->id, "blocks"));
  SB_TRY(sb_alloc(&out->rows, count, sizeof *out->rows, "blocks"));
  SB_TRY(sb_alloc(&out->cols, count, sizeof *out->cols, "blocks"));
  return sb_alloc(&out->matrix, count, sizeof *out->matrix, "blocks");
}

/* Adds the blocks of a matrix in [first, end); `number` is the matrix'. */
static void add(sb_owned *out, const sb_matrix *matrix, size_t number, size_t first, size_t end) {
  const size_t cols = sb_tiling_block_cols(&matrix->tiling),
               blocks = sb_tiling_block_rows(&matrix->tiling) * cols;
  const size_t from = first > matrix->first_block ? first - matrix->first_block : 0;
  for (size_t k = from; k < blocks && matrix->first_block + k < end; k++) {
    const size_t n = out->blocks.count++;
    out->id[n] = matrix->first_block + k;
    out->rows[n] = (uint16_t)sb_tiling_rows_of(&matrix->tiling, k / cols);
    out->cols[n] = (uint16_t)sb_tiling_cols_of(&matrix->tiling, k % cols);
    out->matrix[n] = (uint32_t)number;
  }
}

static void finish(sb_owned *out, sb_code_kind kind, unsigned min_bits, unsigned max_bits) {
  out->blocks =
      (sb_blocks){out->blocks.count, out->id, out->rows, out->cols, kind, min_bits, max_bits, NULL};
}

sb_status sb_owned_create(const sb_model *m, unsigned min_bits, unsigned max_bits, sb_owned *out) {
  SB_TRY(allocate(out, sb_model_owned_count(m)));
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, m->world->rank, &first, &end);
    for (size_t i = m->arch.layers[layer].first_matrix; i < m->arch.layers[layer + 1].first_matrix;
         i++)
      add(out, &m->matrices[i], i, first, end);
  }
  finish(out, m->blocking.code_kind, min_bits, max_bits);
  return SB_OK;
}

sb_status sb_owned_create_tables(const sb_model *m, unsigned min_bits, unsigned max_bits,
                                 sb_owned *out) {
  SB_TRY(allocate(out, sb_model_owned_table_count(m)));
  for (size_t i = 0; i < m->table_count; i++) {
    const sb_table *table = &m->tables[i];
    for (size_t group = table->group; table->coded && group < table->group + table->count;
         group++) {
      size_t first, end;
      sb_model_owned_of_group(m, group, m->world->rank, &first, &end);
      add(out, &table->matrix, i, first, end);
    }
  }
  finish(out, sb_table_code_kind(m->blocking.code_kind), min_bits, max_bits);
  return SB_OK;
}

void sb_owned_free(sb_owned *owned) {
  sb_free(&owned->id);
  sb_free(&owned->rows);
  sb_free(&owned->cols);
  sb_free(&owned->matrix);
}

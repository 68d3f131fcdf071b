#include "model/model_check.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "kernels/blockrow.h"
#include "mpi/large.h"

bool sb_bits_are_valid(const uint8_t *bits, size_t count, bool may_be_source, sb_flaw *flaw) {
  for (size_t k = 0; k < count; k++)
    if (bits[k] > SB_MAX_BITS || (bits[k] < SB_MIN_BITS && !(bits[k] == 0 && may_be_source)))
      return sb_flaw_found(flaw, "block %zu of %zu has %u bits", k, count, bits[k]);
  return true;
}

/* ---- places ---- */

static size_t unit_rows(const sb_model *m, const sb_place *place) {
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  return t->dims == 1 ? t->rows : m->blocking.rows;
}

/* Place p, which begins at unit `unit` of group g. */
static bool place_is_valid(const sb_model *m, size_t g, size_t p, size_t unit, sb_flaw *flaw) {
  const sb_place *place = &m->places[p], *before = p > 0 ? place - 1 : NULL;
  if (place->tensor >= m->arch.count)
    return sb_flaw_found(flaw, "place %zu: tensor %zu of %zu", p, place->tensor, m->arch.count);
  const size_t rows = m->arch.tensors[place->tensor].rows;
  const size_t first =
      before && before->tensor == place->tensor ? before->first_row + before->rows : 0;
  if (place->group != g || place->first_unit != unit)
    return sb_flaw_found(flaw, "place %zu: group %zu, unit %zu, expected %zu, %zu", p, place->group,
                         place->first_unit, g, unit);
  if (place->first_row != first || place->rows == 0 || place->rows > rows - first)
    return sb_flaw_found(flaw, "place %zu: rows %zu to %zu of %zu, expected from %zu", p,
                         place->first_row, place->first_row + place->rows, rows, first);
  if (place->units != sb_div_up(place->rows, unit_rows(m, place)))
    return sb_flaw_found(flaw, "place %zu: %zu units for %zu rows", p, place->units, place->rows);
  const bool last = p + 1 == m->place_count || m->places[p + 1].tensor != place->tensor;
  if (last && first + place->rows != rows)
    return sb_flaw_found(flaw, "place %zu: %s ends at row %zu of %zu", p,
                         m->arch.tensors[place->tensor].name, first + place->rows, rows);
  return true;
}

static bool places_are_valid(const sb_model *m, sb_flaw *flaw) {
  size_t runs = 0; /* of places of one tensor: each tensor is one */
  if (m->group_place[0] != 0 || m->group_place[m->groups] != m->place_count)
    return sb_flaw_found(flaw, "groups have places %zu to %zu of %zu", m->group_place[0],
                         m->group_place[m->groups], m->place_count);
  for (size_t g = 0; g < m->groups; g++) {
    size_t unit = 0, first, end;
    if (m->group_place[g] >= m->group_place[g + 1])
      return sb_flaw_found(flaw, "group %zu has no place", g);
    for (size_t p = m->group_place[g]; p < m->group_place[g + 1]; p++) {
      if (!place_is_valid(m, g, p, unit, flaw)) return false;
      unit += m->places[p].units;
      runs += p == 0 || m->places[p - 1].tensor != m->places[p].tensor;
    }
    sb_store_owned(m->store, g, m->world->size - 1, &first, &end);
    if (end != unit)
      return sb_flaw_found(flaw, "group %zu has %zu units, the store %zu", g, unit, end);
  }
  return runs == m->arch.count ||
         sb_flaw_found(flaw, "%zu tensors have places, the architecture has %zu", runs,
                       m->arch.count);
}

static bool groups_are_valid(const sb_model *m, sb_flaw *flaw) {
  const bool tied = m->head_first == m->embed_first;
  const size_t end = m->norm_group + 1 + (tied ? 0 : m->head_count);
  if (m->embed_first != 0 || m->layer_first != m->embed_count ||
      m->norm_group != m->layer_first + m->config.layers ||
      (!tied && m->head_first != m->norm_group + 1) || end != m->groups)
    return sb_flaw_found(flaw,
                         "groups: embedding at %zu, layers at %zu, norm at %zu, head at %zu of %zu",
                         m->embed_first, m->layer_first, m->norm_group, m->head_first, m->groups);
  return true;
}

/* ---- blocks ---- */

/* Matrices are the tensors that get quantized, in their order. */
static bool matrices_are_valid(const sb_model *m, sb_flaw *flaw) {
  size_t i = 0, blocks = 0, groups = 0;
  for (size_t tensor = 0; tensor < m->arch.count; tensor++) {
    const sb_model_tensor *t = &m->arch.tensors[tensor];
    if (!t->is_linear) continue;
    const sb_matrix *matrix = &m->matrices[i++];
    const sb_tiling *tiling = &matrix->tiling;
    if (matrix->tensor != tensor)
      return sb_flaw_found(flaw, "matrix %zu is tensor %zu, expected %s (%zu)", i - 1,
                           matrix->tensor, t->name, tensor);
    if (tiling->rows != t->rows || tiling->cols != t->cols ||
        tiling->block_rows != m->blocking.rows || tiling->block_cols != m->blocking.cols)
      return sb_flaw_found(flaw, "%s: %zux%zu in blocks of %zux%zu, expected %zux%zu in %zux%zu",
                           t->name, tiling->rows, tiling->cols, tiling->block_rows,
                           tiling->block_cols, t->rows, t->cols, m->blocking.rows,
                           m->blocking.cols);
    if (matrix->first_block != blocks)
      return sb_flaw_found(flaw, "%s: its first block is %zu, expected %zu", t->name,
                           matrix->first_block, blocks);
    if (matrix->first_group != groups)
      return sb_flaw_found(flaw, "%s: its first group is %zu, expected %zu", t->name,
                           matrix->first_group, groups);
    blocks += sb_tiling_block_rows(tiling) * sb_tiling_block_cols(tiling);
    groups += tiling->rows * sb_tiling_block_cols(tiling);
  }
  if (groups != m->quant_groups)
    return sb_flaw_found(flaw, "matrices have %zu groups, the model %zu", groups, m->quant_groups);
  return blocks == m->blocks ||
         sb_flaw_found(flaw, "matrices have %zu blocks, the model %zu", blocks, m->blocks);
}

/* Tables follow the layers; those that are not coded have no bits. */
static bool tables_are_valid(const sb_model *m, sb_flaw *flaw) {
  size_t blocks = m->blocks;
  for (size_t i = 0; i < m->table_count; i++) {
    const sb_table *table = &m->tables[i];
    const char *name = m->arch.tensors[table->matrix.tensor].name;
    const size_t count =
        sb_tiling_block_rows(&table->matrix.tiling) * sb_tiling_block_cols(&table->matrix.tiling);
    if (table->matrix.first_block != blocks)
      return sb_flaw_found(flaw, "%s: its first block is %zu, expected %zu", name,
                           table->matrix.first_block, blocks);
    blocks += count;
    for (size_t k = 0; !table->coded && k < count; k++)
      if (m->bits[table->matrix.first_block + k] != 0)
        return sb_flaw_found(flaw, "%s is not coded, and its block %zu has bits", name, k);
    if (table->coded && !sb_bits_are_valid(m->bits + table->matrix.first_block, count,
                                           m->coding == SB_CODING_SOURCE, flaw))
      return false;
  }
  return blocks == m->all_blocks ||
         sb_flaw_found(flaw, "layers and tables have %zu blocks, the model %zu", blocks,
                       m->all_blocks);
}

static bool unit_is_valid(const sb_model *m, size_t g, const sb_place *place,
                          const sb_matrix *matrix, size_t unit, sb_flaw *flaw) {
  const size_t at = place->first_unit + unit, cols = sb_tiling_block_cols(&matrix->tiling),
               bytes = sb_store_offset(m->store, g, at + 1) - sb_store_offset(m->store, g, at);
  const size_t row = sb_place_block_row(m, place, unit);
  const sb_code_kind kind = sb_model_code_kind(m, matrix);
  const uint8_t *coded = sb_store_unit(m->store, g, at);
  sb_flaw why;
  if (!sb_blockrow_is_valid(coded, bytes, &matrix->tiling, row, kind, &why))
    return sb_flaw_found(flaw, "%.100s: %.120s", m->arch.tensors[place->tensor].name, why.text);
  return sb_blockrow_has_bits(coded, &matrix->tiling, m->bits + matrix->first_block + row * cols,
                              kind) ||
         sb_flaw_found(flaw, "%s: block row %zu has other bits than the model",
                       m->arch.tensors[place->tensor].name, row);
}

bool sb_model_codes_are_valid(const sb_model *m, size_t group, sb_flaw *flaw) {
  size_t first, end;
  sb_store_owned(m->store, group, m->world->rank, &first, &end);
  for (size_t p = m->group_place[group]; p < m->group_place[group + 1]; p++) {
    const sb_place *place = &m->places[p];
    const sb_matrix *matrix = sb_model_place_matrix(m, place);
    for (size_t u = 0; matrix && u < place->units; u++) {
      const size_t at = place->first_unit + u;
      if (at >= first && at < end && !unit_is_valid(m, group, place, matrix, u, flaw)) return false;
    }
  }
  return true;
}

static bool coded_is_valid(const sb_model *m, sb_flaw *flaw) {
  for (size_t group = 0; group < m->groups; group++)
    if (!sb_model_codes_are_valid(m, group, flaw)) return false;
  return true;
}

static bool importance_is_valid(const sb_model *m, size_t channels, sb_flaw *flaw) {
  for (size_t i = 0; m->importance && i < channels; i++)
    if (!(m->importance[i] >= 0.0f && isfinite(m->importance[i])))
      return sb_flaw_found(flaw, "importance of channel %zu is %g", i, (double)m->importance[i]);
  return true;
}

static bool col_factors_are_valid(const sb_model *m, sb_flaw *flaw) {
  for (size_t i = 0; m->col_factors && i < m->arch.channels; i++) {
    const unsigned magnitude = m->col_factors[i] & 0x7fffu;
    if (magnitude == 0 || magnitude >= 0x7c00u)
      return sb_flaw_found(flaw, "column factor of channel %zu is %#06x", i, m->col_factors[i]);
  }
  return true;
}

/* ---- the whole ---- */

bool sb_model_is_valid(const sb_model *m, sb_flaw *flaw) {
  const bool coded = m->coding == SB_CODING_CODES;
  return sb_store_is_valid(m->store, flaw) && groups_are_valid(m, flaw) &&
         places_are_valid(m, flaw) && matrices_are_valid(m, flaw) &&
         sb_bits_are_valid(m->bits, m->blocks, !coded, flaw) && tables_are_valid(m, flaw) &&
         importance_is_valid(m, m->arch.channels, flaw) && col_factors_are_valid(m, flaw) &&
         (!coded || coded_is_valid(m, flaw));
}

#ifdef SB_CHECKS
static void check_alike(const sb_model *m) {
  uint64_t hash = XXH64(m->bits, m->all_blocks, 0), ends[2];
  if (m->importance) hash = XXH64(m->importance, m->arch.channels * sizeof *m->importance, hash);
  if (m->col_factors) hash = XXH64(m->col_factors, m->arch.channels * sizeof *m->col_factors, hash);
  ends[0] = hash;
  ends[1] = ~hash;
  const sb_status status = sb_mpi_max_u64(ends, 2, m->world->comm);
  SB_ASSERT(status == SB_OK);
  SB_ASSERT(ends[0] == hash && ends[1] == ~hash);
}
#endif

void sb_model_check(const sb_model *m) {
#ifdef SB_CHECKS
  SB_ASSERT_VALID(sb_model_is_valid, m);
  check_alike(m);
#else
  (void)m;
#endif
}

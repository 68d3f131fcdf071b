#include "model/model.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "kernels/shared/trellis.h"
#include "model/chunks.h"

size_t sb_model_row_bytes(const sb_model *m, size_t tensor) {
  return m->arch.tensors[tensor].cols * sb_dtype_size(m->dtypes[tensor]);
}

/* ---- places: which rows of which tensor a group of the store has ---- */

static size_t layer_bytes(const sb_model *m, size_t layer) {
  const sb_arch_layer *l = &m->arch.layers[layer];
  size_t bytes = 0;
  for (size_t i = l[0].first_tensor; i < l[1].first_tensor; i++)
    bytes += m->arch.tensors[i].rows * sb_model_row_bytes(m, i);
  return bytes;
}

static size_t chunk_rows(const sb_model *m, size_t table) {
  size_t most = 0;
  for (size_t layer = 0; layer < m->config.layers; layer++)
    most = sb_max_size(most, layer_bytes(m, layer));
  return sb_chunk_rows(m->arch.tensors[table].rows, sb_model_row_bytes(m, table), most,
                       m->blocking.rows);
}

static size_t unit_rows(const sb_model *m, const sb_model_tensor *t) {
  return t->dims == 1 ? t->rows : m->blocking.rows;
}

static void begin_group(sb_model *m) {
  m->group_place[m->groups++] = m->place_count;
}

static void add_place(sb_model *m, size_t tensor, size_t first_row, size_t rows) {
  size_t group = m->groups - 1, first_unit = 0;
  if (m->place_count > m->group_place[group]) {
    const sb_place *last = &m->places[m->place_count - 1];
    first_unit = last->first_unit + last->units;
  }
  size_t units = sb_div_up(rows, unit_rows(m, &m->arch.tensors[tensor]));
  m->places[m->place_count++] = (sb_place){tensor, group, first_unit, units, first_row, rows};
}

static void add_chunks(sb_model *m, size_t tensor, size_t *first, size_t *count) {
  const sb_model_tensor *t = &m->arch.tensors[tensor];
  size_t rows = chunk_rows(m, tensor);
  *first = m->groups;
  for (size_t row = 0; row < t->rows; row += rows) {
    begin_group(m);
    add_place(m, tensor, row, sb_min_size(rows, t->rows - row));
  }
  *count = m->groups - *first;
}

/* ---- numbers of blocks and groups, over the whole model ---- */

static void number_blocks(sb_model *m) {
  m->blocks = 0;
  m->quant_groups = 0;
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[m->arch.matrices[i]];
    sb_matrix *matrix = &m->matrices[i];
    matrix->tiling = (sb_tiling){t->rows, t->cols, m->blocking.rows, m->blocking.cols};
    matrix->first_block = m->blocks;
    matrix->first_group = m->quant_groups;
    matrix->tensor = m->arch.matrices[i];
    m->blocks += sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
    m->quant_groups += t->rows * sb_tiling_block_cols(&matrix->tiling);
  }
}

static void number_table(sb_model *m, size_t tensor, size_t group, size_t count) {
  const sb_model_tensor *t = &m->arch.tensors[tensor];
  sb_table *table = &m->tables[m->table_count++];
  sb_matrix *matrix = &table->matrix;
  matrix->tiling = (sb_tiling){t->rows, t->cols, m->blocking.rows, m->blocking.cols};
  matrix->first_block = m->blocks;
  matrix->first_group = m->quant_groups;
  if (m->table_count > 1) {
    const sb_matrix *before = &m->tables[0].matrix;
    const size_t across = sb_tiling_block_cols(&before->tiling);
    matrix->first_block += sb_tiling_block_rows(&before->tiling) * across;
    matrix->first_group += before->tiling.rows * across;
  }
  matrix->tensor = tensor;
  table->group = group;
  table->count = count;
  m->all_blocks = matrix->first_block +
                  sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
}

const sb_table *sb_model_table(const sb_model *m, size_t tensor) {
  for (size_t i = 0; i < m->table_count; i++)
    if (m->tables[i].matrix.tensor == tensor) return &m->tables[i];
  return NULL;
}

const sb_matrix *sb_model_place_matrix(const sb_model *m, const sb_place *place) {
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  if (t->is_linear) return sb_model_matrix(m, t->layer, t->matrix);
  const sb_table *table = sb_model_table(m, place->tensor);
  return table && table->coded ? &table->matrix : NULL;
}

sb_code_kind sb_model_code_kind(const sb_model *m, const sb_matrix *matrix) {
  const sb_code_kind kind = m->blocking.code_kind;
  return sb_matrix_is_table(m, matrix) ? sb_table_code_kind(kind) : kind;
}

size_t sb_model_first_block(const sb_model *m, size_t layer) {
  const size_t i = m->arch.layers[layer].first_matrix;
  return i < m->arch.matrix_count ? m->matrices[i].first_block : m->blocks;
}

size_t sb_model_first_group(const sb_model *m, size_t layer) {
  const size_t i = m->arch.layers[layer].first_matrix;
  return i < m->arch.matrix_count ? m->matrices[i].first_group : m->quant_groups;
}

size_t sb_model_most_blocks(const sb_model *m) {
  size_t most = 0;
  for (size_t layer = 0; layer < m->config.layers; layer++)
    most = sb_max_size(most, sb_model_first_block(m, layer + 1) - sb_model_first_block(m, layer));
  return most;
}

size_t sb_model_most_groups(const sb_model *m) {
  size_t most = 0;
  for (size_t layer = 0; layer < m->config.layers; layer++)
    most = sb_max_size(most, sb_model_first_group(m, layer + 1) - sb_model_first_group(m, layer));
  return most;
}

/* ---- the store ---- */

static size_t source_unit_bytes(const sb_model *m, const sb_place *place, size_t unit) {
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  return rows * sb_model_row_bytes(m, place->tensor);
}

static sb_status create_store(sb_model *m, sb_unit_bytes unit_bytes, const void *context) {
  sb_status status = SB_OK;
  sb_store_group *groups = NULL;
  size_t *bytes = NULL, units = 0;
  for (size_t p = 0; p < m->place_count; p++) units += m->places[p].units;
  SB_GO(sb_alloc(&groups, m->groups, sizeof *groups, "store description"));
  SB_GO(sb_alloc(&bytes, units, sizeof *bytes, "store description"));
  units = 0;
  for (size_t g = 0; g < m->groups; g++) {
    groups[g].unit_bytes = bytes + units;
    for (size_t p = m->group_place[g]; p < m->group_place[g + 1]; p++) {
      const sb_place *place = &m->places[p];
      for (size_t u = 0; u < place->units; u++)
        bytes[units++] =
            unit_bytes ? unit_bytes(context, m, place, u) : source_unit_bytes(m, place, u);
      groups[g].units += place->units;
    }
  }
done:
  status = sb_world_agree(m->world, status);
  SB_THEN(sb_store_create(m->world, groups, m->groups, 2, &m->store));
  sb_free(&groups);
  sb_free(&bytes);
  return status;
}

sb_status sb_model_lay_out(sb_model *m, sb_unit_bytes unit_bytes, const void *context) {
  const sb_arch *arch = &m->arch;
  size_t embed = sb_arch_index(arch, SB_ROLE_EMBED, 0),
         norm = sb_arch_index(arch, SB_ROLE_FINAL_NORM, 0),
         head = arch->config.tie_embeddings ? SIZE_MAX : sb_arch_index(arch, SB_ROLE_LM_HEAD, 0);
  size_t most = arch->count + arch->tensors[embed].rows / m->blocking.rows + 2;
  if (head != SIZE_MAX) most += arch->tensors[head].rows / m->blocking.rows + 2;
  SB_AGREE(m->world, sb_alloc(&m->places, most, sizeof *m->places, "places of the tensors"));
  SB_AGREE(m->world,
           sb_alloc(&m->group_place, most + 1, sizeof *m->group_place, "places of the tensors"));
  SB_AGREE(m->world, sb_alloc(&m->matrices, arch->matrix_count, sizeof *m->matrices, "matrices"));
  number_blocks(m);

  add_chunks(m, embed, &m->embed_first, &m->embed_count);
  m->layer_first = m->groups;
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    begin_group(m);
    for (size_t i = arch->layers[layer].first_tensor; i < arch->layers[layer + 1].first_tensor; i++)
      add_place(m, i, 0, arch->tensors[i].rows);
  }
  m->norm_group = m->groups;
  begin_group(m);
  add_place(m, norm, 0, arch->tensors[norm].rows);
  m->head_first = m->embed_first, m->head_count = m->embed_count;
  if (head != SIZE_MAX) add_chunks(m, head, &m->head_first, &m->head_count);
  m->group_place[m->groups] = m->place_count;
  number_table(m, embed, m->embed_first, m->embed_count);
  if (head != SIZE_MAX) number_table(m, head, m->head_first, m->head_count);
  SB_AGREE(m->world, sb_alloc(&m->bits, m->all_blocks, 1, "bit map"));
  return create_store(m, unit_bytes, context);
}

void sb_model_pin(sb_model *m, sb_backend *b) {
  void *memory;
  size_t bytes;
  if (b->unified || m->pin_tried) return;
  m->pin_tried = true;
  sb_store_images(m->store, &memory, &bytes);
  if (b->op->host_pin(b, memory, bytes) == SB_OK)
    m->pinned_by = b;
  else
    sb_log_line("memory       %.3f GiB of weights cannot be pinned, copies of them do not overlap "
                "with computing: %s",
                (double)bytes * 0x1p-30, sb_message());
}

static void unpin(sb_model *m) {
  void *memory;
  size_t bytes;
  if (!m->pinned_by) return;
  sb_store_images(m->store, &memory, &bytes);
  m->pinned_by->op->host_unpin(m->pinned_by, memory);
}

void sb_model_free(sb_model **model) {
  sb_model *m = *model;
  if (!m) return;
  unpin(m);
  sb_store_free(&m->store);
  sb_arch_free(&m->arch);
  sb_orders_free(&m->orders);
  sb_free(&m->dtypes);
  sb_free(&m->places);
  sb_free(&m->group_place);
  sb_free(&m->matrices);
  sb_free(&m->bits);
  sb_free(&m->importance);
  sb_free(&m->table_importance);
  sb_free(&m->col_factors);
  sb_free(model);
}

void sb_place_rows(const sb_model *m, const sb_place *place, size_t unit, size_t *first,
                   size_t *count) {
  size_t rows = unit_rows(m, &m->arch.tensors[place->tensor]);
  *first = place->first_row + unit * rows;
  *count = sb_min_size(rows, place->first_row + place->rows - *first);
}

sb_status sb_model_visit_owned(sb_model *m, sb_unit_visitor visit, void *context) {
  for (size_t g = 0; g < m->groups; g++) {
    size_t first, end;
    sb_store_owned(m->store, g, m->world->rank, &first, &end);
    for (size_t p = m->group_place[g]; p < m->group_place[g + 1]; p++) {
      const sb_place *place = &m->places[p];
      size_t from = sb_max_size(first, place->first_unit),
             to = sb_min_size(end, place->first_unit + place->units);
      for (size_t u = from; u < to; u++)
        SB_TRY(visit(context, m, place, u - place->first_unit, sb_store_unit(m->store, g, u)));
    }
  }
  return SB_OK;
}

size_t sb_model_owned_units(const sb_model *m) {
  size_t units = 0;
  for (size_t g = 0; g < m->groups; g++) {
    size_t first, end;
    sb_store_owned(m->store, g, m->world->rank, &first, &end);
    units += end - first;
  }
  return units;
}

const float *sb_model_importance(const sb_model *m, const sb_matrix *matrix) {
  const sb_model_tensor *t = &m->arch.tensors[matrix->tensor];
  if (sb_matrix_is_table(m, matrix))
    return m->table_importance
               ? m->table_importance +
                     (size_t)(sb_model_table(m, matrix->tensor) - m->tables) * m->config.hidden
               : NULL;
  if (!m->importance) return NULL;
  return m->importance + sb_arch_input_of(&m->arch, t->layer, t->input)->first_channel;
}

/* ---- trellis codes ---- */

const uint16_t *sb_model_col_factors(const sb_model *m, const sb_matrix *matrix) {
  const sb_model_tensor *t = &m->arch.tensors[matrix->tensor];
  if (!m->col_factors || sb_matrix_is_table(m, matrix)) return NULL;
  return m->col_factors + sb_arch_input_of(&m->arch, t->layer, t->input)->first_channel;
}

/* Layers, matrices and inputs are fewer than 2^24, 2^16 and 2^16. */
static uint64_t key_of(unsigned kind, size_t layer, size_t number) {
  return (uint64_t)kind << 56 | (uint64_t)layer << 16 | number;
}

uint64_t sb_model_row_key(const sb_model *m, const sb_matrix *matrix) {
  const sb_model_tensor *t = &m->arch.tensors[matrix->tensor];
  return key_of(1, t->layer, t->matrix);
}

uint64_t sb_model_col_key(size_t layer, size_t input) {
  return key_of(2, layer, input);
}

#include "quant/scale_numbers.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/blockrow.h"
#include "kernels/shared/blockrow_layout.h"
#include "kernels/shared/trellis.h"

/* EXL3 has no scales of blocks: they stay 1. */
static bool has_blocks(sb_code_kind kind) {
  return sb_is_trellis(kind) && kind != SB_TRELLIS_EXL3;
}

size_t sb_scale_parts(const sb_model *m, bool norms) {
  return m->config.layers + (norms ? 1 : 0);
}

size_t sb_scale_part_group(const sb_model *m, size_t part) {
  return part < m->config.layers ? m->layer_first + part : m->norm_group;
}

/* ---- counts ---- */

/* Of the first `rows` rows of a matrix, which end a block row. */
static size_t count_rows(const sb_model *m, const sb_tiling *tiling, size_t rows) {
  const sb_code_kind kind = m->blocking.code_kind;
  const size_t across = sb_tiling_block_cols(tiling);
  if (!sb_is_trellis(kind)) return rows * across;
  return rows + (has_blocks(kind) ? sb_div_up(rows, tiling->block_rows) * across : 0);
}

size_t sb_scale_numbers_before(const sb_model *m, bool norms, size_t part, size_t end) {
  const size_t group = sb_scale_part_group(m, part);
  size_t numbers = 0;
  for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
    const sb_place *place = &m->places[i];
    const sb_matrix *matrix = sb_model_place_matrix(m, place);
    if (end <= place->first_unit) break;
    if (!matrix) {
      numbers += norms ? m->arch.tensors[place->tensor].cols : 0;
      continue;
    }
    const size_t rows = (end - place->first_unit) * matrix->tiling.block_rows;
    numbers += count_rows(m, &matrix->tiling, sb_min_size(rows, matrix->tiling.rows));
  }
  return numbers;
}

static size_t count(const sb_sizes *z, bool norms, size_t groups, size_t rows, size_t blocks,
                    size_t vectors) {
  const sb_code_kind kind = z->blocking.code_kind;
  const size_t of_matrices = !sb_is_trellis(kind) ? groups : rows + (has_blocks(kind) ? blocks : 0);
  return of_matrices + (norms ? vectors : 0);
}

size_t sb_scale_numbers_owned(const sb_sizes *z, bool norms) {
  return count(z, norms, z->owned_groups, z->owned_rows, z->owned, z->owned_vectors);
}

size_t sb_scale_numbers_owned_of_a_part(const sb_sizes *z, bool norms) {
  return count(z, norms, z->owned_groups_of_a_layer, z->owned_rows_of_a_layer, z->owned_of_a_layer,
               z->owned_vectors_of_a_layer);
}

size_t sb_scale_numbers_of_a_layer(const sb_sizes *z, bool norms) {
  return count(z, norms, z->layer.groups, z->layer.rows, z->layer.blocks, z->layer.vectors);
}

/* ---- places ---- */

/* A walk over a unit. */
typedef struct walk {
  sb_scale_visit visit;
  void *context;
  uint8_t *row;
  const uint8_t *bits; /* of its blocks */
  size_t blocks;
} walk;

static void visit_group(void *context, size_t r, size_t j, size_t scale, size_t base) {
  const walk *w = context;
  w->visit(w->context, r * w->blocks + j,
           &(sb_scale_number){.kind = SB_SCALE_GROUP,
                              .dtype = SB_F16,
                              .bits = sb_alphabet_width(w->bits[j]),
                              .value = w->row + scale,
                              .base = base == SIZE_MAX ? NULL : w->row + base});
}

/* A run of numbers without bases; `index`: of the first. */
static void visit_run(const walk *w, sb_scale_kind kind, sb_dtype dtype, size_t index,
                      uint8_t *first, size_t numbers) {
  for (size_t i = 0; i < numbers; i++)
    w->visit(w->context, index + i,
             &(sb_scale_number){.kind = kind,
                                .dtype = dtype,
                                .bits = kind == SB_SCALE_BLOCK ? w->bits[i] : 0,
                                .value = first + i * sb_dtype_size(dtype)});
}

static void visit_block_row(const walk *w, sb_code_kind kind, size_t rows) {
  const sb_blockrow_head head = sb_blockrow_head_of(w->blocks, rows, kind);
  visit_run(w, SB_SCALE_ROW, SB_F16, 0, w->row + head.row_factors, rows);
  if (has_blocks(kind)) visit_run(w, SB_SCALE_BLOCK, SB_F16, rows, w->row + head.scales, w->blocks);
}

size_t sb_scale_numbers_visit(const sb_model *m, bool norms, const sb_place *place, size_t unit,
                              void *data, sb_scale_visit visit, void *context) {
  const sb_code_kind kind = m->blocking.code_kind;
  const sb_matrix *matrix = sb_model_place_matrix(m, place);
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  walk w = {.visit = visit, .context = context, .row = data};
  if (matrix && sb_matrix_is_table(m, matrix))
    return 0; /* their scales stay as they were rounded */
  if (!matrix) {
    const size_t channels = norms && t->dims == 1 ? t->cols : 0;
    visit_run(&w, SB_SCALE_NORM, m->dtypes[place->tensor], 0, data, channels);
    return channels;
  }
  const size_t rows = sb_tiling_rows_of(&matrix->tiling, unit);
  w.blocks = sb_tiling_block_cols(&matrix->tiling);
  w.bits = m->bits + matrix->first_block + unit * w.blocks;
  if (sb_is_trellis(kind))
    visit_block_row(&w, kind, rows);
  else
    sb_blockrow_scales(&matrix->tiling, unit, w.bits, kind, visit_group, &w);
  return count_rows(m, &matrix->tiling, rows);
}

/* ---- sums ---- */

bool sb_scale_numbers_are_groups(sb_code_kind code_kind, bool norms) {
  return !norms && !sb_is_trellis(code_kind);
}

/* Of the norms among the tensors [first, end). */
static size_t vectors_between(const sb_model *m, size_t first, size_t end) {
  size_t channels = 0;
  for (size_t i = first; i < end; i++)
    if (m->arch.tensors[i].dims == 1) channels += m->arch.tensors[i].cols;
  return channels;
}

size_t sb_scale_vectors(const sb_model *m, size_t layer) {
  return vectors_between(m, m->arch.layers[layer].first_tensor,
                         m->arch.layers[layer + 1].first_tensor);
}

size_t sb_scale_first_vector(const sb_model *m, size_t norm) {
  return vectors_between(m, m->arch.layers[m->arch.tensors[norm].layer].first_tensor, norm);
}

/* Sums of a block row's groups [rows, blocks] over its rows and over its blocks, behind one
 * another; false where one overflows. */
static bool gather_block_row(const int64_t *groups, size_t rows, size_t blocks, bool with_blocks,
                             int64_t *numbers) {
  int64_t *of_blocks = numbers + rows;
  bool fits = true;
  for (size_t j = 0; with_blocks && j < blocks; j++) of_blocks[j] = 0;
  for (size_t r = 0; r < rows; r++) {
    numbers[r] = 0;
    for (size_t j = 0; j < blocks; j++) {
      const int64_t sum = groups[r * blocks + j];
      fits &= !__builtin_add_overflow(numbers[r], sum, &numbers[r]);
      if (with_blocks) fits &= !__builtin_add_overflow(of_blocks[j], sum, &of_blocks[j]);
    }
  }
  return fits;
}

static bool gather_matrix(const sb_model *m, const sb_tiling *tiling, const int64_t *groups,
                          int64_t *numbers) {
  const sb_code_kind kind = m->blocking.code_kind;
  const size_t blocks = sb_tiling_block_cols(tiling);
  bool fits = true;
  if (!sb_is_trellis(kind)) memcpy(numbers, groups, tiling->rows * blocks * sizeof *numbers);
  for (size_t i = 0; sb_is_trellis(kind) && i < sb_tiling_block_rows(tiling); i++) {
    const size_t rows = sb_tiling_rows_of(tiling, i);
    fits &= gather_block_row(groups, rows, blocks, has_blocks(kind), numbers);
    groups += rows * blocks;
    numbers += rows + (has_blocks(kind) ? blocks : 0);
  }
  return fits;
}

sb_status sb_scale_numbers_gather(const sb_model *m, bool norms, size_t layer,
                                  const int64_t *groups, const int64_t *vectors, int64_t *numbers) {
  const size_t group = m->layer_first + layer, first_group = sb_model_first_group(m, layer);
  bool fits = true;
  for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
    const sb_place *place = &m->places[i];
    const sb_matrix *matrix = sb_model_place_matrix(m, place);
    const size_t cols = m->arch.tensors[place->tensor].cols;
    if (matrix) {
      fits &=
          gather_matrix(m, &matrix->tiling, groups + (matrix->first_group - first_group), numbers);
      numbers += count_rows(m, &matrix->tiling, matrix->tiling.rows);
    } else if (norms) {
      memcpy(numbers, vectors + sb_scale_first_vector(m, place->tensor), cols * sizeof *numbers);
      numbers += cols;
    }
  }
  return fits ? SB_OK : SB_ERR_NUMERIC;
}

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

sb_trained sb_trained_of(const sb_model *m, sb_trained wanted) {
  for (size_t i = 0; i < SB_TABLES; i++) wanted.tables[i] &= m->tables[i].coded;
  return wanted;
}

/* ---- parts: runs of groups, of which some may be missing ---- */

/* Groups of the store that come before a run of parts; those of the run. */
typedef struct run {
  size_t group, count;
} run;
enum { RUNS = 4 };

static void runs_of(const sb_model *m, sb_trained what, run *runs) {
  const sb_table *embedding = &m->tables[0], *head = &m->tables[1];
  runs[0] = (run){embedding->group, what.tables[0] ? embedding->count : 0};
  runs[1] = (run){m->layer_first, m->config.layers};
  runs[2] = (run){m->norm_group, what.norms ? 1 : 0};
  runs[3] = (run){head->group, what.tables[1] ? head->count : 0};
}

size_t sb_scale_parts(const sb_model *m, sb_trained what) {
  run runs[RUNS];
  size_t parts = 0;
  runs_of(m, what, runs);
  for (int i = 0; i < RUNS; i++) parts += runs[i].count;
  return parts;
}

size_t sb_scale_part_group(const sb_model *m, sb_trained what, size_t part) {
  run runs[RUNS];
  int i = 0;
  runs_of(m, what, runs);
  while (part >= runs[i].count) part -= runs[i++].count;
  return runs[i].group + part;
}

size_t sb_scale_group_part(const sb_model *m, sb_trained what, size_t group) {
  run runs[RUNS];
  size_t before = 0;
  int i = 0;
  runs_of(m, what, runs);
  while (group - runs[i].group >= runs[i].count) before += runs[i++].count;
  return before + (group - runs[i].group);
}

/* The matrix of a place whose scales are trained, or NULL. */
static const sb_matrix *trained_matrix(const sb_model *m, sb_trained what, const sb_place *place) {
  const sb_table *table = sb_model_table(m, place->tensor);
  return table && !what.tables[table - m->tables] ? NULL : sb_model_place_matrix(m, place);
}

/* ---- counts ---- */

/* Of the first `rows` rows of a matrix, which end a block row. */
static size_t count_rows(sb_code_kind kind, const sb_tiling *tiling, size_t rows) {
  const size_t across = sb_tiling_block_cols(tiling);
  if (!sb_is_trellis(kind)) return rows * across;
  return rows + (has_blocks(kind) ? sb_div_up(rows, tiling->block_rows) * across : 0);
}

size_t sb_scale_numbers_before(const sb_model *m, sb_trained what, size_t part, size_t end) {
  const size_t group = sb_scale_part_group(m, what, part);
  size_t numbers = 0;
  for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
    const sb_place *place = &m->places[i];
    const sb_matrix *matrix = trained_matrix(m, what, place);
    if (end <= place->first_unit) break;
    if (!matrix) {
      numbers += what.norms ? m->arch.tensors[place->tensor].cols : 0;
      continue;
    }
    const size_t rows = (end - place->first_unit) * matrix->tiling.block_rows;
    numbers +=
        count_rows(sb_model_code_kind(m, matrix), &matrix->tiling, sb_min_size(rows, place->rows));
  }
  return numbers;
}

static size_t count(const sb_sizes *z, sb_trained what, size_t groups, size_t rows, size_t blocks,
                    size_t vectors) {
  const sb_code_kind kind = z->blocking.code_kind;
  const size_t of_matrices = !sb_is_trellis(kind) ? groups : rows + (has_blocks(kind) ? blocks : 0);
  return of_matrices + (what.norms ? vectors : 0);
}

size_t sb_scale_numbers_owned(const sb_sizes *z, sb_trained what) {
  size_t of_tables = 0;
  for (size_t i = 0; i < SB_TABLES; i++) of_tables += what.tables[i] ? z->owned_table_groups[i] : 0;
  return of_tables + count(z, what, z->owned_groups, z->owned_rows, z->owned, z->owned_vectors);
}

size_t sb_scale_numbers_owned_of_a_part(const sb_sizes *z, sb_trained what) {
  return count(z, what, z->owned_groups_of_a_layer, z->owned_rows_of_a_layer, z->owned_of_a_layer,
               z->owned_vectors_of_a_layer);
}

size_t sb_scale_numbers_of_a_layer(const sb_sizes *z, sb_trained what) {
  return count(z, what, z->layer.groups, z->layer.rows, z->layer.blocks, z->layer.vectors);
}

/* ---- places ---- */

/* A walk over a unit. */
typedef struct walk {
  sb_scale_visit visit;
  void *context;
  uint8_t *row;
  const uint8_t *bits; /* of its blocks */
  size_t blocks;
  sb_code_kind code_kind;
} walk;

static void visit_group(void *context, const sb_scale_place *place) {
  const walk *w = context;
  w->visit(w->context, place->r * w->blocks + place->j,
           &(sb_scale_number){.kind = SB_SCALE_GROUP,
                              .code_kind = w->code_kind,
                              .dtype = SB_F16,
                              .bits = sb_alphabet_width(w->bits[place->j]),
                              .row = w->row,
                              .place = *place,
                              .base = place->base == SIZE_MAX ? NULL : w->row + place->base});
}

double sb_scale_number_value(const sb_scale_number *number) {
  float value;
  if (!number->value) return (double)sb_scale_at(number->row, &number->place);
  sb_to_f32(&value, number->value, number->dtype, 1);
  return (double)value;
}

/* A run of numbers without bases; `index`: of the first. */
static void visit_run(const walk *w, sb_scale_kind kind, sb_dtype dtype, size_t index,
                      uint8_t *first, size_t numbers) {
  for (size_t i = 0; i < numbers; i++)
    w->visit(w->context, index + i,
             &(sb_scale_number){.kind = kind,
                                .code_kind = w->code_kind,
                                .dtype = dtype,
                                .bits = kind == SB_SCALE_BLOCK ? w->bits[i] : 0,
                                .value = first + i * sb_dtype_size(dtype)});
}

static void visit_block_row(const walk *w, size_t rows) {
  const sb_code_kind kind = w->code_kind;
  const sb_blockrow_head head = sb_blockrow_head_of(w->blocks, rows, kind);
  visit_run(w, SB_SCALE_ROW, SB_F16, 0, w->row + head.row_factors, rows);
  if (has_blocks(kind)) visit_run(w, SB_SCALE_BLOCK, SB_F16, rows, w->row + head.scales, w->blocks);
}

size_t sb_scale_numbers_visit(const sb_model *m, sb_trained what, const sb_place *place,
                              size_t unit, void *data, sb_scale_visit visit, void *context) {
  const sb_matrix *matrix = trained_matrix(m, what, place);
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  walk w = {.visit = visit, .context = context, .row = data};
  if (!matrix) {
    const size_t channels = what.norms && t->dims == 1 ? t->cols : 0;
    visit_run(&w, SB_SCALE_NORM, m->dtypes[place->tensor], 0, data, channels);
    return channels;
  }
  const sb_code_kind kind = sb_model_code_kind(m, matrix);
  const size_t index = sb_place_block_row(m, place, unit),
               rows = sb_tiling_rows_of(&matrix->tiling, index);
  w.code_kind = kind;
  w.blocks = sb_tiling_block_cols(&matrix->tiling);
  w.bits = m->bits + matrix->first_block + index * w.blocks;
  if (sb_is_trellis(kind))
    visit_block_row(&w, rows);
  else
    sb_blockrow_scales(&matrix->tiling, index, w.bits, kind, visit_group, &w);
  return count_rows(kind, &matrix->tiling, rows);
}

/* ---- sums ---- */

bool sb_scale_numbers_are_groups(sb_code_kind code_kind, sb_trained what) {
  return !what.norms && !sb_is_trellis(code_kind);
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

sb_status sb_scale_numbers_gather(const sb_model *m, sb_trained what, size_t layer,
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
      numbers += count_rows(m->blocking.code_kind, &matrix->tiling, matrix->tiling.rows);
    } else if (what.norms) {
      memcpy(numbers, vectors + sb_scale_first_vector(m, place->tensor), cols * sizeof *numbers);
      numbers += cols;
    }
  }
  return fits ? SB_OK : SB_ERR_NUMERIC;
}

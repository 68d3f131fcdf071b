#include "folders/transcode.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "folders/module_names.h"
#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "kernels/blockrow.h"
#include "kernels/code_kind.h"
#include "kernels/shared/code_traits.h"

enum { NAME_SIZE = 128 };

typedef struct job {
  const sb_code_format *format;
  sb_model *m;
  const char *source;
  sb_dtype dtype;
  sb_coded_matrix *matrices; /* [arch.count] by tensor; width 0: not quantized */
  sb_tensor_spec *specs;     /* [count] */
  char (*names)[NAME_SIZE];  /* [count] of parts */
  size_t *first;             /* [arch.count] number of the first spec of each tensor of the model */
  size_t count;
  double bits;
  int variant;
  sb_hf_folder *folder;
  uint8_t *codes; /* of the largest block row */
  sb_grid *grids;
  uint32_t *words, *also;
  size_t done, total; /* units of this rank */
  sb_ticker ticker;
} job;

float sb_number_as(void *out, sb_dtype to, float value) {
  const uint16_t half = to == SB_BF16 ? sb_f32_to_bf16(value) : sb_f32_to_f16(value);
  if (to == SB_F32) {
    memcpy(out, &value, sizeof value);
    return value;
  }
  memcpy(out, &half, sizeof half);
  return to == SB_BF16 ? sb_bf16_to_f32(half) : sb_f16_to_f32(half);
}

bool sb_grid_scale_as(void *scale, sb_dtype to, const sb_grid *grid) {
  return sb_number_as(scale, to, grid->scale) == grid->scale;
}

sb_dtype sb_transcode_dtype(const sb_model *m) {
  const size_t embedding = sb_arch_index(&m->arch, SB_ROLE_EMBED, 0);
  const bool fits = sb_scale_significant_bits(m->blocking.code_kind) <= 8;
  return fits && m->dtypes[embedding] != SB_F16 ? SB_BF16 : SB_F16;
}

/* ---- what is written ---- */

/* The largest power of two that divides the columns of all quantized matrices; at most 128. */
static size_t common_group(const sb_model *m) {
  size_t group = 128;
  for (size_t i = 0; i < m->arch.matrix_count; i++)
    while (m->arch.tensors[m->arch.matrices[i]].cols % group != 0) group /= 2;
  return group;
}

static sb_status check_widths(const job *j, const sb_matrix *matrix) {
  const sb_model_tensor *t = &j->m->arch.tensors[matrix->tensor];
  const uint8_t *bits = j->m->bits + matrix->first_block;
  const size_t blocks =
      sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
  for (size_t b = 0; b < blocks; b++)
    if (bits[b] != bits[0])
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s has blocks of %d and of %d bits, and --format %s has one width for each "
                     "matrix; quantize with --widths-for %s",
                     t->name, bits[0], bits[b], j->format->name, j->format->reader);
  return SB_OK;
}

/* A matrix as all formats must have it; *out says what it is. */
static sb_status check_matrix(const job *j, const sb_matrix *matrix, sb_coded_matrix *out) {
  const sb_model *m = j->m;
  const sb_model_tensor *t = &m->arch.tensors[matrix->tensor];
  const sb_code_kind kind = sb_model_code_kind(m, matrix);
  const size_t group = sb_min_size(matrix->tiling.block_cols, t->cols);
  if (sb_is_trellis(kind))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: its codes are of kind %s, and --format %s takes those of grids; quantize "
                   "with --codes grid",
                   j->source, sb_code_kind_names[kind], j->format->name);
  if (m->orders.mode == SB_REORDER_INDEXED)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: its channels are in orders of their own, which --format %s does not have; "
                   "quantize with --reorder fused or none",
                   j->source, j->format->name);
  if (t->cols % group != 0)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has %zu columns, and --format %s takes groups that divide them, not of %zu; "
                   "quantize with --block 128x%zu",
                   t->name, t->cols, j->format->name, group, common_group(m));
  SB_TRY(check_widths(j, matrix));
  *out = (sb_coded_matrix){.tensor = t,
                           .code_kind = kind,
                           .width = m->bits[matrix->first_block],
                           .group = group,
                           .groups = t->cols / group,
                           .block_rows = sb_min_size(matrix->tiling.block_rows, t->rows)};
  return j->format->check(m, out);
}

sb_status sb_coded_check_grids(const sb_coded_matrix *matrix, const char *format) {
  enum { WORD = 32 };
  const sb_model_tensor *t = matrix->tensor;
  if (matrix->width < 2)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has codes of 1 bit, and %s takes 2 to 8; quantize with %s", t->name, format,
                   t->is_linear ? "--min-bits 2" : "--head-bits 16 --embed-bits 16");
  if (!sb_has_whole_center(matrix->code_kind, matrix->width))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s is on grids around half a code, and %s takes whole zero points; quantize "
                   "with --grid-kind signed or asymmetric",
                   t->name, format);
  if (sb_has_zero_point(matrix->code_kind, matrix->width) && matrix->block_rows < t->rows &&
      matrix->block_rows * matrix->width % WORD != 0)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s has blocks of %zu rows, whose zero points of %u bits fill no whole words; "
                   "quantize with --block 128x%zu",
                   t->name, matrix->block_rows, matrix->width, matrix->group);
  return SB_OK;
}

static const sb_matrix *matrix_of(const sb_model *m, size_t tensor) {
  const sb_model_tensor *t = &m->arch.tensors[tensor];
  const sb_table *table = sb_model_table(m, tensor);
  if (t->is_linear) return sb_model_matrix(m, t->layer, t->matrix);
  return table && table->coded ? &table->matrix : NULL;
}

static void list_parts(job *j, size_t tensor) {
  const sb_model_tensor *t = &j->m->arch.tensors[tensor];
  sb_tensor_spec parts[SB_CODE_PARTS] = {0};
  const size_t count = j->format->parts(&j->matrices[tensor], j->dtype, parts);
  for (size_t p = 0; p < count; p++) {
    char *name = j->names[j->count];
    snprintf(name, NAME_SIZE, "%.*s.%s", sb_module_length(t), t->name, parts[p].name);
    parts[p].name = name;
    j->specs[j->count++] = parts[p];
  }
}

static sb_status list(job *j) {
  const sb_model *m = j->m;
  const size_t coded = m->arch.matrix_count + m->table_count,
               most = m->arch.count + (SB_CODE_PARTS - 1) * coded;
  double weights = 0, codes = 0;
  SB_TRY(sb_alloc(&j->matrices, m->arch.count, sizeof *j->matrices, "matrices"));
  SB_TRY(sb_alloc(&j->specs, most, sizeof *j->specs, "tensors"));
  SB_TRY(sb_alloc(&j->names, most, sizeof *j->names, "names of tensors"));
  SB_TRY(sb_alloc(&j->first, m->arch.count, sizeof *j->first, "tensors"));
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    const sb_matrix *matrix = matrix_of(m, i);
    j->first[i] = j->count;
    if (!matrix) {
      j->specs[j->count++] = sb_hf_folder_spec(t, j->dtype);
      continue;
    }
    SB_TRY(check_matrix(j, matrix, &j->matrices[i]));
    list_parts(j, i);
    weights += (double)(t->rows * t->cols);
    codes += (double)(t->rows * t->cols * j->matrices[i].width);
  }
  j->bits = weights > 0 ? codes / weights : 0;
  if (j->format->variant) j->variant = j->format->variant(m, j->matrices);
  return SB_OK;
}

/* ---- tensors, by all ranks ---- */

static sb_status write_coded(job *j, const sb_place *place, size_t unit, const void *data) {
  const sb_matrix *matrix = sb_model_place_matrix(j->m, place);
  const sb_coded_matrix *coded = &j->matrices[place->tensor];
  const size_t row = sb_place_block_row(j->m, place, unit);
  const sb_part_writer to = {j->folder, j->first[place->tensor], j->dtype, j->variant};
  sb_coded_rows rows = {.codes = j->codes, .grids = j->grids, .words = j->words, .also = j->also};
  sb_place_rows(j->m, place, unit, &rows.first, &rows.count);
  sb_blockrow_unpack(j->grids, j->codes, data, &matrix->tiling, row, coded->code_kind);
  return j->format->write(&to, coded, &rows);
}

static sb_status write_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                            void *data) {
  job *j = context;
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  if (j->matrices[place->tensor].width > 0)
    SB_TRY(write_coded(j, place, unit, data));
  else
    SB_TRY(sb_hf_folder_write_as(j->folder, j->first[place->tensor],
                                 &m->arch.tensors[place->tensor], first, rows, data,
                                 m->dtypes[place->tensor], j->dtype));
  j->done++;
  sb_tick(j->ticker, (double)j->done / (double)j->total);
  return SB_OK;
}

static sb_status write_tensors(void *context, sb_hf_folder *folder) {
  job *j = context;
  size_t weights = 0, rows = 0, groups = 0;
  for (size_t i = 0; i < j->m->arch.count; i++) {
    const sb_coded_matrix *coded = &j->matrices[i];
    if (coded->width == 0) continue;
    weights = sb_max_size(weights, coded->block_rows * coded->tensor->cols);
    groups = sb_max_size(groups, coded->block_rows * coded->groups);
    rows = sb_max_size(rows, coded->block_rows);
  }
  SB_TRY(sb_alloc_raw(&j->codes, weights, 1, "codes of a block row"));
  SB_TRY(sb_alloc_raw(&j->grids, groups, sizeof *j->grids, "grids of a block row"));
  SB_TRY(sb_alloc_raw(&j->words, weights + 4 * rows, sizeof *j->words, "words of a block row"));
  SB_TRY(sb_alloc_raw(&j->also, weights + 4 * rows, sizeof *j->also, "words of a block row"));
  j->folder = folder;
  j->total = sb_model_owned_units(j->m);
  return sb_model_visit_owned(j->m, write_unit, j);
}

/* ---- rank 0: the small files ---- */

static sb_status write_beside(void *context, const char *folder) {
  const job *j = context;
  char path[SB_PATH_MAX];
  sb_manifest manifest = {0};
  SB_TRY(sb_path_join(path, folder, "config.json"));
  SB_TRY(sb_manifest_read(j->source, &manifest));
  json_t *config = json_object_get(manifest.model, "config");
  sb_hf_folder_set_dtype(config, j->dtype);
  json_object_set_new(config, "quantization_config",
                      j->format->config(j->m, j->matrices, j->variant));
  if (j->format->also)
    json_object_set(config, j->format->also, json_object_get(config, "quantization_config"));
  const sb_status status = sb_json_write(path, config);
  sb_manifest_free(&manifest);
  return status;
}

sb_status sb_transcode(const sb_code_format *format, sb_model *m, const char *source,
                       sb_destination *out, sb_dtype dtype, uint64_t file_bytes, sb_ticker ticker,
                       sb_hf_folder_stats *stats, double *bits) {
  job j = {.format = format, .m = m, .source = source, .dtype = dtype, .ticker = ticker};
  sb_status status = sb_world_agree(m->world, list(&j));
  if (status == SB_OK) {
    const sb_hf_folder_setup setup = {.world = m->world,
                                      .specs = j.specs,
                                      .count = j.count,
                                      .out = out,
                                      .file_bytes = file_bytes,
                                      .context = &j,
                                      .tensors = write_tensors,
                                      .beside = write_beside};
    status = sb_hf_folder_make(&setup, stats);
  }
  *bits = j.bits;
  sb_free(&j.matrices);
  sb_free(&j.specs);
  sb_free(&j.names);
  sb_free(&j.first);
  sb_free(&j.codes);
  sb_free(&j.grids);
  sb_free(&j.words);
  sb_free(&j.also);
  return status;
}

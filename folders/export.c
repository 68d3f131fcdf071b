#include "folders/export.h"

#include <jansson.h>
#include <string.h>

#include "base/memory.h"
#include "folders/companions.h"
#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "kernels/blockrow.h"

typedef struct job {
  sb_model *m;
  const char *source; /* output folder whose codes are dequantized; else NULL */
  bool as_source;     /* every tensor in its own type, in place of dtype */
  sb_dtype dtype;
  sb_hf_folder *folder;
  void *row;          /* one block row in the type it is written in */
  void *placed;       /* one row of it, its columns back in their places */
  float *wide;        /* the same in float32 */
  size_t done, total; /* units of this rank */
  sb_ticker ticker;
} job;

static sb_dtype type_of(const job *j, size_t tensor) {
  return j->as_source ? j->m->dtypes[tensor] : j->dtype;
}

/* Row i of the block row at j->row, which is in its matrix's order of columns, in the file's. */
static const void *row_in_place(const job *j, size_t i, size_t cols, const uint32_t *order) {
  const size_t size = sb_dtype_size(j->dtype);
  const char *from = (const char *)j->row + i * cols * size;
  if (!order) return from;
  if (size == 4)
    for (size_t c = 0; c < cols; c++)
      ((uint32_t *)j->placed)[order[c]] = ((const uint32_t *)from)[c];
  else
    for (size_t c = 0; c < cols; c++)
      ((uint16_t *)j->placed)[order[c]] = ((const uint16_t *)from)[c];
  return j->placed;
}

/* The rows of a matrix whose rows are in an order of their own, each to its place. */
static sb_status write_ordered(job *j, const sb_place *place, size_t first, size_t rows) {
  const size_t cols = j->m->arch.tensors[place->tensor].cols,
               bytes = cols * sb_dtype_size(j->dtype);
  const uint32_t *row_order = sb_orders_rows(&j->m->orders, place->tensor),
                 *col_order = sb_orders_cols(&j->m->orders, place->tensor);
  for (size_t i = 0; i < rows; i++)
    SB_TRY(sb_hf_folder_write(j->folder, place->tensor, (uint64_t)row_order[first + i] * bytes,
                              bytes, row_in_place(j, i, cols, col_order)));
  return SB_OK;
}

/* A unit of a model of codes, dequantized to `type`. */
static void decode(const job *j, const sb_place *place, size_t unit, const void *data, void *out,
                   sb_dtype type) {
  const sb_matrix *matrix = sb_model_place_matrix(j->m, place);
  sb_blockrow_decode(out, type, data, &matrix->tiling, sb_place_block_row(j->m, place, unit), 0,
                     sb_tiling_block_cols(&matrix->tiling), sb_model_code_kind(j->m, matrix),
                     sb_model_col_factors(j->m, matrix));
}

static bool is_coded(const job *j, const sb_place *place) {
  return j->m->coding == SB_CODING_CODES && sb_model_place_matrix(j->m, place);
}

/* A value of the decoded block row that is finite, but not in the type written. */
static sb_status check_range(const job *j, const sb_place *place, size_t unit, const void *data,
                             size_t first, size_t rows) {
  const sb_model_tensor *t = &j->m->arch.tensors[place->tensor];
  const size_t count = rows * t->cols, at = sb_first_infinite(j->row, j->dtype, count);
  if (j->dtype == SB_F32 || at == count) return SB_OK;
  decode(j, place, unit, data, j->wide, SB_F32);
  return sb_hf_folder_range_error(t, first + at / t->cols, at % t->cols, j->wide[at], j->dtype);
}

static sb_status write_coded(job *j, const sb_place *place, size_t unit, const void *data,
                             size_t first, size_t rows) {
  const sb_model_tensor *t = &j->m->arch.tensors[place->tensor];
  const size_t row_bytes = t->cols * sb_dtype_size(j->dtype);
  decode(j, place, unit, data, j->row, j->dtype);
  SB_TRY(check_range(j, place, unit, data, first, rows));
  if (t->is_linear && j->m->orders.mode == SB_REORDER_INDEXED)
    return write_ordered(j, place, first, rows);
  return sb_hf_folder_write(j->folder, place->tensor, (uint64_t)first * row_bytes, rows * row_bytes,
                            j->row);
}

static sb_status write_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                            void *data) {
  job *j = context;
  const size_t tensor = place->tensor;
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  if (is_coded(j, place))
    SB_TRY(write_coded(j, place, unit, data, first, rows));
  else
    SB_TRY(sb_hf_folder_write_as(j->folder, tensor, &m->arch.tensors[tensor], first, rows, data,
                                 m->dtypes[tensor], type_of(j, tensor)));
  j->done++;
  sb_tick(j->ticker, (double)j->done / (double)j->total);
  return SB_OK;
}

static sb_status write_rows(void *context, sb_hf_folder *folder) {
  job *j = context;
  j->folder = folder;
  size_t most = 0, widest = 0;
  for (size_t i = 0; i < j->m->arch.count; i++) {
    const sb_model_tensor *t = &j->m->arch.tensors[i];
    size_t elements = sb_min_size(t->rows, j->m->blocking.rows) * t->cols;
    if (elements > most) most = elements;
    widest = sb_max_size(widest, t->cols);
  }
  SB_TRY(sb_alloc_raw(&j->row, most, sizeof(float), "block row"));
  SB_TRY(sb_alloc_raw(&j->placed, widest, sizeof(float), "row"));
  SB_TRY(sb_alloc_raw(&j->wide, most, sizeof *j->wide, "block row"));
  j->total = sb_model_owned_units(j->m);
  return sb_model_visit_owned(j->m, write_unit, j);
}

/* ---- rank 0: the small files ---- */

/* Over the source's copy: its configuration, with the type that is written here. */
static sb_status write_config(const job *j, const char *folder) {
  char path[SB_PATH_MAX];
  sb_manifest manifest = {0};
  SB_TRY(sb_path_join(path, folder, "config.json"));
  SB_TRY(sb_manifest_read(j->source, &manifest));
  json_t *config = json_object_get(manifest.model, "config");
  sb_hf_folder_set_dtype(config, j->dtype);
  sb_status status = sb_json_write(path, config);
  sb_manifest_free(&manifest);
  return status;
}

static sb_status write_beside(void *context, const char *folder) {
  const job *j = context;
  json_t *config;
  if (j->source) return write_config(j, folder);
  if (!j->as_source) return sb_hf_folder_restate(folder, &j->m->config, j->dtype);
  const sb_status status = sb_companions_restate(folder, &j->m->config, &config);
  json_decref(config);
  return status;
}

static sb_status export(job *j, sb_destination *out, uint64_t file_bytes,
                        sb_hf_folder_stats *stats) {
  const sb_world *world = j->m->world;
  const size_t count = j->m->arch.count;
  sb_tensor_spec *specs = NULL;
  SB_AGREE(world, sb_alloc(&specs, count, sizeof *specs, "tensors"));
  for (size_t i = 0; i < count; i++)
    specs[i] = sb_hf_folder_spec(&j->m->arch.tensors[i], type_of(j, i));
  const sb_hf_folder_setup setup = {.world = world,
                                    .specs = specs,
                                    .count = count,
                                    .out = out,
                                    .file_bytes = file_bytes,
                                    .context = j,
                                    .tensors = write_rows,
                                    .beside = write_beside};
  const sb_status status = sb_hf_folder_make(&setup, stats);
  sb_free(&specs);
  sb_free(&j->row);
  sb_free(&j->placed);
  sb_free(&j->wide);
  return status;
}

sb_status sb_export_dequantized(sb_model *m, const char *source, sb_destination *out,
                                sb_dtype dtype, uint64_t file_bytes, sb_ticker ticker,
                                sb_hf_folder_stats *stats) {
  job j = {.m = m, .source = source, .dtype = dtype, .ticker = ticker};
  return export(&j, out, file_bytes, stats);
}

sb_status sb_export_source(sb_model *m, sb_destination *out, uint64_t file_bytes, sb_ticker ticker,
                           sb_hf_folder_stats *stats) {
  job j = {.m = m, .as_source = true, .ticker = ticker};
  return export(&j, out, file_bytes, stats);
}

sb_status sb_export_as(sb_model *m, sb_destination *out, sb_dtype dtype, uint64_t file_bytes,
                       sb_ticker ticker, sb_hf_folder_stats *stats) {
  job j = {.m = m, .dtype = dtype, .ticker = ticker};
  return export(&j, out, file_bytes, stats);
}

uint64_t sb_export_source_bytes(const sb_model *m) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < m->arch.count; i++)
    bytes +=
        (uint64_t)m->arch.tensors[i].rows * m->arch.tensors[i].cols * sb_dtype_size(m->dtypes[i]);
  return bytes;
}

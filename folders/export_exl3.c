#include "folders/export_exl3.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "folders/module_names.h"
#include "io/bytes.h"
#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "kernels/code_kind.h"
#include "kernels/shared/blockrow_layout.h"
#include "model/exl3.h"

static const uint32_t MUL1 = 0x83DCD12Du;   /* the multiplier of its levels */
static const char *const VERSION = "1.4.1"; /* of exllamav3, whose format this is */
enum { FP16_ONE = 0x3c00, HEAD_BITS = 16 };

/* The tensors of a matrix, in this order. */
enum { TRELLIS, SUH, SVH, MARKER, PARTS };
static const char *const part_names[PARTS] = {"trellis", "suh", "svh", "mul1"};

typedef char tensor_name[128];

typedef struct job {
  sb_model *m;
  const char *source;
  sb_tensor_spec *specs; /* [count] */
  tensor_name *names;    /* [count] of them; "" for names of the model */
  size_t *first;         /* [arch.count] number of the first spec of each tensor of the model */
  size_t count;
  double bits;
  sb_hf_folder *folder;
  size_t done, total; /* units of this rank */
  sb_ticker ticker;
} job;

/* ---- what is written ---- */

static void list_matrix(job *j, const sb_model_tensor *t, unsigned width) {
  const sb_tensor_spec parts[PARTS] = {
      [TRELLIS] = {.dtype = SB_I16,
                   .dims = 3,
                   .shape = {t->cols / SB_EXL3_TILE, t->rows / SB_EXL3_TILE,
                             (size_t)SB_EXL3_TILE * width}},
      [SUH] = {.dtype = SB_F16, .dims = 1, .shape = {t->cols}},
      [SVH] = {.dtype = SB_F16, .dims = 1, .shape = {t->rows}},
      [MARKER] = {.dtype = SB_I32, .dims = 0}};
  for (int p = 0; p < PARTS; p++) {
    snprintf(j->names[j->count], sizeof *j->names, "%.*s.%s", sb_module_length(t), t->name,
             part_names[p]);
    j->specs[j->count] = parts[p];
    j->specs[j->count].name = j->names[j->count];
    j->count++;
  }
}

static sb_status list(job *j) {
  const sb_model *m = j->m;
  const size_t most = m->arch.count + (PARTS - 1) * m->arch.matrix_count;
  size_t weights = 0, codes = 0;
  if (m->blocking.code_kind != SB_TRELLIS_EXL3)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: its codes are of kind %s, and --format exl3 takes those of quantize "
                   "--widths-for exl3",
                   j->source, sb_code_kind_names[m->blocking.code_kind]);
  for (size_t i = 0; i < m->table_count; i++)
    if (m->tables[i].coded)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s: %s is on grids of mixed widths, which EXL3 does not have; quantize with "
                     "--head-bits 16 --embed-bits 16",
                     j->source, m->arch.tensors[m->tables[i].matrix.tensor].name);
  SB_TRY(sb_exl3_check_sides(&m->arch));
  SB_TRY(sb_exl3_check_widths(m));
  SB_TRY(sb_alloc(&j->specs, most, sizeof *j->specs, "tensors"));
  SB_TRY(sb_alloc(&j->names, most, sizeof *j->names, "names of tensors"));
  SB_TRY(sb_alloc(&j->first, m->arch.count, sizeof *j->first, "tensors"));
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    j->first[i] = j->count;
    if (!t->is_linear) {
      j->specs[j->count++] = sb_hf_folder_spec(t, m->dtypes[i]);
      continue;
    }
    const unsigned width = sb_exl3_width(m, sb_model_matrix(m, t->layer, t->matrix));
    list_matrix(j, t, width);
    weights += t->rows * t->cols;
    codes += t->rows * t->cols * width;
  }
  j->bits = weights ? (double)codes / (double)weights : 0;
  return SB_OK;
}

/* ---- tensors, by all ranks ---- */

/* Rows [first, first + rows) of a matrix. A block's tiles lie column of tiles after column, each
 * from top to bottom, as EXL3 has them in the transposed matrix. */
static sb_status write_block_row(job *j, const sb_place *place, size_t unit, const uint8_t *data) {
  const sb_model_tensor *t = &j->m->arch.tensors[place->tensor];
  const sb_matrix *matrix = sb_model_place_matrix(j->m, place);
  const sb_tiling *tiling = &matrix->tiling;
  const size_t spec = j->first[place->tensor], blocks = sb_tiling_block_cols(tiling);
  size_t first, rows;
  sb_place_rows(j->m, place, unit, &first, &rows);
  const sb_blockrow_head head = sb_blockrow_head_of(blocks, rows, SB_TRELLIS_EXL3);
  const sb_trellis trellis = sb_trellis_of(SB_TRELLIS_EXL3, sb_exl3_width(j->m, matrix));
  const size_t tile = sb_trellis_tile_bytes(&trellis), run = rows / SB_EXL3_TILE * tile,
               column = t->rows / SB_EXL3_TILE * tile;
  for (size_t b = 0; b < blocks; b++)
    if (sb_element16(data + head.scales, b) != FP16_ONE)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: %s has a block with a scale, and EXL3 has none; the folder is damaged, "
                     "quantize again",
                     j->source, t->name);
  for (size_t c = 0; c < t->cols / SB_EXL3_TILE; c++)
    SB_TRY(sb_hf_folder_write(j->folder, spec + TRELLIS, c * column + first / SB_EXL3_TILE * tile,
                              run, data + head.codes + c * run));
  return sb_hf_folder_write(j->folder, spec + SVH, first * sizeof(uint16_t),
                            rows * sizeof(uint16_t), data + head.row_factors);
}

/* What a matrix has once, by the rank that has its first rows. */
static sb_status write_once(const job *j, const sb_place *place) {
  const size_t spec = j->first[place->tensor];
  char marker[4];
  sb_put_u32(marker, MUL1);
  SB_TRY(sb_hf_folder_write(j->folder, spec + SUH, 0,
                            j->m->arch.tensors[place->tensor].cols * sizeof(uint16_t),
                            sb_model_col_factors(j->m, sb_model_place_matrix(j->m, place))));
  return sb_hf_folder_write(j->folder, spec + MARKER, 0, sizeof marker, marker);
}

static sb_status write_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                            void *data) {
  job *j = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  if (t->is_linear) {
    SB_TRY(write_block_row(j, place, unit, data));
    if (first == 0) SB_TRY(write_once(j, place));
  } else {
    const size_t bytes = sb_model_row_bytes(m, place->tensor);
    SB_TRY(sb_hf_folder_write(j->folder, j->first[place->tensor], (uint64_t)first * bytes,
                              rows * bytes, data));
  }
  j->done++;
  sb_tick(j->ticker, (double)j->done / (double)j->total);
  return SB_OK;
}

static sb_status write_tensors(void *context, sb_hf_folder *folder) {
  job *j = context;
  j->folder = folder;
  j->total = sb_model_owned_units(j->m);
  return sb_model_visit_owned(j->m, write_unit, j);
}

/* ---- rank 0: the small files ---- */

static json_t *describe_tensor(const sb_tensor_spec *spec) {
  static const char *const torch[SB_DTYPE_COUNT] = {[SB_F32] = "torch.float32",
                                                    [SB_F16] = "torch.float16",
                                                    [SB_BF16] = "torch.bfloat16",
                                                    [SB_I16] = "torch.int16",
                                                    [SB_I32] = "torch.int32"};
  json_t *shape = json_array();
  json_int_t bytes = (json_int_t)sb_dtype_size(spec->dtype);
  for (size_t d = 0; d < spec->dims; d++) {
    json_array_append_new(shape, json_integer((json_int_t)spec->shape[d]));
    bytes *= (json_int_t)spec->shape[d];
  }
  return json_pack("{s:o, s:I, s:s}", "shape", shape, "n_bytes", bytes, "dtype",
                   torch[spec->dtype]);
}

/* Module by module: names, shapes and types of its tensors; of a coded one its width. */
static json_t *tensor_storage(const job *j) {
  const sb_model *m = j->m;
  json_t *storage = json_object();
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    json_t *stored = json_object(), *module = json_pack("{s:o}", "stored_tensors", stored);
    tensor_name key;
    snprintf(key, sizeof key, "%.*s", sb_module_length(t), t->name);
    for (size_t s = j->first[i]; s < j->first[i] + (t->is_linear ? PARTS : 1); s++)
      json_object_set_new(stored, j->specs[s].name, describe_tensor(&j->specs[s]));
    if (t->is_linear) {
      const unsigned width = sb_exl3_width(m, sb_model_matrix(m, t->layer, t->matrix));
      json_object_set_new(module, "quant_format", json_string("exl3"));
      json_object_set_new(module, "bits_per_weight", json_integer(width));
      json_object_set_new(module, "mul1_multiplier", json_integer(MUL1));
    }
    json_object_set_new(storage, key, module);
  }
  return storage;
}

static sb_status write_beside(void *context, const char *folder) {
  const job *j = context;
  char path[SB_PATH_MAX];
  sb_manifest manifest = {0};
  SB_TRY(sb_path_join(path, folder, "config.json"));
  SB_TRY(sb_manifest_read(j->source, &manifest));
  json_t *config = json_object_get(manifest.model, "config");
  json_t *quantization =
      json_pack("{s:s, s:s, s:f, s:i, s:s, s:s}", "quant_method", "exl3", "version", VERSION,
                "bits", round(100 * j->bits) / 100, "head_bits", HEAD_BITS, "out_scales", "always",
                "codebook", "mul1");
  json_object_set(config, "quantization_config", quantization);
  sb_status status = sb_json_write(path, config);
  json_object_del(config, "quantization_config");
  json_object_set_new(quantization, "tensor_storage", tensor_storage(j));
  SB_THEN(sb_path_join(path, folder, "quantization_config.json"));
  SB_THEN(sb_json_write(path, quantization));
  json_decref(quantization);
  sb_manifest_free(&manifest);
  return status;
}

sb_status sb_export_exl3(sb_model *m, const char *source, sb_destination *out, uint64_t file_bytes,
                         sb_ticker ticker, sb_hf_folder_stats *stats, double *bits) {
  job j = {.m = m, .source = source, .ticker = ticker};
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
  sb_free(&j.specs);
  sb_free(&j.names);
  sb_free(&j.first);
  return status;
}

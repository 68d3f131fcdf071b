#include "model/export.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "io/outdir.h"
#include "io/safetensors_writer.h"
#include "kernels/blockrow.h"
#include "model/companions.h"
#include "mpi/cleanup.h"
#include "mpi/large.h"

/* Which file a tensor goes into, and its place there. */
typedef struct target {
  size_t file, index;
} target;

typedef struct job {
  sb_model *m;
  bool as_source; /* every tensor in its own type, in place of dtype */
  sb_dtype dtype;
  sb_tensor_spec
      *specs;      /* [arch.count] in the order of the architecture, so those of a file are neighbours */
  target *targets; /* [arch.count] */
  size_t *first;   /* [files + 1] first tensor of each file */
  size_t files;
  sb_safetensors_writer **writers; /* [files] */
  void *row;                       /* one block row in the type it is written in */
  void *placed;                    /* one row of it, its columns back in their places */
  float *wide;                     /* the same in float32 */
  size_t done, total;              /* units of this rank */
  void (*tick)(void *context, double done);
  void *context;
} job;

static sb_dtype type_of(const job *j, size_t tensor) {
  return j->as_source ? j->m->dtypes[tensor] : j->dtype;
}

static const char *const metadata[] = {"format", "pt", NULL};

/* Tensors in order, a new file where the next one would not fit. */
static sb_status deal(job *j, uint64_t file_bytes) {
  const sb_arch *arch = &j->m->arch;
  uint64_t bytes = 0;
  SB_TRY(sb_alloc(&j->specs, arch->count, sizeof *j->specs, "tensors"));
  SB_TRY(sb_alloc(&j->targets, arch->count, sizeof *j->targets, "tensors"));
  SB_TRY(sb_alloc(&j->first, arch->count + 1, sizeof *j->first, "tensors"));
  for (size_t i = 0; i < arch->count; i++) {
    const sb_model_tensor *t = &arch->tensors[i];
    uint64_t size = (uint64_t)t->rows * t->cols * sb_dtype_size(type_of(j, i));
    j->specs[i] = (sb_tensor_spec){.name = t->name, .dtype = type_of(j, i), .rank = t->rank};
    j->specs[i].shape[0] = t->rank == 1 ? t->cols : t->rows;
    j->specs[i].shape[1] = t->rank == 1 ? 0 : t->cols;
    if (i == 0 || bytes + size > file_bytes) {
      j->first[j->files++] = i;
      bytes = 0;
    }
    bytes += size;
    j->targets[i] = (target){j->files - 1, i - j->first[j->files - 1]};
  }
  j->first[j->files] = arch->count;
  return sb_alloc(&j->writers, j->files, sizeof *j->writers, "files");
}

static void file_name(const job *j, size_t file, char *out, size_t size) {
  if (j->files == 1)
    snprintf(out, size, "model.safetensors");
  else
    snprintf(out, size, "model-%05zu-of-%05zu.safetensors", file + 1, j->files);
}

/* Rank 0 creates what the others then join. */
static sb_status open_files(job *j, const char *folder) {
  for (size_t f = 0; f < j->files; f++) {
    char name[64], path[SB_PATH_MAX];
    const sb_tensor_spec *specs = j->specs + j->first[f];
    size_t count = j->first[f + 1] - j->first[f];
    file_name(j, f, name, sizeof name);
    SB_TRY(sb_path_join(path, folder, name));
    SB_TRY(j->m->world->rank == 0 ? sb_safetensors_writer_create(path, specs, count, metadata, &j->writers[f])
                                  : sb_safetensors_writer_join(path, specs, count, metadata, &j->writers[f]));
  }
  return SB_OK;
}

/* Row i of the block row at j->row, which is in its matrix's order of columns, in the file's. */
static const void *row_in_place(const job *j, size_t i, size_t cols, const uint32_t *order) {
  const size_t size = sb_dtype_size(j->dtype);
  const char *from = (const char *)j->row + i * cols * size;
  if (!order) return from;
  if (size == 4)
    for (size_t c = 0; c < cols; c++) ((uint32_t *)j->placed)[order[c]] = ((const uint32_t *)from)[c];
  else
    for (size_t c = 0; c < cols; c++) ((uint16_t *)j->placed)[order[c]] = ((const uint16_t *)from)[c];
  return j->placed;
}

/* The rows of a matrix whose rows are in an order of their own, each to its place. */
static sb_status write_ordered(job *j, const sb_place *place, size_t first, size_t rows) {
  const target *to = &j->targets[place->tensor];
  const size_t cols = j->m->arch.tensors[place->tensor].cols, bytes = cols * sb_dtype_size(j->dtype);
  const uint32_t *row_order = sb_orders_rows(&j->m->orders, place->tensor),
                 *col_order = sb_orders_cols(&j->m->orders, place->tensor);
  for (size_t i = 0; i < rows; i++)
    SB_TRY(sb_safetensors_writer_write(j->writers[to->file], to->index,
                                       (uint64_t)row_order[first + i] * bytes, bytes,
                                       row_in_place(j, i, cols, col_order)));
  return SB_OK;
}

static sb_status write_unit(void *context, sb_model *m, const sb_place *place, size_t unit, void *data) {
  job *j = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const target *to = &j->targets[place->tensor];
  const sb_dtype type = type_of(j, place->tensor);
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  if (t->is_linear && m->coding == SB_CODING_PACKED) {
    const sb_grid_shape *grid = &sb_model_matrix(m, t->layer, sb_linear_of_role(t->role))->grid;
    sb_blockrow_decode(j->row, type, data, grid, unit, 0, sb_grid_block_cols(grid), m->blocking.symmetry);
  } else if (m->dtypes[place->tensor] == type) {
    memcpy(j->row, data, rows * t->cols * sb_dtype_size(type));
  } else {
    sb_to_f32(j->wide, data, m->dtypes[place->tensor], rows * t->cols);
    sb_from_f32(j->row, type, j->wide, rows * t->cols);
  }
  size_t row_bytes = t->cols * sb_dtype_size(type);
  if (t->is_linear && m->orders.mode == SB_REORDER_INDEXED)
    SB_TRY(write_ordered(j, place, first, rows));
  else
    SB_TRY(sb_safetensors_writer_write(j->writers[to->file], to->index, (uint64_t)first * row_bytes,
                                       rows * row_bytes, j->row));
  j->done++;
  if (j->tick) j->tick(j->context, (double)j->done / (double)j->total);
  return SB_OK;
}

static sb_status count_unit(void *context, sb_model *m, const sb_place *place, size_t unit, void *data) {
  (void)m, (void)place, (void)unit, (void)data;
  ((job *)context)->total++;
  return SB_OK;
}

static sb_status write_rows(job *j) {
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
  SB_TRY(sb_model_visit_owned(j->m, count_unit, j));
  SB_TRY(sb_model_visit_owned(j->m, write_unit, j));
  for (size_t f = 0; f < j->files; f++) SB_TRY(sb_safetensors_writer_finish(j->writers[f]));
  return SB_OK;
}

/* ---- rank 0: the small files ---- */

static sb_status write_json(const char *folder, const char *name, const json_t *value) {
  char path[SB_PATH_MAX];
  SB_TRY(sb_path_join(path, folder, name));
  return sb_json_write(path, value);
}

static sb_status write_index(const job *j, const char *folder, const sb_export_stats *stats) {
  if (j->files == 1) return SB_OK;
  json_t *map = json_object();
  char name[64];
  for (size_t i = 0; i < j->m->arch.count; i++) {
    file_name(j, j->targets[i].file, name, sizeof name);
    json_object_set_new(map, j->specs[i].name, json_string(name));
  }
  json_t *index =
      json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)stats->bytes, "weight_map", map);
  sb_status status = write_json(folder, "model.safetensors.index.json", index);
  json_decref(index);
  return status;
}

/* Under whichever of its two names the source's config gives the type. */
static sb_status write_config(const job *j, const char *source, const char *folder) {
  static const char *const names[] = {[SB_F32] = "float32", [SB_F16] = "float16", [SB_BF16] = "bfloat16"};
  sb_manifest manifest = {0};
  SB_TRY(sb_manifest_read(source, &manifest));
  json_t *config = json_object_get(manifest.model, "config");
  json_object_set_new(config, json_object_get(config, "dtype") ? "dtype" : "torch_dtype",
                      json_string(names[j->dtype]));
  sb_status status = write_json(folder, "config.json", config);
  sb_manifest_free(&manifest);
  return status;
}

static sb_status guard(const job *j, const char *folder) {
  char name[64], path[SB_PATH_MAX];
  int slot;
  SB_TRY(sb_cleanup_add(folder, &slot));
  SB_TRY(sb_companions_guard(folder));
  SB_TRY(sb_path_join(path, folder, "model.safetensors.index.json"));
  SB_TRY(sb_cleanup_add(path, &slot));
  for (size_t f = 0; f < j->files && f < 512; f++) {
    file_name(j, f, name, sizeof name);
    SB_TRY(sb_path_join(path, folder, name));
    SB_TRY(sb_cleanup_add(path, &slot));
  }
  return SB_OK;
}

static sb_status finish(const job *j, const char *source, sb_outdir *folder, const sb_export_stats *stats) {
  SB_TRY(sb_companions_copy(source, folder->partial));
  if (!j->as_source) SB_TRY(write_config(j, source, folder->partial));
  SB_TRY(write_index(j, folder->partial, stats));
  return sb_outdir_commit(folder);
}

static sb_status run(job *j, const char *source, sb_outdir *folder, sb_export_stats *stats) {
  const sb_world *world = j->m->world;
  bool first = world->rank == 0;
  sb_status status = guard(j, folder->partial);
  if (first && status == SB_OK) status = sb_outdir_require_space(folder, stats->bytes);
  if (first && status == SB_OK) status = open_files(j, folder->partial);
  SB_AGREE(world, status);
  if (!first) status = open_files(j, folder->partial);
  SB_AGREE(world, status);
  SB_AGREE(world, write_rows(j));
  if (first) status = finish(j, source, folder, stats);
  return sb_world_agree(world, status);
}

static void release(job *j) {
  for (size_t f = 0; j->writers && f < j->files; f++) sb_safetensors_writer_free(&j->writers[f]);
  sb_free(&j->specs);
  sb_free(&j->targets);
  sb_free(&j->first);
  sb_free(&j->writers);
  sb_free(&j->row);
  sb_free(&j->placed);
  sb_free(&j->wide);
}

static sb_status export(job *j, const char *source, const char *out, uint64_t file_bytes, bool overwrite,
                        sb_export_stats *stats) {
  const sb_world *world = j->m->world;
  sb_outdir folder = {0};
  sb_status status = sb_world_agree(world, deal(j, file_bytes));
  if (status == SB_OK) {
    *stats = (sb_export_stats){.files = j->files};
    for (size_t i = 0; i < j->m->arch.count; i++)
      stats->bytes +=
          (uint64_t)j->m->arch.tensors[i].rows * j->m->arch.tensors[i].cols * sb_dtype_size(type_of(j, i));
    if (world->rank == 0) status = sb_outdir_begin(out, overwrite, &folder);
    status = sb_world_agree(world, status);
  }
  if (status == SB_OK) status = sb_mpi_bcast(folder.partial, sizeof folder.partial, 0, world->comm);
  if (status == SB_OK) status = run(j, source, &folder, stats);
  release(j);
  sb_cleanup_now(); /* what is complete has another name by now */
  if (world->rank == 0) sb_outdir_abandon(&folder);
  return status;
}

sb_status sb_model_export(sb_model *m, const char *source, const char *out, sb_dtype dtype,
                          uint64_t file_bytes, bool overwrite, void (*tick)(void *context, double done),
                          void *context, sb_export_stats *stats) {
  job j = {.m = m, .dtype = dtype, .tick = tick, .context = context};
  return export(&j, source, out, file_bytes, overwrite, stats);
}

sb_status sb_model_export_source(sb_model *m, const char *source, const char *out, uint64_t file_bytes,
                                 bool overwrite, void (*tick)(void *context, double done), void *context,
                                 sb_export_stats *stats) {
  job j = {.m = m, .as_source = true, .tick = tick, .context = context};
  return export(&j, source, out, file_bytes, overwrite, stats);
}

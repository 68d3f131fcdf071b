#include "folders/output_write.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "folders/companions.h"
#include "folders/stored_orders.h"
#include "io/file.h"
#include "io/manifest.h"
#include "io/sections.h"
#include "io/shards.h"
#include "kernels/blockrow.h"
#include "kernels/code_kind.h"
#include "model/file_size.h"
#include "model/model_check.h"
#include "mpi/large.h"

/* Frames are compressed in batches by all threads; so much is held compressed at a time. */
enum { BATCH_BYTES = 64 << 20 };

uint64_t sb_output_other_bytes(const sb_model *m) {
  uint64_t bytes = 0;
  for (size_t p = 0; p < m->place_count; p++)
    if (!sb_model_place_matrix(m, &m->places[p]))
      bytes += (uint64_t)m->places[p].rows * sb_model_row_bytes(m, m->places[p].tensor);
  return bytes;
}

static void add_matrix(const sb_model *m, const sb_matrix *matrix, sb_output_stats *out) {
  const sb_tiling *tiling = &matrix->tiling;
  const size_t cols = sb_tiling_block_cols(tiling);
  for (size_t r = 0; r < sb_tiling_block_rows(tiling); r++) {
    const uint8_t *bits = m->bits + matrix->first_block + r * cols;
    out->quantized_bits += 8u * (uint64_t)sb_blockrow_bytes(tiling, r, bits, m->blocking.code_kind);
    for (size_t j = 0; j < cols; j++)
      out->code_bits +=
          (uint64_t)bits[j] * sb_tiling_rows_of(tiling, r) * sb_tiling_cols_of(tiling, j);
  }
  out->quantized_weights += (uint64_t)tiling->rows * tiling->cols;
}

static sb_output_table table_figures(const sb_model *m, const sb_table *table) {
  const sb_tiling *tiling = &table->matrix.tiling;
  sb_output_table out = {(uint64_t)tiling->rows * tiling->cols, sb_table_bytes(m, table), 0};
  out.bits = 8.0 * (double)out.bytes / (double)out.weights;
  return out;
}

void sb_output_figures(const sb_model *m, sb_output_stats *out) {
  memset(out, 0, sizeof *out);
  for (size_t i = 0; i < m->arch.matrix_count; i++) add_matrix(m, &m->matrices[i], out);
  out->quantized_bits +=
      8u * sb_orders_stored_bytes(&m->arch, m->orders.mode, m->blocking.rows, m->blocking.cols);
  out->other_bytes = sb_output_other_bytes(m);
  for (size_t i = 0; i < m->table_count; i++) out->tables[i] = table_figures(m, &m->tables[i]);
  out->bytes = sb_file_bytes(m);
  out->weights = m->arch.parameters;
  out->file_bits = sb_file_bits(&m->arch, out->bytes);
  out->effective_bits = (double)out->quantized_bits / (double)out->quantized_weights;
  out->code_bits_mean = (double)out->code_bits / (double)out->quantized_weights;
}

/* ---- one rank's shard ---- */

typedef struct shard {
  sb_shard_writer *writer;
  sb_frame_in *frames;
  sb_section **sections; /* of a frame; NULL where it has none */
  size_t count, room, bytes;
} shard;

static sb_status flush(shard *s) {
  SB_SPAN(SB_TRACE_DISK, "compress and write frames", SB_TRACE_NONE);
  sb_status status = sb_shard_writer_add_batch(s->writer, s->frames, s->count);
  for (size_t i = 0; i < s->count; i++) sb_free(&s->sections[i]);
  s->count = s->bytes = 0;
  return status;
}

/* A coded block row, as the store has it; its sections are for compression. */
static sb_status add_blockrow(shard *s, const sb_model *m, const sb_place *place, size_t unit,
                              const void *data) {
  const sb_matrix *matrix = sb_model_place_matrix(m, place);
  const sb_tiling *tiling = &matrix->tiling;
  const size_t cols = sb_tiling_block_cols(tiling), row = sb_place_block_row(m, place, unit);
  const sb_code_kind kind = sb_model_code_kind(m, matrix);
  const uint8_t *bits = m->bits + matrix->first_block + row * cols;
  const size_t bytes = sb_blockrow_bytes(tiling, row, bits, kind);
  sb_block_part *parts = NULL;
  SB_TRY(sb_alloc(&s->sections[s->count], 2 + SB_BLOCK_PARTS * cols, sizeof(sb_section),
                  "coded block row"));
  SB_TRY(sb_alloc(&parts, 2 + SB_BLOCK_PARTS * cols, sizeof *parts, "coded block row"));
  const size_t count = sb_blockrow_parts(parts, tiling, row, bits, kind);
  for (size_t i = 0; i < count; i++)
    s->sections[s->count][i] = (sb_section){parts[i].bytes, parts[i].kind};
  sb_free(&parts);
  s->frames[s->count] = (sb_frame_in){.tensor = (uint32_t)place->tensor,
                                      .row = (uint32_t)row,
                                      .filter = SB_FILTER_SECTIONS,
                                      .raw = data,
                                      .bytes = bytes,
                                      .sections = s->sections[s->count],
                                      .section_count = count};
  s->bytes += bytes;
  return SB_OK;
}

static sb_status add_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                          void *data) {
  shard *s = context;
  if (sb_model_place_matrix(m, place)) {
    SB_TRY(add_blockrow(s, m, place, unit, data));
  } else {
    size_t first, rows;
    sb_place_rows(m, place, unit, &first, &rows);
    s->frames[s->count] = (sb_frame_in){
        .tensor = (uint32_t)place->tensor,
        .row = (uint32_t)(m->arch.tensors[place->tensor].dims == 1 ? 0 : first / m->blocking.rows),
        .filter = m->dtypes[place->tensor] == SB_F32 ? SB_FILTER_SPLIT32 : SB_FILTER_SPLIT16,
        .raw = data,
        .bytes = rows * sb_model_row_bytes(m, place->tensor)};
    s->bytes += s->frames[s->count].bytes;
  }
  s->count++;
  return s->count == s->room || s->bytes >= BATCH_BYTES ? flush(s) : SB_OK;
}

static sb_status write_shard(sb_model *m, const char *path, int level, sb_shard_stats *stats) {
  SB_SPAN(SB_TRACE_COMPUTE, "write shard", SB_TRACE_NONE);
  sb_status status = SB_OK;
  shard s = {.room = 1024};
  SB_GO(sb_alloc(&s.frames, s.room, sizeof *s.frames, "frames"));
  SB_GO(sb_alloc(&s.sections, s.room, sizeof *s.sections, "frames"));
  SB_GO(sb_shard_writer_create(path, level, &s.writer));
  SB_GO(sb_model_visit_owned(m, add_unit, &s));
  SB_GO(flush(&s));
  SB_GO(sb_stored_orders_write(m, s.writer));
  SB_GO(sb_shard_writer_finish(s.writer, stats));
done:
  sb_shard_writer_free(&s.writer);
  for (size_t i = 0; s.sections && i < s.room; i++) sb_free(&s.sections[i]);
  sb_free(&s.frames);
  sb_free(&s.sections);
  return status;
}

/* ---- the folder, on rank 0 ---- */

static void shard_name(char *out, size_t size, int rank, int ranks) {
  snprintf(out, size, "shard-%05d-of-%05d.sbz", rank + 1, ranks);
}

/* Tables name their codes, since they are grids whatever the layers' are. */
static sb_status describe_codes(const sb_model *m, size_t tensor, sb_manifest_tensor *out) {
  const sb_model_tensor *t = &m->arch.tensors[tensor];
  const sb_table *table = sb_model_table(m, tensor);
  if (t->is_linear) {
    out->kind = SB_TENSOR_QUANTIZED;
    out->col_signs = sb_model_col_key(t->layer, t->input);
  }
  if (!table || !table->coded) return SB_OK;
  out->kind = SB_TENSOR_QUANTIZED;
  out->codes = strdup(sb_code_kind_names[sb_grid_levels(sb_model_code_kind(m, &table->matrix))]);
  return out->codes ? SB_OK : sb_fail(SB_ERR_MEMORY, "manifest: out of memory");
}

static sb_status describe_tensors(const sb_model *m, sb_manifest *manifest) {
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    sb_manifest_tensor *out = &manifest->tensors[i];
    out->name = strdup(t->name);
    if (!out->name) return sb_fail(SB_ERR_MEMORY, "manifest: out of memory");
    out->dtype = m->dtypes[i];
    out->dims = t->dims;
    out->shape[0] = t->dims == 1 ? t->cols : t->rows;
    out->shape[1] = t->dims == 1 ? 0 : t->cols;
    out->kind = SB_TENSOR_RAW;
    out->frames = sb_manifest_frames(t->dims, out->shape, m->blocking.rows);
    SB_TRY(describe_codes(m, i, out));
  }
  return sb_stored_orders_describe(m, manifest);
}

/* Content hash over the shards just written: they are opened again, which also proves
 * that they can be. */
static sb_status hash_shards(const char *folder, int ranks, uint64_t *hash) {
  SB_SPAN(SB_TRACE_DISK, "hash shards", SB_TRACE_NONE);
  sb_status status = SB_OK;
  sb_shard_reader **readers = NULL;
  char name[64], path[SB_PATH_MAX];
  SB_GO(sb_alloc(&readers, (size_t)ranks, sizeof *readers, "shards"));
  for (int r = 0; r < ranks; r++) {
    shard_name(name, sizeof name, r, ranks);
    SB_GO(sb_path_join(path, folder, name));
    SB_GO(sb_shard_reader_open(path, &readers[r]));
  }
  SB_GO(sb_shard_content_hash(readers, (size_t)ranks, hash));
done:
  for (int r = 0; readers && r < ranks; r++) sb_shard_reader_close(&readers[r]);
  sb_free(&readers);
  return status;
}

static void describe_grids(sb_code_kind kind, sb_manifest *manifest) {
  static const sb_manifest_symmetry symmetries[] = {[SB_GRID_ASYMMETRIC] = SB_MANIFEST_ASYMMETRIC,
                                                    [SB_GRID_SYMMETRIC] = SB_MANIFEST_SYMMETRIC,
                                                    [SB_GRID_SIGNED] = SB_MANIFEST_SIGNED,
                                                    [SB_GRID_BY_WIDTH] = SB_MANIFEST_BY_WIDTH};
  if (!sb_is_grid(kind)) return;
  manifest->symmetry = symmetries[sb_grid_levels(kind)];
  manifest->scales = sb_scales_of(kind) == SB_SCALES_BF16   ? SB_MANIFEST_BF16
                     : sb_scales_of(kind) == SB_SCALES_6BIT ? SB_MANIFEST_6BIT
                                                            : SB_MANIFEST_FP16;
}

static sb_status write_manifest(const sb_model *m, const char *folder, const sb_shard_stats *shards,
                                sb_output_stats *stats) {
  sb_status status = SB_OK;
  sb_manifest manifest = {0};
  json_t *config = NULL;
  int ranks = m->world->size;
  SB_GO(sb_manifest_allocate(&manifest, m->arch.count + sb_stored_orders_count(m), (size_t)ranks));
  SB_GO(sb_companions_restate(folder, &m->config, &config)); /* the copy made before the work */
  manifest.model = json_pack("{s:o}", "config", config);
  if (m->orders.mode != SB_REORDER_NONE)
    json_object_set_new(manifest.model, "reorder", json_string(sb_reorder_names[m->orders.mode]));
  manifest.block_rows = m->blocking.rows;
  manifest.block_cols = m->blocking.cols;
  describe_grids(m->blocking.code_kind, &manifest);
  if (sb_is_trellis(m->blocking.code_kind)) {
    manifest.codes = strdup(sb_code_kind_names[m->blocking.code_kind]);
    if (!manifest.codes) SB_GO(sb_fail(SB_ERR_MEMORY, "manifest: out of memory"));
  }
  SB_GO(describe_tensors(m, &manifest));
  for (int r = 0; r < ranks; r++) {
    char name[64];
    shard_name(name, sizeof name, r, ranks);
    manifest.shards[r] = (sb_manifest_shard){strdup(name), shards[r].file_bytes, shards[r].frames,
                                             shards[r].index_checksum};
    stats->stored_bytes += shards[r].file_bytes;
    stats->frames += shards[r].frames;
  }
  SB_GO(hash_shards(folder, ranks, &stats->content_hash));
  manifest.effective_bits = stats->effective_bits;
  manifest.code_bits = stats->code_bits_mean;
  manifest.stored_bytes = stats->stored_bytes;
  manifest.content_hash = stats->content_hash;
  SB_GO(sb_manifest_write(folder, &manifest));
done:
  sb_manifest_free(&manifest);
  return status;
}

static sb_status write_files(sb_model *m, const sb_destination *out, int level,
                             sb_output_stats *stats) {
  const sb_world *world = m->world;
  const char *folder = out->folder.partial;
  char path[SB_PATH_MAX], name[64];
  sb_shard_stats mine = {0}, *all = NULL;
  sb_status status = SB_OK;
  SB_THEN(sb_alloc(&all, (size_t)world->size, sizeof *all, "shard sizes"));
  shard_name(name, sizeof name, world->rank, world->size);
  SB_THEN(sb_path_join(path, folder, name));
  SB_THEN(write_shard(m, path, level, &mine));
  status = sb_world_agree(world, status);
  SB_THEN(sb_mpi_check(
      MPI_Gather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, 0, world->comm),
      "gathering shard sizes"));
  if (world->rank == 0) SB_THEN(write_manifest(m, folder, all, stats));
  sb_free(&all);
  return status;
}

sb_status sb_output_write(sb_model *m, sb_destination *out, int level, sb_output_stats *stats) {
  if (m->coding != SB_CODING_CODES)
    return sb_fail(SB_ERR_INTERNAL, "%s: the model has no codes yet (quant/encode.h)",
                   out->folder.path);
  sb_model_check(m);
  sb_output_figures(m, stats);
  sb_destination_writes(out);
  /* Asked before any rank writes: what they write would count as missing. */
  SB_TRY(sb_destination_require(out, stats->bytes));
  SB_TRY(sb_destination_commit(out, write_files(m, out, level, stats)));
  return sb_mpi_bcast(stats, sizeof *stats, 0, m->world->comm);
}

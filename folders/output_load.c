/* Reading an output folder into the store. */
#include "folders/output_load.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/trace.h"
#include "folders/stored_orders.h"
#include "io/file.h"
#include "io/shardset.h"
#include "kernels/blockrow.h"
#include "model/config_read.h"
#include "model/model_check.h"

typedef struct folder {
  const char *path;
  sb_shardset *shards;
  uint8_t *bits; /* this rank's owned blocks, as they are read */
  size_t bits_read;
} folder;

bool sb_output_is(const char *path) {
  char name[SB_PATH_MAX];
  return sb_path_join(name, path, SB_MANIFEST_NAME) == SB_OK && access(name, F_OK) == 0;
}

static uint32_t frame_row(const sb_model *m, const sb_place *place, size_t unit) {
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  return m->arch.tensors[place->tensor].dims == 1 ? 0 : (uint32_t)(first / m->blocking.rows);
}

/* The manifest's tensors against the ones its config asks for. */
static sb_status check_tensors(sb_model *m, const folder *f) {
  const sb_manifest *manifest = sb_shardset_manifest(f->shards);
  if (manifest->tensor_count < m->arch.count)
    return sb_fail(SB_ERR_FORMAT, "%s/%s: %zu tensors, its config asks for %zu", f->path,
                   SB_MANIFEST_NAME, manifest->tensor_count, m->arch.count);
  SB_TRY(sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "element types"));
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    const sb_manifest_tensor *u = &manifest->tensors[i];
    bool same = strcmp(t->name, u->name) == 0 && t->dims == u->dims &&
                u->shape[0] == (t->dims == 1 ? t->cols : t->rows) &&
                (t->dims == 1 || u->shape[1] == t->cols) &&
                (u->kind == SB_TENSOR_QUANTIZED) == t->is_linear && sb_dtype_is_weight(u->dtype);
    if (!same)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s/%s: tensor %zu is %s, which contradicts its config (expected %s, %zu x %zu)", f->path,
          SB_MANIFEST_NAME, i, u->name, t->name, t->rows, t->cols);
    m->dtypes[i] = u->dtype;
  }
  return sb_stored_orders_check(m, manifest, f->path);
}

/* Every frame (the set has them all) is of a size that it can have. */
static sb_status check_frames(const sb_model *m, const folder *f) {
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    for (size_t row = 0; row < sb_shardset_manifest(f->shards)->tensors[i].frames; row++) {
      const sb_shard_reader *reader;
      const sb_shard_entry *entry =
          sb_shardset_find(f->shards, (uint32_t)i, (uint32_t)row, &reader);
      size_t rows =
          t->dims == 1 ? 1 : sb_min_size(m->blocking.rows, t->rows - row * m->blocking.rows);
      size_t most = rows * t->cols * sizeof(float) + 64;
      if (t->is_linear ? entry->raw_bytes > most
                       : entry->raw_bytes != rows * sb_model_row_bytes(m, i))
        return sb_fail(
            SB_ERR_FORMAT, "%s: block row %zu of %s has %llu bytes, which its shape does not allow",
            sb_shard_reader_path(reader), row, t->name, (unsigned long long)entry->raw_bytes);
    }
  }
  return SB_OK;
}

static sb_status open_folder(sb_model *m, folder *f) {
  char path[SB_PATH_MAX];
  SB_TRY(sb_shardset_open(f->path, &f->shards));
  const sb_manifest *manifest = sb_shardset_manifest(f->shards);
  SB_TRY(sb_path_join(path, f->path, SB_MANIFEST_NAME));
  SB_TRY(sb_config_parse(json_object_get(manifest->model, "config"), path, &m->config));
  SB_TRY(sb_arch_create(&m->config, &m->arch));
  m->blocking = (sb_blocking){manifest->block_rows, manifest->block_cols,
                              manifest->symmetric ? SB_SYMMETRIC : SB_ASYMMETRIC};
  SB_TRY(check_tensors(m, f));
  return check_frames(m, f);
}

static size_t unit_bytes(const void *context, const sb_model *m, const sb_place *place,
                         size_t unit) {
  const folder *f = context;
  const sb_shard_reader *reader;
  return (size_t)sb_shardset_find(f->shards, (uint32_t)place->tensor, frame_row(m, place, unit),
                                  &reader)
      ->raw_bytes;
}

static sb_status read_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  SB_SPAN(SB_TRACE_DISK, "read frame", place->tensor);
  folder *f = context;
  const sb_shard_reader *reader;
  const sb_shard_entry *entry =
      sb_shardset_find(f->shards, (uint32_t)place->tensor, frame_row(m, place, unit), &reader);
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  SB_TRY(sb_shardset_read(f->shards, (uint32_t)place->tensor, frame_row(m, place, unit), data,
                          (size_t)entry->raw_bytes));
  if (!t->is_linear) return SB_OK;
  const sb_tiling *tiling = &sb_model_place_matrix(m, place)->tiling;
  if (sb_blockrow_read_bits(f->bits + f->bits_read, data, (size_t)entry->raw_bytes, tiling, unit,
                            m->blocking.symmetry) != SB_OK) {
    return sb_fail(SB_ERR_FORMAT, "%s: %s: %s", sb_shard_reader_path(reader), t->name,
                   sb_message());
  }
  f->bits_read += sb_tiling_block_cols(tiling);
  return SB_OK;
}

sb_status sb_output_load(const sb_world *world, const char *path, sb_model **out) {
  folder f = {.path = path};
  sb_status status = sb_alloc(out, 1, sizeof **out, "model");
  SB_AGREE(world, status);
  sb_model *m = *out;
  m->world = world;
  m->coding = SB_CODING_CODES;
  status = sb_world_agree(world, open_folder(m, &f));
  SB_THEN(sb_model_lay_out(m, unit_bytes, &f));
  SB_THEN(sb_world_agree(world, sb_alloc(&f.bits, sb_model_owned_count(m), 1, "bit map")));
  SB_THEN(sb_world_agree(world, sb_model_visit_owned(m, read_unit, &f)));
  SB_THEN(sb_model_set_bits(m, f.bits));
  SB_THEN(sb_world_agree(world, world->rank == 0 ? sb_stored_orders_read(m, f.shards) : SB_OK));
  SB_THEN(sb_stored_orders_share(m));
  sb_shardset_close(&f.shards);
  sb_free(&f.bits);
  if (status == SB_OK) sb_model_check(*out);
  if (status != SB_OK) sb_model_free(out);
  return status;
}

/* ---- checking without loading ---- */

static sb_status verify_shards(const sb_world *world, const sb_shardset *set, sb_ticker ticker) {
  SB_SPAN(SB_TRACE_DISK, "verify shards", SB_TRACE_NONE);
  sb_ticker_part part = {.whole = ticker};
  uint64_t total = 0; /* bytes of this rank's shards */
  size_t step = (size_t)world->size;
  for (size_t i = (size_t)world->rank; i < sb_shardset_count(set); i += step)
    total += sb_shard_reader_file_bytes(sb_shardset_reader(set, i));
  for (size_t i = (size_t)world->rank; i < sb_shardset_count(set); i += step) {
    const sb_shard_reader *reader = sb_shardset_reader(set, i);
    part.share = (double)sb_shard_reader_file_bytes(reader) / (double)total;
    SB_TRY(sb_shard_verify(reader, sb_ticker_of_part(&part)));
    part.first += part.share;
  }
  return SB_OK;
}

sb_status sb_output_verify(const sb_world *world, const char *path, sb_ticker ticker,
                           sb_output_stats *stats) {
  folder f = {.path = path};
  sb_model m = {.world = world};
  sb_status status = sb_world_agree(world, open_folder(&m, &f));
  SB_THEN(sb_world_agree(world, verify_shards(world, f.shards, ticker)));
  SB_THEN(sb_world_agree(world, world->rank == 0 ? sb_stored_orders_read(&m, f.shards) : SB_OK));
  if (status == SB_OK) {
    const sb_manifest *manifest = sb_shardset_manifest(f.shards);
    *stats = (sb_output_stats){.effective_bits = manifest->effective_bits,
                               .code_bits_mean = manifest->code_bits,
                               .stored_bytes = manifest->stored_bytes,
                               .content_hash = manifest->content_hash};
    for (size_t i = 0; i < manifest->shard_count; i++) stats->frames += manifest->shards[i].frames;
  }
  sb_shardset_close(&f.shards);
  sb_arch_free(&m.arch);
  sb_orders_free(&m.orders);
  sb_free(&m.dtypes);
  return status;
}

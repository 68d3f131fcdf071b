/* Reading an output folder into the store. */
#include "folders/output_load.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/trace.h"
#include "folders/companions.h"
#include "folders/output_open.h"
#include "folders/stored_orders.h"
#include "io/file.h"
#include "io/shardset.h"
#include "kernels/blockrow.h"
#include "model/factors.h"
#include "model/model_check.h"

typedef struct folder {
  const char *path;
  sb_shardset *shards;
  uint8_t *bits, *table_bits; /* of this rank's blocks of layers, and of tables, as they are read */
  size_t bits_read, table_bits_read;
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
  const char *flaw = sb_output_flaw(m, entry, data);
  if (flaw)
    return sb_fail(SB_ERR_FORMAT, "%s: block row %u of %s: %s; copy it again, or quantize again",
                   sb_shard_reader_path(reader), entry->row, t->name, flaw);
  const sb_matrix *matrix = sb_model_place_matrix(m, place);
  if (!matrix) return SB_OK;
  size_t *read = t->is_linear ? &f->bits_read : &f->table_bits_read;
  SB_TRY(sb_blockrow_read_bits((t->is_linear ? f->bits : f->table_bits) + *read, data,
                               (size_t)entry->raw_bytes, &matrix->tiling,
                               sb_place_block_row(m, place, unit), sb_model_code_kind(m, matrix)));
  *read += sb_tiling_block_cols(&matrix->tiling);
  return SB_OK;
}

sb_status sb_output_load(const sb_world *world, const char *path, sb_model **out) {
  folder f = {.path = path};
  sb_status status = sb_world_alloc(world, out, sizeof **out, "model");
  SB_TRY(status);
  sb_model *m = *out;
  m->world = world;
  m->coding = SB_CODING_CODES;
  status = sb_world_agree(world, sb_output_open(path, m, &f.shards));
  SB_THEN(sb_model_lay_out(m, unit_bytes, &f));
  SB_THEN(sb_factors_choose(m));
  SB_THEN(sb_world_agree(world, sb_alloc(&f.bits, sb_model_owned_count(m), 1, "bit map")));
  SB_THEN(
      sb_world_agree(world, sb_alloc(&f.table_bits, sb_model_owned_table_count(m), 1, "bit map")));
  SB_THEN(sb_world_agree(world, sb_model_visit_owned(m, read_unit, &f)));
  SB_THEN(sb_model_set_bits(m, f.bits));
  SB_THEN(sb_model_set_table_bits(m, f.table_bits));
  SB_THEN(sb_world_agree(world, world->rank == 0 ? sb_stored_orders_read(m, f.shards) : SB_OK));
  SB_THEN(sb_stored_orders_share(m));
  sb_shardset_close(&f.shards);
  sb_free(&f.bits);
  sb_free(&f.table_bits);
  if (status == SB_OK) sb_model_check(*out);
  if (status != SB_OK) sb_model_free(out);
  return status;
}

/* ---- checking without loading ---- */

static const char *look_at_frame(void *context, const sb_shard_entry *entry, const void *raw) {
  return sb_output_flaw(context, entry, raw);
}

static sb_status verify_shards(sb_model *m, const sb_shardset *set, sb_ticker ticker) {
  const sb_world *world = m->world;
  SB_SPAN(SB_TRACE_DISK, "verify shards", SB_TRACE_NONE);
  sb_ticker_part part = {.whole = ticker};
  uint64_t total = 0; /* bytes of this rank's shards */
  size_t step = (size_t)world->size;
  for (size_t i = (size_t)world->rank; i < sb_shardset_count(set); i += step)
    total += sb_shard_reader_file_bytes(sb_shardset_reader(set, i));
  for (size_t i = (size_t)world->rank; i < sb_shardset_count(set); i += step) {
    const sb_shard_reader *reader = sb_shardset_reader(set, i);
    part.share = (double)sb_shard_reader_file_bytes(reader) / (double)total;
    SB_TRY(sb_shard_verify_content(reader, sb_ticker_of_part(&part), look_at_frame, m));
    part.first += part.share;
  }
  return SB_OK;
}

sb_status sb_output_verify(const sb_world *world, const char *path, sb_ticker ticker,
                           sb_output_stats *stats) {
  folder f = {.path = path};
  sb_model m = {.world = world};
  sb_status status = sb_world_agree(world, sb_output_open(path, &m, &f.shards));
  SB_THEN(sb_world_agree(world, verify_shards(&m, f.shards, ticker)));
  SB_THEN(sb_world_agree(world, world->rank == 0 ? sb_stored_orders_read(&m, f.shards) : SB_OK));
  SB_THEN(sb_world_agree(world, world->rank == 0 ? sb_companions_check(path) : SB_OK));
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

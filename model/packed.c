/* Reading an output folder into the store. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/file.h"
#include "io/manifest.h"
#include "io/shards.h"
#include "kernels/blockrow.h"
#include "model/output.h"

typedef struct folder {
  const char *path;
  sb_manifest manifest;
  sb_shard_reader **readers;
  uint8_t *bits; /* this rank's owned blocks, as they are read */
  size_t bits_read;
} folder;

bool sb_output_is(const char *path) {
  char name[SB_PATH_MAX];
  return sb_path_join(name, path, SB_MANIFEST_NAME) == SB_OK && access(name, F_OK) == 0;
}

static sb_status open_shards(folder *f) {
  SB_TRY(sb_alloc(&f->readers, f->manifest.shard_count, sizeof *f->readers, "shards"));
  for (size_t i = 0; i < f->manifest.shard_count; i++) {
    const sb_manifest_shard *s = &f->manifest.shards[i];
    char path[SB_PATH_MAX];
    SB_TRY(sb_path_join(path, f->path, s->file));
    SB_TRY(sb_shard_reader_open(path, &f->readers[i]));
    if (sb_shard_reader_index_checksum(f->readers[i]) != s->index_checksum || sb_shard_reader_file_bytes(f->readers[i]) != s->bytes)
      return sb_fail(SB_ERR_FORMAT, "%s: not the file that %s/%s was written with; restore both from one copy of the folder", path, f->path,
                     SB_MANIFEST_NAME);
  }
  return SB_OK;
}

static const sb_shard_entry *find(const folder *f, size_t tensor, size_t row, const sb_shard_reader **reader) {
  for (size_t i = 0; i < f->manifest.shard_count; i++) {
    const sb_shard_entry *entry = sb_shard_reader_find(f->readers[i], (uint32_t)tensor, (uint32_t)row);
    if (entry) {
      *reader = f->readers[i];
      return entry;
    }
  }
  return NULL;
}

static size_t frame_row(const sb_model *m, const sb_place *place, size_t unit) {
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  return m->arch.tensors[place->tensor].rank == 1 ? 0 : first / m->blocking.rows;
}

/* The manifest's tensors against the ones its config asks for. */
static sb_status check_tensors(sb_model *m, const folder *f) {
  const sb_manifest *manifest = &f->manifest;
  if (manifest->tensor_count != m->arch.count)
    return sb_fail(SB_ERR_FORMAT, "%s/%s: %zu tensors, its config asks for %zu", f->path, SB_MANIFEST_NAME, manifest->tensor_count,
                   m->arch.count);
  SB_TRY(sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "element types"));
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    const sb_manifest_tensor *u = &manifest->tensors[i];
    bool same = strcmp(t->name, u->name) == 0 && t->rank == u->rank && u->shape[0] == (t->rank == 1 ? t->cols : t->rows) &&
                (t->rank == 1 || u->shape[1] == t->cols) && (u->kind == SB_TENSOR_QUANTIZED) == t->is_linear && sb_dtype_is_weight(u->dtype);
    if (!same)
      return sb_fail(SB_ERR_FORMAT, "%s/%s: tensor %zu is %s, which contradicts its config (expected %s, %zu x %zu)", f->path, SB_MANIFEST_NAME,
                     i, u->name, t->name, t->rows, t->cols);
    m->dtypes[i] = u->dtype;
  }
  return SB_OK;
}

/* Every frame is there, and of a size that it can have. */
static sb_status check_frames(const sb_model *m, const folder *f) {
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    for (size_t row = 0; row < f->manifest.tensors[i].frames; row++) {
      const sb_shard_reader *reader;
      const sb_shard_entry *entry = find(f, i, row, &reader);
      size_t rows = t->rank == 1 ? 1 : sb_min_size(m->blocking.rows, t->rows - row * m->blocking.rows);
      size_t most = rows * t->cols * sizeof(float) + 64;
      if (!entry) return sb_fail(SB_ERR_FORMAT, "%s: no shard holds block row %zu of %s; the folder is incomplete", f->path, row, t->name);
      if (t->is_linear ? entry->raw_bytes > most : entry->raw_bytes != rows * sb_model_row_bytes(m, i))
        return sb_fail(SB_ERR_FORMAT, "%s: block row %zu of %s has %llu bytes, which its shape does not allow", sb_shard_reader_path(reader), row,
                       t->name, (unsigned long long)entry->raw_bytes);
    }
  }
  return SB_OK;
}

static sb_status open_folder(sb_model *m, folder *f) {
  char path[SB_PATH_MAX];
  SB_TRY(sb_manifest_read(f->path, &f->manifest));
  SB_TRY(sb_path_join(path, f->path, SB_MANIFEST_NAME));
  SB_TRY(sb_config_parse(json_object_get(f->manifest.model, "config"), path, &m->config));
  SB_TRY(sb_arch_create(&m->config, &m->arch));
  m->blocking = (sb_blocking){f->manifest.block_rows, f->manifest.block_cols, f->manifest.symmetric ? SB_SYMMETRIC : SB_ASYMMETRIC};
  SB_TRY(check_tensors(m, f));
  SB_TRY(open_shards(f));
  return check_frames(m, f);
}

static size_t unit_bytes(const void *context, const sb_model *m, const sb_place *place, size_t unit) {
  const sb_shard_reader *reader;
  return (size_t)find(context, place->tensor, frame_row(m, place, unit), &reader)->raw_bytes;
}

static sb_status read_unit(void *context, sb_model *m, const sb_place *place, size_t unit, void *data) {
  folder *f = context;
  const sb_shard_reader *reader;
  const sb_shard_entry *entry = find(f, place->tensor, frame_row(m, place, unit), &reader);
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  SB_TRY(sb_shard_read_frame(reader, entry, data, (size_t)entry->raw_bytes));
  if (!t->is_linear) return SB_OK;
  const sb_grid_shape *grid = &sb_model_matrix(m, t->layer, sb_linear_of_role(t->role))->grid;
  if (sb_blockrow_read_bits(f->bits + f->bits_read, data, (size_t)entry->raw_bytes, grid, unit, m->blocking.symmetry) != SB_OK) {
    char why[512];
    snprintf(why, sizeof why, "%s", sb_message());
    return sb_fail(SB_ERR_FORMAT, "%s: %s: %s", sb_shard_reader_path(reader), t->name, why);
  }
  f->bits_read += sb_grid_block_cols(grid);
  return SB_OK;
}

sb_status sb_output_load(const sb_world *world, const char *path, sb_model **out) {
  folder f = {.path = path};
  sb_status status = sb_alloc(out, 1, sizeof **out, "model");
  SB_AGREE(world, status);
  sb_model *m = *out;
  m->world = world;
  m->coding = SB_CODING_PACKED;
  status = sb_world_agree(world, open_folder(m, &f));
  if (status == SB_OK) status = sb_model_lay_out(m, unit_bytes, &f);
  if (status == SB_OK) status = sb_world_agree(world, sb_alloc(&f.bits, sb_model_owned_count(m), 1, "bit map"));
  if (status == SB_OK) status = sb_world_agree(world, sb_model_visit_owned(m, read_unit, &f));
  if (status == SB_OK) status = sb_model_set_bits(m, f.bits);
  for (size_t i = 0; f.readers && i < f.manifest.shard_count; i++) sb_shard_reader_close(&f.readers[i]);
  sb_free(&f.readers);
  sb_free(&f.bits);
  sb_manifest_free(&f.manifest);
  if (status != SB_OK) sb_model_free(out);
  return status;
}

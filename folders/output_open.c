#include "folders/output_open.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "folders/finite.h"
#include "folders/stored_orders.h"
#include "io/file.h"
#include "kernels/blockrow.h"
#include "kernels/code_kind.h"
#include "model/config_read.h"

/* ---- the manifest ---- */

/* The number of the table that a tensor is, before the model is laid out; SB_TABLES for others. */
static size_t table_of(const sb_model *m, size_t tensor) {
  const sb_role role = m->arch.tensors[tensor].role;
  return role == SB_ROLE_EMBED ? 0 : role == SB_ROLE_LM_HEAD ? 1 : SB_TABLES;
}

static bool is_coded(const sb_model *m, size_t tensor) {
  const size_t table = table_of(m, tensor);
  return m->arch.tensors[tensor].is_linear || (table < SB_TABLES && m->tables[table].coded);
}

static sb_code_kind kind_of(const sb_model *m, size_t tensor) {
  const sb_code_kind kind = m->blocking.code_kind;
  return m->arch.tensors[tensor].is_linear ? kind : sb_table_code_kind(kind);
}

/* A table may be quantized or not; the manifest says so, and names its codes. */
static sb_status check_kind(sb_model *m, const sb_manifest_tensor *u, size_t tensor,
                            const char *path) {
  const sb_model_tensor *t = &m->arch.tensors[tensor];
  const size_t table = table_of(m, tensor);
  if (table < SB_TABLES) m->tables[table].coded = u->kind == SB_TENSOR_QUANTIZED;
  if (u->kind != (is_coded(m, tensor) ? SB_TENSOR_QUANTIZED : SB_TENSOR_RAW))
    return sb_fail(SB_ERR_FORMAT, "%s/%s: %s is %s, which contradicts its config", path,
                   SB_MANIFEST_NAME, t->name,
                   u->kind == SB_TENSOR_QUANTIZED ? "quantized" : "not quantized");
  const char *codes = t->is_linear || !is_coded(m, tensor)
                          ? NULL
                          : sb_code_kind_names[sb_grid_levels(kind_of(m, tensor))];
  if (codes ? !u->codes || strcmp(codes, u->codes) != 0 : u->codes != NULL)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s/%s: the codes of %s are '%.40s', expected %s; update shardbits, or quantize "
                   "again",
                   path, SB_MANIFEST_NAME, t->name, u->codes ? u->codes : "not named",
                   codes ? codes : "those of the folder");
  return SB_OK;
}

/* The manifest's tensors against the ones its config asks for. */
static sb_status check_tensors(sb_model *m, const sb_manifest *manifest, const char *path) {
  if (manifest->tensor_count < m->arch.count)
    return sb_fail(SB_ERR_FORMAT, "%s/%s: %zu tensors, its config asks for %zu", path,
                   SB_MANIFEST_NAME, manifest->tensor_count, m->arch.count);
  SB_TRY(sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "element types"));
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_model_tensor *t = &m->arch.tensors[i];
    const sb_manifest_tensor *u = &manifest->tensors[i];
    bool same = strcmp(t->name, u->name) == 0 && t->dims == u->dims &&
                u->shape[0] == (t->dims == 1 ? t->cols : t->rows) &&
                (t->dims == 1 || u->shape[1] == t->cols) && sb_dtype_is_weight(u->dtype);
    if (!same)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s/%s: tensor %zu is %s, which contradicts its config (expected %s, %zu x %zu)", path,
          SB_MANIFEST_NAME, i, u->name, t->name, t->rows, t->cols);
    SB_TRY(check_kind(m, u, i, path));
    if (t->is_linear && manifest->codes && u->col_signs != sb_model_col_key(t->layer, t->input))
      return sb_fail(SB_ERR_FORMAT,
                     "%s/%s: %s has col_signs %016llx, expected %016llx: quantize again", path,
                     SB_MANIFEST_NAME, t->name, (unsigned long long)u->col_signs,
                     (unsigned long long)sb_model_col_key(t->layer, t->input));
    m->dtypes[i] = u->dtype;
  }
  return sb_stored_orders_check(m, manifest, path);
}

sb_code_kind sb_output_grid_kind(const sb_manifest *manifest) {
  static const sb_code_kind levels[] = {[SB_MANIFEST_ASYMMETRIC] = SB_GRID_ASYMMETRIC,
                                        [SB_MANIFEST_SYMMETRIC] = SB_GRID_SYMMETRIC,
                                        [SB_MANIFEST_SIGNED] = SB_GRID_SIGNED,
                                        [SB_MANIFEST_BY_WIDTH] = SB_GRID_BY_WIDTH};
  static const sb_scale_type types[] = {[SB_MANIFEST_FP16] = SB_SCALES_FP16,
                                        [SB_MANIFEST_BF16] = SB_SCALES_BF16,
                                        [SB_MANIFEST_6BIT] = SB_SCALES_6BIT};
  return sb_grid_with_scales(levels[manifest->symmetry], types[manifest->scales]);
}

static sb_status find_codes(const char *file, const char *name, sb_code_kind *out) {
  if (sb_code_kind_find(name, out) && sb_is_trellis(*out)) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: its codes are '%.40s', which this program does not know: update shardbits",
                 file, name);
}

static sb_status describe(sb_model *m, const sb_manifest *manifest, const char *path) {
  char file[SB_PATH_MAX];
  SB_TRY(sb_path_join(file, path, SB_MANIFEST_NAME));
  SB_TRY(sb_config_parse(json_object_get(manifest->model, "config"), file, &m->config));
  SB_TRY(sb_arch_create(&m->config, &m->arch));
  m->blocking =
      (sb_blocking){manifest->block_rows, manifest->block_cols, sb_output_grid_kind(manifest)};
  if (manifest->codes) SB_TRY(find_codes(file, manifest->codes, &m->blocking.code_kind));
  return check_tensors(m, manifest, path);
}

/* ---- sizes of frames ---- */

static sb_tiling tiling_of(const sb_model *m, size_t tensor) {
  const sb_model_tensor *t = &m->arch.tensors[tensor];
  return (sb_tiling){t->rows, t->cols, m->blocking.rows, m->blocking.cols};
}

/* The bytes that frame `row` of a tensor may have. */
static void allowed(const sb_model *m, size_t tensor, size_t row, size_t *least, size_t *most) {
  const sb_model_tensor *t = &m->arch.tensors[tensor];
  const sb_tiling tiling = tiling_of(m, tensor);
  if (is_coded(m, tensor))
    sb_blockrow_range(&tiling, row, kind_of(m, tensor), least, most);
  else
    *least = *most =
        sb_model_row_bytes(m, tensor) * (t->dims == 1 ? 1 : sb_tiling_rows_of(&tiling, row));
}

static sb_status check_frames(const sb_model *m, const sb_shardset *shards) {
  for (size_t i = 0; i < m->arch.count; i++) {
    const size_t frames = sb_shardset_manifest(shards)->tensors[i].frames;
    for (size_t row = 0; row < frames; row++) {
      const sb_shard_reader *reader;
      size_t least, most;
      const uint64_t bytes =
          sb_shardset_find(shards, (uint32_t)i, (uint32_t)row, &reader)->raw_bytes;
      allowed(m, i, row, &least, &most);
      if (bytes < least || bytes > most)
        return sb_fail(SB_ERR_FORMAT,
                       "%s: block row %zu of %s has %llu bytes; its shape allows %zu to %zu: copy "
                       "the shard again, or quantize again",
                       sb_shard_reader_path(reader), row, m->arch.tensors[i].name,
                       (unsigned long long)bytes, least, most);
    }
  }
  return sb_stored_orders_check_frames(m, shards);
}

sb_status sb_output_describe(const char *path, const sb_shardset *shards, sb_model *m) {
  SB_TRY(describe(m, sb_shardset_manifest(shards), path));
  return check_frames(m, shards);
}

sb_status sb_output_open(const char *path, sb_model *m, sb_shardset **shards) {
  sb_manifest manifest = {0};
  *shards = NULL;
  SB_TRY(sb_manifest_read(path, &manifest));
  const sb_status status = describe(m, &manifest, path);
  if (status != SB_OK) {
    sb_manifest_free(&manifest);
    return status;
  }
  SB_TRY(sb_shardset_open_manifest(path, &manifest, shards));
  return check_frames(m, *shards);
}

/* ---- content of frames ---- */

typedef struct scales {
  const uint8_t *packed;
  bool finite;
} scales;

static bool is_finite16(const uint8_t *at) {
  return sb_finite_first_bad(at, SB_F16, 1) == 1;
}

static void look_at_scale(void *context, const sb_scale_place *place) {
  scales *s = context;
  s->finite = s->finite && fabsf(sb_scale_at(s->packed, place)) <= 65504.0f &&
              (place->base == SIZE_MAX || is_finite16(s->packed + place->base));
}

/* Strings that last, as sb_output_flaw returns them. */
static const char *trellis_flaw(sb_code_kind kind) {
#define FLAW(name)                                                                                 \
  "its bit map does not make its size, or is not of " name                                         \
  ", or a scale or factor is 0, NaN or infinite"
  return kind == SB_TRELLIS_12   ? FLAW("trellis-12")
         : kind == SB_TRELLIS_14 ? FLAW("trellis-14")
         : kind == SB_TRELLIS_16 ? FLAW("trellis-16")
                                 : FLAW("exl3");
#undef FLAW
}

static const char *flaw_of_blocks(const sb_model *m, const sb_shard_entry *entry,
                                  const uint8_t *packed) {
  const sb_tiling tiling = tiling_of(m, entry->tensor);
  const sb_code_kind kind = kind_of(m, entry->tensor);
  scales s = {packed, true};
  sb_flaw flaw;
  if (!sb_blockrow_is_valid(packed, (size_t)entry->raw_bytes, &tiling, entry->row, kind, &flaw))
    return sb_is_trellis(kind) ? trellis_flaw(kind)
                               : "its bit map names widths that do not make its size";
  if (sb_is_trellis(kind)) return NULL;
  sb_blockrow_scales(&tiling, entry->row, packed, kind, look_at_scale, &s);
  return s.finite ? NULL : "a scale in it is NaN, infinite or beyond fp16";
}

const char *sb_output_flaw(const sb_model *m, const sb_shard_entry *entry, const void *raw) {
  if (entry->tensor >= m->arch.count) return NULL;
  if (is_coded(m, entry->tensor)) return flaw_of_blocks(m, entry, raw);
  const sb_dtype dtype = m->dtypes[entry->tensor];
  const size_t count = (size_t)entry->raw_bytes / sb_dtype_size(dtype);
  return sb_finite_first_bad(raw, dtype, count) == count ? NULL : "it has a NaN or an infinity";
}

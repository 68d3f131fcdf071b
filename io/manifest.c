#include "io/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/memory.h"
#include "io/file.h"
#include "io/json.h"

/* The first version with signed grids, grids by width, and scales of 6 bits. */
enum { SIGNED_FROM = 4 };

static const char format_name[] = "shardbits";
static const char *const kind_names[] = {
    [SB_TENSOR_RAW] = "raw", [SB_TENSOR_QUANTIZED] = "quantized", [SB_TENSOR_ORDER] = "order"};
const char *const sb_manifest_symmetry_names[] = {[SB_MANIFEST_ASYMMETRIC] = "asymmetric",
                                                  [SB_MANIFEST_SYMMETRIC] = "symmetric",
                                                  [SB_MANIFEST_SIGNED] = "signed",
                                                  [SB_MANIFEST_BY_WIDTH] = "by-width",
                                                  NULL};
const char *const sb_manifest_scales_names[] = {
    [SB_MANIFEST_FP16] = "fp16", [SB_MANIFEST_BF16] = "bf16", [SB_MANIFEST_6BIT] = "6bit", NULL};

size_t sb_manifest_frames(size_t dims, const size_t *shape, size_t block_rows) {
  if (dims < 2) return 1;
  return sb_div_up(shape[0], block_rows);
}

sb_status sb_manifest_allocate(sb_manifest *m, size_t tensors, size_t shards) {
  SB_TRY(sb_alloc(&m->tensors, tensors, sizeof *m->tensors, "manifest"));
  SB_TRY(sb_alloc(&m->shards, shards, sizeof *m->shards, "manifest"));
  m->tensor_count = tensors;
  m->shard_count = shards;
  return SB_OK;
}

void sb_manifest_free(sb_manifest *m) {
  for (size_t i = 0; m->tensors && i < m->tensor_count; i++) {
    free(m->tensors[i].name);
    free(m->tensors[i].codes);
  }
  for (size_t i = 0; m->shards && i < m->shard_count; i++) free(m->shards[i].file);
  sb_free(&m->tensors);
  sb_free(&m->shards);
  free(m->program_version);
  free(m->codes);
  json_decref(m->model);
  memset(m, 0, sizeof *m);
}

/* ---- what must hold, read or written ---- */

/* `order` is 1 + the number of a tensor, or 0. */
static sb_status check_reference(const char *path, const sb_manifest *m,
                                 const sb_manifest_tensor *t, size_t order, size_t dimension) {
  if (order == 0) return SB_OK;
  if (order > m->tensor_count || m->tensors[order - 1].kind != SB_TENSOR_ORDER ||
      m->tensors[order - 1].shape[0] != t->shape[dimension])
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: tensor '%s' has its %s in the order of tensor %zu, which is no order of %zu", path,
        t->name, dimension == 0 ? "rows" : "columns", order - 1, t->shape[dimension]);
  return SB_OK;
}

static sb_status check_tensor(const char *path, const sb_manifest *m, const sb_manifest_tensor *t) {
  if (t->kind == SB_TENSOR_QUANTIZED && (t->dims != 2 || !sb_dtype_is_weight(t->dtype)))
    return sb_fail(SB_ERR_FORMAT, "%s: quantized tensor '%s' is not a matrix of F32, F16 or BF16",
                   path, t->name);
  if (t->kind == SB_TENSOR_ORDER && t->dims != 1)
    return sb_fail(SB_ERR_FORMAT, "%s: the order '%s' has %zu dimensions, not one", path, t->name,
                   t->dims);
  if (t->kind != SB_TENSOR_QUANTIZED && t->codes)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' has codes, which only quantized ones have", path,
                   t->name);
  if (t->kind != SB_TENSOR_QUANTIZED && (t->row_order || t->col_order))
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' has an order, which only quantized ones have",
                   path, t->name);
  SB_TRY(check_reference(path, m, t, t->row_order, 0));
  SB_TRY(check_reference(path, m, t, t->col_order, 1));
  size_t elements = sb_dtype_size(t->dtype);
  for (size_t d = 0; d < t->dims; d++)
    if (!sb_mul_size(elements, t->shape[d], &elements) || elements > INT64_MAX)
      return sb_fail(SB_ERR_FORMAT, "%s: the shape of tensor '%s' overflows 64 bits", path,
                     t->name);
  size_t frames = sb_manifest_frames(t->dims, t->shape, m->block_rows);
  if (t->frames != frames)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: tensor '%s' has %zu frames; its shape in blocks of %zu rows makes %zu",
                   path, t->name, t->frames, m->block_rows, frames);
  return SB_OK;
}

static int compare_strings(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static sb_status check_unique(const char *path, const char *what, const char **names,
                              size_t count) {
  qsort(names, count, sizeof *names, compare_strings);
  for (size_t i = 1; i < count; i++)
    if (strcmp(names[i - 1], names[i]) == 0)
      return sb_fail(SB_ERR_FORMAT, "%s: %s '%s' is listed twice", path, what, names[i]);
  return SB_OK;
}

static sb_status check_names(const char *path, const sb_manifest *m) {
  const char **names = NULL;
  SB_TRY(sb_alloc(&names, sb_max_size(m->tensor_count, m->shard_count), sizeof *names,
                  "manifest names"));
  for (size_t i = 0; i < m->tensor_count; i++) names[i] = m->tensors[i].name;
  sb_status status = check_unique(path, "tensor", names, m->tensor_count);
  for (size_t i = 0; i < m->shard_count; i++) names[i] = m->shards[i].file;
  SB_THEN(check_unique(path, "shard", names, m->shard_count));
  sb_free(&names);
  return status;
}

static sb_status check(const char *path, const sb_manifest *m) {
  uint64_t shard_bytes = 0, shard_frames = 0, tensor_frames = 0;
  SB_TRY(sb_limit_check_block(path, m->block_rows, m->block_cols));
  if (m->tensor_count > UINT32_MAX)
    return sb_fail(SB_ERR_FORMAT, "%s: has %zu tensors; at most %u fit the format", path,
                   m->tensor_count, UINT32_MAX);
  if (!json_is_object(m->model)) return sb_fail(SB_ERR_FORMAT, "%s: has no model object", path);
  if (!isfinite(m->effective_bits) || !isfinite(m->code_bits) || m->effective_bits < 0 ||
      m->code_bits < 0)
    return sb_fail(SB_ERR_FORMAT, "%s: its bits a weight are not numbers from 0 up", path);
  for (size_t i = 0; i < m->tensor_count; i++) {
    SB_TRY(check_tensor(path, m, &m->tensors[i]));
    if (m->tensors[i].frames > UINT32_MAX ||
        __builtin_add_overflow(tensor_frames, m->tensors[i].frames, &tensor_frames))
      return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' has too many frames", path,
                     m->tensors[i].name);
  }
  for (size_t i = 0; i < m->shard_count; i++) {
    const sb_manifest_shard *s = &m->shards[i];
    if (!*s->file || strchr(s->file, '/') || strcmp(s->file, "..") == 0)
      return sb_fail(SB_ERR_FORMAT, "%s: the shard name '%s' is not a plain file name", path,
                     s->file);
    if (__builtin_add_overflow(shard_bytes, s->bytes, &shard_bytes) ||
        __builtin_add_overflow(shard_frames, s->frames, &shard_frames))
      return sb_fail(SB_ERR_FORMAT, "%s: the shards' sizes overflow 64 bits at '%s'", path,
                     s->file);
  }
  if (shard_bytes != m->stored_bytes)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: stored_bytes is %" PRIu64 " but its shards have %" PRIu64 " bytes", path,
                   m->stored_bytes, shard_bytes);
  if (shard_frames != tensor_frames)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: its tensors have %" PRIu64 " frames but its shards have %" PRIu64, path,
                   tensor_frames, shard_frames);
  return check_names(path, m);
}

/* ---- reading ---- */

static sb_status get_string(const char *path, const char *where, const json_t *object,
                            const char *key, char **out) {
  const char *text;
  SB_TRY(sb_json_get_string(path, where, object, key, &text));
  *out = strdup(text);
  return *out ? SB_OK : sb_fail(SB_ERR_MEMORY, "%s: not enough memory to read it", path);
}

static sb_status get_hash(const char *path, const char *where, const json_t *object,
                          const char *key, uint64_t *out) {
  const char *text;
  SB_TRY(sb_json_get_string(path, where, object, key, &text));
  if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
    return sb_fail(SB_ERR_FORMAT, "%s: %s \"%s\" is '%.40s', not 16 hexadecimal digits", path,
                   where, key, text);
  *out = strtoull(text, NULL, 16);
  return SB_OK;
}

static sb_status get_choice(const char *path, const char *where, const json_t *object,
                            const char *key, const char *const *names, int count, int *out) {
  const char *text;
  SB_TRY(sb_json_get_string(path, where, object, key, &text));
  for (*out = 0; *out < count; *out += 1)
    if (strcmp(text, names[*out]) == 0) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s: %s \"%s\" is '%s'; it must be '%s' or '%s'", path, where, key,
                 text, names[0], names[1]);
}

static sb_status get_size(const char *path, const char *where, const json_t *object,
                          const char *key, size_t *out) {
  uint64_t value;
  SB_TRY(sb_json_get_u64(path, where, object, key, INT64_MAX, &value));
  *out = (size_t)value;
  return SB_OK;
}

static sb_status get_order(const char *path, const char *where, const json_t *object,
                           const char *key, size_t *out) {
  if (!json_object_get(object, key)) return SB_OK;
  SB_TRY(get_size(path, where, object, key, out));
  *out += 1;
  return SB_OK;
}

/* What belongs to some tensors alone: their codes, the signs of trellis codes, orders. */
static sb_status read_extras(const char *path, const char *where, const json_t *object,
                             const sb_manifest *m, sb_manifest_tensor *t) {
  if (json_object_get(object, "codes")) {
    if (m->version < 3)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: tensor '%s' has codes of its own, which format version %" PRIu64
                     " does not know",
                     path, t->name, m->version);
    SB_TRY(get_string(path, where, object, "codes", &t->codes));
  }
  if (m->codes && !t->codes && t->kind == SB_TENSOR_QUANTIZED)
    SB_TRY(get_hash(path, where, object, "col_signs", &t->col_signs));
  SB_TRY(get_order(path, where, object, "row_order", &t->row_order));
  return get_order(path, where, object, "col_order", &t->col_order);
}

static sb_status read_tensor(const char *path, size_t i, const json_t *object, const sb_manifest *m,
                             sb_manifest_tensor *t) {
  char where[40];
  const char *dtype;
  json_t *shape;
  int kind;
  snprintf(where, sizeof where, "tensor %zu", i);
  SB_TRY(get_string(path, where, object, "name", &t->name));
  SB_TRY(sb_json_get_string(path, where, object, "dtype", &dtype));
  if (!sb_dtype_parse(dtype, &t->dtype))
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: tensor '%s' has the unknown dtype '%s'", path, t->name,
                   dtype);
  SB_TRY(sb_json_get_array(path, where, object, "shape", &shape));
  t->dims = json_array_size(shape);
  if (t->dims > SB_TENSOR_MAX_DIMS)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' has %zu dimensions; at most %d are read", path,
                   t->name, t->dims, SB_TENSOR_MAX_DIMS);
  for (size_t d = 0; d < t->dims; d++) {
    const json_t *extent = json_array_get(shape, d);
    if (!json_is_integer(extent) || json_integer_value(extent) < 0)
      return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s': dimension %zu is not a whole number", path,
                     t->name, d);
    t->shape[d] = (size_t)json_integer_value(extent);
  }
  SB_TRY(get_choice(path, where, object, "kind", kind_names, 3, &kind));
  t->kind = (sb_tensor_kind)kind;
  SB_TRY(read_extras(path, where, object, m, t));
  return get_size(path, where, object, "frames", &t->frames);
}

static sb_status read_shard(const char *path, size_t i, const json_t *object,
                            sb_manifest_shard *s) {
  char where[40];
  snprintf(where, sizeof where, "shard %zu", i);
  SB_TRY(get_string(path, where, object, "file", &s->file));
  SB_TRY(sb_json_get_u64(path, where, object, "bytes", INT64_MAX, &s->bytes));
  SB_TRY(sb_json_get_u64(path, where, object, "frames", INT64_MAX, &s->frames));
  return get_hash(path, where, object, "index_checksum", &s->index_checksum);
}

static sb_status check_format(const char *path, const json_t *root, uint64_t *version) {
  const char *format;
  SB_TRY(sb_json_get_string(path, "", root, "format", &format));
  if (strcmp(format, format_name) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: its format is '%s', not '%s'", path, format, format_name);
  SB_TRY(sb_json_get_u64(path, "", root, "format_version", INT64_MAX, version));
  if (*version == 0 || *version > SB_FORMAT_VERSION)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: is of format version %" PRIu64
                   "; this program reads up to %d: update shardbits",
                   path, *version, SB_FORMAT_VERSION);
  return SB_OK;
}

/* What codes stand for: the symmetry and the scales of grids, or another kind's name. */
static sb_status read_codes(const char *path, const json_t *root, sb_manifest *m) {
  int symmetry, scales;
  if (json_object_get(root, "codes") && m->version < 3)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: has codes other than grids, which format version %" PRIu64 " does not know",
                   path, m->version);
  if (json_object_get(root, "codes")) return get_string(path, "", root, "codes", &m->codes);
  SB_TRY(get_choice(path, "", root, "symmetry", sb_manifest_symmetry_names,
                    m->version < SIGNED_FROM ? 2 : 4, &symmetry));
  m->symmetry = (sb_manifest_symmetry)symmetry;
  if (!json_object_get(root, "scales")) return SB_OK;
  SB_TRY(get_choice(path, "", root, "scales", sb_manifest_scales_names,
                    m->version < SIGNED_FROM ? 2 : 3, &scales));
  m->scales = (sb_manifest_scales)scales;
  if (m->scales == SB_MANIFEST_6BIT && m->symmetry >= SB_MANIFEST_SIGNED)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: scales of 6 bits have no sign, as %s grids need", path,
                   sb_manifest_symmetry_names[m->symmetry]);
  return SB_OK;
}

static sb_status read_root(const char *path, const json_t *root, sb_manifest *m) {
  json_t *tensors, *shards, *blocks, *totals;
  SB_TRY(check_format(path, root, &m->version));
  SB_TRY(get_string(path, "", root, "program_version", &m->program_version));
  SB_TRY(sb_json_get_object(path, "", root, "model", &m->model));
  json_incref(m->model);
  SB_TRY(sb_json_get_object(path, "", root, "blocks", &blocks));
  SB_TRY(get_size(path, "blocks", blocks, "rows", &m->block_rows));
  SB_TRY(get_size(path, "blocks", blocks, "cols", &m->block_cols));
  SB_TRY(read_codes(path, root, m));
  SB_TRY(sb_json_get_array(path, "", root, "tensors", &tensors));
  SB_TRY(sb_json_get_array(path, "", root, "shards", &shards));
  SB_TRY(sb_manifest_allocate(m, json_array_size(tensors), json_array_size(shards)));
  for (size_t i = 0; i < m->tensor_count; i++)
    SB_TRY(read_tensor(path, i, json_array_get(tensors, i), m, &m->tensors[i]));
  for (size_t i = 0; i < m->shard_count; i++)
    SB_TRY(read_shard(path, i, json_array_get(shards, i), &m->shards[i]));
  SB_TRY(sb_json_get_object(path, "", root, "totals", &totals));
  SB_TRY(sb_json_get_real(path, "totals", totals, "effective_bits", &m->effective_bits));
  SB_TRY(sb_json_get_real(path, "totals", totals, "code_bits", &m->code_bits));
  SB_TRY(sb_json_get_u64(path, "totals", totals, "stored_bytes", INT64_MAX, &m->stored_bytes));
  SB_TRY(get_hash(path, "", root, "content_hash", &m->content_hash));
  return check(path, m);
}

sb_status sb_manifest_read(const char *folder, sb_manifest *out) {
  char path[SB_PATH_MAX];
  json_t *root = NULL;
  memset(out, 0, sizeof *out);
  SB_TRY(sb_path_join(path, folder, SB_MANIFEST_NAME));
  if (access(path, F_OK) != 0)
    return sb_fail(SB_ERR_IO,
                   "%s: cannot be found (%s); give the folder that shardbits quantize wrote", path,
                   strerror(errno));
  SB_TRY(sb_json_read(path, &root));
  sb_status status = read_root(path, root, out);
  json_decref(root);
  if (status != SB_OK) sb_manifest_free(out);
  return status;
}

/* ---- writing ---- */

static json_t *hash_text(uint64_t hash) {
  char text[17];
  snprintf(text, sizeof text, "%016" PRIx64, hash);
  return json_string(text);
}

static json_t *tensor_json(const sb_manifest *m, const sb_manifest_tensor *t) {
  json_t *shape = json_array();
  for (size_t d = 0; d < t->dims; d++)
    json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
  json_t *out =
      json_pack("{s:s, s:s, s:o, s:s, s:I}", "name", t->name, "dtype", sb_dtype_name(t->dtype),
                "shape", shape, "kind", kind_names[t->kind], "frames", (json_int_t)t->frames);
  if (out && t->codes) json_object_set_new(out, "codes", json_string(t->codes));
  if (out && m->codes && !t->codes && t->kind == SB_TENSOR_QUANTIZED)
    json_object_set_new(out, "col_signs", hash_text(t->col_signs));
  if (out && t->row_order)
    json_object_set_new(out, "row_order", json_integer((json_int_t)t->row_order - 1));
  if (out && t->col_order)
    json_object_set_new(out, "col_order", json_integer((json_int_t)t->col_order - 1));
  return out;
}

static json_t *shard_json(const sb_manifest_shard *s) {
  return json_pack("{s:s, s:I, s:I, s:o}", "file", s->file, "bytes", (json_int_t)s->bytes, "frames",
                   (json_int_t)s->frames, "index_checksum", hash_text(s->index_checksum));
}

static int version_of(const sb_manifest *m) {
  if (!m->codes && (m->symmetry >= SB_MANIFEST_SIGNED || m->scales == SB_MANIFEST_6BIT))
    return SIGNED_FROM;
  int version = m->codes ? 3 : 1;
  for (size_t i = 0; i < m->tensor_count; i++) {
    if (m->tensors[i].codes) return 3;
    if (m->tensors[i].kind == SB_TENSOR_ORDER && version < 2) version = 2;
  }
  return version;
}

sb_status sb_manifest_write(const char *folder, const sb_manifest *m) {
  char path[SB_PATH_MAX];
  SB_TRY(sb_path_join(path, folder, SB_MANIFEST_NAME));
  SB_TRY(check(path, m));
  json_t *tensors = json_array(), *shards = json_array();
  for (size_t i = 0; i < m->tensor_count; i++)
    json_array_append_new(tensors, tensor_json(m, &m->tensors[i]));
  for (size_t i = 0; i < m->shard_count; i++)
    json_array_append_new(shards, shard_json(&m->shards[i]));
  json_t *root = json_pack(
      "{s:s, s:i, s:s, s:{s:I, s:I}, s:s, s:{s:f, s:f, s:I}, s:o, s:O, s:o, s:o}", "format",
      format_name, "format_version", version_of(m), "program_version",
      m->program_version ? m->program_version : SB_VERSION, "blocks", "rows",
      (json_int_t)m->block_rows, "cols", (json_int_t)m->block_cols, m->codes ? "codes" : "symmetry",
      m->codes ? m->codes : sb_manifest_symmetry_names[m->symmetry], "totals", "effective_bits",
      m->effective_bits, "code_bits", m->code_bits, "stored_bytes", (json_int_t)m->stored_bytes,
      "content_hash", hash_text(m->content_hash), "model", m->model, "tensors", tensors, "shards",
      shards);
  if (!root || json_array_size(tensors) != m->tensor_count ||
      json_array_size(shards) != m->shard_count) {
    json_decref(root);
    return sb_fail(SB_ERR_FORMAT, "%s: a name in it is not UTF-8, or memory is short", path);
  }
  if (!m->codes && m->scales != SB_MANIFEST_FP16)
    json_object_set_new(root, "scales", json_string(sb_manifest_scales_names[m->scales]));
  sb_status status = sb_json_write(path, root);
  json_decref(root);
  return status;
}

#include "io/safetensors_header.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/bytes.h"
#include "io/file.h"
#include "io/json.h"

/* The format's own limit on the header. */
static const uint64_t max_header_bytes = 100000000;

typedef unsigned long long ull;

/* Reads the length and the JSON text; *text is released with sb_free. */
static sb_status read_text(int fd, const char *path, uint64_t file_bytes, char **text,
                           size_t *bytes) {
  unsigned char prefix[8];
  if (file_bytes < sizeof prefix)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: has %llu bytes, too few for a safetensors file; the download is incomplete",
                   path, (ull)file_bytes);
  SB_TRY(sb_file_read_at(fd, path, 0, prefix, sizeof prefix));
  if (memcmp(prefix, "version ", sizeof prefix) == 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: is a Git LFS pointer, not the weights; run \"git lfs pull\" in its folder",
                   path);
  uint64_t length = sb_get_u64(prefix);
  if (length > max_header_bytes)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: the header claims %llu bytes, the limit is %llu; this is not a safetensors file", path,
        (ull)length, (ull)max_header_bytes);
  if (length > file_bytes - sizeof prefix)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: the header claims %llu bytes but the file has %llu; it is truncated, fetch it again",
        path, (ull)length, (ull)file_bytes);
  *bytes = (size_t)length;
  SB_TRY(sb_alloc_raw(text, *bytes + 1, 1, "safetensors header"));
  return sb_file_read_at(fd, path, sizeof prefix, *text, *bytes);
}

static sb_status parse_shape(const char *path, const char *name, const json_t *shape,
                             sb_tensor_info *out) {
  uint64_t bytes = sb_dtype_size(out->dtype);
  if (!json_is_array(shape))
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' has no shape array", path, name);
  out->dims = json_array_size(shape);
  if (out->dims > SB_TENSOR_MAX_DIMS)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: tensor '%s' has %zu dimensions; at most %d are read",
                   path, name, out->dims, SB_TENSOR_MAX_DIMS);
  for (size_t d = 0; d < out->dims; d++) {
    const json_t *extent = json_array_get(shape, d);
    if (!json_is_integer(extent) || json_integer_value(extent) < 0)
      return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s': dimension %zu is not a whole number", path,
                     name, d);
    out->shape[d] = (size_t)json_integer_value(extent);
    if (__builtin_mul_overflow(bytes, (uint64_t)out->shape[d], &bytes) || bytes > INT64_MAX)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: tensor '%s': the product of its shape overflows 64 bits at dimension %zu",
                     path, name, d);
  }
  out->bytes = bytes;
  return SB_OK;
}

static sb_status parse_tensor(const char *path, const char *name, const json_t *value,
                              uint64_t data_start, uint64_t data_bytes, sb_tensor_info *out) {
  const char *dtype = json_string_value(json_object_get(value, "dtype"));
  const json_t *offsets = json_object_get(value, "data_offsets");
  if (!json_is_object(value) || !dtype)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' has no dtype string", path, name);
  if (!sb_dtype_parse(dtype, &out->dtype))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: tensor '%s' has dtype '%s', which this program does not know", path, name,
                   dtype);
  SB_TRY(parse_shape(path, name, json_object_get(value, "shape"), out));
  const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s': data_offsets is not a pair of whole numbers",
                   path, name);
  json_int_t begin = json_integer_value(first), end = json_integer_value(last);
  if (begin < 0 || end < begin)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s': data_offsets [%lld, %lld] are not a range",
                   path, name, (long long)begin, (long long)end);
  if ((uint64_t)(end - begin) != out->bytes)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: tensor '%s': its shape and dtype %s need %llu bytes, its offsets [%lld, "
                   "%lld] hold %llu",
                   path, name, dtype, (ull)out->bytes, (long long)begin, (long long)end,
                   (ull)(end - begin));
  if ((uint64_t)end > data_bytes)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: tensor '%s' ends at byte %llu of the data, which has %llu; the file is truncated, "
        "fetch it again",
        path, name, (ull)end, (ull)data_bytes);
  out->offset = data_start + (uint64_t)begin;
  out->file = path;
  out->name = strdup(name);
  if (!out->name) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory for its tensor names", path);
  return SB_OK;
}

static int by_offset(const void *a, const void *b) {
  const sb_tensor_info *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? -1 : 1; /* an empty tensor comes before its neighbour */
  return strcmp(x->name, y->name);
}

/* The sorted regions must tile [start, end). */
static sb_status check_tiling(const char *path, const sb_tensor_info *tensors, size_t count,
                              uint64_t start, uint64_t end) {
  uint64_t at = start;
  for (size_t i = 0; i < count; i++) {
    if (tensors[i].offset < at)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: tensors '%s' and '%s' overlap at byte %llu; write the file again", path,
                     tensors[i - 1].name, tensors[i].name, (ull)tensors[i].offset);
    if (tensors[i].offset > at)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s: %llu bytes before tensor '%s' belong to no tensor (a gap); write the file again",
          path, (ull)(tensors[i].offset - at), tensors[i].name);
    at += tensors[i].bytes;
  }
  if (at != end)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: %llu bytes after the last tensor belong to no tensor (a gap); write the file again",
        path, (ull)(end - at));
  return SB_OK;
}

static sb_status check_metadata(const char *path, json_t *metadata) {
  const char *key;
  json_t *value;
  if (!json_is_object(metadata))
    return sb_fail(SB_ERR_FORMAT, "%s: __metadata__ is not an object", path);
  json_object_foreach(metadata, key, value) {
    if (!json_is_string(value))
      return sb_fail(SB_ERR_FORMAT, "%s: __metadata__ '%s' is not a string", path, key);
  }
  return SB_OK;
}

sb_status sb_safetensors_header_read(int fd, const char *path, uint64_t file_bytes,
                                     sb_tensor_info **tensors, size_t *count) {
  sb_status status = SB_OK;
  char *text = NULL;
  json_t *header = NULL, *value;
  size_t bytes = 0, used = 0;
  const char *name;
  *tensors = NULL;
  *count = 0;
  SB_GO(read_text(fd, path, file_bytes, &text, &bytes));
  SB_GO(sb_json_parse(path, "header", text, bytes, &header));
  SB_GO(sb_alloc(tensors, json_object_size(header), sizeof **tensors, "tensor list"));
  uint64_t data_start = 8 + (uint64_t)bytes;
  json_object_foreach(header, name, value) {
    if (strcmp(name, "__metadata__") == 0) {
      SB_GO(check_metadata(path, value));
      continue;
    }
    SB_GO(parse_tensor(path, name, value, data_start, file_bytes - data_start, *tensors + used));
    used++;
  }
  qsort(*tensors, used, sizeof **tensors, by_offset);
  SB_GO(check_tiling(path, *tensors, used, data_start, file_bytes));
  *count = used;
done:
  json_decref(header);
  sb_free(&text);
  if (status != SB_OK) sb_safetensors_header_free(tensors, used);
  return status;
}

void sb_safetensors_header_free(sb_tensor_info **tensors, size_t count) {
  for (size_t i = 0; *tensors && i < count; i++) free((void *)(uintptr_t)(*tensors)[i].name);
  sb_free(tensors);
}

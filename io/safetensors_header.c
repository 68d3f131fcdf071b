#include "io/safetensors_header.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/bytes.h"
#include "io/file.h"
#include "io/json_scan.h"

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

/* What a header says about one tensor, before it is held against the file. */
typedef struct entry {
  const char *dtype; /* NULL: it has none */
  bool has_shape, has_offsets;
  size_t dims;
  int64_t shape[SB_TENSOR_MAX_DIMS]; /* -1: no whole number */
  size_t bad_dim;                    /* the first that is none, or `dims` */
  int64_t offsets[2];
} entry;

/* Whole numbers of an array: those beyond `room` are counted, *bad is the first that is none. */
static sb_status read_numbers(sb_json_scan *scan, int64_t *out, size_t room, size_t *count,
                              size_t *bad) {
  bool first = true, more = true, integer;
  const char *key;
  int64_t whole = 0;
  double real;
  *count = 0;
  *bad = SIZE_MAX;
  SB_TRY(sb_json_scan_enter(scan, '['));
  for (;; ++*count) {
    SB_TRY(sb_json_scan_next(scan, ']', &first, &more, &key));
    if (!more) return SB_OK;
    integer = false;
    if (sb_json_scan_kind(scan) == SB_JSON_NUMBER)
      SB_TRY(sb_json_scan_number(scan, &integer, &whole, &real));
    else
      SB_TRY(sb_json_scan_skip(scan));
    if ((!integer || whole < 0) && *bad == SIZE_MAX) *bad = *count;
    if (*count < room) out[*count] = integer ? whole : -1;
  }
}

static sb_status read_member(sb_json_scan *scan, const char *key, entry *e) {
  const sb_json_kind kind = sb_json_scan_kind(scan);
  size_t count, bad;
  if (strcmp(key, "dtype") == 0 && kind == SB_JSON_STRING)
    return sb_json_scan_string(scan, &e->dtype);
  if (strcmp(key, "shape") == 0 && kind == SB_JSON_ARRAY) {
    e->has_shape = true;
    return read_numbers(scan, e->shape, SB_TENSOR_MAX_DIMS, &e->dims, &e->bad_dim);
  }
  if (strcmp(key, "data_offsets") == 0 && kind == SB_JSON_ARRAY) {
    SB_TRY(read_numbers(scan, e->offsets, 2, &count, &bad));
    e->has_offsets = count == 2 && bad == SIZE_MAX;
    return SB_OK;
  }
  return sb_json_scan_skip(scan);
}

static sb_status read_entry(sb_json_scan *scan, entry *e) {
  bool first = true, more = true;
  const char *key;
  *e = (entry){.bad_dim = SIZE_MAX};
  if (sb_json_scan_kind(scan) != SB_JSON_OBJECT) return sb_json_scan_skip(scan);
  SB_TRY(sb_json_scan_enter(scan, '{'));
  for (;;) {
    SB_TRY(sb_json_scan_next(scan, '}', &first, &more, &key));
    if (!more) return SB_OK;
    SB_TRY(read_member(scan, key, e));
  }
}

/* *bytes of a shape in a known type. */
static sb_status take_shape(const char *path, const char *name, const entry *e,
                            sb_tensor_info *out) {
  uint64_t bytes = out->dtype == SB_DTYPE_COUNT ? 1 : sb_dtype_size(out->dtype);
  if (!e->has_shape)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' has no shape array", path, name);
  if (e->bad_dim != SIZE_MAX)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s': dimension %zu is not a whole number", path,
                   name, e->bad_dim);
  out->dims = e->dims;
  for (size_t d = 0; d < e->dims && d < SB_TENSOR_MAX_DIMS; d++) {
    out->shape[d] = (size_t)e->shape[d];
    if (__builtin_mul_overflow(bytes, (uint64_t)e->shape[d], &bytes) || bytes > INT64_MAX)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: tensor '%s': the product of its shape overflows 64 bits at dimension %zu",
                     path, name, d);
  }
  out->bytes = bytes;
  return SB_OK;
}

static sb_status take_entry(const char *path, const char *name, const entry *e, uint64_t data_start,
                            uint64_t data_bytes, sb_tensor_info *out) {
  if (!e->dtype) return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' has no dtype string", path, name);
  if (!sb_dtype_parse(e->dtype, &out->dtype)) out->dtype = SB_DTYPE_COUNT;
  SB_TRY(take_shape(path, name, e, out));
  if (!e->has_offsets)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: tensor '%s': data_offsets is not a pair of whole numbers from 0 on", path,
                   name);
  const int64_t begin = e->offsets[0], end = e->offsets[1];
  if (end < begin)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s': data_offsets [%lld, %lld] are not a range",
                   path, name, (long long)begin, (long long)end);
  /* What a type or a shape beyond those that are read needs is not known. */
  if (out->dtype == SB_DTYPE_COUNT || out->dims > SB_TENSOR_MAX_DIMS)
    out->bytes = (uint64_t)(end - begin);
  if ((uint64_t)(end - begin) != out->bytes)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: tensor '%s': its shape and dtype %s need %llu bytes, its offsets [%lld, "
                   "%lld] hold %llu",
                   path, name, e->dtype, (ull)out->bytes, (long long)begin, (long long)end,
                   (ull)(end - begin));
  if ((uint64_t)end > data_bytes)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: tensor '%s' ends at byte %llu of the data, which has %llu; the file is truncated, "
        "fetch it again",
        path, name, (ull)end, (ull)data_bytes);
  out->offset = data_start + (uint64_t)begin;
  out->file = path;
  out->name = name;
  out->type_name = e->dtype;
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

/* One more entry at the end of a list that grows by doubling. */
static sb_status more_room(sb_tensor_info **tensors, size_t used, size_t *room) {
  if (used < *room) return SB_OK;
  sb_tensor_info *grown;
  const size_t size = *room ? 2 * *room : 512;
  SB_TRY(sb_alloc_raw(&grown, size, sizeof *grown, "tensor list"));
  if (used) memcpy(grown, *tensors, used * sizeof *grown);
  sb_free(tensors);
  *tensors = grown;
  *room = size;
  return SB_OK;
}

static sb_status read_tensors(sb_json_scan *scan, uint64_t data_start, uint64_t data_bytes,
                              sb_tensor_info **tensors, size_t *used) {
  bool first = true, more = true;
  const char *name = NULL;
  size_t room = 0;
  entry e;
  if (sb_json_scan_kind(scan) != SB_JSON_OBJECT) {
    SB_TRY(sb_json_scan_skip(scan));
    return sb_fail(SB_ERR_FORMAT, "%s: header: is JSON but not an object {...}", scan->path);
  }
  SB_TRY(sb_json_scan_enter(scan, '{'));
  for (;;) {
    SB_TRY(sb_json_scan_next(scan, '}', &first, &more, &name));
    if (!more) return sb_json_scan_end(scan);
    if (strcmp(name, "__metadata__") == 0) {
      SB_TRY(sb_json_scan_skip(scan));
      continue;
    }
    SB_TRY(more_room(tensors, *used, &room));
    sb_tensor_info *out = *tensors + *used;
    *out = (sb_tensor_info){0};
    SB_TRY(read_entry(scan, &e));
    SB_TRY(take_entry(scan->path, name, &e, data_start, data_bytes, out));
    ++*used;
  }
}

static bool sorted(const sb_tensor_info *tensors, size_t count) {
  for (size_t i = 1; i < count; i++)
    if (by_offset(tensors + i - 1, tensors + i) > 0) return false;
  return true;
}

sb_status sb_safetensors_header_read(int fd, const char *path, uint64_t file_bytes,
                                     sb_tensor_info **tensors, size_t *count, char **text) {
  sb_json_scan scan;
  size_t bytes = 0;
  *tensors = NULL;
  *text = NULL;
  *count = 0;
  SB_TRY(read_text(fd, path, file_bytes, text, &bytes));
  const uint64_t data_start = 8 + (uint64_t)bytes;
  (*text)[bytes] = '\0';
  sb_json_scan_begin(&scan, path, "header", *text, bytes);
  SB_TRY(read_tensors(&scan, data_start, file_bytes - data_start, tensors, count));
  if (!sorted(*tensors, *count)) qsort(*tensors, *count, sizeof **tensors, by_offset);
  return check_tiling(path, *tensors, *count, data_start, file_bytes);
}

/* ---- metadata ---- */

static sb_status read_strings(sb_json_scan *scan, json_t *out) {
  bool first = true, more = true;
  const char *key = NULL, *value;
  if (sb_json_scan_kind(scan) != SB_JSON_OBJECT) return sb_json_scan_skip(scan);
  SB_TRY(sb_json_scan_enter(scan, '{'));
  for (;;) {
    SB_TRY(sb_json_scan_next(scan, '}', &first, &more, &key));
    if (!more) return SB_OK;
    if (sb_json_scan_kind(scan) != SB_JSON_STRING) {
      SB_TRY(sb_json_scan_skip(scan));
      continue;
    }
    SB_TRY(sb_json_scan_string(scan, &value));
    json_object_set_new(out, key, json_string(value));
  }
}

static sb_status find_metadata(sb_json_scan *scan, json_t *out) {
  bool first = true, more = true;
  const char *name = NULL;
  SB_TRY(sb_json_scan_enter(scan, '{'));
  for (;;) {
    SB_TRY(sb_json_scan_next(scan, '}', &first, &more, &name));
    if (!more) return SB_OK;
    if (strcmp(name, "__metadata__") == 0)
      SB_TRY(read_strings(scan, out));
    else
      SB_TRY(sb_json_scan_skip(scan));
  }
}

sb_status sb_safetensors_metadata_read(const char *path, json_t **out) {
  sb_json_scan scan;
  char *text = NULL;
  size_t bytes = 0;
  uint64_t file_bytes;
  int fd;
  *out = NULL;
  SB_TRY(sb_file_open(path, &fd, &file_bytes));
  sb_status status = read_text(fd, path, file_bytes, &text, &bytes);
  close(fd);
  if (status == SB_OK) {
    text[bytes] = '\0';
    *out = json_object();
    sb_json_scan_begin(&scan, path, "header", text, bytes);
    status = find_metadata(&scan, *out);
  }
  sb_free(&text);
  if (status == SB_OK) return SB_OK;
  json_decref(*out);
  *out = NULL;
  return status;
}

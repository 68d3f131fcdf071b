#include "io/safetensors_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/bytes.h"
#include "io/file.h"

struct sb_safetensors_writer {
  char *path;
  int fd;
  size_t count;
  uint64_t *begin, *bytes; /* [count] offset in the file and size of each tensor */
  uint64_t file_bytes;
  char *header; /* length prefix and JSON */
  size_t header_bytes;
};

static sb_status tensor_bytes(const char *path, const sb_tensor_spec *spec, uint64_t *out) {
  uint64_t bytes = sb_dtype_size(spec->dtype);
  if (spec->dims > SB_TENSOR_MAX_DIMS)
    return sb_fail(SB_ERR_INTERNAL, "%s: tensor '%s' has %zu dimensions; at most %d can be written",
                   path, spec->name, spec->dims, SB_TENSOR_MAX_DIMS);
  for (size_t d = 0; d < spec->dims; d++)
    if (__builtin_mul_overflow(bytes, (uint64_t)spec->shape[d], &bytes) || bytes > INT64_MAX)
      return sb_fail(SB_ERR_RANGE, "%s: the shape of tensor '%s' overflows 64 bits", path,
                     spec->name);
  *out = bytes;
  return SB_OK;
}

static json_t *describe(const sb_tensor_spec *spec, uint64_t begin, uint64_t end) {
  json_t *shape = json_array();
  for (size_t d = 0; d < spec->dims; d++)
    json_array_append_new(shape, json_integer((json_int_t)spec->shape[d]));
  return json_pack("{s:s, s:o, s:[I, I]}", "dtype", sb_dtype_name(spec->dtype), "shape", shape,
                   "data_offsets", (json_int_t)begin, (json_int_t)end);
}

/* Places the tensors, data relative, and builds the JSON object. */
static sb_status place(sb_safetensors_writer *w, const sb_tensor_spec *specs, json_t *object,
                       uint64_t *data_bytes) {
  uint64_t at = 0;
  for (size_t size = 8; size > 0;
       size /= 2) { /* falling element size keeps every tensor aligned to its type */
    for (size_t i = 0; i < w->count; i++) {
      if (sb_dtype_size(specs[i].dtype) != size) continue;
      SB_TRY(tensor_bytes(w->path, &specs[i], &w->bytes[i]));
      w->begin[i] = at;
      if (__builtin_add_overflow(at, w->bytes[i], &at) || at > INT64_MAX)
        return sb_fail(SB_ERR_RANGE, "%s: the tensors together overflow 64 bits at '%s'", w->path,
                       specs[i].name);
      if (json_object_get(object, specs[i].name))
        return sb_fail(SB_ERR_INTERNAL, "%s: tensor '%s' is to be written twice", w->path,
                       specs[i].name);
      if (json_object_set_new(object, specs[i].name, describe(&specs[i], w->begin[i], at)) != 0)
        return sb_fail(SB_ERR_INTERNAL, "%s: the tensor name '%s' is not UTF-8", w->path,
                       specs[i].name);
    }
  }
  *data_bytes = at;
  return SB_OK;
}

static sb_status lay_out(sb_safetensors_writer *w, const sb_tensor_spec *specs,
                         const char *const *metadata) {
  sb_status status = SB_OK;
  json_t *object = json_object();
  char *text = NULL;
  uint64_t data_bytes = 0;
  if (metadata) {
    json_t *pairs = json_object();
    for (; metadata[0] && metadata[1]; metadata += 2)
      json_object_set_new(pairs, metadata[0], json_string(metadata[1]));
    json_object_set_new(object, "__metadata__", pairs);
  }
  SB_GO(place(w, specs, object, &data_bytes));
  text = json_dumps(object, JSON_COMPACT);
  if (!text) {
    status = sb_fail(SB_ERR_MEMORY, "%s: not enough memory for its header", w->path);
    goto done;
  }
  size_t length = strlen(text), padded = sb_div_up(length, 8) * 8;
  w->header_bytes = 8 + padded;
  SB_GO(sb_alloc(&w->header, w->header_bytes, 1, "safetensors header"));
  sb_put_u64(w->header, padded);
  memcpy(w->header + 8, text, length);
  memset(w->header + 8 + length, ' ', padded - length);
  for (size_t i = 0; i < w->count; i++) w->begin[i] += w->header_bytes;
  w->file_bytes = w->header_bytes + data_bytes;
done:
  free(text);
  json_decref(object);
  return status;
}

static sb_status prepare(const char *path, const sb_tensor_spec *specs, size_t count,
                         const char *const *metadata, sb_safetensors_writer **out) {
  sb_status status = SB_OK;
  SB_TRY(sb_alloc(out, 1, sizeof **out, "safetensors writer"));
  sb_safetensors_writer *w = *out;
  w->fd = -1;
  w->count = count;
  w->path = strdup(path);
  if (!w->path) status = sb_fail(SB_ERR_MEMORY, "%s: not enough memory to write it", path);
  SB_THEN(sb_alloc(&w->begin, count, sizeof *w->begin, "tensor offsets"));
  SB_THEN(sb_alloc(&w->bytes, count, sizeof *w->bytes, "tensor sizes"));
  SB_THEN(lay_out(w, specs, metadata));
  if (status != SB_OK) sb_safetensors_writer_free(out);
  return status;
}

/* Reserves the whole size. fallocate itself rather than posix_fallocate: where the file system
 * cannot reserve, the latter writes to every page of the file, which takes minutes on a network
 * file system. */
static sb_status reserve(const sb_safetensors_writer *w) {
  if (w->file_bytes > 0 && fallocate(w->fd, 0, 0, (off_t)w->file_bytes) != 0) {
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
      return sb_file_write_error(w->path, errno, 0, w->file_bytes);
    if (ftruncate(w->fd, (off_t)w->file_bytes) != 0)
      return sb_file_write_error(w->path, errno, 0, w->file_bytes);
  }
  return SB_OK;
}

sb_status sb_safetensors_writer_create(const char *path, const sb_tensor_spec *specs, size_t count,
                                       const char *const *metadata, sb_safetensors_writer **out) {
  SB_TRY(prepare(path, specs, count, metadata, out));
  sb_safetensors_writer *w = *out;
  sb_status status = sb_file_create(path, &w->fd);
  if (status == SB_OK) {
    status = reserve(w);
    SB_THEN(sb_file_write_at(w->fd, path, 0, w->header, w->header_bytes, w->file_bytes));
    if (status != SB_OK) unlink(path);
  }
  if (status != SB_OK) sb_safetensors_writer_free(out);
  return status;
}

/* The file must be the one that equal specs create. */
static sb_status check_joined(const sb_safetensors_writer *w) {
  struct stat info;
  char *found = NULL;
  if (fstat(w->fd, &info) != 0)
    return sb_fail(SB_ERR_IO, "%s: cannot be examined: %s", w->path, strerror(errno));
  if ((uint64_t)info.st_size != w->file_bytes)
    return sb_fail(SB_ERR_INTERNAL, "%s: has %llu bytes, the layout to be joined has %llu", w->path,
                   (unsigned long long)info.st_size, (unsigned long long)w->file_bytes);
  SB_TRY(sb_alloc_raw(&found, w->header_bytes, 1, "safetensors header"));
  sb_status status = sb_file_read_at(w->fd, w->path, 0, found, w->header_bytes);
  if (status == SB_OK && memcmp(found, w->header, w->header_bytes) != 0)
    status = sb_fail(SB_ERR_INTERNAL, "%s: was created with other tensors than those to be joined",
                     w->path);
  sb_free(&found);
  return status;
}

sb_status sb_safetensors_writer_join(const char *path, const sb_tensor_spec *specs, size_t count,
                                     const char *const *metadata, sb_safetensors_writer **out) {
  SB_TRY(prepare(path, specs, count, metadata, out));
  sb_safetensors_writer *w = *out;
  sb_status status = sb_file_open_update(path, &w->fd);
  SB_THEN(check_joined(w));
  if (status != SB_OK) sb_safetensors_writer_free(out);
  return status;
}

sb_status sb_safetensors_writer_write(sb_safetensors_writer *w, size_t index, uint64_t byte_offset,
                                      size_t bytes, const void *src) {
  if (index >= w->count || byte_offset > w->bytes[index] || bytes > w->bytes[index] - byte_offset)
    return sb_fail(SB_ERR_INTERNAL, "%s: bytes %llu + %zu of tensor %zu lie outside it", w->path,
                   (unsigned long long)byte_offset, bytes, index);
  return sb_file_write_at(w->fd, w->path, w->begin[index] + byte_offset, src, bytes, w->file_bytes);
}

uint64_t sb_safetensors_writer_bytes(const sb_safetensors_writer *w) {
  return w->file_bytes;
}

sb_status sb_safetensors_writer_finish(sb_safetensors_writer *w) {
  sb_status status = sb_file_sync(w->fd, w->path);
  if (close(w->fd) != 0 && status == SB_OK)
    status = sb_fail(SB_ERR_IO, "%s: closing failed: %s", w->path, strerror(errno));
  w->fd = -1;
  return status;
}

void sb_safetensors_writer_free(sb_safetensors_writer **writer) {
  sb_safetensors_writer *w = *writer;
  if (!w) return;
  if (w->fd >= 0) close(w->fd);
  free(w->path);
  sb_free(&w->begin);
  sb_free(&w->bytes);
  sb_free(&w->header);
  sb_free(writer);
}

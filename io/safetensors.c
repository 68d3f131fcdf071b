#include "io/safetensors.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors_header.h"

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

typedef struct source_file {
  char *path;
  int fd;
} source_file;

struct sb_safetensors {
  source_file *files;
  size_t file_count;
  sb_tensor_info *tensors;
  size_t count;
  const sb_tensor_info **by_name; /* sorted */
};

static int compare_names(const void *a, const void *b) {
  const sb_tensor_info *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}

static int compare_strings(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens one more file and appends its tensors; reader->files has room for it. */
static sb_status add_file(sb_safetensors *reader, const char *path) {
  sb_status status = SB_OK;
  sb_tensor_info *found = NULL, *grown = NULL;
  size_t found_count = 0;
  uint64_t bytes;
  int fd;
  SB_TRY(sb_file_open(path, &fd, &bytes));
  source_file *file = &reader->files[reader->file_count];
  file->fd = fd;
  file->path = strdup(path);
  reader->file_count++; /* from here on close releases it */
  if (!file->path) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory to open it", path);
  SB_TRY(sb_safetensors_header_read(fd, file->path, bytes, &found, &found_count));
  SB_GO(sb_alloc(&grown, reader->count + found_count, sizeof *grown, "tensor list"));
  for (size_t i = 0; i < found_count; i++) found[i].fd_index = (int)reader->file_count - 1;
  if (reader->count) memcpy(grown, reader->tensors, reader->count * sizeof *grown);
  if (found_count) memcpy(grown + reader->count, found, found_count * sizeof *grown);
  sb_free(&reader->tensors);
  reader->tensors = grown;
  reader->count += found_count;
  found_count = 0; /* the names have moved */
done:
  sb_safetensors_header_free(&found, found_count);
  return status;
}

static sb_status sort_names(sb_safetensors *reader) {
  SB_TRY(sb_alloc(&reader->by_name, reader->count, sizeof *reader->by_name, "tensor index"));
  for (size_t i = 0; i < reader->count; i++) reader->by_name[i] = &reader->tensors[i];
  qsort(reader->by_name, reader->count, sizeof *reader->by_name, compare_names);
  for (size_t i = 1; i < reader->count; i++) {
    const sb_tensor_info *a = reader->by_name[i - 1], *b = reader->by_name[i];
    if (strcmp(a->name, b->name) == 0)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: tensor '%s' is also in %s; one of the two shards does not belong here",
                     a->file, a->name, b->file);
  }
  return SB_OK;
}

/* The distinct file names of a weight_map, sorted; the strings are borrowed from it. */
static sb_status list_shards(const char *index_path, json_t *weight_map, const char ***names,
                             size_t *count) {
  json_t *value;
  const char *tensor;
  size_t used = 0;
  SB_TRY(sb_alloc(names, json_object_size(weight_map), sizeof **names, "shard list"));
  json_object_foreach(weight_map, tensor, value) {
    const char *name = json_string_value(value);
    if (!name || !*name || strchr(name, '/'))
      return sb_fail(SB_ERR_FORMAT, "%s: the file of tensor '%s' is not a plain file name",
                     index_path, tensor);
    (*names)[used++] = name;
  }
  if (used == 0) return sb_fail(SB_ERR_FORMAT, "%s: its weight_map names no tensor", index_path);
  qsort(*names, used, sizeof **names, compare_strings);
  size_t kept = 1;
  for (size_t i = 1; i < used; i++)
    if (strcmp((*names)[i], (*names)[kept - 1]) != 0) (*names)[kept++] = (*names)[i];
  *count = kept;
  return SB_OK;
}

/* Every tensor of the index must be in the shard the index names. */
static sb_status check_index(const sb_safetensors *reader, const char *index_path,
                             json_t *weight_map) {
  json_t *value;
  const char *tensor;
  json_object_foreach(weight_map, tensor, value) {
    const char *wanted = json_string_value(value);
    const sb_tensor_info *info = sb_safetensors_find(reader, tensor);
    const char *slash = info ? strrchr(info->file, '/') : NULL;
    const char *where = !info ? NULL : slash ? slash + 1 : info->file;
    if (!info)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: tensor '%s' should be in %s, which lacks it; fetch that shard again",
                     index_path, tensor, wanted);
    if (strcmp(where, wanted) != 0)
      return sb_fail(SB_ERR_FORMAT, "%s: tensor '%s' should be in %s but is in %s", index_path,
                     tensor, wanted, where);
  }
  return SB_OK;
}

static sb_status open_index(sb_safetensors *reader, const char *folder, const char *index_path) {
  sb_status status = SB_OK;
  json_t *index = NULL, *weight_map;
  const char **names = NULL;
  char path[SB_PATH_MAX];
  size_t count = 0;
  SB_GO(sb_json_read(index_path, &index));
  SB_GO(sb_json_get_object(index_path, "", index, "weight_map", &weight_map));
  SB_GO(list_shards(index_path, weight_map, &names, &count));
  SB_GO(sb_alloc(&reader->files, count, sizeof *reader->files, "shard list"));
  for (size_t i = 0; i < count; i++) {
    SB_GO(sb_path_join(path, folder, names[i]));
    if (access(path, F_OK) != 0) {
      status = sb_fail(SB_ERR_IO,
                       "%s: the shard %s that it names is missing (%zu shards in all); fetch it",
                       index_path, names[i], count);
      goto done;
    }
    SB_GO(add_file(reader, path));
  }
  SB_GO(sort_names(reader));
  SB_GO(check_index(reader, index_path, weight_map));
done:
  sb_free(&names);
  json_decref(index);
  return status;
}

static sb_status open_single(sb_safetensors *reader, const char *path) {
  SB_TRY(sb_alloc(&reader->files, 1, sizeof *reader->files, "file list"));
  SB_TRY(add_file(reader, path));
  return sort_names(reader);
}

static bool present(const char *folder, const char *name) {
  char path[SB_PATH_MAX];
  return sb_path_join(path, folder, name) == SB_OK && access(path, F_OK) == 0;
}

static sb_status open_folder(sb_safetensors *reader, const char *folder) {
  char path[SB_PATH_MAX];
  if (present(folder, single_name)) {
    SB_TRY(sb_path_join(path, folder, single_name));
    return open_single(reader, path);
  }
  if (present(folder, index_name)) {
    SB_TRY(sb_path_join(path, folder, index_name));
    return open_index(reader, folder, path);
  }
  if (present(folder, "pytorch_model.bin") || present(folder, "pytorch_model.bin.index.json"))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: has only pytorch_model.bin, which can run code when it is opened; convert "
                   "it with transformers' "
                   "save_pretrained(..., safe_serialization=True)",
                   folder);
  return sb_fail(
      SB_ERR_UNSUPPORTED,
      "%s: has neither %s nor %s; give the folder of a Hugging Face model in safetensors", folder,
      single_name, index_name);
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), end_length = strlen(end);
  return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static sb_status open_any(sb_safetensors *reader, const char *path) {
  struct stat info;
  char folder[SB_PATH_MAX];
  if (stat(path, &info) != 0)
    return sb_fail(SB_ERR_IO,
                   "%s: cannot be opened: %s; give a model folder or a .safetensors file", path,
                   strerror(errno));
  if (S_ISDIR(info.st_mode)) return open_folder(reader, path);
  if (!ends_with(path, ".index.json")) return open_single(reader, path);
  const char *slash = strrchr(path, '/');
  if (slash && (size_t)(slash - path) >= sizeof folder)
    return sb_fail(SB_ERR_IO, "%s: the path is too long", path);
  strcpy(folder, ".");
  if (slash) {
    memcpy(folder, path, (size_t)(slash - path) + 1);
    folder[slash - path + 1] = '\0';
  }
  return open_index(reader, folder, path);
}

sb_status sb_safetensors_open(const char *path, sb_safetensors **out) {
  SB_TRY(sb_alloc(out, 1, sizeof **out, "safetensors reader"));
  sb_status status = open_any(*out, path);
  if (status != SB_OK) sb_safetensors_close(out);
  return status;
}

void sb_safetensors_close(sb_safetensors **reader) {
  sb_safetensors *r = *reader;
  if (!r) return;
  for (size_t i = 0; i < r->file_count; i++) {
    close(r->files[i].fd);
    free(r->files[i].path);
  }
  sb_free(&r->files);
  sb_safetensors_header_free(&r->tensors, r->count);
  sb_free(&r->by_name);
  sb_free(reader);
}

size_t sb_safetensors_count(const sb_safetensors *reader) {
  return reader->count;
}

const sb_tensor_info *sb_safetensors_at(const sb_safetensors *reader, size_t i) {
  return &reader->tensors[i];
}

const sb_tensor_info *sb_safetensors_find(const sb_safetensors *reader, const char *name) {
  const sb_tensor_info wanted = {.name = name}, *key = &wanted;
  const sb_tensor_info **found =
      bsearch(&key, reader->by_name, reader->count, sizeof *reader->by_name, compare_names);
  return found ? *found : NULL;
}

uint64_t sb_safetensors_total_bytes(const sb_safetensors *reader) {
  uint64_t total = 0; /* cannot overflow: the regions tile files, whose sizes are off_t */
  for (size_t i = 0; i < reader->count; i++) total += reader->tensors[i].bytes;
  return total;
}

sb_status sb_safetensors_read(const sb_safetensors *reader, const sb_tensor_info *info,
                              uint64_t byte_offset, size_t bytes, void *dst) {
  if (byte_offset > info->bytes || bytes > info->bytes - byte_offset)
    return sb_fail(SB_ERR_INTERNAL, "%s: tensor '%s': bytes %llu + %zu were asked for, it has %llu",
                   info->file, info->name, (unsigned long long)byte_offset, bytes,
                   (unsigned long long)info->bytes);
  return sb_file_read_at(reader->files[info->fd_index].fd, info->file, info->offset + byte_offset,
                         dst, bytes);
}

sb_status sb_safetensors_require_weight(const sb_tensor_info *info) {
  if (sb_dtype_is_weight(info->dtype)) return SB_OK;
  return sb_fail(
      SB_ERR_UNSUPPORTED,
      "%s: tensor '%s' has dtype %s; weights must be F32, F16 or BF16 (convert the model first)",
      info->file, info->name, sb_dtype_name(info->dtype));
}

#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/file.h"
#include "io/name_table.h"
#include "io/safetensors_header.h"
#include "io/weight_files.h"

typedef struct source_file {
  char *path, *text; /* the text of the header holds the tensors' names */
  int fd;
} source_file;

struct sb_safetensors {
  sb_weight_files names;
  source_file *files; /* [file_count] those that are there */
  size_t file_count;
  sb_tensor_info *tensors;
  size_t count, room;
  sb_name_table by_name; /* number of the tensor; of several, the one that counts */
  sb_stale_entry *stale;
  size_t stale_count, moved, doubled;
};

/* Opens one more file and appends its tensors; reader->files has room for it. */
static sb_status add_file(sb_safetensors *reader, const char *path) {
  sb_status status = SB_OK;
  sb_tensor_info *found = NULL, *grown = NULL;
  size_t found_count = 0;
  uint64_t bytes;
  int fd;
  SB_TRY(sb_weight_files_check_link(path));
  SB_TRY(sb_file_open(path, &fd, &bytes));
  source_file *file = &reader->files[reader->file_count];
  file->fd = fd;
  file->path = strdup(path);
  reader->file_count++; /* from here on close releases it */
  if (!file->path) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory to open it", path);
  SB_GO(sb_safetensors_header_read(fd, file->path, bytes, &found, &found_count, &file->text));
  if (reader->count + found_count > reader->room) {
    reader->room = reader->count + sb_max_size(found_count, reader->count);
    SB_GO(sb_alloc_raw(&grown, reader->room, sizeof *grown, "tensor list"));
    if (reader->count) memcpy(grown, reader->tensors, reader->count * sizeof *grown);
    sb_free(&reader->tensors);
    reader->tensors = grown;
  }
  if (found_count) memcpy(reader->tensors + reader->count, found, found_count * sizeof *found);
  for (size_t i = 0; i < found_count; i++) {
    sb_tensor_info *t = &reader->tensors[reader->count + i];
    t->fd_index = (int)reader->file_count - 1;
    t->number = reader->count + i;
  }
  reader->count += found_count;
done:
  sb_free(&found);
  return status;
}

/* Tensors of one name are chained; a file may have a name once. */
static sb_status number_names(sb_safetensors *reader) {
  SB_TRY(sb_name_table_create(reader->count, &reader->by_name));
  for (size_t i = 0; i < reader->count; i++) {
    sb_tensor_info *t = &reader->tensors[i];
    const size_t before = sb_name_table_add(&reader->by_name, t->name, i);
    if (before == i) continue;
    sb_tensor_info *first = &reader->tensors[before];
    for (const sb_tensor_info *twin = first; twin; twin = twin->twin)
      if (twin->fd_index == t->fd_index)
        return sb_fail(
            SB_ERR_FORMAT,
            "%s: header: the JSON has a duplicated key (tensor \"%s\" twice); write the file again",
            t->file, t->name);
    t->twin = first->twin;
    first->twin = t;
    reader->doubled++;
  }
  return SB_OK;
}

/* What the index says beside what the files hold. */
static sb_status compare_index(sb_safetensors *reader) {
  const sb_weight_files *f = &reader->names;
  size_t opened = 0, *file_of = NULL;
  if (f->entry_count == 0) return SB_OK;
  SB_TRY(sb_alloc(&file_of, f->count, sizeof *file_of, "shard list"));
  sb_status status =
      sb_alloc(&reader->stale, f->entry_count, sizeof *reader->stale, "index entries");
  for (size_t i = 0; i < f->count; i++) file_of[i] = f->missing[i] ? SIZE_MAX : opened++;
  for (size_t i = 0; status == SB_OK && i < f->entry_count; i++) {
    const sb_index_entry *e = &f->entries[i];
    const size_t number = sb_name_table_find(&reader->by_name, e->tensor);
    if (number == SIZE_MAX) {
      reader->stale[reader->stale_count++] =
          (sb_stale_entry){e->tensor, f->names[e->file], f->missing[e->file]};
      continue;
    }
    sb_tensor_info *t = &reader->tensors[number];
    bool there = false;
    for (const sb_tensor_info *twin = t; twin; twin = twin->twin)
      there = there || (size_t)twin->fd_index == file_of[e->file];
    reader->moved += !there && !t->moved;
    t->moved = t->moved || !there;
  }
  sb_free(&file_of);
  return status;
}

static sb_status open_all(sb_safetensors *reader, const char *path) {
  char file[SB_PATH_MAX];
  const sb_weight_files *f = &reader->names;
  SB_TRY(sb_weight_files_find(path, &reader->names));
  SB_TRY(sb_alloc(&reader->files, f->count, sizeof *reader->files, "shard list"));
  for (size_t i = 0; i < f->count; i++) {
    if (f->missing[i]) continue;
    SB_TRY(sb_path_join(file, f->folder, f->names[i]));
    SB_TRY(add_file(reader, file));
  }
  SB_TRY(number_names(reader));
  return compare_index(reader);
}

sb_status sb_safetensors_open(const char *path, sb_safetensors **out) {
  SB_TRY(sb_alloc(out, 1, sizeof **out, "safetensors reader"));
  sb_status status = open_all(*out, path);
  if (status != SB_OK) sb_safetensors_close(out);
  return status;
}

void sb_safetensors_close(sb_safetensors **reader) {
  sb_safetensors *r = *reader;
  if (!r) return;
  for (size_t i = 0; i < r->file_count; i++) {
    close(r->files[i].fd);
    free(r->files[i].path);
    sb_free(&r->files[i].text);
  }
  sb_free(&r->files);
  sb_free(&r->tensors);
  sb_free(&r->stale);
  sb_name_table_free(&r->by_name);
  sb_weight_files_free(&r->names);
  sb_free(reader);
}

size_t sb_safetensors_count(const sb_safetensors *reader) {
  return reader->count;
}

const sb_tensor_info *sb_safetensors_at(const sb_safetensors *reader, size_t i) {
  return &reader->tensors[i];
}

const sb_tensor_info *sb_safetensors_find(const sb_safetensors *reader, const char *name) {
  const size_t number = sb_name_table_find(&reader->by_name, name);
  return number == SIZE_MAX ? NULL : &reader->tensors[number];
}

const sb_stale_entry *sb_safetensors_stale(const sb_safetensors *reader, size_t *count) {
  *count = reader->stale_count;
  return reader->stale;
}

sb_safetensors_oddities sb_safetensors_odd(const sb_safetensors *reader) {
  return (sb_safetensors_oddities){
      .stale = reader->stale_count, .moved = reader->moved, .doubled = reader->doubled};
}

sb_status sb_safetensors_other_files(const sb_safetensors *reader, char ***names, size_t *count) {
  return sb_weight_files_others(&reader->names, names, count);
}

sb_status sb_safetensors_lacks(const sb_safetensors *reader, const char *name) {
  for (size_t i = 0; i < reader->stale_count; i++) {
    const sb_stale_entry *e = &reader->stale[i];
    if (strcmp(e->tensor, name) != 0) continue;
    if (e->file_missing)
      return sb_fail(SB_ERR_IO,
                     "%s: the shard %s that it names is missing (%zu shards in all); fetch it",
                     reader->names.index, e->file, reader->names.count);
    return sb_fail(SB_ERR_FORMAT,
                   "%s: tensor '%s' should be in %s, which lacks it; fetch that shard again",
                   reader->names.index, name, e->file);
  }
  return SB_OK;
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
      info->file, info->name, info->type_name);
}

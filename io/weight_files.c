#include "io/weight_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/json_scan.h"
#include "io/name_table.h"

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";
static const char ending[] = ".safetensors";

static int compare_strings(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

sb_status sb_weight_files_check_link(const char *path) {
  struct stat link, target;
  char where[512];
  if (lstat(path, &link) != 0 || !S_ISLNK(link.st_mode) || stat(path, &target) == 0) return SB_OK;
  const ssize_t length = readlink(path, where, sizeof where - 1);
  where[length < 0 ? 0 : length] = '\0';
  return sb_fail(SB_ERR_IO, "%s: is a link to %s, which is not there; fetch the model again", path,
                 where);
}

/* A file of that name, or a link, even to nowhere. */
static bool present(const char *folder, const char *name) {
  char path[SB_PATH_MAX];
  struct stat info;
  return sb_path_join(path, folder, name) == SB_OK && lstat(path, &info) == 0;
}

/* Takes over a list of names that were allocated one by one. */
static sb_status take_names(sb_weight_files *f, char **owned, size_t count) {
  f->owned = owned;
  f->count = count;
  SB_TRY(sb_alloc(&f->names, count, sizeof *f->names, "list of files"));
  SB_TRY(sb_alloc(&f->missing, count, sizeof *f->missing, "list of files"));
  for (size_t i = 0; i < count; i++) f->names[i] = owned[i];
  return SB_OK;
}

static sb_status take_one(sb_weight_files *f, const char *name) {
  char **owned;
  SB_TRY(sb_alloc(&owned, 1, sizeof *owned, "list of files"));
  owned[0] = strdup(name);
  if (!owned[0]) {
    sb_free(&owned);
    return sb_fail(SB_ERR_MEMORY, "%s: not enough memory to open it", name);
  }
  return take_names(f, owned, 1);
}

/* ---- an index ---- */

/* The entries of a weight_map; their files are numbered as they come. */
static sb_status read_map(sb_weight_files *f, sb_json_scan *scan, const char ***files,
                          size_t *file_count) {
  bool first = true, more = true;
  size_t room = 0;
  const char *tensor = NULL, *name = NULL, *last = NULL;
  SB_TRY(sb_json_scan_enter(scan, '{'));
  for (;;) {
    SB_TRY(sb_json_scan_next(scan, '}', &first, &more, &tensor));
    if (!more) break;
    name = "";
    if (sb_json_scan_kind(scan) == SB_JSON_STRING)
      SB_TRY(sb_json_scan_string(scan, &name));
    else
      SB_TRY(sb_json_scan_skip(scan));
    if (!*name || strchr(name, '/') || strcmp(name, "..") == 0)
      return sb_fail(SB_ERR_FORMAT, "%s: the file of tensor '%s' is not a plain file name",
                     f->index, tensor);
    if (f->entry_count == room) {
      const size_t size = room ? 2 * room : 512;
      sb_index_entry *grown;
      const char **longer;
      SB_TRY(sb_alloc(&grown, size, sizeof *grown, "index"));
      if (room) memcpy(grown, f->entries, room * sizeof *grown);
      sb_free(&f->entries);
      f->entries = grown;
      SB_TRY(sb_alloc(&longer, size, sizeof *longer, "index"));
      if (room) memcpy(longer, *files, room * sizeof *longer);
      sb_free(files);
      *files = longer;
      room = size;
    }
    if (!last || strcmp(last, name) != 0) (*files)[(*file_count)++] = name; /* runs are common */
    last = name;
    f->entries[f->entry_count++] = (sb_index_entry){tensor, *file_count - 1};
  }
  return SB_OK;
}

/* The distinct ones of `files` in order become f->names; entries are renumbered. */
static sb_status number_files(sb_weight_files *f, const char **files, size_t count) {
  sb_status status = SB_OK;
  sb_name_table table = {0};
  size_t *number = NULL;
  SB_GO(sb_name_table_create(count, &table));
  SB_GO(sb_alloc(&number, count, sizeof *number, "index"));
  SB_GO(sb_alloc(&f->names, count, sizeof *f->names, "index"));
  SB_GO(sb_alloc(&f->missing, count, sizeof *f->missing, "index"));
  for (size_t i = 0; i < count; i++)
    if (sb_name_table_add(&table, files[i], i) == i) f->names[f->count++] = files[i];
  qsort(f->names, f->count, sizeof *f->names, compare_strings);
  sb_name_table_free(&table);
  SB_GO(sb_name_table_create(f->count, &table));
  for (size_t i = 0; i < f->count; i++) sb_name_table_add(&table, f->names[i], i);
  for (size_t i = 0; i < count; i++) number[i] = sb_name_table_find(&table, files[i]);
  for (size_t i = 0; i < f->entry_count; i++) f->entries[i].file = number[f->entries[i].file];
done:
  sb_name_table_free(&table);
  sb_free(&number);
  return status;
}

static sb_status read_index(sb_weight_files *f, sb_json_scan *scan, const char ***files,
                            size_t *count) {
  bool first = true, more = true, found = false;
  const char *key = NULL;
  SB_TRY(sb_json_scan_enter(scan, '{'));
  for (;;) {
    SB_TRY(sb_json_scan_next(scan, '}', &first, &more, &key));
    if (!more) break;
    if (strcmp(key, "weight_map") != 0) {
      SB_TRY(sb_json_scan_skip(scan));
      continue;
    }
    if (sb_json_scan_kind(scan) != SB_JSON_OBJECT)
      return sb_fail(SB_ERR_FORMAT, "%s: \"weight_map\" is not an object", f->index);
    SB_TRY(read_map(f, scan, files, count));
    found = true;
  }
  SB_TRY(sb_json_scan_end(scan));
  if (!found) return sb_fail(SB_ERR_FORMAT, "%s: \"weight_map\" (an object) is missing", f->index);
  if (f->entry_count == 0)
    return sb_fail(SB_ERR_FORMAT, "%s: its weight_map names no tensor", f->index);
  return SB_OK;
}

static sb_status take_index(sb_weight_files *f) {
  sb_status status = SB_OK;
  sb_json_scan scan;
  const char **files = NULL;
  size_t bytes, count = 0, missing = 0;
  SB_TRY(sb_file_read_all(f->index, (size_t)1 << 30, &f->text, &bytes));
  sb_json_scan_begin(&scan, f->index, "", f->text, bytes);
  SB_GO(read_index(f, &scan, &files, &count));
  SB_GO(number_files(f, files, count));
  for (size_t i = 0; i < f->count; i++) {
    f->missing[i] = !present(f->folder, f->names[i]);
    missing += f->missing[i];
  }
  if (missing == f->count)
    status = sb_fail(SB_ERR_IO, "%s: none of the %zu shards that it names is here (%s, ...)",
                     f->index, f->count, f->names[0]);
done:
  sb_free(&files);
  return status;
}

/* ---- shards without an index ---- */

/* STEM-00002-of-00005.safetensors: *number = 2, *of = 5; returns the length of STEM, or 0. */
static size_t parse_shard(const char *name, unsigned long *number, unsigned long *of) {
  const size_t length = strlen(name), tail = strlen("-00001-of-00001.safetensors");
  char end[2] = {0};
  if (length <= tail) return 0;
  const char *from = name + length - tail;
  return sscanf(from, "-%5lu-of-%5lu.safetensors%1s", number, of, end) == 2 && *number >= 1 &&
                 *number <= *of && strcmp(name + length - strlen(ending), ending) == 0
             ? length - tail
             : 0;
}

typedef struct listing {
  char **names; /* [count] of safetensors files */
  size_t count, room;
} listing;

static sb_status list_folder(const char *folder, listing *l) {
  DIR *stream = opendir(folder);
  sb_status status = SB_OK;
  const struct dirent *entry;
  if (!stream) return sb_fail(SB_ERR_IO, "%s: cannot be opened: %s", folder, strerror(errno));
  while (status == SB_OK && (entry = readdir(stream))) {
    const size_t length = strlen(entry->d_name);
    if (length < sizeof ending || strcmp(entry->d_name + length - strlen(ending), ending) != 0)
      continue;
    if (l->count == l->room) {
      char **grown;
      const size_t room = l->room ? 2 * l->room : 64;
      SB_GO(sb_alloc(&grown, room, sizeof *grown, "list of files"));
      if (l->count) memcpy(grown, l->names, l->count * sizeof *grown);
      sb_free(&l->names);
      l->names = grown;
      l->room = room;
    }
    l->names[l->count] = strdup(entry->d_name);
    if (!l->names[l->count])
      SB_GO(sb_fail(SB_ERR_MEMORY, "%s: not enough memory to list it", folder));
    l->count++;
  }
done:
  closedir(stream);
  if (l->count) qsort(l->names, l->count, sizeof *l->names, compare_strings);
  return status;
}

/* Sorted names of shards: SB_OK if they are 1 to N of N of one model, all of them. */
static sb_status check_shards(const char *folder, const listing *l) {
  unsigned long number = 0, of, all = 0;
  const size_t stem = parse_shard(l->names[0], &number, &all);
  for (size_t i = 0; i <= l->count; i++) {
    if (i == l->count && i == all) break;
    const size_t length = i < l->count ? parse_shard(l->names[i], &number, &of) : stem;
    if (i < l->count &&
        (length != stem || of != all || strncmp(l->names[i], l->names[0], stem) != 0))
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s: has no %s, and %s and %s are shards of different models; fetch the index",
                     folder, index_name, l->names[0], l->names[i]);
    if (i == l->count || number != i + 1)
      return sb_fail(SB_ERR_IO, "%s: has no %s, and shard %zu of %lu is missing; fetch both",
                     folder, index_name, i + 1, all);
  }
  return SB_OK;
}

/* Leaves the shards in the list; *other = one of the rest, or NULL. */
static void keep_shards(listing *l, char **other) {
  unsigned long number, of;
  size_t kept = 0;
  *other = NULL;
  for (size_t i = 0; i < l->count; i++) {
    if (parse_shard(l->names[i], &number, &of)) {
      l->names[kept++] = l->names[i];
    } else {
      free(*other);
      *other = l->names[i];
    }
  }
  l->count = kept;
}

static sb_status without_weights(const char *folder, const char *other) {
  if (other)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: has neither %s nor %s; if %s is the whole model, give it the first name",
                   folder, single_name, index_name, other);
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

static sb_status take_shards(sb_weight_files *f) {
  listing l = {0};
  char *other = NULL;
  sb_status status = list_folder(f->folder, &l);
  keep_shards(&l, &other);
  if (status == SB_OK)
    status = l.count ? check_shards(f->folder, &l) : without_weights(f->folder, other);
  free(other);
  if (status == SB_OK) return take_names(f, l.names, l.count);
  for (size_t i = 0; i < l.count; i++) free(l.names[i]);
  sb_free(&l.names);
  return status;
}

sb_status sb_weight_files_others(const sb_weight_files *f, char ***names, size_t *count) {
  listing l = {0};
  sb_status status = list_folder(f->folder, &l);
  size_t kept = 0;
  for (size_t i = 0; i < l.count; i++) {
    const char *name = l.names[i];
    const bool known =
        f->count && bsearch(&name, f->names, f->count, sizeof *f->names, compare_strings);
    if (known || status != SB_OK)
      free(l.names[i]);
    else
      l.names[kept++] = l.names[i];
  }
  *names = l.names;
  *count = kept;
  return status;
}

/* ---- all ways ---- */

static sb_status find_in_folder(sb_weight_files *f) {
  if (present(f->folder, single_name)) return take_one(f, single_name);
  if (!present(f->folder, index_name)) return take_shards(f);
  SB_TRY(sb_path_join(f->index, f->folder, index_name));
  SB_TRY(sb_weight_files_check_link(f->index));
  return take_index(f);
}

sb_status sb_weight_files_find(const char *path, sb_weight_files *f) {
  struct stat info;
  *f = (sb_weight_files){0};
  SB_TRY(sb_weight_files_check_link(path));
  if (stat(path, &info) != 0)
    return sb_fail(SB_ERR_IO,
                   "%s: cannot be opened: %s; give a model folder or a .safetensors file", path,
                   strerror(errno));
  const size_t length = strlen(path), tail = strlen(".index.json");
  if (length >= sizeof f->folder) return sb_fail(SB_ERR_IO, "%.64s...: is too long a path", path);
  if (S_ISDIR(info.st_mode)) {
    memcpy(f->folder, path, length + 1);
    return find_in_folder(f);
  }
  const char *slash = strrchr(path, '/');
  sb_path_parent(f->folder, path);
  if (length < tail || strcmp(path + length - tail, ".index.json") != 0)
    return take_one(f, slash ? slash + 1 : path);
  memcpy(f->index, path, length + 1);
  return take_index(f);
}

void sb_weight_files_free(sb_weight_files *f) {
  for (size_t i = 0; f->owned && i < f->count; i++) free(f->owned[i]);
  sb_free(&f->owned);
  sb_free(&f->names);
  sb_free(&f->missing);
  sb_free(&f->entries);
  sb_free(&f->text);
  f->count = f->entry_count = 0;
}

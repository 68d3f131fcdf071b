#include "cli/targets.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/token_list.h"
#include "io/atomic.h"
#include "io/manifest.h"
#include "io/outdir.h"

enum { LISTS = 2, MOST = 80 + LISTS * SB_TRAIN_SOURCES };

/* A name on the command line, and what it says. */
typedef struct named {
  const char *option; /* without dashes; an argument's name */
  const char *path;
  sb_option_file file;
} named;

typedef struct names {
  named of[MOST];
  size_t count;
  sb_token_list lists[LISTS]; /* have the names of token files */
  size_t list_count;
} names;

static void add(names *n, const char *option, const char *path, sb_option_file file) {
  if (!path || file == SB_FILE_NONE || n->count == MOST) return;
  if ((file == SB_FILE_WRITTEN || file == SB_FILE_KEPT) && strcmp(path, "-") == 0) return;
  n->of[n->count++] = (named){option, path, file};
}

static sb_status add_tokens(names *n, const char *option, const char *value) {
  if (!value || n->list_count == LISTS) return SB_OK;
  sb_token_list *list = &n->lists[n->list_count++];
  SB_TRY(sb_token_list_parse(option, value, list));
  for (size_t i = 0; i < list->count; i++) add(n, option, list->sources[i].path, SB_FILE_READ);
  return SB_OK;
}

static sb_status add_options(names *n, const sb_option *options, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const sb_option *o = &options[i];
    if (o->kind != SB_OPTION_STRING) continue;
    const char *value = *(const char *const *)o->value;
    if (o->file == SB_FILE_TOKENS)
      SB_TRY(add_tokens(n, o->name, value));
    else
      add(n, o->name, value, o->file);
  }
  return SB_OK;
}

static void add_arguments(names *n, const sb_usage *usage) {
  for (size_t i = 0; i < usage->argument_count; i++) {
    const bool several = usage->repeats && i + 1 == usage->argument_count;
    for (size_t k = 0; k < (several ? *usage->repeats : 1); k++)
      add(n, usage->arguments[i].name, usage->arguments[i].value[k], SB_FILE_READ);
  }
}

/* Whether the run writes that file. */
static bool is_target(const named *n) {
  if (n->file == SB_FILE_FOUND) return access(n->path, F_OK) != 0;
  return n->file == SB_FILE_WRITTEN || n->file == SB_FILE_KEPT;
}

/* Whether two names mean the same file; one that does not exist is known by its folder. */
static bool same_file(const char *a, const char *b) {
  struct stat one, two;
  char folder_a[SB_PATH_MAX], folder_b[SB_PATH_MAX];
  const bool exists = stat(a, &one) == 0;
  if (exists != (stat(b, &two) == 0)) return false;
  if (!exists) {
    const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');
    if (strlen(a) >= SB_PATH_MAX || strlen(b) >= SB_PATH_MAX) return false;
    if (strcmp(slash_a ? slash_a + 1 : a, slash_b ? slash_b + 1 : b) != 0) return false;
    sb_path_parent(folder_a, a);
    sb_path_parent(folder_b, b);
    if (stat(folder_a, &one) != 0 || stat(folder_b, &two) != 0) return false;
  }
  return one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* Whether `path`, which exists, is a file of folder `folder`, or what a link there leads to. */
static bool is_in(const char *folder, const char *path) {
  struct stat file, entry;
  bool found = false;
  DIR *list = opendir(folder);
  if (!list) return false;
  const bool exists = stat(path, &file) == 0;
  for (struct dirent *e; exists && !found && (e = readdir(list));)
    found = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            fstatat(dirfd(list), e->d_name, &entry, 0) == 0 && entry.st_dev == file.st_dev &&
            entry.st_ino == file.st_ino;
  closedir(list);
  return found;
}

/* Whether `path` is a report or a checkpoint of an earlier run: no model needs it. */
static bool is_earlier(const char *path) {
  const char *slash = strrchr(path, '/');
  char head[256] = "";
  uint64_t bytes;
  int fd;
  if (sb_file_open(path, &fd, &bytes) != SB_OK) return false;
  const sb_status status = sb_file_read_at(fd, path, 0, head, sb_min_size(bytes, sizeof head - 1));
  close(fd);
  return status == SB_OK && strcmp(slash ? slash + 1 : path, SB_MANIFEST_NAME) != 0 &&
         head[0] == '{' && strstr(head, "shardbits") != NULL;
}

static sb_status check_target(const named *t, const names *all) {
  struct stat info;
  /* A device or a pipe is written as it is, and harms no input; a folder is refused as one. */
  if (stat(t->path, &info) == 0 && !S_ISREG(info.st_mode)) return sb_file_check_target(t->path);
  for (const named *n = all->of; n < all->of + all->count; n++) {
    if (n == t) continue;
    if (n->file == SB_FILE_FOLDER && same_file(n->path, t->path))
      return sb_fail(SB_ERR_IO, "%s: is named by --%s and by --%s; choose another name", t->path,
                     t->option, n->option);
    if (is_target(n) && n < t && same_file(n->path, t->path))
      return sb_fail(SB_ERR_IO, "%s: is named by --%s and by --%s; choose another name", t->path,
                     n->option, t->option);
    if (!is_target(n) && n->file != SB_FILE_FOLDER &&
        (same_file(n->path, t->path) || (is_in(n->path, t->path) && !is_earlier(t->path))))
      return sb_fail(SB_ERR_IO,
                     "%s: --%s would overwrite it, and this run reads it (%s); choose "
                     "another name",
                     t->path, t->option, n->option);
  }
  return sb_file_check_target(t->path);
}

/* What the run needs until its end may not be removed, nor be in the way. */
static sb_status check_folder(const named *folder, const names *all) {
  for (const named *n = all->of; n < all->of + all->count; n++)
    if (n->file != SB_FILE_FOLDER && n->file != SB_FILE_WRITTEN)
      SB_TRY(sb_outdir_spare(folder->path, n->path));
  return SB_OK;
}

static sb_status check(const sb_usage *usage, names *all) {
  add_arguments(all, usage);
  SB_TRY(add_options(all, usage->options, usage->option_count));
  SB_TRY(add_options(all, usage->common, usage->common_count));
  for (const named *n = all->of; n < all->of + all->count; n++) {
    if (n->file == SB_FILE_FOLDER) SB_TRY(check_folder(n, all));
    if (is_target(n)) SB_TRY(check_target(n, all));
  }
  return SB_OK;
}

sb_status sb_targets_check(const sb_usage *usage) {
  names all = {.count = 0};
  const sb_status status = check(usage, &all);
  for (size_t i = 0; i < all.list_count; i++) sb_token_list_free(&all.lists[i]);
  return status;
}

/* Whether a word of the command line names the file, or the folder that it is in. */
static bool names_file(const char *word, const char *file) {
  const char *value = strchr(word, '=');
  if (value && names_file(value + 1, file)) return true;
  return same_file(word, file) || (is_in(word, file) && !is_earlier(file));
}

sb_status sb_targets_check_trace(const char *trace, int argc, char **argv) {
  struct stat info;
  const bool harms = stat(trace, &info) == 0 && S_ISREG(info.st_mode);
  for (int i = 1; harms && i < argc; i++)
    if (names_file(argv[i], trace))
      return sb_fail(SB_ERR_IO,
                     "%s: SHARDBITS_TRACE would overwrite it, and this run reads it (%s); "
                     "choose another name",
                     trace, argv[i]);
  return sb_file_check_target(trace);
}

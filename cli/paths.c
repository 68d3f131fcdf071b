#include "cli/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/file.h"

static char *settled[SB_PATHS_MAX]; /* as argv, for good */

/* The rest of `path` behind a first component `name`; NULL where that is another. */
static const char *behind(const char *path, const char *name) {
  const size_t length = strlen(name);
  if (strncmp(path, name, length) != 0 || (path[length] != '/' && path[length] != 0)) return NULL;
  path += length;
  return path + strspn(path, "/");
}

/* The name of the working folder has no links, so leading ".." can be taken off it: the folder
 * itself may be gone by the time the path is used. */
sb_status sb_path_absolute(const char *path, char *out) {
  char here[SB_PATH_MAX];
  const char *rest = path, *next;
  if (path[0] == '/') return sb_path_join(out, "/", path + strspn(path, "/"));
  if (!getcwd(here, sizeof here))
    return sb_fail(SB_ERR_IO, "%s: the working folder has no name: %s", path, strerror(errno));
  for (;; rest = next) {
    if ((next = behind(rest, "."))) continue;
    if (!(next = behind(rest, ".."))) break;
    char *slash = strrchr(here, '/');
    slash[slash == here] = 0;
  }
  if (rest[0]) return sb_path_join(out, here, rest);
  strcpy(out, here);
  return SB_OK;
}

/* The working folder is `folder` or lies in it. */
static bool stands_in(const char *folder) {
  char here[PATH_MAX], there[PATH_MAX];
  if (!getcwd(here, sizeof here) || !realpath(folder, there)) return false;
  return sb_path_is_in(here, there);
}

static sb_status settle(const char **path, int *count) {
  char absolute[SB_PATH_MAX];
  if (!*path || (*path)[0] == '/' || strcmp(*path, "-") == 0) return SB_OK;
  if (*count == SB_PATHS_MAX)
    return sb_fail(SB_ERR_INTERNAL, "more than %d paths on a command line", SB_PATHS_MAX);
  SB_TRY(sb_path_absolute(*path, absolute));
  free(settled[*count]);
  settled[*count] = strdup(absolute);
  if (!settled[*count]) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory", *path);
  *path = settled[(*count)++];
  return SB_OK;
}

/* Every name of a list of token files; weights stay behind them. */
static sb_status settle_list(const char **value, int *count) {
  const size_t bytes = *value ? strlen(*value) + 1 : 0;
  size_t names = 1;
  char *list;
  if (!*value) return SB_OK;
  if (access(*value, F_OK) == 0) return settle(value, count); /* one file, commas and all */
  if (*count == SB_PATHS_MAX)
    return sb_fail(SB_ERR_INTERNAL, "more than %d paths on a command line", SB_PATHS_MAX);
  for (const char *c = *value; *c; c++) names += *c == ',';
  free(settled[*count]);
  settled[*count] = malloc(names * (SB_PATH_MAX + 1));
  if (!settled[*count]) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory", *value);
  SB_TRY(sb_alloc(&list, bytes, 1, "names of token files"));
  memcpy(list, *value, bytes);
  sb_status status = SB_OK;
  char *next = list, *at = settled[*count];
  for (const char *name; status == SB_OK && (name = strsep(&next, ","));) {
    if (at > settled[*count]) at = stpcpy(at, ",");
    if (*name) /* an empty one is refused where the list is read */
      status = sb_path_absolute(name, at);
    else
      *at = 0;
    at += strlen(at);
  }
  sb_free(&list);
  *value = settled[(*count)++];
  return status;
}

static const sb_option *option_at(const sb_usage *u, size_t i) {
  return i < u->option_count ? &u->options[i] : &u->common[i - u->option_count];
}

sb_status sb_paths_settle(const sb_usage *u) {
  const size_t options = u->option_count + u->common_count;
  bool stays = true;
  int count = 0;
  for (size_t i = 0; i < options; i++) {
    const sb_option *o = option_at(u, i);
    const char *folder = strcmp(o->name, "out") == 0 ? *(const char *const *)o->value : NULL;
    if (folder && stands_in(folder)) stays = false;
  }
  if (stays) return SB_OK;
  for (size_t i = 0; i < u->argument_count; i++) SB_TRY(settle(u->arguments[i].value, &count));
  for (size_t i = 0; i < options; i++) {
    const sb_option *o = option_at(u, i);
    if (o->kind != SB_OPTION_STRING) continue;
    SB_TRY(o->file == SB_FILE_TOKENS ? settle_list(o->value, &count) : settle(o->value, &count));
  }
  return SB_OK;
}

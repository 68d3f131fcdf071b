#include "io/pattern.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"

sb_status sb_pattern_files(const char *path, const char *what, glob_t *found) {
  char literal[2 * SB_PATH_MAX], *out = literal;
  const bool exists = access(path, F_OK) == 0;
  if (strlen(path) >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.40s...: this name of a %s is too long", path, what);
  for (const char *c = path; *c; c++) {
    if (exists && strchr("*?[\\", *c)) *out++ = '\\';
    *out++ = *c;
  }
  *out = '\0';
  if (glob(literal, GLOB_NOCHECK | (found->gl_pathc > 0 ? GLOB_APPEND : 0), NULL, found) != 0)
    return sb_fail(SB_ERR_MEMORY, "%s: not enough memory for the names of its files", path);
  return SB_OK;
}

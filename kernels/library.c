#include "kernels/library.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEEPEST = 8, TEXT = 512 }; /* of libraries that need libraries that ... */

/* pattern with its variable filled in; false where that is not set. */
static bool expand(const char *pattern, char *out, size_t size) {
  const char *rest = strchr(pattern, '/');
  char name[64];
  if (pattern[0] != '$') return (size_t)snprintf(out, size, "%s", pattern) < size;
  if (!rest || (size_t)(rest - pattern) > sizeof name) return false;
  memcpy(name, pattern + 1, (size_t)(rest - pattern) - 1);
  name[rest - pattern - 1] = '\0';
  const char *value = getenv(name);
  return value && value[0] && (size_t)snprintf(out, size, "%s%s", value, rest) < size;
}

static void *load(const char *file, const char *const *patterns, int depth, char *why);

/* Loads the file at `path`. Where the loader misses a library that it needs, that one is looked for
 * and the file tried again. `why` [TEXT] gets the loader's last word. */
static void *load_with_needed(const char *path, const char *const *patterns, int depth, char *why) {
  static const char complaint[] = ": cannot open shared object file";
  for (int tries = 0; tries <= DEEPEST; tries++) {
    char missing[TEXT], ignored[TEXT];
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library) return library;
    const char *said = dlerror();
    snprintf(why, TEXT, "%s", said ? said : "no reason given");
    snprintf(missing, sizeof missing, "%s", why);
    char *end = strstr(missing, complaint);
    if (!end) return NULL;
    *end = '\0';
    if (strchr(missing, '/') || strcmp(missing, path) == 0 || depth >= DEEPEST) return NULL;
    if (!load(missing, patterns, depth + 1, ignored)) return NULL;
  }
  return NULL;
}

static void *load(const char *file, const char *const *patterns, int depth, char *why) {
  void *library = load_with_needed(file, patterns, depth, why);
  for (; !library && *patterns; patterns++) {
    char pattern[PATH_MAX], path[PATH_MAX];
    glob_t found;
    if (!expand(*patterns, pattern, sizeof pattern)) continue;
    if (glob(pattern, 0, NULL, &found) != 0) continue;
    for (size_t i = 0; !library && i < found.gl_pathc; i++) {
      const int length = snprintf(path, sizeof path, "%s/%s", found.gl_pathv[i], file);
      if (length < 0 || (size_t)length >= sizeof path || access(path, R_OK) != 0) continue;
      library = load_with_needed(path, patterns, depth, why);
    }
    globfree(&found);
  }
  return library;
}

sb_status sb_library_open(const char *file, const char *const *patterns, void **library) {
  char why[TEXT];
  *library = load(file, patterns, 0, why);
  return *library ? SB_OK : sb_fail(SB_ERR_UNSUPPORTED, "%s", why);
}

void sb_library_close(void **library) {
  if (*library) (void)dlclose(*library);
  *library = NULL;
}

void *sb_library_symbol(void *library, const char *name) {
  return dlsym(library, name);
}

char *sb_library_path(char *path, size_t size, const void *function) {
  Dl_info info;
  char resolved[PATH_MAX];
  path[0] = '\0';
  if (dladdr(function, &info) && info.dli_fname)
    snprintf(path, size, "%s", realpath(info.dli_fname, resolved) ? resolved : info.dli_fname);
  return path;
}

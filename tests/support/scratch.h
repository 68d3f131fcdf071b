/* A scratch folder of one process, in $TMPDIR or /tmp. Ranks of one test
 * share one by tests/support/shared_scratch.h. */
#ifndef SB_TESTS_SUPPORT_SCRATCH_H
#define SB_TESTS_SUPPORT_SCRATCH_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char scratch[512]; /* its path */

static inline bool scratch_create(void) {
  const char *base = getenv("TMPDIR");
  snprintf(scratch, sizeof scratch, "%s/shardbits-test-XXXXXX", base && *base ? base : "/tmp");
  return mkdtemp(scratch) != NULL;
}

static inline bool scratch_remove(void) {
  char command[600];
  snprintf(command, sizeof command, "rm -rf '%s'", scratch);
  return system(command) == 0;
}

/* Path of `name` in it. Eight results stay valid at a time. */
static inline const char *scratch_path(const char *name) {
  static char paths[8][1024];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
  return path;
}

/* cmocka's fixtures, of a group or of one test. */
static inline int scratch_setup(void **state) {
  (void)state;
  return scratch_create() ? 0 : -1;
}
static inline int scratch_teardown(void **state) {
  (void)state;
  return scratch_remove() ? 0 : -1;
}

#endif

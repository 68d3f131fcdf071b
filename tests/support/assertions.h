/* cmocka with the headers it wants before it, and assertions about a call's status and message.
 * For tests of one process: one of several ranks uses EXPECT of tests/support/ranks.h, since an
 * assertion would leave the other ranks waiting. */
#ifndef SB_TESTS_SUPPORT_ASSERTIONS_H
#define SB_TESTS_SUPPORT_ASSERTIONS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"

#define assert_ok(call)                                                                            \
  do {                                                                                             \
    if ((call) != SB_OK) fail_msg("%s: %s", #call, sb_message());                                  \
  } while (0)

/* The last message is one line that contains `text`. */
#define assert_says(text) assert_message(text, __FILE__, __LINE__)
static inline void assert_message(const char *text, const char *file, int line) {
  if (!strstr(sb_message(), text))
    fail_msg("%s:%d: \"%s\" does not contain \"%s\"", file, line, sb_message(), text);
  if (strchr(sb_message(), '\n')) fail_msg("%s:%d: not one line: %s", file, line, sb_message());
}

/* The call failed with that status. Each following argument is a text that the
 * message, one line, contains. */
#define assert_fails(call, status, ...)                                                            \
  assert_failure(call, status, (const char *[]){__VA_ARGS__, NULL}, __FILE__, __LINE__)
static inline void assert_failure(sb_status got, sb_status wanted, const char *const *texts,
                                  const char *file, int line) {
  if (got != wanted)
    fail_msg("%s:%d: status %d, expected %d; message: %s", file, line, got, wanted, sb_message());
  while (*texts) assert_message(*texts++, file, line);
}

#endif

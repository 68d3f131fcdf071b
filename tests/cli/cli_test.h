#ifndef SB_TESTS_CLI_TEST_H
#define SB_TESTS_CLI_TEST_H

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
    if ((call) != SB_OK) fail_msg("%s", sb_message());                                             \
  } while (0)
#define assert_says(text)                                                                          \
  do {                                                                                             \
    if (!strstr(sb_message(), text))                                                               \
      fail_msg("\"%s\" does not contain \"%s\"", sb_message(), text);                              \
    assert_null(strchr(sb_message(), '\n'));                                                       \
  } while (0)

#endif

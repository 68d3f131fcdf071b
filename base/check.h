/* Promises that the code makes to itself, checked where SB_CHECKS is defined: the presets test,
 * debug and asan (CMake's option SB_CHECKS). A program for users is built without.
 *
 *   SB_ASSERT(end <= count);
 *   SB_ASSERT_VALID(sb_model_is_valid, model);
 *
 * A broken promise is a bug: the process writes the place and the reason, and aborts. What a user
 * or a file can do wrong is no bug and gets a status (base/status.h).
 *
 * SB_ASSERT is for conditions that cost next to nothing. SB_ASSERT_VALID is for whole structures
 * and belongs at the borders of phases, never into loops over blocks, so that benchmarks of the
 * preset `test` time what a user runs. */
#ifndef SB_BASE_CHECK_H
#define SB_BASE_CHECK_H

#include <stdbool.h>

/* Why a structure is not valid. Predicates of the form
 *
 *   bool sb_thing_is_valid(const sb_thing *thing, sb_flaw *flaw)
 *
 * fill it in when they return false. They change nothing else, and exist in all builds. */
typedef struct sb_flaw {
  char text[256];
} sb_flaw;

/* Writes the reason; returns false, so that a predicate can return it. Local. */
bool sb_flaw_found(sb_flaw *flaw, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes "shardbits: FILE:LINE: WHAT: WHY" to stderr and aborts. */
_Noreturn void sb_check_failed(const char *file, int line, const char *what, const char *why);

#ifdef SB_CHECKS
#define SB_ASSERT(condition)                                                                       \
  ((condition) ? (void)0 : sb_check_failed(__FILE__, __LINE__, #condition, "does not hold"))
#define SB_ASSERT_VALID(predicate, thing)                                                          \
  do {                                                                                             \
    sb_flaw sb_flaw_;                                                                              \
    if (!predicate((thing), &sb_flaw_))                                                            \
      sb_check_failed(__FILE__, __LINE__, #predicate "(" #thing ")", sb_flaw_.text);               \
  } while (0)
#else
/* Compiled, so that it cannot rot, but never evaluated. */
#define SB_ASSERT(condition)              ((void)sizeof(!(condition)))
#define SB_ASSERT_VALID(predicate, thing) ((void)sizeof(predicate((thing), (sb_flaw *)0)))
#endif

#endif

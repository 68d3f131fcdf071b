/* Fuzz targets: one reader each, given bytes from outside. Local; one process, one thread.
 *
 * A target is `const fuzz_target fuzz_NAME` in fuzz_NAME.c and a line in FUZZ_TARGETS. Two programs
 * run it. The libFuzzer program fuzz_NAME (preset `fuzz`, clang) searches for inputs that reach new
 * code. `fuzz_replay` (every build) takes the seeds, the inputs that once failed
 * (tests/fuzz/regressions/NAME) and mutations that are the same on every machine.
 *
 * A target fails by a crash, a sanitizer's report, or fuzz_require. An input that the reader
 * refuses is no failure, but the refusal must be one clean line (fuzz_settle). */
#ifndef SB_TESTS_FUZZ_TARGET_H
#define SB_TESTS_FUZZ_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Takes a seed. `data` is copied. */
typedef void (*fuzz_take)(void *context, const void *data, size_t bytes);

typedef struct fuzz_target {
  const char *name;
  size_t limit; /* bytes of the largest input */
  /* Once per process, before all others; or NULL. */
  void (*begin)(void);
  /* Valid inputs, made by the project's own writers. */
  void (*seeds)(fuzz_take take, void *context);
  /* Makes checksums and sizes fit the mutated content, so that a reader goes on to what lies behind
   * them; or NULL. Keeps the number of bytes. */
  void (*mend)(uint8_t *data, size_t bytes);
  void (*run)(const uint8_t *data, size_t bytes);
} fuzz_target;

#define FUZZ_TARGETS(X)                                                                            \
  X(safetensors)                                                                                   \
  X(safetensors_index)                                                                             \
  X(config)                                                                                        \
  X(tokens)                                                                                        \
  X(manifest)                                                                                      \
  X(shard)                                                                                         \
  X(sections)                                                                                      \
  X(block_row)                                                                                     \
  X(order_string)                                                                                  \
  X(bits_file)                                                                                     \
  X(search_checkpoint)                                                                             \
  X(rounding_checkpoint)                                                                           \
  X(training_checkpoint)                                                                           \
  X(optimizer_file)                                                                                \
  X(run_state)                                                                                     \
  X(output)                                                                                        \
  X(policy)                                                                                        \
  X(report)

#define FUZZ_DECLARE(name) extern const fuzz_target fuzz_##name;
FUZZ_TARGETS(FUZZ_DECLARE)
#undef FUZZ_DECLARE

/* Aborts with the line if `condition` does not hold. */
#define fuzz_require(condition)                                                                    \
  do {                                                                                             \
    if (!(condition)) fuzz_broken(__FILE__, __LINE__, #condition);                                 \
  } while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *condition);

/* True for SB_OK. A failure must have left one line of printable UTF-8, and must not be one that
 * only a fault of ours can give (SB_ERR_INTERNAL). */
bool fuzz_settle(sb_status status);

/* The folder for a target's files: in memory where there is /dev/shm, and removed at exit. */
const char *fuzz_folder(void);
/* Path of `name` in it. The text stays valid for eight calls. */
const char *fuzz_path(const char *name);
/* Writes a file of fuzz_folder and returns its path; `zeros` bytes follow the data. */
const char *fuzz_put(const char *name, const void *data, size_t bytes, size_t zeros);
/* Reads a whole file, or one of the source folder; a NUL follows. Free with free(). */
char *fuzz_get(const char *path, size_t *bytes);
char *fuzz_source_file(const char *name, size_t *bytes);

/* A change of `data`, which has room for `limit` bytes; returns the new size. JSON numbers are
 * replaced as wholes, everything else byte by byte. Depends on `random` alone. */
size_t fuzz_change(uint8_t *data, size_t bytes, size_t limit, uint64_t *random);

/* What is left of an input. A cursor at its end gives zeros. */
typedef struct fuzz_cursor {
  const uint8_t *at;
  size_t left;
} fuzz_cursor;
uint8_t fuzz_u8(fuzz_cursor *cursor);
uint32_t fuzz_u16(fuzz_cursor *cursor);
uint32_t fuzz_u32(fuzz_cursor *cursor);

#endif

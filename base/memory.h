/* Memory and sizes: arithmetic that notices overflow, aligned allocation that fails with a message.
 * All local. */
#ifndef SB_BASE_MEMORY_H
#define SB_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* *out = a * b or a + b; false on overflow (then *out is unspecified). */
static inline bool sb_mul_size(size_t a, size_t b, size_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline bool sb_add_size(size_t a, size_t b, size_t *out) {
  return !__builtin_add_overflow(a, b, out);
}

/* Allocates count x size bytes, zeroed, aligned to 64 bytes (a cache line, an AVX-512
 * vector). `what` names the thing for the message ("layer 3 activations"). *out is NULL on
 * failure, and a valid pointer even when count x size is 0. Release with sb_free, which also
 * sets the pointer to NULL. */
sb_status sb_alloc(void *out_pointer, size_t count, size_t size, const char *what);
/* The same without the zeroing: for buffers that are wholly written before they are read. */
sb_status sb_alloc_raw(void *out_pointer, size_t count, size_t size, const char *what);
void sb_free(void *pointer_to_pointer);
/* Gives freed memory that the C library keeps for itself back to the system, where it can. For the
 * end of a phase, so that the next one's peak does not stand on the last one's buffers. */
void sb_return_freed(void);

/* Peak and current resident set of this process in bytes; 0 where the system does not tell. */
size_t sb_peak_resident(void);
size_t sb_current_resident(void);

static inline size_t sb_min_size(size_t a, size_t b) {
  return a < b ? a : b;
}
static inline size_t sb_max_size(size_t a, size_t b) {
  return a > b ? a : b;
}
static inline size_t sb_div_up(size_t a, size_t b) {
  return a / b + (a % b != 0);
}

#endif

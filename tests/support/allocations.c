#include "tests/support/allocations.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

sb_status __real_sb_alloc(void *out_pointer, size_t count, size_t size, const char *what);
sb_status __real_sb_alloc_raw(void *out_pointer, size_t count, size_t size, const char *what);
void __real_sb_free(void *pointer_to_pointer);
sb_status __wrap_sb_alloc(void *out_pointer, size_t count, size_t size, const char *what);
sb_status __wrap_sb_alloc_raw(void *out_pointer, size_t count, size_t size, const char *what);
void __wrap_sb_free(void *pointer_to_pointer);

enum { MOST = 1 << 16 };

static struct {
  void *at;
  size_t bytes;
} held[MOST];
static size_t count, live, peak;

size_t sb_test_live_bytes(void) {
  return live;
}

size_t sb_test_peak_bytes(void) {
  return peak;
}

void sb_test_peak_begin(void) {
  peak = live;
}

static sb_status note(sb_status status, void *const *out, size_t n, size_t size) {
  if (status != SB_OK) return status;
  if (count == MOST) {
    fprintf(stderr, "more than %d allocations at a time\n", MOST);
    abort();
  }
  held[count].at = *out;
  held[count++].bytes = n * size;
  live += n * size;
  if (live > peak) peak = live;
  return status;
}

sb_status __wrap_sb_alloc(void *out_pointer, size_t n, size_t size, const char *what) {
  return note(__real_sb_alloc(out_pointer, n, size, what), out_pointer, n, size);
}

sb_status __wrap_sb_alloc_raw(void *out_pointer, size_t n, size_t size, const char *what) {
  return note(__real_sb_alloc_raw(out_pointer, n, size, what), out_pointer, n, size);
}

/* The latest are freed first, mostly. */
void __wrap_sb_free(void *pointer_to_pointer) {
  void *const *pointer = pointer_to_pointer;
  for (size_t i = count; *pointer && i-- > 0;)
    if (held[i].at == *pointer) {
      live -= held[i].bytes;
      held[i] = held[--count];
      break;
    }
  __real_sb_free(pointer_to_pointer);
}

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__ /* known once a header of the C library is read */
#include <malloc.h>
#endif
#include <sys/resource.h>
#include <unistd.h>

enum { ALIGNMENT = 64 };

static sb_status allocate(void *out_pointer, size_t count, size_t size, const char *what,
                          bool zero) {
  void **out = out_pointer;
  size_t bytes, padded;
  *out = NULL;
  if (!sb_mul_size(count, size, &bytes) || !sb_add_size(bytes, ALIGNMENT, &padded))
    return sb_fail(SB_ERR_MEMORY, "%s: %zu items of %zu bytes overflow the address space", what,
                   count, size);
  padded &= ~(size_t)(ALIGNMENT - 1);
  *out = aligned_alloc(ALIGNMENT, padded);
  if (!*out)
    return sb_fail(
        SB_ERR_MEMORY,
        "%s: %.1f MiB could not be allocated; use more ranks or nodes, or a shorter --seqlen", what,
        (double)bytes / 1048576.0);
  if (zero) memset(*out, 0, bytes);
  return SB_OK;
}

sb_status sb_alloc(void *out_pointer, size_t count, size_t size, const char *what) {
  return allocate(out_pointer, count, size, what, true);
}

sb_status sb_alloc_raw(void *out_pointer, size_t count, size_t size, const char *what) {
  return allocate(out_pointer, count, size, what, false);
}

void sb_free(void *pointer_to_pointer) {
  void **pointer = pointer_to_pointer;
  free(*pointer);
  *pointer = NULL;
}

void sb_return_freed(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

size_t sb_peak_resident(void) {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024u : 0;
}

size_t sb_current_resident(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  size_t total = 0, resident = 0;
  if (!file) return 0;
  if (fscanf(file, "%zu %zu", &total, &resident) != 2) resident = 0;
  fclose(file);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

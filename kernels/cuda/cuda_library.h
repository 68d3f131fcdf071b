/* Libraries of the toolkit that are looked for when they are needed, and not when the program
 * starts: a machine without the toolkit runs the same binary on its processors. Local. */
#ifndef SB_KERNELS_CUDA_CUDA_LIBRARY_H
#define SB_KERNELS_CUDA_CUDA_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

extern "C" {
#include "base/status.h"
}

typedef struct sb_cuda_symbol {
  const char *name;
  void *function; /* the address of a pointer to it */
} sb_cuda_symbol;

/* *library = the library of that file name, and each symbol's pointer is set. `called` is its name
 * for people, `where` begins the message, `instead` ends it: what to do without. SB_ERR_UNSUPPORTED
 * saying what is missing; nothing is held then. */
sb_status sb_cuda_library_load(void **library, const char *file, const sb_cuda_symbol *symbols,
                               size_t count, const char *called, const char *where,
                               const char *instead);
/* Gives the library back; nothing where it was not loaded. */
void sb_cuda_library_unload(void **library);

#endif

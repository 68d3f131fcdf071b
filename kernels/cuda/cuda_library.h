/* Loads libraries of the CUDA toolkit when the program needs them, and not when it starts. So a
 * machine without the toolkit runs the same binary on its processors. Local. */
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

/* Loads the library `file` into *library, from the folders where toolkits and packages have it
 * (kernels/library.h), and sets the pointer of each symbol. SB_ERR_UNSUPPORTED, with nothing
 * loaded, if the library or a symbol is missing. The message begins with `where`, uses `called` as
 * the library's name, says where it was looked for, and names `instead` for a machine without it.
 */
sb_status sb_cuda_library_load(void **library, const char *file, const sb_cuda_symbol *symbols,
                               size_t count, const char *called, const char *where,
                               const char *instead);
/* Unloads the library; does nothing if it was not loaded. */
void sb_cuda_library_unload(void **library);

#endif

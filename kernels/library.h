/* Shared libraries that are loaded when they are needed, from where people have them. A machine
 * without them runs the same binary. All functions are local. */
#ifndef SB_KERNELS_LIBRARY_H
#define SB_KERNELS_LIBRARY_H

#include <stddef.h>

#include "base/status.h"

/* Loads the library `file`, a name such as "libcublas.so.13", into *library. First it asks the
 * loader, which knows the system's folders, its cache and LD_LIBRARY_PATH. Then it looks in the
 * folders of `patterns` (as glob() reads them, "$NAME/" at the beginning stands for an environment
 * variable; NULL at the end), in their order. A library that such a file needs, and that the
 * loader does not find, is looked for in the same way. A library that was loaded once stays in the
 * process: its threads and exit handlers outlive any handle. SB_ERR_UNSUPPORTED if there is none,
 * or none that can be loaded; the message is the loader's last word. O(folders) calls of the
 * system. */
sb_status sb_library_open(const char *file, const char *const *patterns, void **library);
/* Gives the handle back; does nothing with NULL. */
void sb_library_close(void **library);

/* The address of a function or variable of the library; NULL if it has none of that name. */
void *sb_library_symbol(void *library, const char *name);

/* path[size] = the file that holds the address of a function, links resolved; "" if the loader
 * does not know it. Returns path. */
char *sb_library_path(char *path, size_t size, const void *function);

#endif

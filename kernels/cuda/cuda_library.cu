#include "kernels/cuda/cuda_library.h"

#include <dlfcn.h>

sb_status sb_cuda_library_load(void **library, const char *file, const sb_cuda_symbol *symbols,
                               size_t count, const char *called, const char *where,
                               const char *instead) {
  *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!*library)
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "%s: %s is missing (%s): install it or add its folder to LD_LIBRARY_PATH, or use %s", where,
        called, dlerror(), instead);
  for (size_t i = 0; i < count; i++) {
    void *found = dlsym(*library, symbols[i].name);
    *(void **)symbols[i].function = found;
    if (found) continue;
    sb_status status = sb_fail(SB_ERR_UNSUPPORTED, "%s: %s is not the %s of this build: %s", where,
                               file, called, dlerror());
    sb_cuda_library_unload(library);
    return status;
  }
  return SB_OK;
}

void sb_cuda_library_unload(void **library) {
  if (*library) (void)dlclose(*library);
  *library = NULL;
}

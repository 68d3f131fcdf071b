/* Operations on trellis-coded matrices (ops/trellis.h) that do not run on a GPU. */
#include "kernels/cuda/cuda.h"

static sb_status refuse(const char *operation) {
  return sb_fail(SB_ERR_UNSUPPORTED, "%s does not run on a GPU yet: use --device cpu", operation);
}

sb_status sb_cuda_trellis_round(sb_backend *, sb_stream, const sb_stack *, float *, size_t, size_t,
                                const float *, size_t) {
  return refuse("trellis_round");
}

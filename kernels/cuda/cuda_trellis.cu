/* Trellis-coded matrices (ops/trellis.h). */
#include "kernels/cuda/cuda.h"

static sb_status refuse(const char *operation) {
  return sb_fail(SB_ERR_UNSUPPORTED, "%s does not run on a GPU yet: use --device cpu", operation);
}

sb_status sb_cuda_hadamard(sb_backend *, sb_stream, void *, const void *, sb_dtype, size_t, size_t,
                           size_t, const uint16_t *, const uint16_t *) {
  return refuse("hadamard");
}

sb_status sb_cuda_trellis_transform(sb_backend *, sb_stream, float *, uint16_t *,
                                    const sb_block_weights *, size_t, uint64_t, const uint16_t *) {
  return refuse("trellis_transform");
}

sb_status sb_cuda_trellis_quantize(sb_backend *, sb_stream, void *, sb_dtype,
                                   const sb_block_weights *, uint64_t, const uint16_t *) {
  return refuse("trellis_quantize");
}

/* The three types of weights as types of the language, so that a kernel is a template over them.
 * Loads and stores convert from and to float. */
#ifndef SB_KERNELS_CUDA_NUMBER_CUH
#define SB_KERNELS_CUDA_NUMBER_CUH

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/warp.cuh"

extern "C" {
#include "kernels/shared/grid.h"
}

struct sb_half {
  uint16_t bits;
};
struct sb_brain {
  uint16_t bits;
};

__device__ __forceinline__ float sb_number(float x) {
  return x;
}
__device__ __forceinline__ float sb_number(sb_half x) {
  return sb_grid_from_fp16(x.bits);
}
__device__ __forceinline__ float sb_number(sb_brain x) {
  return sb_bits_float((uint32_t)x.bits << 16);
}

/* Rounds to nearest, ties to even. */
__device__ __forceinline__ void sb_store_number(float *to, float x) {
  *to = x;
}
__device__ __forceinline__ void sb_store_number(sb_half *to, float x) {
  to->bits = sb_grid_to_fp16(x);
}
__device__ __forceinline__ void sb_store_number(sb_brain *to, float x) {
  to->bits = sb_bf16_bits(x);
}

/* Calls f(T()) with the type T of `dtype`. SB_ERR_UNSUPPORTED, with a message that names `what`, if
 * `dtype` is no weight type. */
template <typename F> sb_status sb_with_number(sb_dtype dtype, const char *what, F f) {
  if (dtype == SB_F32) return f(float());
  if (dtype == SB_F16) return f(sb_half());
  if (dtype == SB_BF16) return f(sb_brain());
  return sb_fail(SB_ERR_UNSUPPORTED, "%s of type %s: F32, F16 or BF16 is needed", what,
                 sb_dtype_name(dtype));
}

/* Calls f(T()) with the type T of the backend's operands. */
template <typename F> sb_status sb_with_operand(const sb_backend *backend, F f) {
  return backend->operand == SB_F32 ? f(float()) : f(sb_brain());
}

#endif

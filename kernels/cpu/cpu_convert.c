#include "kernels/cpu/cpu.h"

#include "base/memory.h"

enum { PIECE = 4096 };

/* Converts one piece. The loops are plain so that they vectorise; sb_to_f32 would open a parallel
 * region of its own. */
void sb_cpu_to_f32(float *restrict dst, const void *restrict src, sb_dtype type, size_t count) {
  if (type == SB_F32) {
    memcpy(dst, src, count * sizeof *dst);
  } else if (type == SB_BF16) {
    for (size_t i = 0; i < count; i++) dst[i] = sb_bf16_to_f32(sb_element16(src, i));
  } else {
    sb_to_f32(dst, src, type, count);
  }
}

void sb_cpu_from_f32(void *dst, sb_dtype type, const float *src, size_t count) {
  uint16_t *half = dst;
  if (type == SB_F32) {
    memcpy(dst, src, count * sizeof *src);
  } else if (type == SB_BF16) {
    for (size_t i = 0; i < count; i++) half[i] = sb_f32_to_bf16(src[i]);
  } else {
    sb_from_f32(dst, type, src, count);
  }
}

sb_status sb_cpu_convert(sb_backend *backend, sb_stream stream, void *dst, sb_dtype dst_dtype,
                         const void *src, sb_dtype src_dtype, size_t count) {
  if (!sb_dtype_is_weight(dst_dtype) || !sb_dtype_is_weight(src_dtype))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "conversion from %s to %s: only F32, F16 and BF16 are converted",
                   sb_dtype_name(src_dtype), sb_dtype_name(dst_dtype));
  size_t to = sb_dtype_size(dst_dtype), from = sb_dtype_size(src_dtype);
  if (dst_dtype == src_dtype) return sb_cpu_copy(backend, stream, dst, src, count * to);
  size_t pieces = sb_div_up(count, PIECE);
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (pieces > 8)
  for (size_t i = 0; i < pieces; i++) {
    size_t at = i * PIECE, n = sb_min_size(PIECE, count - at);
    char *out = (char *)dst + at * to;
    const char *in = (const char *)src + at * from;
    if (dst_dtype == SB_F32) {
      sb_cpu_to_f32((float *)(void *)out, in, src_dtype, n);
    } else if (src_dtype == SB_F32) {
      sb_cpu_from_f32(out, dst_dtype, (const float *)(const void *)in, n);
    } else {
      float between[PIECE];
      sb_cpu_to_f32(between, in, src_dtype, n);
      sb_cpu_from_f32(out, dst_dtype, between, n);
    }
  }
  return SB_OK;
}

sb_status sb_cpu_floats(sb_backend *backend, const void *x, size_t count, const float **out) {
  float *copy;
  *out = x;
  if (backend->operand == SB_F32) return SB_OK;
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_A, count, sizeof *copy, &copy));
  *out = copy;
  return sb_cpu_convert(backend, NULL, copy, SB_F32, x, backend->operand, count);
}

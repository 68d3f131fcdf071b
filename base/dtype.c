#include "base/dtype.h"

static const struct {
  const char *name;
  size_t size;
} types[SB_DTYPE_COUNT] = {
    [SB_F32] = {"F32", 4}, [SB_F16] = {"F16", 2},         [SB_BF16] = {"BF16", 2},
    [SB_F64] = {"F64", 8}, [SB_F8_E4M3] = {"F8_E4M3", 1}, [SB_F8_E5M2] = {"F8_E5M2", 1},
    [SB_I8] = {"I8", 1},   [SB_U8] = {"U8", 1},           [SB_I16] = {"I16", 2},
    [SB_U16] = {"U16", 2}, [SB_I32] = {"I32", 4},         [SB_U32] = {"U32", 4},
    [SB_I64] = {"I64", 8}, [SB_U64] = {"U64", 8},         [SB_BOOL] = {"BOOL", 1},
};

size_t sb_dtype_size(sb_dtype dtype) {
  return types[dtype].size;
}

const char *sb_dtype_name(sb_dtype dtype) {
  return types[dtype].name;
}

bool sb_dtype_parse(const char *name, sb_dtype *out) {
  for (int i = 0; i < SB_DTYPE_COUNT; i++)
    if (strcmp(types[i].name, name) == 0) {
      *out = (sb_dtype)i;
      return true;
    }
  return false;
}

float sb_f16_to_f32(uint16_t value) {
  uint32_t sign = (uint32_t)(value & 0x8000u) << 16, exponent = (value >> 10) & 0x1fu,
           mantissa = value & 0x3ffu, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (mantissa << 13);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    float magnitude = (float)mantissa * 0x1p-24f;
    memcpy(&bits, &magnitude, sizeof bits);
    bits |= sign;
  }
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

uint16_t sb_f32_to_f16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
  if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to 65536 or more */
  if (bits < 0x38800000u) {                                   /* below the smallest normal, 2^-14 */
    float magnitude;
    memcpy(&magnitude, &bits, sizeof magnitude);
    magnitude += 0.5f; /* at this magnitude one unit in the last place is 2^-24: the addition rounds
                          for us */
    memcpy(&bits, &magnitude, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000u));
  }
  bits += 0xfffu + ((bits >> 13) & 1u);
  return (uint16_t)(sign | ((bits - 0x38000000u) >> 13));
}

void sb_to_f32(float *dst, const void *src, sb_dtype src_dtype, size_t count) {
  if (src_dtype == SB_F32) {
    memcpy(dst, src, count * sizeof *dst);
  } else if (src_dtype == SB_BF16) {
#pragma omp parallel for simd if (count > 65536)
    for (size_t i = 0; i < count; i++) dst[i] = sb_bf16_to_f32(sb_element16(src, i));
  } else {
#pragma omp parallel for if (count > 65536)
    for (size_t i = 0; i < count; i++) dst[i] = sb_f16_to_f32(sb_element16(src, i));
  }
}

void sb_from_f32(void *dst, sb_dtype dst_dtype, const float *src, size_t count) {
  uint16_t *half = dst;
  if (dst_dtype == SB_F32) {
    memcpy(dst, src, count * sizeof *src);
  } else if (dst_dtype == SB_BF16) {
#pragma omp parallel for simd if (count > 65536)
    for (size_t i = 0; i < count; i++) half[i] = sb_f32_to_bf16(src[i]);
  } else {
#pragma omp parallel for if (count > 65536)
    for (size_t i = 0; i < count; i++) half[i] = sb_f32_to_f16(src[i]);
  }
}

size_t sb_first_infinite(const void *values, sb_dtype dtype, size_t count) {
  const uint16_t infinite = dtype == SB_F16 ? 0x7c00u : 0x7f80u;
  for (size_t i = 0; i < count; i++)
    if (dtype == SB_F32 ? (sb_element32(values, i) & 0x7fffffffu) == 0x7f800000u
                        : (sb_element16(values, i) & 0x7fffu) == infinite)
      return i;
  return count;
}

/* Element types of tensors, and the conversions between the ones this program computes with. */
#ifndef SB_BASE_DTYPE_H
#define SB_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum sb_dtype {
  SB_F32,
  SB_F16,
  SB_BF16,
  /* recognised by name in files, not computed with */
  SB_F64,
  SB_F8_E4M3,
  SB_F8_E5M2,
  SB_I8,
  SB_U8,
  SB_I16,
  SB_U16,
  SB_I32,
  SB_U32,
  SB_I64,
  SB_U64,
  SB_BOOL,
  SB_DTYPE_COUNT
} sb_dtype;

/* Bytes of one element. */
size_t sb_dtype_size(sb_dtype dtype);
/* safetensors' spelling ("BF16"). */
const char *sb_dtype_name(sb_dtype dtype);
/* The dtype of a safetensors spelling; false when the name is unknown. */
bool sb_dtype_parse(const char *name, sb_dtype *out);
/* True for the types weights may have: F32, F16, BF16. */
static inline bool sb_dtype_is_weight(sb_dtype dtype) {
  return dtype == SB_F32 || dtype == SB_F16 || dtype == SB_BF16;
}

/* Element i of an array at any address: a tensor in source precision that follows coded rows in an
 * image may begin at an odd one. */
static inline uint16_t sb_element16(const void *array, size_t i) {
  uint16_t value;
  memcpy(&value, (const char *)array + i * sizeof value, sizeof value);
  return value;
}
static inline uint32_t sb_element32(const void *array, size_t i) {
  uint32_t value;
  memcpy(&value, (const char *)array + i * sizeof value, sizeof value);
  return value;
}

static inline float sb_bf16_to_f32(uint16_t value) {
  uint32_t bits = (uint32_t)value << 16;
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}

/* Rounds to nearest, ties to even; NaN stays NaN. */
static inline uint16_t sb_f32_to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float sb_f16_to_f32(uint16_t value);
/* Rounds to nearest, ties to even; overflow becomes infinity. */
uint16_t sb_f32_to_f16(float value);

/* dst[i] = (f32) src[i] and back, for src of a weight type; threads as OpenMP allows. The source of
 * sb_to_f32 needs no alignment. */
void sb_to_f32(float *dst, const void *src, sb_dtype src_dtype, size_t count);
void sb_from_f32(void *dst, sb_dtype dst_dtype, const float *src, size_t count);

/* The first infinity among the values of a weight type, `count` where there is none: what
 * overflowed in sb_from_f32, where all were finite before. `values` need no alignment. One pass. */
size_t sb_first_infinite(const void *values, sb_dtype dtype, size_t count);

#endif

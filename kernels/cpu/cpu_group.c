#include "kernels/cpu/cpu_group.h"

size_t sb_cpu_load_group(float *out, const void *w, sb_dtype dtype, size_t at, size_t n) {
  size_t padded = (n + SB_LANES - 1) / SB_LANES * SB_LANES;
  if (dtype == SB_F32) {
    memcpy(out, (const float *)w + at, n * sizeof *out);
  } else if (dtype == SB_BF16) {
    const uint16_t *half = (const uint16_t *)w + at;
    for (size_t i = 0; i < n; i++) out[i] = sb_bf16_to_f32(half[i]);
  } else {
    const uint16_t *half = (const uint16_t *)w + at;
    for (size_t i = 0; i < n; i++) out[i] = sb_f16_to_f32(half[i]);
  }
  for (size_t i = n; i < padded; i++) out[i] = 0.0f;
  return padded;
}

static void one_bit_range(const float *w, size_t n, size_t padded, sb_group_range *out) {
  float sum[SB_LANES] = {0}, magnitude[SB_LANES] = {0}, spread[SB_LANES] = {0};
  for (size_t c = 0; c < padded; c += SB_LANES)
    for (int i = 0; i < SB_LANES; i++) {
      sum[i] += w[c + i];
      magnitude[i] += __builtin_fabsf(w[c + i]);
    }
  out->mean = sb_grid_fp16(sb_cpu_add_lanes(sum) / (float)n);
  out->mean_magnitude = sb_cpu_add_lanes(magnitude) / (float)n;
  for (size_t c = 0; c < padded; c += SB_LANES)
    for (int i = 0; i < SB_LANES; i++) spread[i] += c + (size_t)i < n ? __builtin_fabsf(w[c + i] - out->mean) : 0.0f;
  out->spread = sb_cpu_add_lanes(spread) / (float)n;
}

void sb_cpu_group_range(const float *w, size_t n, size_t padded, bool one_bit, sb_group_range *out) {
  float low[SB_LANES] = {0}, high[SB_LANES] = {0};
  for (size_t c = 0; c < padded; c += SB_LANES)
    for (int i = 0; i < SB_LANES; i++) {
      low[i] = w[c + i] < low[i] ? w[c + i] : low[i];
      high[i] = w[c + i] > high[i] ? w[c + i] : high[i];
    }
  *out = (sb_group_range){0};
  for (int i = 0; i < SB_LANES; i++) {
    out->low = low[i] < out->low ? low[i] : out->low;
    out->high = high[i] > out->high ? high[i] : out->high;
  }
  if (one_bit) one_bit_range(w, n, padded, out);
}

#include "io/filter.h"

#include <string.h>

bool sb_filter_known(unsigned filter) {
  return filter <= SB_FILTER_SPLIT32 || filter == SB_FILTER_SECTIONS;
}

static void split16(uint8_t *restrict low, uint8_t *restrict high, const uint8_t *restrict src,
                    size_t n) {
  for (size_t i = 0; i < n; i++) {
    low[i] = src[2 * i];
    high[i] = src[2 * i + 1];
  }
}

static void join16(uint8_t *restrict dst, const uint8_t *restrict low, const uint8_t *restrict high,
                   size_t n) {
  for (size_t i = 0; i < n; i++) {
    dst[2 * i] = low[i];
    dst[2 * i + 1] = high[i];
  }
}

static void split32(uint8_t *restrict dst, const uint8_t *restrict src, size_t n) {
  for (size_t plane = 0; plane < 4; plane++)
    for (size_t i = 0; i < n; i++) dst[plane * n + i] = src[4 * i + plane];
}

static void join32(uint8_t *restrict dst, const uint8_t *restrict src, size_t n) {
  for (size_t i = 0; i < n; i++)
    for (size_t plane = 0; plane < 4; plane++) dst[4 * i + plane] = src[plane * n + i];
}

void sb_filter_apply(sb_filter filter, uint8_t *dst, const uint8_t *src, size_t bytes) {
  size_t width = filter == SB_FILTER_SPLIT32 ? 4 : 2, n = bytes / width;
  if (width == 2)
    split16(dst, dst + n, src, n);
  else
    split32(dst, src, n);
  memcpy(dst + width * n, src + width * n, bytes - width * n);
}

void sb_filter_undo(sb_filter filter, uint8_t *dst, const uint8_t *src, size_t bytes) {
  size_t width = filter == SB_FILTER_SPLIT32 ? 4 : 2, n = bytes / width;
  if (width == 2)
    join16(dst, src, src + n, n);
  else
    join32(dst, src, n);
  memcpy(dst + width * n, src + width * n, bytes - width * n);
}

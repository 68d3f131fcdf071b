/* Reversible rearrangements of a frame's bytes before compression. Local.
 *
 * A filter changes no size and knows only its element width. Its number is part of the
 * file format (docs/format.md): 0 to 15 rearrange elements, 16 to 255 are free for filters
 * of quantized codes. */
#ifndef SB_IO_FILTER_H
#define SB_IO_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sb_filter {
  SB_FILTER_NONE = 0,
  /* 16-bit elements: all low bytes, all high bytes, then an odd byte at the end. */
  SB_FILTER_SPLIT16 = 1,
  /* 32-bit elements: all bytes 0, all bytes 1, 2, 3, then the remaining bytes. */
  SB_FILTER_SPLIT32 = 2,
  /* Parts of several kinds: io/sections.h. */
  SB_FILTER_SECTIONS = 16
} sb_filter;

/* True for the filters this program knows. */
bool sb_filter_known(unsigned filter);
/* dst = filtered src, and back, for NONE and the SPLIT filters; dst and src are disjoint and have
 * `bytes` bytes. */
void sb_filter_apply(sb_filter filter, uint8_t *dst, const uint8_t *src, size_t bytes);
void sb_filter_undo(sb_filter filter, uint8_t *dst, const uint8_t *src, size_t bytes);

#endif

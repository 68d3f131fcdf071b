/* Reversible rearrangements of a frame's bytes before compression. Local.
 *
 * A filter changes no size and knows nothing but its element width. Numbers are part of the file
 * format (docs/format.md): 0..15 are rearrangements of elements, 16..255 are free for filters of
 * quantized codes. */
#ifndef SB_IO_FILTER_H
#define SB_IO_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sb_filter {
  SB_FILTER_NONE = 0,
  SB_FILTER_SPLIT16 = 1, /* n 16-bit elements: n low bytes, then n high bytes, then a last odd byte
                            if there is one */
  SB_FILTER_SPLIT32 =
      2, /* n 32-bit elements: n bytes 0, n bytes 1, 2, 3, then the remaining bytes */
  SB_FILTER_SECTIONS = 16 /* parts of several kinds: io/sections.h */
} sb_filter;

/* True for the filters this program knows. */
bool sb_filter_known(unsigned filter);
/* dst = filtered src, and back; dst and src are disjoint and have `bytes` bytes. For the SPLIT
 * filters. */
void sb_filter_apply(sb_filter filter, uint8_t *dst, const uint8_t *src, size_t bytes);
void sb_filter_undo(sb_filter filter, uint8_t *dst, const uint8_t *src, size_t bytes);

#endif

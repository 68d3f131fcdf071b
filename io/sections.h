/* The filter for content made of parts with different statistics: a block row of codes of several
 * widths, scales and zero points. Local.
 *
 * zstd's Huffman tables serve 128 KiB at a time, so alternating parts share one table that fits
 * none, and codes that cross byte borders have no statistics at all. This filter brings parts of
 * one kind together, starts a new zstd block for each kind, and gives codes of 3, 5, 6 and 7 bits
 * whole bytes. docs/measurements/codes-in-zstd.md has the gain. The list of parts travels in the
 * frame; a reader needs nothing else.
 *
 * Filtered content: `u32 n; n x u32 size; n x u8 kind`, then, kind by kind, the parts in their
 * order. The kind of a part decides how it is stored:
 *
 * - 0: unchanged.
 * - b = 1 to 8: b-bit codes, packed from the lowest bit. For b = 3, every 3 bytes (8 codes) become
 *   4 bytes of two codes; for b = 5, 6 and 7, every b bytes become 8 bytes of one code. Codes of 1,
 *   2, 4 and 8 bits stay unchanged, and so do the bytes after the last whole 8 codes.
 * - 16: 16-bit numbers. First the low bytes of all parts (and a last odd byte), then the high ones.
 * - others: unchanged, each kind apart from the rest. */
#ifndef SB_IO_SECTIONS_H
#define SB_IO_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kinds of sections; 1 to 8 are the widths of packed codes. */
enum {
  SB_SECTION_PLAIN = 0,
  SB_SECTION_U16 = 16,
  SB_SECTION_KINDS = 256,
  SB_SECTION_MAX_RUNS = SB_SECTION_KINDS + 2
};

typedef struct sb_section {
  uint32_t bytes;
  uint8_t kind;
} sb_section;

/* Size of the filtered content; 0 when the sections do not add up to `bytes` or there are
 * too many to count. */
size_t sb_sections_size(const sb_section *sections, size_t count, size_t bytes);
/* dst (that size) = filtered src. run_ends[i] is where run i of like bytes ends in dst; returns the
 * number of runs, at most SB_SECTION_MAX_RUNS. */
size_t sb_sections_apply(uint8_t *dst, const uint8_t *src, const sb_section *sections, size_t count,
                         size_t *run_ends);
/* dst[0..bytes) = the content. False when src is not what sb_sections_apply
 * makes of `bytes` bytes. */
bool sb_sections_undo(uint8_t *dst, size_t bytes, const uint8_t *src, size_t src_bytes);

#endif

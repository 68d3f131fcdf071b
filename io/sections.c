#include "io/sections.h"

#include <string.h>

#include "io/bytes.h"

/* Bytes that 8 packed codes of `kind` bits take when no code crosses a byte; 0 for kinds that stay
 * as they are. */
static size_t widened(unsigned kind) {
  return kind == 3 ? 4 : kind >= 5 && kind <= 7 ? 8 : 0;
}

static size_t filtered_size(sb_section s) {
  size_t wide = widened(s.kind);
  return wide ? s.bytes / s.kind * wide + s.bytes % s.kind : s.bytes;
}

/* Eight fields of `step` bits, 5 to 7, from the lowest bit up, each to a byte of its own: halves
 * apart three times over. */
static inline uint64_t spread(uint64_t x, unsigned step) {
  const uint64_t one = ((uint64_t)1 << step) - 1, two = ((uint64_t)1 << 2 * step) - 1,
                 four = ((uint64_t)1 << 4 * step) - 1;
  x = (x & four) | (x >> 4 * step & four) << 32;
  x = (x & two * 0x0000000100000001u) | (x >> 2 * step & two * 0x0000000100000001u) << 16;
  return (x & one * 0x0001000100010001u) | (x >> step & one * 0x0001000100010001u) << 8;
}

static inline uint64_t gather(uint64_t x, unsigned step) {
  const uint64_t one = ((uint64_t)1 << step) - 1, two = ((uint64_t)1 << 2 * step) - 1,
                 four = ((uint64_t)1 << 4 * step) - 1;
  x = (x & one * 0x0001000100010001u) | (x >> 8 & one * 0x0001000100010001u) << step;
  x = (x & two * 0x0000000100000001u) | (x >> 16 & two * 0x0000000100000001u) << 2 * step;
  return (x & four) | (x >> 32 & four) << 4 * step;
}

/* n bytes at `at` as a number; n < 8. */
static inline uint64_t get_bytes(const uint8_t *at, size_t n) {
  uint64_t word = 0;
  for (size_t k = 0; k < n; k++) word |= (uint64_t)at[k] << (8 * k);
  return word;
}

static inline void put_bytes(uint8_t *at, uint64_t word, size_t n) {
  for (size_t k = 0; k < n; k++) at[k] = (uint8_t)(word >> (8 * k));
}

/* All of a part, in eights of fields: `step` bytes packed, 8 bytes wide. Fields left over at the
 * end (3-bit codes come in fours of fields) take a byte each, bytes beyond the last whole 8 codes
 * are copied. */
static inline void widen_by(uint8_t *dst, const uint8_t *src, sb_section s, unsigned step) {
  size_t whole = s.bytes - s.bytes % s.kind, i = 0;
  for (; i + 8 <= whole; i += step, dst += 8) sb_put_u64(dst, spread(sb_get_u64(src + i), step));
  for (; i + step <= whole; i += step, dst += 8)
    sb_put_u64(dst, spread(get_bytes(src + i, step), step));
  size_t fields = 8 * (whole - i) / step;
  put_bytes(dst, spread(get_bytes(src + i, whole - i), step), fields);
  memcpy(dst + fields, src + whole, s.bytes - whole);
}

static inline void narrow_by(uint8_t *dst, const uint8_t *src, sb_section s, unsigned step) {
  size_t whole = s.bytes - s.bytes % s.kind, i = 0;
  for (; i + 8 <= whole;
       i += step, src += 8) /* 8 bytes are put, of which the next round overwrites 8 - step */
    sb_put_u64(dst + i, gather(sb_get_u64(src), step));
  for (; i + step <= whole; i += step, src += 8)
    put_bytes(dst + i, gather(sb_get_u64(src), step), step);
  size_t fields = 8 * (whole - i) / step;
  put_bytes(dst + i, gather(get_bytes(src, fields), step), whole - i);
  memcpy(dst + whole, src + fields, s.bytes - whole);
}

/* With constant steps, for the compiler. Two 3-bit codes are one field of 6. */
static void widen(uint8_t *dst, const uint8_t *src, sb_section s) {
  if (s.kind == 5)
    widen_by(dst, src, s, 5);
  else if (s.kind == 7)
    widen_by(dst, src, s, 7);
  else
    widen_by(dst, src, s, 6);
}

static void narrow(uint8_t *dst, const uint8_t *src, sb_section s) {
  if (s.kind == 5)
    narrow_by(dst, src, s, 5);
  else if (s.kind == 7)
    narrow_by(dst, src, s, 7);
  else
    narrow_by(dst, src, s, 6);
}

size_t sb_sections_size(const sb_section *sections, size_t count, size_t bytes) {
  uint64_t total = 4 + 5 * (uint64_t)count, content = 0;
  if (count > UINT32_MAX) return 0;
  for (size_t i = 0; i < count; i++) {
    content += sections[i].bytes;
    total += filtered_size(sections[i]);
  }
  return content == bytes ? (size_t)total : 0;
}

/* Low bytes of 16-bit numbers, and the odd byte at the end; then high bytes. */
static size_t put_half(uint8_t *dst, const uint8_t *src, size_t bytes, unsigned half) {
  size_t n = 0;
  for (size_t i = half; i < bytes; i += 2) dst[n++] = src[i];
  return n;
}

static size_t get_half(uint8_t *dst, const uint8_t *src, size_t bytes, unsigned half) {
  size_t n = 0;
  for (size_t i = half; i < bytes; i += 2) dst[i] = src[n++];
  return n;
}

size_t sb_sections_apply(uint8_t *dst, const uint8_t *src, const sb_section *sections, size_t count,
                         size_t *run_ends) {
  bool used[SB_SECTION_KINDS] = {false};
  size_t at = 4 + 5 * count, runs = 0;
  sb_put_u32(dst, (uint32_t)count);
  for (size_t i = 0; i < count; i++) {
    sb_put_u32(dst + 4 + 4 * i, sections[i].bytes);
    dst[4 + 4 * count + i] = sections[i].kind;
    used[sections[i].kind] = true;
  }
  run_ends[runs++] = at;
  for (unsigned kind = 0; kind < SB_SECTION_KINDS; kind++) {
    if (!used[kind]) continue;
    for (unsigned half = 0; half < (kind == SB_SECTION_U16 ? 2u : 1u); half++) {
      const uint8_t *from = src;
      for (size_t i = 0; i < count; from += sections[i++].bytes) {
        sb_section s = sections[i];
        if (s.kind != kind) continue;
        if (kind == SB_SECTION_U16) {
          at += put_half(dst + at, from, s.bytes, half);
          continue;
        }
        if (widened(kind))
          widen(dst + at, from, s);
        else
          memcpy(dst + at, from, s.bytes);
        at += filtered_size(s);
      }
      run_ends[runs++] = at;
    }
  }
  return runs;
}

static sb_section section_of(const uint8_t *src, size_t count, size_t i) {
  return (sb_section){.bytes = sb_get_u32(src + 4 + 4 * i), .kind = src[4 + 4 * count + i]};
}

bool sb_sections_undo(uint8_t *dst, size_t bytes, const uint8_t *src, size_t src_bytes) {
  bool used[SB_SECTION_KINDS] = {false};
  if (src_bytes < 4) return false;
  size_t count = sb_get_u32(src), at = 4 + 5 * count;
  if (count > (src_bytes - 4) / 5) return false;
  uint64_t content = 0, filtered = at;
  for (size_t i = 0; i < count; i++) { /* sizes first, so that nothing below leaves its buffer */
    sb_section s = section_of(src, count, i);
    content += s.bytes;
    filtered += filtered_size(s);
    used[s.kind] = true;
  }
  if (content != bytes || filtered != src_bytes) return false;
  for (unsigned kind = 0; kind < SB_SECTION_KINDS; kind++) {
    if (!used[kind]) continue;
    for (unsigned half = 0; half < (kind == SB_SECTION_U16 ? 2u : 1u); half++) {
      uint8_t *to = dst;
      for (size_t i = 0; i < count; i++) {
        sb_section s = section_of(src, count, i);
        if (s.kind == kind && kind == SB_SECTION_U16) {
          at += get_half(to, src + at, s.bytes, half);
        } else if (s.kind == kind) {
          if (widened(kind))
            narrow(to, src + at, s);
          else
            memcpy(to, src + at, s.bytes);
          at += filtered_size(s);
        }
        to += s.bytes;
      }
    }
  }
  return true;
}

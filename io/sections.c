#include "io/sections.h"

#include <string.h>

#include "io/bytes.h"

/* Bytes that 8 packed codes of `kind` bits take when no code crosses a byte; 0 for kinds that stay as they
 * are. */
static size_t widened(unsigned kind) {
  return kind == 3 ? 4 : kind >= 5 && kind <= 7 ? 8 : 0;
}

static size_t filtered_size(sb_section s) {
  size_t wide = widened(s.kind);
  return wide ? s.bytes / s.kind * wide + s.bytes % s.kind : s.bytes;
}

static void widen(uint8_t *dst, const uint8_t *src, sb_section s) {
  const unsigned bits = s.kind, wide = (unsigned)widened(bits), step = 8 * bits / wide;
  const uint64_t mask = (1u << step) - 1;
  size_t groups = s.bytes / bits;
  for (size_t g = 0; g < groups; g++) {
    uint64_t word = 0;
    for (unsigned k = 0; k < bits; k++) word |= (uint64_t)src[g * bits + k] << (8 * k);
    for (unsigned k = 0; k < wide; k++) dst[g * wide + k] = (uint8_t)(word >> (step * k) & mask);
  }
  memcpy(dst + groups * wide, src + groups * bits, s.bytes % bits);
}

static void narrow(uint8_t *dst, const uint8_t *src, sb_section s) {
  const unsigned bits = s.kind, wide = (unsigned)widened(bits), step = 8 * bits / wide;
  const uint64_t mask = (1u << step) - 1;
  size_t groups = s.bytes / bits;
  for (size_t g = 0; g < groups; g++) {
    uint64_t word = 0;
    for (unsigned k = 0; k < wide; k++) word |= (src[g * wide + k] & mask) << (step * k);
    for (unsigned k = 0; k < bits; k++) dst[g * bits + k] = (uint8_t)(word >> (8 * k));
  }
  memcpy(dst + groups * bits, src + groups * wide, s.bytes % bits);
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

/* Bit strings: numbers of 1 to 8 bits one after another, least significant bit first, padded with
 * zeros to whole bytes.
 *
 * Packing takes eight numbers at a time, as eight bytes of one word, and folds them together in
 * three steps; unpacking unfolds them. Neither touches a byte outside the string. */
#ifndef SB_KERNELS_SHARED_BITSTRING_H
#define SB_KERNELS_SHARED_BITSTRING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/device.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error words are loaded from and stored to bit strings as they are
#endif

SB_HOST_DEVICE static inline size_t sb_bitstring_bytes(size_t numbers, unsigned bits) {
  return numbers / 8 * bits + (numbers % 8 * bits + 7) / 8;
}

/* Folds the eight bytes of x, each below 2^bits, into 8 * bits adjoining bits; unfolds them. */
SB_HOST_DEVICE static inline uint64_t sb_bitstring_fold(uint64_t x, unsigned bits) {
  const uint64_t bytes = UINT64_C(0x00ff00ff00ff00ff), pairs = UINT64_C(0x0000ffff0000ffff);
  x = (x & bytes) | (x >> 8 & bytes) << bits;
  x = (x & pairs) | (x >> 16 & pairs) << 2 * bits;
  return (x & UINT32_MAX) | x >> 32 << 4 * bits;
}
SB_HOST_DEVICE static inline uint64_t sb_bitstring_unfold(uint64_t x, unsigned bits) {
  const uint64_t four = (UINT64_C(1) << 4 * bits) - 1;
  const uint64_t two = ((UINT64_C(1) << 2 * bits) - 1) * UINT64_C(0x100000001);
  const uint64_t one = ((UINT64_C(1) << bits) - 1) * UINT64_C(0x1000100010001);
  x = (x & four) | (x >> 4 * bits & four) << 32;
  x = (x & two) | (x >> 2 * bits & two) << 16;
  return (x & one) | (x >> bits & one) << 8;
}

/* Number i of the string at `in`. */
SB_HOST_DEVICE static inline unsigned sb_bitstring_get(const uint8_t *in, size_t i, unsigned bits) {
  const size_t at = i * bits, shift = at % 8;
  unsigned word = in[at / 8];
  if (shift + bits > 8) word |= (unsigned)in[at / 8 + 1] << 8;
  return word >> shift & ((1u << bits) - 1u);
}

/* Sets number i, below 2^bits; the others stay. */
SB_HOST_DEVICE static inline void sb_bitstring_put(uint8_t *out, size_t i, unsigned bits,
                                                   unsigned number) {
  const size_t at = i * bits, shift = at % 8;
  const unsigned all = ((1u << bits) - 1u) << shift, here = number << shift;
  out[at / 8] = (uint8_t)((out[at / 8] & ~all) | here);
  if (shift + bits > 8) out[at / 8 + 1] = (uint8_t)((out[at / 8 + 1] & ~(all >> 8)) | here >> 8);
}

/* out = the string of numbers[0 .. n), each below 2^bits. */
SB_HOST_DEVICE static inline void sb_bitstring_pack(uint8_t *out, const uint8_t *numbers, size_t n,
                                                    unsigned bits) {
  uint8_t *const end = out + sb_bitstring_bytes(n, bits);
  uint64_t word;
  for (; n >= 8; n -= 8, numbers += 8, out += bits) {
    memcpy(&word, numbers, 8);
    word = sb_bitstring_fold(word, bits);
    if (end - out >= 8)
      memcpy(out, &word, 8); /* the next numbers overwrite the bytes beyond these */
    else
      for (unsigned i = 0; i < bits; i++) out[i] = (uint8_t)(word >> 8 * i);
  }
  if (n == 0) return;
  word = 0;
  for (size_t i = 0; i < n; i++) word |= (uint64_t)numbers[i] << i * bits;
  for (; out < end; word >>= 8) *out++ = (uint8_t)word;
}

/* numbers[0 .. n) = the numbers of the string at `in`. */
SB_HOST_DEVICE static inline void sb_bitstring_unpack(uint8_t *numbers, const uint8_t *in, size_t n,
                                                      unsigned bits) {
  const uint8_t *const end = in + sb_bitstring_bytes(n, bits);
  uint64_t word;
  for (; n >= 8; n -= 8, numbers += 8, in += bits) {
    if (end - in >= 8) {
      memcpy(&word, in, 8);
    } else {
      word = 0;
      for (unsigned i = 0; i < bits; i++) word |= (uint64_t)in[i] << 8 * i;
    }
    word = sb_bitstring_unfold(word, bits);
    memcpy(numbers, &word, 8);
  }
  if (n == 0) return;
  word = 0;
  for (unsigned i = 0; in < end; i++) word |= (uint64_t)*in++ << 8 * i;
  for (size_t i = 0; i < n; i++) numbers[i] = (uint8_t)(word >> i * bits & ((1u << bits) - 1u));
}

#endif

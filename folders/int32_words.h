/* Numbers of 1 to 8 bits in words of 32, little-endian, as files of servers have them.
 *
 * Dense: number i is in bits [i b, (i + 1) b) of the string that the words are, lowest bit first,
 * so that it may lie in two words: a bit string (kernels/shared/bitstring.h), padded with zeros to
 * whole words.
 *
 * In planes: of every 32 numbers, the lowest bits first, in parts whose widths divide 32; 3 bits
 * are 2 + 1, 5 are 4 + 1, 6 are 4 + 2, 7 are 4 + 2 + 1. No number of a part lies in two words. For
 * 1, 2, 4 and 8 bits that is the same as dense. (GPTQModel 7.7, `gptq_p`)
 *
 * All functions are pure. */
#ifndef SB_FOLDERS_INT32_WORDS_H
#define SB_FOLDERS_INT32_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* Words of so many numbers, dense; in planes too, where `numbers` is a multiple of 32. */
static inline size_t sb_words(size_t numbers, unsigned bits) {
  return (numbers * bits + 31) / 32;
}

/* out [sb_words] = numbers [count], each below 2^bits. */
void sb_words_dense(uint32_t *out, const uint8_t *numbers, size_t count, unsigned bits);
/* The same in planes. `count` is a multiple of 32. */
void sb_words_planes(uint32_t *out, const uint8_t *numbers, size_t count, unsigned bits);

/* out [cols, rows] = in [rows, cols], transposed. */
void sb_words_transpose(uint32_t *out, const uint32_t *in, size_t rows, size_t cols);

#endif

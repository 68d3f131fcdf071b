#include "folders/int32_words.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/shared/bitstring.h"

enum { RUN = 32 }; /* numbers whose planes lie together */

void sb_words_dense(uint32_t *out, const uint8_t *numbers, size_t count, unsigned bits) {
  if (count == 0) return;
  out[sb_words(count, bits) - 1] = 0; /* what the string does not fill */
  sb_bitstring_pack((uint8_t *)out, numbers, count, bits);
}

/* The widest part that is left of `bits`: a power of two. */
static unsigned plane_of(unsigned bits) {
  return bits >= 8 ? 8 : bits >= 4 ? 4 : bits >= 2 ? 2 : 1;
}

void sb_words_planes(uint32_t *out, const uint8_t *numbers, size_t count, unsigned bits) {
  uint8_t part[RUN];
  for (size_t i = 0; i < count; i += RUN)
    for (unsigned done = 0, plane; done < bits; done += plane) {
      plane = plane_of(bits - done);
      for (int k = 0; k < RUN; k++)
        part[k] = (uint8_t)(numbers[i + k] >> done & ((1u << plane) - 1u));
      sb_words_dense(out, part, RUN, plane);
      out += plane;
    }
}

void sb_words_transpose(uint32_t *out, const uint32_t *in, size_t rows, size_t cols) {
  enum { TILE = 16 }; /* a side of what stays in the nearest cache */
  for (size_t r = 0; r < rows; r += TILE)
    for (size_t c = 0; c < cols; c += TILE)
      for (size_t i = r; i < sb_min_size(r + TILE, rows); i++)
        for (size_t j = c; j < sb_min_size(c + TILE, cols); j++)
          out[j * rows + i] = in[i * cols + j];
}

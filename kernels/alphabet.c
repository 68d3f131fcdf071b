#include "kernels/alphabet.h"

static const sb_alphabet *const alphabets[] = {&sb_alphabet_grid};

const sb_alphabet *sb_alphabet_of(uint8_t byte) {
  const size_t number = byte >> 4;
  const unsigned width = sb_alphabet_width(byte);
  return number < sizeof alphabets / sizeof *alphabets && width >= SB_MIN_BITS &&
                 width <= SB_MAX_BITS
             ? alphabets[number]
             : NULL;
}

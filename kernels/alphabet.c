#include "kernels/alphabet.h"

#include "kernels/shared/code_traits.h"

static const sb_alphabet *const alphabets[] = {&sb_alphabet_grid, &sb_alphabet_trellis,
                                               &sb_alphabet_trellis, &sb_alphabet_trellis,
                                               &sb_alphabet_trellis};

uint8_t sb_alphabet_number(sb_code_kind code_kind) {
  return sb_is_grid(code_kind) ? 0 : (uint8_t)(code_kind - SB_TRELLIS_12 + 1);
}

const sb_alphabet *sb_alphabet_of(uint8_t byte) {
  const size_t number = byte >> 4;
  const unsigned width = sb_alphabet_width(byte);
  return number < sizeof alphabets / sizeof *alphabets && width >= SB_MIN_BITS &&
                 width <= SB_MAX_BITS
             ? alphabets[number]
             : NULL;
}

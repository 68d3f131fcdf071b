/* The inputs of a layer's matrices: Q, K, V share one, gate and up share one. Pure. */
#ifndef SB_MODEL_INPUTS_H
#define SB_MODEL_INPUTS_H

#include <stddef.h>

#include "model/arch.h"

enum { SB_INPUTS = 4 };

/* The first matrix of those that share input 0 .. SB_INPUTS - 1, by which input hooks name it.
 */
static inline sb_linear sb_input_first(size_t input) {
  static const sb_linear first[SB_INPUTS] = {SB_LINEAR_Q, SB_LINEAR_O, SB_LINEAR_GATE,
                                             SB_LINEAR_DOWN};
  return first[input];
}
/* The input of a matrix. */
static inline size_t sb_input_of(sb_linear which) {
  size_t input = SB_INPUTS - 1;
  while (input > 0 && which < sb_input_first(input)) input--;
  return input;
}
/* Channels of an input. */
static inline size_t sb_input_width(const sb_config *config, size_t input) {
  size_t rows, cols;
  sb_linear_shape(config, sb_input_first(input), &rows, &cols);
  return cols;
}

#endif

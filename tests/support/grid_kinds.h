/* Kinds of grids, dealt to the cases of a test: asymmetric and symmetric grids to every case, and
 * one of the other kinds in its turn, so that each meets some cases and none takes much time. */
#ifndef SB_TESTS_SUPPORT_GRID_KINDS_H
#define SB_TESTS_SUPPORT_GRID_KINDS_H

#include <stddef.h>

#include "kernels/shared/grid_types.h"

enum { KIND_TURNS = 3 }; /* kinds of a case */

static inline sb_code_kind kind_of_turn(size_t number, int turn) {
  const int others = SB_TRELLIS_12 - SB_GRID_SIGNED;
  return (sb_code_kind)(turn < 2 ? turn : SB_GRID_SIGNED + (int)(number % (size_t)others));
}

#endif

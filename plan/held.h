/* The memory that a rank holds throughout a run, in any phase. Bytes. Pure. */
#ifndef SB_PLAN_HELD_H
#define SB_PLAN_HELD_H

#include "plan/basis.h"

typedef struct sb_plan_held {
  double parameters; /* the rank's part of the model: model / ranks, and up to a unit more */
  double slots;      /* two groups, one in use and one on its way; a node has them once, and none
                        where one rank has all. A rank's resident set shows all of them */
  double bit_maps;   /* a byte per block of the model: current, candidate, best, exchange */
  double orders;     /* of channels, where they are reordered: 8 bytes per channel of an order */
  double importance; /* fitted grids: f32 per input channel of all layers */
  double factors; /* trellis codes: fp16 per input channel of all layers, of the source and of the
                     coded model */
  double program; /* code, buffers of MPI, buffers of BLAS per thread */
  double bytes;   /* sum, without slots */
} sb_plan_held;

sb_plan_held sb_plan_held_of(const sb_plan_basis *basis);

/* The model in packed form, from rounding on. */
typedef struct sb_plan_packed {
  double model; /* the rank's part */
  double slots; /* as above; none where it is written only, rounded to nearest */
} sb_plan_packed;

sb_plan_packed sb_plan_packed_of(const sb_plan_basis *basis);

#endif

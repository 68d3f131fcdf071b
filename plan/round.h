/* Rounding weights to the bits found: memory of a rank beside the memory that it holds throughout
 * (plan/held.h), and the work of the busiest rank. Pure. */
#ifndef SB_PLAN_ROUND_H
#define SB_PLAN_ROUND_H

#include "plan/held.h"

typedef struct sb_plan_round {
  size_t local;          /* sequences that guide it */
  sb_factor_mode factor; /* not SB_FACTOR_AUTO */
  double prepared;       /* the matrices of a layer as they are, and rounded */
  double inputs;         /* of a layer for all sequences of the rank, and one more's output */
  double activations;    /* one sequence in one layer, forward */
  double moments;        /* second moments of a layer's inputs, and their factors */
  double block_rows;     /* of the matrices that share an input, on their way to codes */
  double tables;         /* embedding and LM head on their way to codes; before the layers */
  double candidates;     /* of a search for trellis codes: the best so far, packed, and what the
                            source weights predict */
  double bytes; /* sum, of tables or of layers, with the packed model and without its slots */

  double sent;           /* bytes: the model, the packed one, second moments */
  double flops;          /* two forward passes without the LM head */
  double moment_flops;   /* X'X */
  double factor_flops;   /* Cholesky factors and their inverses */
  double rounding_flops; /* columns, one after another */
  double refine_flops;   /* passes over codes and scales */
} sb_plan_round;

/* `learnt`: bytes of what the source weights predict on the sequences that decide. */
sb_plan_round sb_plan_round_of(const sb_plan_basis *basis, const sb_plan_packed *packed,
                               double learnt);

#endif

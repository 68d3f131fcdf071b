/* A gradient pass: the memory of a rank beside the memory that it holds throughout (plan/held.h),
 * and the work. The search, reordering and training of scales take such passes. Bytes. Pure. */
#ifndef SB_PLAN_GRADIENT_PASS_H
#define SB_PLAN_GRADIENT_PASS_H

#include "plan/basis.h"

typedef struct sb_plan_pass {
  size_t local, wave, waves; /* of the busiest rank: sequences, sequences at a time, waves */
  double prepared;           /* the matrices of a layer and a chunk of the LM head, for GEMM */
  double inputs;             /* of every layer, for the sequences of a wave; the model's ends */
  double activations;        /* one sequence in one layer, forward and backward */
  double gradient;           /* f32, of the largest matrix */
  double logits;             /* f32, tokens of a sequence x rows of a chunk */
  double reference;          /* divergence: states of the source weights of all sequences, and
                                their logits */
  double bytes;              /* sum */
} sb_plan_pass;

typedef struct sb_plan_pass_needs {
  size_t local;    /* sequences of the busiest rank that go through the pass */
  size_t learnt;   /* those whose states the pass keeps, where it goes by divergence */
  bool divergence; /* the loss is that from the source weights */
  bool backward;   /* else forward only, which keeps the inputs of one layer */
  bool gradients;  /* of matrices */
  bool codes;      /* the pass goes through the packed model, else through the source */
} sb_plan_pass_needs;

/* Memory that rounding takes, too: a prepared layer; the scratch of the processor's attention. */
double sb_plan_layer_bytes(const sb_plan_basis *basis);
double sb_plan_attention_bytes(const sb_plan_basis *basis, bool backward);

sb_plan_pass sb_plan_pass_of(const sb_plan_basis *basis, const sb_plan_pass_needs *needs);

#endif

/* What `train` needs of a rank. Beside quantize's plan: its own phase, its own table. Bytes, as
 * doubles. The setup's `seqlen`, `input_bytes`, `compute`, `ranks` and `blocking` count; weights
 * are f32. Buffers are summed from the `_bytes()` beside each `_create()`, in high precision:
 * emulated precisions add the coded matrices of one layer. Pure, local. */
#ifndef SB_PLAN_TRAIN_H
#define SB_PLAN_TRAIN_H

#include "plan/gradient_pass.h"
#include "plan/setup.h"
#include "train/shares.h"

typedef struct sb_plan_train {
  sb_share_sizes shares;
  sb_plan_pass pass; /* of its figures `bytes` has all but what follows */
  double masters;    /* the rank's weights; 4 bytes each */
  double moments;    /* AdamW's two; 8 */
  double sums;       /* exact sums of gradients: 8, and of the group at hand */
  double saving;     /* a copy of weights and moments while a checkpoint is written */
  double slots;      /* two groups on their way; a node has them once, one rank alone none */
  double vocab;      /* gradient of a chunk of the embedding */
  double kept;       /* layers and logits kept from the way forward, as far as memory allows */
  double program;
  double rank_bytes; /* sum: a rank's resident set */
  double node_bytes; /* of its ranks, slots once */
  double step_flops; /* of all ranks: a forward pass and twice as much on the way back, what is kept
                        being computed once */
  double sent;       /* bytes that a rank sends to other nodes in a step */
} sb_plan_train;

/* Steps of `batch` sequences, of all ranks. */
sb_plan_train sb_plan_train_of(const sb_plan_setup *setup, size_t batch);

#endif

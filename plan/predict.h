/* How long a run of quantize takes: the work that plan/footprint.h counts over rates, which are
 * given or measured (measure/machine.h). Pure. */
#ifndef SB_PLAN_PREDICT_H
#define SB_PLAN_PREDICT_H

#include <stddef.h>

#include "plan/footprint.h"

/* Of one rank while all ranks of its node work; a rate of 0 leaves its part of the work out. */
typedef struct sb_rates {
  double forward, backward; /* FLOP/s of a layer: GEMMs and what lies between them */
  double moments, factor, rounding, refine; /* FLOP/s: X'X; factors of second moments; --quantizer
                                               gptq's columns, and refining them */
  double fit, quantize, score,
      unpack;         /* weights/s: fitting grids; rounding to them; scoring moves; decoding */
  double pack;        /* weights/s: fitting and encoding what is written */
  double read, write; /* bytes/s: of weights from a file; of packed weights, compressed, to one */
  double network;     /* bytes/s of a node */
} sb_rates;

typedef enum sb_part {
  SB_PART_READ,
  SB_PART_IMPORTANCE, /* fitted grids: one forward pass */
  SB_PART_REORDER,    /* one gradient pass, and reading the model again */
  SB_PART_GRADIENT,   /* of the search: all its gradient passes */
  SB_PART_LOSS,       /* and its forward passes */
  SB_PART_FORWARD,    /* of --quantizer gptq: its forward passes */
  SB_PART_MOMENTS,
  SB_PART_FACTOR,
  SB_PART_ROUNDING,
  SB_PART_REFINE,
  SB_PART_TUNE, /* of --tune-seqs: a forward pass of the source weights, and a gradient of each
                   batch */
  SB_PART_WRITE,
  SB_PARTS
} sb_part;

typedef struct sb_prediction {
  double loss_seconds, gradient_seconds; /* of one pass; the loss is that of the check sequences
                                            where there are some */
  /* of one pass of each kind, what arithmetic, rounding and messages take: the longer of messages
   * and the rest counts */
  double loss_flop_seconds, loss_grid_seconds, loss_send_seconds;
  double gradient_flop_seconds, gradient_grid_seconds, gradient_send_seconds;
  size_t gradient_passes, loss_passes; /* of the search */
  double seconds[SB_PARTS];
  double total;
} sb_prediction;

/* A search of so many strides and at most so many trades, all of which are kept and measured anew:
 * an upper bound. */
void sb_predict(const sb_footprint_setup *setup, const sb_footprint *footprint,
                const sb_rates *rates, size_t strides, size_t trades, sb_prediction *out);

#endif

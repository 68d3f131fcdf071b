/* The time of a run of quantize: the work that plan/footprint.h counts, divided by rates, which are
 * given or measured (measure/machine.h). Pure. */
#ifndef SB_PLAN_PREDICT_H
#define SB_PLAN_PREDICT_H

#include <stddef.h>

#include "plan/footprint.h"

/* Rates of one rank while all ranks of its node work. A rate of 0 leaves its part of
 * the work out. */
typedef struct sb_rates {
  double forward, backward; /* FLOP/s of a layer: GEMMs and all between them */
  double moments;           /* FLOP/s: X'X */
  double factor;            /* FLOP/s: factors of second moments */
  double rounding, refine;  /* FLOP/s: columns of --quantizer gptq; refining them */
  double fit, quantize;     /* weights/s: fitting grids; rounding to them */
  double score, unpack;     /* weights/s: scoring moves; decoding packed weights */
  double trellis[3];        /* weights/s: codes of a trellis of 2^12, 2^14, 2^16 states */
  double pack;              /* weights/s: fitting grids and encoding */
  double read, write;       /* bytes/s: weights from a file; compressed weights to one */
  double network;           /* bytes/s of a node */
} sb_rates;

/* Parts of a run, one after another. */
typedef enum sb_part {
  SB_PART_READ,
  SB_PART_IMPORTANCE, /* fitted grids: one forward pass */
  SB_PART_REORDER,    /* one gradient pass, and reading the model again */
  SB_PART_TABLES,     /* one gradient pass, for the widths of embedding and LM head */
  SB_PART_GRADIENT,   /* of the search: all its gradient passes */
  SB_PART_LOSS,       /* and its forward passes */
  SB_PART_FORWARD,    /* of --quantizer gptq: its forward passes */
  SB_PART_MOMENTS,
  SB_PART_FACTOR,
  SB_PART_ROUNDING,
  SB_PART_CODES, /* of trellises: their walks */
  SB_PART_REFINE,
  SB_PART_TUNE, /* training of scales */
  SB_PART_WRITE,
  SB_PARTS
} sb_part;

/* The time of one pass. Messages are on their way while the rank computes. */
typedef struct sb_pass_time {
  double flop_seconds; /* arithmetic */
  double grid_seconds; /* grids and scores */
  double send_seconds; /* messages */
  double seconds;      /* the longer of the first two together and the last */
} sb_pass_time;

typedef struct sb_prediction {
  sb_pass_time loss; /* of the check sequences, if a run has any */
  sb_pass_time gradient;
  size_t gradient_passes, loss_passes; /* of the search */
  double seconds[SB_PARTS];
  double total;
} sb_prediction;

/* The rate of finding codes of that kind; 0: not known, or grids. Pure. */
double sb_rates_of_codes(const sb_rates *rates, sb_code_kind kind);

/* An upper bound where all trades of the search are kept and measured anew. */
void sb_predict(const sb_plan_setup *setup, const sb_footprint *footprint, const sb_rates *rates,
                sb_prediction *out);

#endif

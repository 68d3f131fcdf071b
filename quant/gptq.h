/* From a model and a bit map to packed block rows, rounded so that errors make up for each other
 * (round_columns of kernels/backend.h), then refined (refine_columns).
 *
 * Layer after layer: the calibration sequences go through the layer in full precision, as they come
 * out of the layers before it, which are quantized by then; the second moments of the inputs of its
 * matrices are summed over ranks; every rank rounds the block rows it will own; the sequences go
 * through the quantized layer. */
#ifndef SB_QUANT_GPTQ_H
#define SB_QUANT_GPTQ_H

#include <stdbool.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "quant/moments.h"
#include "pass/sequences.h"

typedef struct sb_gptq_options {
  double damping; /* of second moments, a share of the mean diagonal: 0.01 is usual */
  bool fitted;    /* fitted grids */
  int refine;     /* passes of coordinate descent after that; 0: none, and no memory for it */
  sb_factor_mode factor;
  const char *checkpoint; /* file to save to and resume from (quant/gptq_checkpoint.h), or NULL */
  size_t input_bytes; /* for inputs of sequences kept at a time, where factors are distributed */
  sb_ticker ticker;   /* told the share of layers that is done */
} sb_gptq_options;

typedef struct sb_gptq_stats {
  sb_factor_mode factor; /* how factors were made: not SB_FACTOR_AUTO */
  size_t resumed;        /* layers that the checkpoint had */
  size_t repaired;       /* inputs whose second moments needed more than the usual damping */
  size_t dead;           /* channels of inputs that are 0 for all tokens */
  double moment_seconds, factor_seconds, round_seconds, refine_seconds,
      forward_seconds; /* of this rank */
} sb_gptq_stats;

/* `source` has coding SB_CODING_SOURCE and all its bits in 1..8; they are as before when it
 * returns. *out has coding SB_CODING_CODES and the same bits.
 *
 * With replicated factors the result is the same, bit for bit, for any number of ranks and threads.
 * With distributed ones it is so for any number of threads and the same number of ranks; see
 * quant/moments.h.
 *
 * Fewer calibration tokens than 4 for each channel of the widest input are worth a warning in the
 * log, with the number that would do; they are no error.
 *
 * Collective. Memory beside both models: the inputs of one layer for all local sequences
 * (pass/layerwise.h); the moments, as quant/moments.h says; 5 bytes a weight of the rank's rows of
 * the matrices that share an input, 9 where they are refined. */
sb_status sb_gptq(sb_model *source, sb_backend *backend, const sb_sequences *calibration,
                  const sb_gptq_options *options, sb_model **out, sb_gptq_stats *stats);

#endif

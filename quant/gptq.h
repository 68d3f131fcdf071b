/* Compensated rounding (GPTQ, arXiv 2210.17323): from a model and its bit map to a coded model
 * whose rounding errors make up for each other (round_columns of kernels/backend.h), then refined
 * by coordinate descent (refine_columns).
 *
 * Tables of the vocabulary that are coded come first (quant/gptq_tables.h), so that layers get the
 * rounded embedding's inputs. Then, layer by layer:
 *
 * 1. The calibration sequences go through the layer in full precision, beginning with the
 *    outputs of the layers before it, which are coded by then. The second moments of the inputs
 *    of its matrices are summed over ranks and factorised (quant/moments.h).
 * 2. Every rank rounds the block rows that it will own (quant/gptq_input.h).
 * 3. The sequences go through the coded layer, to give the next layer's inputs. */
#ifndef SB_QUANT_GPTQ_H
#define SB_QUANT_GPTQ_H

#include <stdbool.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"
#include "quant/moments.h"
#include "quant/table_stats.h"

typedef struct sb_gptq_options {
  double damping; /* added to second moments, as a share of the mean diagonal; 0.01 is usual */
  bool fitted;    /* grids are fitted (kernels/shared/grid.h) */
  int refine; /* passes of coordinate descent; 0: none, and no memory for them. It moves levels of
                 grids: trellis codes have none, whatever this is */
  bool table_fitted; /* the same for coded tables, which are always on grids */
  int table_refine;
  sb_factor_mode factor;
  const sb_table_stats *tables; /* finished, of the whole moments: by which coded tables are
                                   rounded; or NULL, and they are rounded to nearest */
  const char *checkpoint; /* file to save to and resume from (quant/gptq_checkpoint.h), or NULL */
  size_t input_bytes;   /* for inputs of sequences kept at a time, where factors are distributed */
  float *pivots;        /* [arch.channels] of the inputs of all layers, as importance: filled with
                           what feedback leaves of an error (quant/gptq_pivots.h); or NULL. Layers
                           that a checkpoint has leave it as it is */
  double *layer_errors; /* [layers]: filled with the error of each (quant/layer_errors.h), NaN for
                           layers that a checkpoint has; or NULL. Equal on all ranks */
  sb_ticker ticker;     /* told the share of the weights that is done */
} sb_gptq_options;

typedef struct sb_gptq_stats {
  sb_factor_mode factor; /* the mode taken: not SB_FACTOR_AUTO */
  size_t resumed;        /* layers taken from the checkpoint */
  size_t resumed_tables; /* chunks of tables taken from it */
  size_t repaired;       /* inputs whose second moments needed more than the usual damping */
  size_t dead;           /* input channels that are 0 for all tokens */
  double moment_seconds, factor_seconds, round_seconds, refine_seconds,
      forward_seconds;  /* of this rank, for layers */
  double table_seconds; /* of this rank, for tables: factors, rounding and refining */
} sb_gptq_stats;

/* Bytes of the inputs of a sequence of T tokens in transformed coordinates, which sb_gptq holds
 * while it rounds to trellis codes; 0 on grids. `widest`: channels of the widest input. Pure. */
size_t sb_gptq_transform_bytes(sb_code_kind code_kind, const sb_backend *backend, size_t T,
                               size_t widest);

/* *out = the coded model (SB_CODING_CODES) of `source` (SB_CODING_SOURCE, all bits in 1..8), with
 * the same bits. `source` is unchanged when the call returns.
 *
 * With replicated factors the result has the same bits for any number of ranks and threads; with
 * distributed ones for any number of threads and the same number of ranks (quant/moments.h).
 *
 * Fewer than 4 calibration tokens per channel of the widest input give a warning in the log, with
 * the number that would do. SB_ERR_NUMERIC where moments are not finite or cannot be factorised,
 * SB_ERR_FORMAT for a checkpoint of other rounding. Collective; all ranks fail together.
 *
 * Memory beside both models: the inputs of one layer for all local sequences (pass/layerwise.h),
 * those of one sequence transformed (sb_gptq_transform_bytes); the moments (quant/moments.h); 5
 * bytes per weight of the rank's rows of the matrices that share an input, 9 where they are
 * refined. */
sb_status sb_gptq(sb_model *source, sb_backend *backend, const sb_sequences *calibration,
                  const sb_gptq_options *options, sb_model **out, sb_gptq_stats *stats);

#endif

/* From a model and a bit map to packed block rows, rounded so that errors make up for each other (quant/gptq.h).
 *
 * Layer after layer: the calibration sequences go through the layer in full precision, as they come out of the layers
 * before it, which are quantized by then; the second moments of the inputs of its matrices are summed over ranks; every rank
 * rounds the block rows it will own; the sequences go through the quantized layer. */
#ifndef SB_MODEL_COMPENSATE_H
#define SB_MODEL_COMPENSATE_H

#include <stdbool.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/sequences.h"

typedef struct sb_compensate_stats {
  size_t repaired; /* matrices whose second moments needed more than the usual damping */
  size_t dead;     /* inputs that are 0 for all tokens, over all matrices */
  double moment_seconds, factor_seconds, round_seconds, forward_seconds; /* of this rank */
} sb_compensate_stats;

/* `source` has coding SB_CODING_SOURCE and all its bits in 1..8; they are as before when it returns. *out has coding
 * SB_CODING_PACKED and the same bits. `damping` is a share of the mean diagonal (0.01 is usual).
 * `fitted` asks for fitted grids (quant/gptq.h).
 *
 * The result is the same, bit for bit, for any number of ranks and threads.
 *
 * Collective. Memory beside both models: the inputs of one layer for all local sequences, twice; for each of the four kinds
 * of input of n channels 16 n^2 bytes on every rank, and 8 n^2 more while it is factorised. Messages: 8 n^2 bytes for each
 * kind, a layer. So this is for models whose widest input (the down projection's) squared fits a rank. `tick`, which may be
 * NULL, is told the share of layers that is done. */
sb_status sb_compensate(sb_model *source, sb_backend *backend, const sb_sequences *calibration,
                        double damping, bool fitted, void (*tick)(void *context, double done), void *context,
                        sb_model **out, sb_compensate_stats *stats);

#endif

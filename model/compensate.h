/* From a model and a bit map to packed block rows, rounded so that errors make up for each other (quant/gptq.h).
 *
 * Layer after layer: the calibration sequences go through the layer in full precision, as they come out of the layers
 * before it, which are quantized by then; the second moments of the inputs of its matrices are summed over ranks; every rank
 * rounds the block rows it will own; the sequences go through the quantized layer. */
#ifndef SB_MODEL_COMPENSATE_H
#define SB_MODEL_COMPENSATE_H

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
 *
 * The result is the same, bit for bit, for the same number of ranks; on another number second moments are added in another
 * order, so that codes at a tie may differ.
 *
 * Collective. Memory: the packed model's part, all local layer inputs of one layer twice, and for the widest matrix of n
 * inputs 24 n^2 bytes on every rank. Messages: 8 n^2 bytes for each of four kinds of input, a layer. `tick`, which may be
 * NULL, is told the share of layers that is done. */
sb_status sb_compensate(sb_model *source, sb_backend *backend, const sb_sequences *calibration,
                        double damping, void (*tick)(void *context, double done), void *context,
                        sb_model **out, sb_compensate_stats *stats);

#endif

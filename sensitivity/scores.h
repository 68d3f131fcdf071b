/* Scores of moves: the change of the loss when a block's width changes by one bit, seen from the
 * model as it is quantized now.
 *
 * Let g_s be the gradient of the mean loss of calibration sequence s at the present weights. For
 * block k, one bit up and one bit down have the first-order change (ScaleBITS)
 *
 *   a_s(k, b -> b') = <g_s,k , Q_b'(W)_k - W_now,k>
 *
 * The sums over sequences of a_s and a_s^2 are kept, for both directions: four numbers per block.
 * The mean of a_s is the first-order change of the loss. The mean of a_s^2 is D' F D, with F the
 * empirical Fisher matrix of the block; inside a block nothing is left out. Only these four numbers
 * are summed over ranks, exactly (mpi/exact.h), so scores do not depend on the number of ranks. */
#ifndef SB_SENSITIVITY_SCORES_H
#define SB_SENSITIVITY_SCORES_H

#include <stddef.h>

#include "base/status.h"
#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/estimator.h"

/* Grids of moves are kept for all layers between measurements if they take at most this many bytes
 * of a rank; otherwise for one layer at a time, made anew by every measurement. */
enum { SB_KEPT_GRIDS = 512 << 20 };

/* Means over the calibration sequences, for one block. */
typedef struct sb_moves {
  double raise, raise_square; /* b -> b + 1: mean a, mean a^2; 0 at the upper bound */
  double cut, cut_square;     /* b -> b - 1; 0 at the lower bound */
} sb_moves;

typedef struct sb_scores sb_scores;

/* *out = scores for the blocks of `model` at widths in [min_bits, max_bits]. Between measurements
 * the bits of blocks may change; weights and importance may not, because grids are kept.
 * Collective. Memory: the rank's owned blocks, the blocks of one layer, and the grids that blocks
 * have and would move to, of all layers if that is at most SB_KEPT_GRIDS, else of one. */
sb_status sb_scores_create(sb_model *model, sb_backend *backend, unsigned min_bits,
                           unsigned max_bits, sb_scores **out);
/* Bytes that sb_scores_create takes where host and device are one. Pure. */
size_t sb_scores_bytes(const sb_sizes *sizes);
void sb_scores_free(sb_scores **scores);

/* One gradient pass. Fills the moves of this rank's owned blocks, as sb_model_get_bits orders them;
 * *loss = the loss of the pass. Collective. */
sb_status sb_scores_measure(sb_scores *scores, sb_pass *pass, double *loss);
/* The moves [sb_model_owned_count(model)]; valid until the next measurement. Local. */
const sb_moves *sb_scores_moves(const sb_scores *scores);
/* Seconds this rank spent on scoring alone, beside the gradient pass, in all measurements so far
 * (CPU backend). Local. */
double sb_scores_seconds(const sb_scores *scores);

/* raise_gain[i], cut_loss[i] = the predictions of an estimator of moves (sensitivity/estimator.h)
 * for owned block i, from its four numbers; in units of the estimator, 0 beyond the bounds of
 * widths. Those of SB_ESTIMATOR_SECOND may be negative. Local. */
void sb_scores_predict(const sb_scores *scores, sb_estimator estimator, double *raise_gain,
                       double *cut_loss);

#endif

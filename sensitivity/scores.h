/* What moving a block by one bit does to the loss, seen from the model as it is quantized now.
 *
 * For every block k and calibration sequence s, with g_s the gradient of the sequence's mean loss
 * at the current weights,
 *
 *   a_s(k, b -> b') = <g_s,k , Q_b'(W)_k - W_now,k>          (first order, ScaleBITS)
 *
 * for one bit up and one bit down. Kept are the sums over sequences of a_s and of a_s^2: the mean
 * of a_s is the first-order change of the loss, the mean of a_s^2 the quadratic form D' F D with F
 * the empirical Fisher matrix of the block, without a diagonal or any other approximation inside
 * the block. No gradient leaves its rank: what is summed over ranks are these four scalars a block,
 * exactly (mpi/exact.h), so scores do not depend on the number of ranks. */
#ifndef SB_SENSITIVITY_SCORES_H
#define SB_SENSITIVITY_SCORES_H

#include <stddef.h>

#include "base/status.h"
#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/estimator.h"

/* Bytes of grids of moves, of all layers, that a rank keeps from one measurement of scores to the
 * next: with more it keeps those of a layer at a time, and makes them anew. */
enum { SB_KEPT_GRIDS = 512 << 20 };

/* Means over the calibration sequences, for one block. */
typedef struct sb_moves {
  double raise, raise_square; /* b -> b + 1: mean a, mean a^2; 0 at the upper bound */
  double cut, cut_square;     /* b -> b - 1; 0 at the lower bound */
} sb_moves;

typedef struct sb_scores sb_scores;

/* For the blocks of `model` with bits in [min_bits, max_bits]. Collective. Memory: this rank's
 * owned blocks, and the blocks of one layer; the grids that blocks have and would move to, of all
 * layers where that is at most SB_KEPT_GRIDS, else of one. Kept grids of a block are right as long
 * as its bits are the same: between measurements, bits may change, weights and importance may not.
 */
sb_status sb_scores_create(sb_model *model, sb_backend *backend, unsigned min_bits,
                           unsigned max_bits, sb_scores **out);
/* What sb_scores_create takes where host and device are one. Pure. */
size_t sb_scores_bytes(const sb_sizes *sizes);
void sb_scores_free(sb_scores **scores);

/* One gradient pass: fills the moves of this rank's owned blocks (layer after layer, as
 * sb_model_get_bits orders them) and the loss. Collective. */
sb_status sb_scores_measure(sb_scores *scores, sb_pass *pass, double *loss);
/* [sb_model_owned_count(model)]; valid until the next measurement. Local. */
const sb_moves *sb_scores_moves(const sb_scores *scores);
/* Seconds this rank spent on scoring alone, beside the gradient pass, in all measurements so far
 * (CPU backend). Local. */
double sb_scores_seconds(const sb_scores *scores);

/* How the four scalars become predicted gains, by one of the estimators of moves
 * (sensitivity/estimator.h).
 *
 * gain[i] of raising and loss[i] of cutting each owned block, in units of the estimator, 0 beyond
 * the bounds; those of SB_ESTIMATOR_SECOND may be negative. Local. */
void sb_scores_predict(const sb_scores *scores, sb_estimator estimator, double *raise_gain,
                       double *cut_loss);

#endif

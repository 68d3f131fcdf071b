/* How AdamW's next update depends on the gradient, where a run stands: the slope of an element is
 *
 *   D = (1 - beta1) / ((1 - beta1^t) (sqrt(v / (1 - beta2^(t-1))) + eps))
 *
 * with t the number of the next update and v the moment so far. A change dg of the gradient changes
 * the update by D dg, to first order and without the change of v itself, which is a few percent of
 * it. Only the matrices of layers count, here and wherever an update's norm is meant.
 *
 * D is known to the owner of a weight alone. What others need of it are two things: the weights
 * moved a little along a random direction that D scales (policy/probe.h says why), which the store
 * gathers like any weights; and per matrix a rank-one model of its squares,
 *
 *   D[i, j]^2 ~ rows[i] cols[j],   rows[i] = sum over j of D[i, j]^2,
 *                                  cols[j] = sum over i of D[i, j]^2 / sum over all
 *
 * as Adafactor (Shazeer and Stern, 1804.04235) has of second moments. */
#ifndef SB_POLICY_UPDATE_SLOPE_H
#define SB_POLICY_UPDATE_SLOPE_H

#include <stdint.h>

#include "base/status.h"
#include "train/optimizer.h"

typedef struct sb_update_slope {
  const sb_optimizer *optimizer;
  sb_adamw adamw;
  double update_norm; /* of the last update over its rate, of all matrices of layers */
  double slope_norm;  /* of D */
  double weight_norm; /* of the weights */
  size_t *first_row;  /* [matrices + 1] in `rows` */
  size_t *first_col;  /* [matrices + 1] in `cols` */
  float *rows, *cols; /* of all matrices of layers */
  float *kept;        /* the weights while they are moved, by element of this rank, or NULL */
} sb_update_slope;

/* Reads moments of at least one update; borrows the optimizer. SB_ERR_NUMERIC where moments are no
 * numbers or all 0, SB_ERR_MEMORY. sb_update_slope_free also releases what a failed call has
 * allocated. Equal on all ranks but for `kept`; collective. O(elements of this rank + rows + cols
 * of all matrices). */
sb_status sb_update_slope_create(const sb_optimizer *optimizer, sb_adamw adamw,
                                 sb_update_slope *out);
void sb_update_slope_free(sb_update_slope *slope);

/* Moves the weights of all matrices of layers: w += step D z, with z = 1 or -1 as a hash of (seed,
 * tensor, element) says. sb_update_slope_return gives the weights back, bit for bit. No group of
 * the store is held; the caller tells the pass (sb_pass_forget). SB_ERR_MEMORY; then no rank has
 * moved. Collective. O(elements of this rank), and a copy of them until they return. */
sb_status sb_update_slope_move(sb_update_slope *slope, double step, uint64_t seed);
void sb_update_slope_return(sb_update_slope *slope);

#endif

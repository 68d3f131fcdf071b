/* The gradient of a batch, summed exactly over its sequences and brought to the owners of weights.
 *
 * A pass shows the gradient of one sequence at a time, f32. Each value is rounded once to a whole
 * multiple of 2^-40 and added as a 64-bit integer. So the sum has the same bits for any number of
 * ranks, threads and waves. A mean of n sequences is off by some 2^-42 / sqrt(n), which is 2e-5 of
 * AdamW's usual eps and below the rounding of the gradient itself.
 *
 * A value that is no number, or whose magnitude is 1024 or more, is refused. Below that limit the
 * values of SB_GRADIENT_SEQUENCES sequences cannot overflow a sum, so whether a batch is refused
 * does not depend on the order of its sums.
 *
 * A group of the store (a layer, a chunk of the embedding) is summed while the pass is at it, then
 * reduced: each rank gets the elements that it owns. No rank holds more than one group and its own
 * elements, and 8 bytes per element cross the network per wave. */
#ifndef SB_TRAIN_GRADIENT_SUMS_H
#define SB_TRAIN_GRADIENT_SUMS_H

#include <stdint.h>

#include "base/status.h"
#include "pass/pass.h"
#include "train/shares.h"

typedef struct sb_gradient_sums sb_gradient_sums;

enum { SB_GRADIENT_SEQUENCES = 4096 }; /* most of a batch */
#define SB_GRADIENT_LIMIT 1024.0       /* the magnitude from which on a value is refused */

/* For batches of `sequences`, at most SB_GRADIENT_SEQUENCES. `shares` and `backend` are borrowed.
 * Memory: 8 bytes per element of this rank; with several ranks or a device also 8 per element of
 * the largest group, on the device and on the host, and of this rank's part of one. Collective. */
sb_status sb_gradient_sums_create(const sb_shares *shares, sb_backend *backend, size_t sequences,
                                  sb_gradient_sums **out);
size_t sb_gradient_sums_bytes(const sb_share_sizes *sizes);
void sb_gradient_sums_free(sb_gradient_sums **sums);

/* One gradient pass, which was set up with `all_gradients` and has selected all its sequences.
 * *loss = its loss. SB_ERR_NUMERIC, naming the tensor where the backend tells at once, for a value
 * that cannot be added; the store's groups may be held then (sb_store_give_back). Collective. */
sb_status sb_gradient_sums_measure(sb_gradient_sums *sums, sb_pass *pass, double *loss);

/* The sums of this rank's elements, in the order of its shares, and the factor that makes of a sum
 * the mean over the batch: `gradient = (float)(sum * *scale)`. Valid until the next call. Local. */
const int64_t *sb_gradient_sums_owned(const sb_gradient_sums *sums, double *scale);
/* *norm = the Euclidean norm of the mean gradient of all weights, as f32 values, or of its
 * difference to another one: `less` has that one's sums, in the same order and scale, or is NULL.
 * Squares are added in double per unit, in a fixed order, and units exactly: the same bits on any
 * number of ranks. Collective. O(elements of this rank). */
sb_status sb_gradient_sums_norm(const sb_gradient_sums *sums, const int64_t *less, double *norm);

/* Seconds spent so far on adding, and on sums over ranks, beside the pass. Local. */
double sb_gradient_sums_adding(const sb_gradient_sums *sums);
double sb_gradient_sums_reducing(const sb_gradient_sums *sums);

#endif

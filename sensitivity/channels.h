/* The sensitivity of each row and column of every matrix, and the orders (model/orders.h) that put
 * sensitive ones together.
 *
 * The score of a weight is `sum over calibration sequences s of (g_s d)^2`: g_s is the gradient of
 * the sequence's mean loss at the model's present bits, and d = Q_b(w) - w. It is the cost of
 * rounding this weight alone, by the diagonal of the empirical Fisher matrix. A channel's score is
 * the sum over its weights, and over the matrices that share its order. Orders are by falling
 * score, ties by channel, so the first block rows and block columns are the most sensitive ones.
 *
 * Trellis codes round no weight alone. There g_s is the gradient at full precision, which quantizes
 * nothing, and Q_b is the grid of as many bits, whose errors have the sizes of weights, too.
 *
 * No gradient leaves its rank. Sums over sequences are exact (mpi/exact.h), so orders do not depend
 * on the number of ranks. */
#ifndef SB_SENSITIVITY_CHANNELS_H
#define SB_SENSITIVITY_CHANNELS_H

#include "base/status.h"
#include "model/sizes.h"
#include "pass/pass.h"

typedef enum sb_channel_score {
  SB_CHANNELS_SQUARE,  /* (g d)^2 */
  SB_CHANNELS_ABSOLUTE /* |g d| */
} sb_channel_score;

extern const char *const sb_channel_score_names[]; /* "square", "abs"; NULL behind the last */

typedef struct sb_channels sb_channels;

/* *out = the scores of all channels, by one gradient pass; *loss = the loss of the pass. `model`
 * (SB_CODING_SOURCE) is the one of `pass`; its channels are in the file's order, all bits in 1..8.
 * Collective. Memory: 16 bytes per row and column of every matrix, spread over the ranks, and 48
 * bytes per row and column of one layer. */
sb_status sb_channels_measure(sb_pass *pass, sb_model *model, sb_backend *backend,
                              sb_channel_score score, double *loss, sb_channels **out);
/* Bytes that *out takes where host and device are one. Pure. */
size_t sb_channels_bytes(const sb_sizes *sizes);
void sb_channels_free(sb_channels **channels);

/* *out = the orders of `mode` (not none) by these scores. Fused orders are legal ones
 * (model/fused.h); indexed ones are settled for the model's blocks. Equal on all ranks. Collective.
 * O(n log n) in the number of channels, on every rank. */
sb_status sb_channels_orders(const sb_channels *channels, sb_reorder mode, sb_orders *out);

/* For tests: out[sb_channels_count] = the scores of a layer, matrix by matrix,
 * rows before columns. Collective. */
size_t sb_channels_count(const sb_channels *channels);
sb_status sb_channels_layer(const sb_channels *channels, size_t layer, double *out);

/* Seconds this rank spent on scoring alone, beside the gradient pass (CPU backend). Local. */
double sb_channels_seconds(const sb_channels *channels);

#endif

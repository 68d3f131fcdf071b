/* The loss table of estimator `hessian`. The curvature of a matrix is approximated by the Kronecker
 * product of the second moments of its inputs and of its output gradients (K-FAC, arXiv
 * 1503.05671), reduced to the parts that blocks need:
 *
 *   loss[k][b] = 1/2 sum over rows r of block k of G_r e_r H_j e_r',   e = Q_b(w) - w
 *   H_j        = 1/(S n) sum over sequences and tokens of x x', of the C columns of block column j
 *   G_r        = n/S sum over sequences and tokens of dy_r^2, the mean of (n dy_r)^2
 *
 * dy is the gradient of a sequence's mean loss. n = T - 1 tokens of a sequence have a target; the
 * last token's dy is 0. n cancels: `loss = 1/(2 S^2) sum_r (sum dy_r^2) e_r (sum x x') e_r'`. With
 * one sequence, one target and blocks of one row this is exactly `n/2 <g, e>^2`, the loss of
 * estimator `fisher`.
 *
 * The moments of a layer are made from X and dY of the backward pass; gradients of matrices are not
 * needed. They are added exactly (kernels/backend.h: add_grams) and summed over ranks. Then every
 * rank works on the blocks that it owns. */
#ifndef SB_SENSITIVITY_KRONECKER_H
#define SB_SENSITIVITY_KRONECKER_H

#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/losses.h"

typedef struct sb_kronecker sb_kronecker;

/* Memory: 8 (C + 1) bytes per channel of a layer's inputs and 16 per row of its matrices; 4 C bytes
 * per channel of the widest input. With several waves the first two once more for every layer,
 * spread over the ranks. SB_ERR_MEMORY. Local. */
sb_status sb_kronecker_create(sb_model *model, sb_backend *backend, unsigned min_bits,
                              unsigned max_bits, sb_kronecker **out);
/* Bytes that sb_kronecker_create and, for a pass of several waves, sb_kronecker_measure take where
 * host and device are one. Pure. */
size_t sb_kronecker_bytes(const sb_sizes *sizes, bool several_waves);
void sb_kronecker_free(sb_kronecker **kronecker);
/* One backward pass. losses[i] = those of this rank's owned block i, at the table's widths; *loss =
 * the loss of the pass. Collective. */
sb_status sb_kronecker_measure(sb_kronecker *kronecker, sb_pass *pass, sb_losses *losses,
                               double *loss);
/* Seconds beside the passes (see sb_loss_table_seconds). Local. */
double sb_kronecker_seconds(const sb_kronecker *kronecker);

#endif

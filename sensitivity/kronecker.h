/* The table of losses from second moments (estimator `hessian`): the curvature of a matrix' loss as
 * the Kronecker product of its inputs' and its output gradients' second moments (K-FAC, arXiv
 * 1503.05671), cut down to what blocks need,
 *
 *   loss[k][b] = 1/2 sum over the block's rows r of G_r e_r H_j e_r',  e = Q_b(w) - w
 *   H_j = 1/(S n) sum over sequences and tokens of x x', inside the columns of block column j: [C,
 * C], never [cols, cols] G_r = n/S sum over sequences and tokens of dy_r^2, dy the gradient of a
 * sequence's mean loss: the mean of (n dy_r)^2
 *
 * over the n = T - 1 tokens of a sequence that have a target (the last one's dy is 0). So n
 * cancels: with sums over all, loss = 1/(2 S^2) sum_r (sum dy_r^2) e_r (sum x x') e_r'. Where every
 * sequence has one target, there is one sequence and a block one row, this is exactly n/2 <g, e>^2,
 * the loss of estimator `fisher`.
 *
 * Moments of a layer are made from X and dY as the backward pass has them, gradients of matrices
 * are not needed. They are added exactly (kernels/backend.h: add_grams), all-reduced, and every
 * rank then works on the blocks it owns. */
#ifndef SB_SENSITIVITY_KRONECKER_H
#define SB_SENSITIVITY_KRONECKER_H

#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/losses.h"

typedef struct sb_kronecker sb_kronecker;

/* Memory: 8 (C + 1) bytes an input column of one layer's four kinds of inputs (q, o, gate, down),
 * 16 a row of its matrices; 4 C bytes a column of the widest; with several waves, the first two
 * once more a layer, spread over the ranks. Local. */
sb_status sb_kronecker_create(sb_model *model, sb_backend *backend, unsigned min_bits,
                              unsigned max_bits, sb_kronecker **out);
/* What sb_kronecker_create and, for a pass of several waves, sb_kronecker_measure take where host
 * and device are one. Pure. */
size_t sb_kronecker_bytes(const sb_sizes *sizes, bool several_waves);
void sb_kronecker_free(sb_kronecker **kronecker);
/* Fills losses of this rank's owned blocks at the table's widths. Collective. */
sb_status sb_kronecker_measure(sb_kronecker *kronecker, sb_pass *pass, sb_losses *losses,
                               double *loss);
/* As sb_loss_table_seconds. */
double sb_kronecker_seconds(const sb_kronecker *kronecker);

#endif

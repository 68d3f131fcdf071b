/* From the sums of a profile's two steps to the two divergences, by both metrics.
 *
 * The published description of SNIP (arXiv 2602.01410) names the quantities, not their formulas;
 * both metrics are *reconstructed*. With S sequences of T tokens, the loss L, the norm u of the
 * update, r the probe's step along the slopes D, and the sums of policy/error_step.h:
 *
 *   loss     sqrt(rise / L), where rise = (T - 1) / 2 x mean over sequences of a_s^2 and a_s the
 *            first-order change of the sequence's loss. The sum of all tokens' losses changes by
 *            (T - 1) a_s; if predictions are those of the data, the mean square of that is twice
 * its expected rise (the Fisher information is the Hessian). So squares of these add up to the
 * expected relative rise of the loss. dgrad and wgrad have 0. weight   norm of the change of the
 * update over u, for errors of X, W and dY in each GEMM: sqrt(mean over r of <r, dg>^2)
 * (policy/probe.h)
 *
 *   exact    a_s = <dX, E_x> + <dW, E_w>; errors of single tokens meet the probe's differences
 *   norms    norms alone, as if errors lay in random directions:
 *              a_s^2  = |dX|^2 |E_x|^2 / N_x + |dW|^2 |E_w|^2 / N_w
 *              fprop  = |E_y|^2 |dy(w + r) - dy(w)|^2 / N_y
 *              dgrad  = |E_dx|^2 |x(w + r) - x(w)|^2 / N_dx
 *              wgrad  = (|E_dy|^2 / |dy|^2 + |E_x|^2 / |x|^2) x sum over tokens of rows.dy^2
 * cols.x^2 with N_A the elements of A
 *
 * `all` is the root of the sum of squares: rounding errors of different operands are independent.
 * The same holds between linears, so a profile says `squares` (policy/profile_file.h). */
#ifndef SB_POLICY_DIVERGENCE_H
#define SB_POLICY_DIVERGENCE_H

#include "base/status.h"
#include "policy/error_step.h"
#include "policy/profile_file.h"

typedef struct sb_divergence_setup {
  const sb_arch *arch;
  const sb_update_slope *slope;
  double step; /* of the probe along the slopes */
  size_t sequences, T;
  const sb_linear_sums *linears; /* [sequences, matrices] */
  const sb_error_sums *errors;   /* [sequences, matrices, precisions] */
} sb_divergence_setup;

/* Fills norms and entries of a profile, whose loss is set, but for the truth. Pure. O(sequences
 * matrices precisions). */
void sb_divergences(const sb_divergence_setup *setup, sb_profile *profile);

/* The expected change of the batch's loss, signed, nats: the first order, of these sequences, plus
 * the rise by squares of single tokens, (T - 1) / 2 x mean over sequences of the sum over tokens of
 * <dy, E_y>^2. */
double sb_expected_change(const sb_divergence_setup *setup, size_t precision_count, size_t linear,
                          size_t p);

#endif

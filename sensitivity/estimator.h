/* The estimators of what a block's width does to the loss. All ride on the same backward pass; per
 * block they leave scalars, and no gradient crosses the network.
 *
 * Notation: S sequences of T tokens, n = T - 1 of which have a target; l_s the mean loss of
 * sequence s; g_s, dY_s its gradients with respect to a block's weights and its outputs; X_s the
 * block's inputs; Q_b(W) the block rounded to b bits, W as it is now, D = Q_b'(W) - W a move, E_b =
 * Q_b(W) - W0 the error against full precision.
 *
 *   taylor    |mean_s <g_s, D>|: first order, for one bit up and one bit down
 * (sensitivity/scores.h). fisher    mean_s <g_s, D>^2 = D' F D, F the empirical Fisher matrix of
 * the block, nothing left out inside it. In units of the loss the curvature is n/2 times that: with
 * g_s = 1/n sum over tokens of their gradients, of which those of different tokens are uncorrelated
 * in expectation, mean_s g_s g_s' is 1/n of the mean over tokens. second    first order and fisher
 * together, in units of the loss: -mean_s <g_s, D> for a raise, mean_s <g_s, D> + n/2 D' F D for a
 * cut. Of raises, curvature is left out: n/2 D' F D is too much where D is most of the way to W0,
 *             and first order alone ranks them best (docs/results.md).
 *   divergence
 *             first order of how far the predicted distributions are from those of the source
 * weights, d = mean KL(source || model) (pass/pass.h, sb_pass_learn), and curvature from
 * `diagonal`'s table T at full precision: gradients of tokens, of which that divergence has none at
 * the source weights. With g'_s the gradient of d_s and c = d / sum_k T_k(b_k), the divergence
 * there is over the one expected: -mean_s <g'_s, D> - c (T(b) + T(b + 1)) for a raise, mean_s
 * <g'_s, D> + c (T(b) + T(b - 1)) for a cut. A token teaches a whole distribution instead of one
 *             word. First order at the quantized point is of the errors that are there, of rounding
 * to nearest; what it adds to the table is worth less where others take their place
 * (docs/results.md). The search's loss is d. hessian   1/2 sum_r G_r (E_b)_r H (E_b)_r',
 * Kronecker-factored: H = mean over tokens of x x' inside the block's columns, G_r = mean over
 * tokens of (n dy_r)^2. Were inputs and output gradients independent, and outputs r and r'
 *             uncorrelated, this would be n/2 E' F E. A loss for every width at once
 * (sensitivity/loss_table.h). diagonal  n/2 sum_i mean_s(g_s,i^2) (E_b)_i^2: the diagonal of F
 * alone, as SFMP has it. A loss for every width at once.
 *
 * What they cost beside the pass, for blocks of R x C and a matrix of N weights
 * (docs/performance.md has seconds):
 *
 *              time a sequence      time a layer    memory a rank                        traffic a
 * layer, a rank taylor     N (three roundings)                  128 bytes a block of the layer 64
 * bytes a block fisher,    the same as taylor's, at once with it second divergence the same as
 * taylor's and   as taylor's     as taylor's, diagonal's once, 72    as taylor's, diagonal's once
 *              once diagonal's; the head                  bytes a block, T x hidden
 *              a second time                              activations a sequence
 *   hessian    2 C n FLOP an input  2 C FLOP a      8 (C + 1) bytes an input             twice that
 * of memory column               weight, width   column of the layer diagonal   N (8 roundings)
 * choosing grids  48 bytes a group, 272 a block        128 bytes a block
 *
 * hessian alone needs no gradients of matrices, so its pass is a quarter shorter than the others'.
 */
#ifndef SB_SENSITIVITY_ESTIMATOR_H
#define SB_SENSITIVITY_ESTIMATOR_H

#include <stdbool.h>

typedef enum sb_estimator {
  SB_ESTIMATOR_DIVERGENCE,
  SB_ESTIMATOR_FISHER,
  SB_ESTIMATOR_TAYLOR,
  SB_ESTIMATOR_HESSIAN,
  SB_ESTIMATOR_DIAGONAL,
  SB_ESTIMATOR_SECOND
} sb_estimator;

/* Of moves by one bit, from gradients at the present bits (sensitivity/scores.h); the others are
 * tables of all widths. */
static inline bool sb_estimator_of_moves(sb_estimator estimator) {
  return estimator == SB_ESTIMATOR_FISHER || estimator == SB_ESTIMATOR_TAYLOR ||
         estimator == SB_ESTIMATOR_SECOND || estimator == SB_ESTIMATOR_DIVERGENCE;
}

/* "fisher", ...; NULL behind the last. */
extern const char *const sb_estimator_names[];

#endif

/* The estimators: the effect of a block's width on the loss. All use one backward pass. They leave
 * a few numbers per block; no gradient crosses the network.
 *
 * Notation. S sequences of T tokens, n = T - 1 of them with a target. l_s: mean loss of sequence s.
 * g_s, dY_s: gradients of l_s with respect to a block's weights and outputs. X_s: the block's
 * inputs. W0: the source weights. Q_b(W0): the block rounded to b bits; W: as it is now. D =
 * Q_b'(W0) - W: a move to b' bits. E_b = Q_b(W0) - W0: the error at b bits. F = mean_s g_s g_s':
 * the empirical Fisher matrix of the block.
 *
 * Moves by one bit, from gradients at the present bits (sensitivity/scores.h):
 *
 * - taylor: `|mean_s <g_s, D>|`, first order.
 * - fisher: `mean_s <g_s, D>^2 = D' F D`; nothing is left out inside a block. The curvature in
 *   units of the loss is n/2 times that: g_s is 1/n of a sum over tokens whose gradients are
 *   uncorrelated in expectation, so F is 1/n of the mean over tokens.
 * - second: first order and curvature together, in units of the loss: `-mean_s <g_s, D>` for a
 *   raise, `mean_s <g_s, D> + n/2 D' F D` for a cut. Raises have no curvature term: it is too
 *   large where D is most of the way to W0, and first order alone ranks raises best
 *   (docs/results.md).
 * - divergence: the same idea for d = mean KL(source || model), the divergence between the
 *   predicted distributions (pass/pass.h, sb_pass_learn). With g'_s the gradient of d_s, T the
 *   table of `diagonal` at full precision and c = d / sum_k T_k(b_k): `-mean_s <g'_s, D> - c
 *   (T(b) + T(b+1))` for a raise, `mean_s <g'_s, D> + c (T(b) + T(b-1))` for a cut. T comes from
 *   gradients of tokens, because d has no gradient at the source weights; c scales it to the
 *   divergence that is there. A token teaches a whole distribution instead of one word. The
 *   first order term describes the errors of rounding to nearest, so it helps less where other
 *   rounding follows (docs/results.md). The search's loss is d.
 *
 * Tables of all widths (sensitivity/loss_table.h):
 *
 * - hessian: `1/2 sum_r G_r (E_b)_r H (E_b)_r'`, Kronecker-factored. H: mean over tokens of x x'
 *   inside the block's columns. G_r: mean over tokens of (n dy_r)^2. It equals n/2 E' F E if
 *   inputs and output gradients are independent and outputs uncorrelated. It needs no gradients
 *   of matrices, so its pass is a quarter shorter than the others'.
 * - diagonal: `n/2 sum_i mean_s(g_s,i^2) (E_b)_i^2`, the diagonal of F alone, as SFMP has it. Of
 *   trellis codes its expectation (sensitivity/energy.h), which quantizes nothing.
 *
 * Costs beside the pass, for blocks of R x C and a matrix of N weights (docs/performance.md has
 * seconds). Memory and traffic are per rank, traffic per layer:
 *
 *              time per sequence       memory                              traffic
 *   taylor     N, three roundings      128 bytes per block of a layer      64 bytes per block
 *   fisher     none beyond taylor's; both come from the same numbers
 *   second     none beyond taylor's
 *   divergence taylor's, and the head  taylor's, 72 bytes per block,       taylor's, and once
 *              a second time; once     T x hidden activations per          diagonal's
 *              diagonal's              sequence
 *   hessian    2 C n FLOP per input    8 (C + 1) bytes per input column    twice the memory
 *              column; 2 C FLOP per    of a layer
 *              weight, width and layer
 *   diagonal   N, eight roundings;     48 bytes per group, 272 per block   128 bytes per block
 *              grids once per layer */
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

/* True for estimators of moves by one bit; the others make tables of all widths. Pure. */
static inline bool sb_estimator_of_moves(sb_estimator estimator) {
  return estimator == SB_ESTIMATOR_FISHER || estimator == SB_ESTIMATOR_TAYLOR ||
         estimator == SB_ESTIMATOR_SECOND || estimator == SB_ESTIMATOR_DIVERGENCE;
}

/* True for estimators that know trellis codes (kernels/shared/trellis.h), whose costs of widths are
 * those of sensitivity/energy.h: `diagonal`, by which the loss of tokens decides among candidates
 * (alloc/allocate_trellis.h), and `divergence`, by which the divergence does. Pure. */
static inline bool sb_estimator_of_trellis(sb_estimator estimator) {
  return estimator == SB_ESTIMATOR_DIAGONAL || estimator == SB_ESTIMATOR_DIVERGENCE;
}

/* Names by estimator: "divergence", "fisher", ...; NULL behind the last. */
extern const char *const sb_estimator_names[];

#endif

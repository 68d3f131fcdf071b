/* The measuring step of a profile: beside the true products of every linear, the errors that each
 * low precision would make, and sums of what they meet. Weights, tokens and pass are those of the
 * probe before (policy/probe.h), whose differences show how errors spread.
 *
 * Of one sequence and linear, with T tokens, of which n are sampled; sums over sampled tokens are
 * scaled by (T - 1) / n. dX = dy W alone, without what other matrices add to it. Gradients are of
 * the sequence's mean loss. E_A is the error of A at a precision; y = x W' has E_y = Q(x) Q(W)' -
 * y. */
#ifndef SB_POLICY_ERROR_STEP_H
#define SB_POLICY_ERROR_STEP_H

#include "base/status.h"
#include "kernels/lowprec.h"
#include "pass/pass.h"
#include "policy/probe.h"
#include "policy/update_slope.h"

/* Squares of Frobenius norms; y, and the differences of the probe, by sampled tokens. */
typedef struct sb_linear_sums {
  double x, w, y, dy, dx, dw;
  double moved_x, moved_dy; /* of x(w + r) - x(w) and dy(w + r) - dy(w) */
  double sloped;            /* sum over tokens of rows.dy^2 cols.x^2, as in sb_error_sums.wgrad */
} sb_linear_sums;

typedef struct sb_error_sums {
  double x, w, dy; /* |E_x|^2, |E_w|^2, |E_dy|^2, of fprop and dgrad */
  double y, dx;    /* |E_y|^2, |E_dx|^2, sampled */
  double loss;     /* <dX, E_x> + <dW, E_w>: first-order change of the sequence's loss */
  double tokens;   /* sum over tokens of <dy, E_y>^2, sampled */
  double fprop;    /* sum over tokens of <dy(w + r) - dy(w), E_y>^2, sampled */
  double dgrad;    /* sum over tokens of <x(w + r) - x(w), E_dx>^2, sampled */
  double wgrad;    /* sum over tokens of rows.E_dy^2 cols.x^2 + rows.dy^2 cols.E_x^2, with the
                      weights rows and cols of sb_update_slope and the errors of wgrad: the square
                      of D times the error of dy' x, for errors that tokens do not share */
} sb_error_sums;

typedef struct sb_error_step_setup {
  sb_pass *pass;
  sb_probe *probe;
  const sb_update_slope *slope;
  const sb_precision *precisions;
  size_t precision_count;
  const sb_lowprec_options *lowprec;
  uint64_t seed; /* of stochastic rounding */
} sb_error_step_setup;

/* linears [sequences, matrices] and errors [sequences, matrices, precisions], of all sequences and
 * on all ranks, and the loss. Memory of a device: one layer's weights per precision, and some
 * twelve buffers of T x the largest dimension. SB_ERR_MEMORY, SB_ERR_NUMERIC. Collective.
 * 8 (9 + 10 precisions) bytes per sequence and matrix cross the network. */
sb_status sb_error_step(const sb_error_step_setup *setup, sb_linear_sums *linears,
                        sb_error_sums *errors, double *loss);

#endif

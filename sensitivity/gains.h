/* The estimators as the search sees them: for every block, the gain of one bit
 * more and the loss of one bit less, at the model's present bits. One interface
 * for all estimators (sensitivity/estimator.h). */
#ifndef SB_SENSITIVITY_GAINS_H
#define SB_SENSITIVITY_GAINS_H

#include "base/status.h"
#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/estimator.h"
#include "sensitivity/loss_table.h"

typedef struct sb_gains sb_gains;

/* *out = gains for the blocks of `model` at widths in [min_bits, max_bits]. `costs`: sb_gains_costs
 * will be called; SB_ESTIMATOR_DIVERGENCE has costs in any case. Collective. */
sb_status sb_gains_create(sb_model *model, sb_backend *backend, sb_estimator estimator,
                          unsigned min_bits, unsigned max_bits, bool costs, sb_gains **out);
/* The most bytes that gains take while they are prepared and measured, where host and device are
 * one. Pure. */
size_t sb_gains_bytes(const sb_sizes *sizes, sb_estimator estimator, unsigned widths, bool costs,
                      bool several_waves);
void sb_gains_free(sb_gains **gains);
/* Call it before the first measurement. With costs, it measures them by one gradient pass of the
 * token loss at full precision; with SB_ESTIMATOR_DIVERGENCE the same pass learns the
 * predictions of the source weights (sb_pass_learn_next). Without costs it does nothing. The
 * model's bits stay. Collective. */
sb_status sb_gains_prepare(sb_gains *gains, sb_pass *pass);
/* The costs of this rank's owned blocks at each width, in nats per token;
 * NULL without costs. Local. */
const sb_losses *sb_gains_costs(const sb_gains *gains);
/* One gradient pass. raise_gain[i], cut_loss[i] = the predictions for this rank's owned
 * block i, as sb_model_get_bits orders blocks, in units of the estimator; 0 beyond the
 * bounds of widths. Those of `taylor` and `fisher` are not negative; others may be. *loss =
 * the loss of the pass. Collective. */
sb_status sb_gains_measure(sb_gains *gains, sb_pass *pass, double *raise_gain, double *cut_loss,
                           double *loss);
/* Seconds this rank spent beside the backward passes so far (CPU backend). Local. */
double sb_gains_seconds(const sb_gains *gains);

#endif

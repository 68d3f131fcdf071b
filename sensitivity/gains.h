/* What the search asks of an estimator: the gain of one bit more and the loss of one bit less, at
 * the model's present bits. One interface for all of sensitivity/estimator.h. */
#ifndef SB_SENSITIVITY_GAINS_H
#define SB_SENSITIVITY_GAINS_H

#include "base/status.h"
#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/estimator.h"
#include "sensitivity/loss_table.h"

typedef struct sb_gains sb_gains;

/* For the blocks of `model` with bits in [min_bits, max_bits]. `costs`: sb_gains_costs are wanted;
 * SB_ESTIMATOR_DIVERGENCE has them in any case. Collective. */
sb_status sb_gains_create(sb_model *model, sb_backend *backend, sb_estimator estimator,
                          unsigned min_bits, unsigned max_bits, bool costs, sb_gains **out);
/* The most that gains hold while they are prepared and measured, where host and device are one.
 * Pure. */
size_t sb_gains_bytes(const sb_sizes *sizes, sb_estimator estimator, unsigned widths, bool costs,
                      bool several_waves);
void sb_gains_free(sb_gains **gains);
/* Before the first measurement: where there are costs of widths they are measured, with one
 * backward pass at full precision whose loss is that of tokens. With SB_ESTIMATOR_DIVERGENCE the
 * pass learns what the source weights say along with it (sb_pass_learn_next). Nothing without
 * costs. The model's bits are afterwards what they were. Collective. */
sb_status sb_gains_prepare(sb_gains *gains, sb_pass *pass);
/* Those costs, of this rank's owned blocks at each width in nats a token; NULL where there are
 * none. Local. */
const sb_losses *sb_gains_costs(const sb_gains *gains);
/* One backward pass. raise_gain[i] and cut_loss[i] of this rank's owned blocks (as
 * sb_model_get_bits orders them), in units of the estimator (estimator.h), 0 beyond the bounds;
 * `taylor` and `fisher` give no negative ones, the others may. Collective. */
sb_status sb_gains_measure(sb_gains *gains, sb_pass *pass, double *raise_gain, double *cut_loss,
                           double *loss);
/* Seconds this rank spent beside the backward passes so far (CPU backend). Local. */
double sb_gains_seconds(const sb_gains *gains);

#endif

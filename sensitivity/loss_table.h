/* A table of losses: the expected rise of the calibration loss for every block at every width, all
 * else as it was in the pass. Allocators choose among its widths at once; its differences are the
 * gains of one bit up or down. Two estimators (sensitivity/estimator.h) make one: hessian
 * (sensitivity/kronecker.h) and diagonal (sensitivity/diagonal.h; of trellis codes
 * sensitivity/energy.h).
 *
 * A table has the same bits for any number of ranks, threads and waves. */
#ifndef SB_SENSITIVITY_LOSS_TABLE_H
#define SB_SENSITIVITY_LOSS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/estimator.h"
#include "sensitivity/losses.h"

typedef struct sb_loss_table sb_loss_table;

/* *out = an empty table for the blocks of `model` (SB_CODING_SOURCE) and an estimator that makes
 * tables. SB_ERR_UNSUPPORTED for hessian's of trellis codes. Collective. */
sb_status sb_loss_table_create(sb_model *model, sb_backend *backend, sb_estimator estimator,
                               unsigned min_bits, unsigned max_bits, sb_loss_table **out);
/* Bytes that sb_loss_table_create and sb_loss_table_measure take where host and
 * device are one. Pure. */
size_t sb_loss_table_bytes(const sb_sizes *sizes, sb_estimator estimator, unsigned widths,
                           bool several_waves);
void sb_loss_table_free(sb_loss_table **table);

/* Fills the table by one backward pass, at the model's present bits or at full
 * precision; *loss = the loss of the pass. The model's bits stay. SB_ERR_NUMERIC for
 * losses that are not finite. Collective. */
sb_status sb_loss_table_measure(sb_loss_table *table, sb_pass *pass, bool full_precision,
                                double *loss);
/* The rows of this rank's owned blocks [sb_model_owned_count(model)], as sb_model_get_bits orders
 * blocks; valid until the next measurement. Local. */
const sb_losses *sb_loss_table_losses(const sb_loss_table *table);
/* raise_gain[i], cut_loss[i] = the gain of one bit more and the loss of one bit less for
 * owned block i of width bits[i]: differences of the table, which may be negative; 0 beyond
 * its widths. Local. */
void sb_loss_table_gains(const sb_loss_table *table, const uint8_t *bits, double *raise_gain,
                         double *cut_loss);
/* Seconds this rank spent beside the backward pass, in all measurements so
 * far (CPU backend). Local. */
double sb_loss_table_seconds(const sb_loss_table *table);

#endif

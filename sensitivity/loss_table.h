/* What every width of every block is expected to cost: a table of losses, for allocators that
 * choose among all widths at once, and for gains of one bit up or down by their differences. Two
 * estimators of sensitivity/estimator.h make one:
 *
 *   hessian   sensitivity/kronecker.h
 *   diagonal  sensitivity/diagonal.h
 *
 * loss[k][b] is the expected rise of the calibration loss (nats a token) when block k has b bits
 * and all else is as it was in the pass. Tables do not depend on the number of ranks, threads or
 * waves: the same bits. */
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

/* For the blocks of `model`, whose source rows are in the store, and an estimator that makes
 * tables. Collective. */
sb_status sb_loss_table_create(sb_model *model, sb_backend *backend, sb_estimator estimator,
                               unsigned min_bits, unsigned max_bits, sb_loss_table **out);
/* What sb_loss_table_create and sb_loss_table_measure take where host and device are one. Pure. */
size_t sb_loss_table_bytes(const sb_sizes *sizes, sb_estimator estimator, unsigned widths,
                           bool several_waves);
void sb_loss_table_free(sb_loss_table **table);

/* One backward pass, at the model's present bits or, where `full_precision`, at its source weights;
 * *loss is the loss there. The model's bits are afterwards what they were. Collective. */
sb_status sb_loss_table_measure(sb_loss_table *table, sb_pass *pass, bool full_precision,
                                double *loss);
/* [sb_model_owned_count(model)], layer after layer, as sb_model_get_bits orders blocks; valid until
 * the next measurement. Local. */
const sb_losses *sb_loss_table_losses(const sb_loss_table *table);
/* What one bit more would gain and one bit less lose, from the widths `bits` of the owned blocks:
 * differences of the table, possibly negative; 0 beyond its widths. Local. */
void sb_loss_table_gains(const sb_loss_table *table, const uint8_t *bits, double *raise_gain,
                         double *cut_loss);
/* Seconds this rank spent beside the backward pass, in all measurements so far (CPU backend).
 * Local. */
double sb_loss_table_seconds(const sb_loss_table *table);

#endif

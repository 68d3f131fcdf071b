/* The loss table of estimator `diagonal`, from squares of gradients: the block's empirical Fisher
 * matrix without its off-diagonal part.
 *
 *   loss[k][b] = n/2 mean over sequences of sum_i g_i^2 (Q_b(w) - w)_i^2
 *
 * The squares, one per weight, would have to be summed over ranks. Instead each sequence adds one
 * number per block and width, exactly (sensitivity/block_sums.h), and only those sums travel. */
#ifndef SB_SENSITIVITY_DIAGONAL_H
#define SB_SENSITIVITY_DIAGONAL_H

#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/losses.h"

typedef struct sb_diagonal sb_diagonal;

/* Memory: 6 bytes per group and width of one layer; per block of a layer 16 bytes per width and 144
 * more; 16 bytes per width and owned block. SB_ERR_MEMORY. Local. */
sb_status sb_diagonal_create(sb_model *model, sb_backend *backend, unsigned min_bits,
                             unsigned max_bits, sb_diagonal **out);
/* Bytes that sb_diagonal_create takes for `widths` widths where host and device are one. Pure. */
size_t sb_diagonal_bytes(const sb_sizes *sizes, unsigned widths);
void sb_diagonal_free(sb_diagonal **diagonal);
/* One backward pass. losses[i] = those of this rank's owned block i, at the table's widths; *loss =
 * the loss of the pass. Collective. */
sb_status sb_diagonal_measure(sb_diagonal *diagonal, sb_pass *pass, sb_losses *losses,
                              double *loss);
/* Seconds beside the passes (see sb_loss_table_seconds). Local. */
double sb_diagonal_seconds(const sb_diagonal *diagonal);

#endif

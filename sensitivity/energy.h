/* The loss table of estimator `diagonal` for trellis codes, whose error at every width is known
 * (kernels/shared/trellis_error.h): nothing is quantized.
 *
 *   loss[k][b] = n/2 D(b) mean over sequences of energy_k,   energy of kernels/ops/scores.h
 *
 * It is the expectation of sensitivity/diagonal.h's sum for errors that are white in transformed
 * coordinates. At 1 bit they are not: codes shrink what they stand for by a quarter, which adds up
 * over a row, and feedback adds such large errors to what it rounds next. So D(1) is the trellis'
 * error times 2.2, by measurement (docs/measurements/trellis.md). Each sequence adds one number per
 * block, exactly (sensitivity/block_sums.h). */
#ifndef SB_SENSITIVITY_ENERGY_H
#define SB_SENSITIVITY_ENERGY_H

#include "model/sizes.h"
#include "pass/pass.h"
#include "sensitivity/losses.h"

/* D(b) of a trellis, 0 at width 0. Pure. */
double sb_energy_error(sb_code_kind kind, unsigned width);

typedef struct sb_energy sb_energy;

/* `model` has a trellis for its codes. Memory: 64 bytes per block of a layer and 16 per owned
 * block. SB_ERR_MEMORY. Local. */
sb_status sb_energy_create(sb_model *model, sb_backend *backend, sb_energy **out);
/* Bytes that sb_energy_create takes where host and device are one. Pure. */
size_t sb_energy_bytes(const sb_sizes *sizes);
void sb_energy_free(sb_energy **energy);
/* One backward pass. losses[i] = those of this rank's owned block i at the widths min_bits ..
 * max_bits; *loss = the loss of the pass. Collective. */
sb_status sb_energy_measure(sb_energy *energy, sb_pass *pass, unsigned min_bits, unsigned max_bits,
                            sb_losses *losses, double *loss);
/* Seconds beside the passes (see sb_loss_table_seconds). Local. */
double sb_energy_seconds(const sb_energy *energy);

#endif

/* Gradients of a pass' loss with respect to the numbers of a coded model that are trained
 * (quant/scale_numbers.h has them and their order).
 *
 * The gradient of the logarithm of a scale or a factor is `sum of g w` over the weights that are
 * proportional to it: w are the weights as they are coded, g their gradients. They are summed over
 * groups in f32, over sequences and over groups in whole multiples of 2^-44, so the result does not
 * depend on the number of ranks. The gradients of norms are summed over sequences in the same way.
 * Each rank gets the gradients of its own numbers. Gradients of weights never cross the network; 8
 * bytes per number do. */
#ifndef SB_QUANT_SCALE_GRADIENTS_H
#define SB_QUANT_SCALE_GRADIENTS_H

#include "base/status.h"
#include "pass/pass.h"
#include "quant/scales.h"

typedef struct sb_scale_gradients sb_scale_gradients;

/* `scales`, `coded` and `backend` are borrowed. Memory: 12 bytes per group of a layer on the
 * device; 8 per group of a layer and 12 per number of this rank on the host; where numbers are not
 * groups, 8 more per number of a layer; with norms, 16 per channel of the norms of a layer; with
 * tables, those of quant/table_gradients.h.
 * Collective. */
sb_status sb_scale_gradients_create(const sb_scales *scales, sb_model *coded, sb_backend *backend,
                                    sb_scale_gradients **out);
/* Bytes that sb_scale_gradients_create takes. Pure. */
size_t sb_scale_gradients_bytes(const sb_sizes *sizes, sb_trained);
void sb_scale_gradients_free(sb_scale_gradients **gradients);
/* One gradient pass over the sequences that `pass` has selected; with norms it was set up with
 * `norm_gradients`. (*out)[i] = the gradient of this rank's number i, as sb_scales_step takes it,
 * valid until the next call; *loss = the loss of the pass, which has no listener to tables then.
 * SB_ERR_NUMERIC for the gradient of a group or a norm's weight of 64 or more. Collective. */
sb_status sb_scale_gradients_measure(sb_scale_gradients *gradients, sb_pass *pass,
                                     const float **out, double *loss);
/* Seconds spent beside the pass so far. Local. */
double sb_scale_gradients_seconds(const sb_scale_gradients *gradients);

#endif

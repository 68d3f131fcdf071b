/* Gradients of a pass' loss with respect to the logarithm of every group's scale, for a coded model
 * (quant/scales.h numbers groups).
 *
 * All weights of a group are proportional to its scale, so its gradient is `sum of g w` over
 * the group: w are the weights as they are coded, g their gradients. Sequences are summed in
 * whole multiples of 2^-44, so the result does not depend on the number of ranks. Each rank
 * gets the gradients of its own groups. Gradients of weights never cross the network; 8 bytes
 * per group do. */
#ifndef SB_QUANT_SCALE_GRADIENTS_H
#define SB_QUANT_SCALE_GRADIENTS_H

#include "base/status.h"
#include "pass/pass.h"
#include "quant/scales.h"

typedef struct sb_scale_gradients sb_scale_gradients;

/* `scales`, `coded` and `backend` are borrowed. Memory: 12 bytes per group of a layer on the
 * device; 8 per group of a layer and 12 per group of this rank on the host. Collective. */
sb_status sb_scale_gradients_create(const sb_scales *scales, sb_model *coded, sb_backend *backend,
                                    sb_scale_gradients **out);
/* Bytes that sb_scale_gradients_create takes. Pure. */
size_t sb_scale_gradients_bytes(const sb_sizes *sizes);
void sb_scale_gradients_free(sb_scale_gradients **gradients);
/* One gradient pass over the sequences that `pass` has selected. (*out)[i] = the gradient of this
 * rank's group i, valid until the next call; *loss = the loss of the pass. SB_ERR_NUMERIC for a
 * gradient of 64 or more. Collective. */
sb_status sb_scale_gradients_measure(sb_scale_gradients *gradients, sb_pass *pass,
                                     const float **out, double *loss);
/* Seconds spent beside the pass so far. Local. */
double sb_scale_gradients_seconds(const sb_scale_gradients *gradients);

#endif

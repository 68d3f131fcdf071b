/* The gradient of a pass' loss with respect to the logarithm of every group's scale, of a packed
 * model (quant/scales.h numbers groups).
 *
 * All weights of a group grow with its scale, in the same proportion; so it is the sum of g w over
 * the group, w its weights as they are rounded and g their gradient. Sequences are summed as whole
 * multiples of 2^-44, so the result does not depend on the number of ranks; each rank gets those of
 * the groups it owns. Gradients of weights never cross the network: 8 bytes a group do. */
#ifndef SB_QUANT_SCALE_GRADIENTS_H
#define SB_QUANT_SCALE_GRADIENTS_H

#include "base/status.h"
#include "pass/pass.h"
#include "quant/scales.h"

typedef struct sb_scale_gradients sb_scale_gradients;

/* `scales` stays until sb_scale_gradients_free. Memory: 12 bytes a group of a layer on the device;
 * 8 of these on the host, and 12 a group the rank owns. Collective. */
sb_status sb_scale_gradients_create(const sb_scales *scales, sb_model *packed, sb_backend *backend,
                                    sb_scale_gradients **out);
/* What sb_scale_gradients_create takes. Pure. */
size_t sb_scale_gradients_bytes(const sb_sizes *sizes);
void sb_scale_gradients_free(sb_scale_gradients **gradients);
/* One gradient pass, which is set up for them and takes the sequences it has selected. out[i]: of
 * this rank's group i; valid until the next call. SB_ERR_NUMERIC where one is 64 or more.
 * Collective. */
sb_status sb_scale_gradients_measure(sb_scale_gradients *gradients, sb_pass *pass,
                                     const float **out, double *loss);
/* Seconds spent beside the pass so far. Local. */
double sb_scale_gradients_seconds(const sb_scale_gradients *gradients);

#endif

/* What feedback leaves of an error. With the factor U of second moments, U' U = H^-1
 * (kernels/factor.h), an error e in column c that later columns make up for costs e^2 / U_cc^2,
 * where it would cost e^2 H_cc by itself. The *share* 1 / (U_cc^2 H_cc) is 1 in the last column and
 * small where later columns can do what this one does (LDLQ: QuIP, arXiv 2307.13304). */
#ifndef SB_QUANT_GPTQ_PIVOTS_H
#define SB_QUANT_GPTQ_PIVOTS_H

#include "kernels/backend.h"
#include "quant/moments.h"

/* shares [width] = those of an input of the layer that `moments` has factorised, with `keep`. The
 * same on all ranks. Where the moments lie on a device, all of them are downloaded, a strip at a
 * time. Collective; all ranks fail together. */
sb_status sb_gptq_pivots(sb_moments *moments, const sb_world *world, sb_backend *backend,
                         sb_stream stream, size_t input, float *shares);

#endif

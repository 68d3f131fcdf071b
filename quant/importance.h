/* The importance of the input channels of all matrices: the mean of x^2 over the calibration
 * tokens. Grids of groups are fitted with it (kernels/shared/grid.h), so rounding errors count most
 * where inputs are large and they change the outputs most. */
#ifndef SB_QUANT_IMPORTANCE_H
#define SB_QUANT_IMPORTANCE_H

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"

/* Measures model->importance by one forward pass at the model's present bits (full precision before
 * any are set). From then on the model's matrices are rounded to fitted grids. The same bits for
 * any number of ranks. Collective. Memory: 4 bytes per input channel of every layer, which stay,
 * and 16 more during the pass (70B: 4.3 million channels). Messages: 16 bytes per channel. */
sb_status sb_importance_measure(sb_model *model, sb_backend *backend,
                                const sb_sequences *calibration, size_t activation_bytes,
                                sb_ticker ticker);

#endif

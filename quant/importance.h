/* How much the input channels of the matrices matter: the mean of x^2 over the calibration tokens.
 * With it the grids of groups are fitted (kernels/shared/grid.h): rounding error where inputs are
 * large is what the outputs feel. */
#ifndef SB_QUANT_IMPORTANCE_H
#define SB_QUANT_IMPORTANCE_H

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"

/* One forward pass at the model's present bits (full precision before any are set). From then on
 * the model's matrices are rounded to fitted grids. The same bits for any number of ranks.
 * Collective. Memory: 4 bytes an input channel of every layer, kept; 16 more while it is measured
 * (70B: 4.3 million channels). Messages: 16 bytes a channel. */
sb_status sb_importance_measure(sb_model *model, sb_backend *backend,
                                const sb_sequences *calibration, size_t activation_bytes,
                                sb_ticker ticker);

#endif

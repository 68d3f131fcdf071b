/* The factors of the columns of trellis-coded matrices (kernels/ops/trellis.h): signs of the
 * channels of every input, at random, so that no direction of the inputs lies along a Hadamard
 * matrix (QuIP#, arXiv 2402.04396). They follow from numbers of layers, inputs and channels, so no
 * file holds them. Magnitudes are 1: roots of the columns' sizes changed a layer's loss by +0.2% to
 * -0.4% where they were measured, their sizes raised it. */
#ifndef SB_MODEL_FACTORS_H
#define SB_MODEL_FACTORS_H

#include "base/status.h"
#include "model/model.h"

/* Sets model->col_factors [arch.channels], by sb_model_col_key; removes it where codes are grids.
 * The same on all ranks. SB_ERR_MEMORY. Collective; no messages. O(channels). */
sb_status sb_factors_choose(sb_model *model);

#endif

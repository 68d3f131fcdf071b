/* This program's phases on one decoder layer, as fractions of the machine's limits. */
#ifndef SB_MEASURE_PHASES_H
#define SB_MEASURE_PHASES_H

#include "base/status.h"
#include "kernels/backend.h"
#include "measure/machine.h"
#include "model/model.h"

/* Layer 0 of `model` (source rows, no bits set), one sequence of `seqlen` tokens, blocks of 3 bits,
 * fitted grids. Fills the phases of *out, whose limits must be there, and what zstd does to packed
 * weights. Factors, GPTQ's rounding and its refining are of 16 block rows and an input of at most
 * 1024 channels, X'X of panels of at most SB_MOMENT_PANEL of them (quant/moments.h). The gather is
 * measured where there are several ranks. Collective. Memory: a layer in the type of the GEMMs, its
 * largest matrix three times in f32, and one sequence's activations. */
sb_status sb_phases_measure(sb_model *model, sb_backend *backend, size_t seqlen, int rounds,
                            sb_machine *out);

#endif

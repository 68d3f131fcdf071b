/* The phases of this program on one decoder layer, as fractions of the limits of the machine. */
#ifndef SB_MEASURE_PHASES_H
#define SB_MEASURE_PHASES_H

#include "base/status.h"
#include "kernels/backend.h"
#include "measure/machine.h"
#include "model/model.h"

/* Takes one sequence of `seqlen` tokens through layer 0 of `model` (source rows, no bits set), with
 * blocks of 3 bits and fitted grids. Fills the phases of *out, whose limits are known, and the
 * rates of zstd on packed weights. Rounding is measured as in measure/round_phases.h, X'X on panels
 * of at most SB_MOMENT_PANEL channels (quant/moments.h), the gather with several ranks only.
 * `trellis`: also the search for codes of trellises (measure/trellis_phases.h), which takes
 * longest. Collective. Memory: a layer as operands, its largest matrix three times in f32, and the
 * activations of one sequence. */
sb_status sb_phases_measure(sb_model *model, sb_backend *backend, size_t seqlen, int rounds,
                            bool trellis, sb_machine *out);

#endif

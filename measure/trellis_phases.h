/* The timed work of finding codes of trellises (kernels/ops/trellis.h: trellis_quantize), on
 * numbers made up here. */
#ifndef SB_MEASURE_TRELLIS_PHASES_H
#define SB_MEASURE_TRELLIS_PHASES_H

#include "kernels/backend.h"
#include "measure/machine.h"

typedef struct sb_trellis_phases sb_trellis_phases;

/* A matrix of `cols` columns; as many rows and blocks as keep all threads of a processor, or a GPU,
 * at work. SB_ERR_MEMORY. Local. */
sb_status sb_trellis_phases_create(sb_backend *backend, size_t cols, sb_trellis_phases **out);
void sb_trellis_phases_free(sb_trellis_phases **phases);

/* Codes for all its weights, of a trellis of 2^12, 2^14 or 2^16 states. Local; they wait. */
sb_status sb_trellis_phases_12(void *phases);
sb_status sb_trellis_phases_14(void *phases);
sb_status sb_trellis_phases_16(void *phases);

/* Sets the work of SB_FIGURE_TRELLIS_12 to _16, in weights. Local. */
void sb_trellis_phases_work(const sb_trellis_phases *phases, double work[SB_FIGURES]);

#endif

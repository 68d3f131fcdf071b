/* The phases of --quantizer gptq that work on one input of a layer: factorising its second moments,
 * rounding block rows, refining them. On numbers made up here. */
#ifndef SB_MEASURE_ROUND_PHASES_H
#define SB_MEASURE_ROUND_PHASES_H

#include "base/status.h"
#include "kernels/backend.h"
#include "measure/machine.h"
#include "model/model.h"

typedef struct sb_round_phases sb_round_phases;

enum { SB_ROUND_PHASES_BITS = 3 }; /* of all blocks */

/* *out = an input of `channels` channels, but at most 1024 on a processor and 8192 on a device
 * of its own, with 16 block rows. Memory: 24 bytes per channel squared, 9 per weight. Local. */
sb_status sb_round_phases_create(sb_backend *backend, const sb_blocking *blocking, size_t channels,
                                 sb_round_phases **out);
void sb_round_phases_free(sb_round_phases **phases);

/* Work for sb_time_best (measure/timing.h); `phases` is an sb_round_phases. Call the factor before
 * the rounding, and the rounding before the refining. Local; they wait. */
sb_status sb_round_phases_factorise(void *phases);
sb_status sb_round_phases_round(void *phases);
sb_status sb_round_phases_refine(void *phases);
/* work[SB_FIGURE_FACTOR], _ROUNDING and _REFINE: FLOPs of a call. Pure. */
void sb_round_phases_work(const sb_round_phases *phases, double work[SB_FIGURES]);

#endif

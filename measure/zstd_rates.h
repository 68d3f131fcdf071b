/* What zstd does to packed weights, at the level that quantize takes by itself. */
#ifndef SB_MEASURE_ZSTD_RATES_H
#define SB_MEASURE_ZSTD_RATES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "measure/machine.h"
#include "mpi/world.h"

/* `frames` frames of data, frame k from starts[k] to starts[k + 1], each by one of this rank's
 * threads. Collective. */
sb_status sb_zstd_rates(const sb_world *world, const uint8_t *data, const size_t *starts,
                        size_t frames, int rounds, sb_machine *out);

#endif

/* Rates of zstd on packed weights, at the default level of quantize. */
#ifndef SB_MEASURE_ZSTD_RATES_H
#define SB_MEASURE_ZSTD_RATES_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "measure/machine.h"
#include "mpi/world.h"

/* Compresses and decompresses `frames` frames of data, frame k = data[starts[k]] to
 * data[starts[k + 1] - 1], each on one of this rank's threads. Collective. */
sb_status sb_zstd_rates(const sb_world *world, const uint8_t *data, const size_t *starts,
                        size_t frames, int rounds, sb_machine *out);

#endif

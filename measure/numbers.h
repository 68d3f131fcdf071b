/* Numbers to compute with, where their values do not matter but are of a usual size: zeros take a
 * GPU less power, and less time. */
#ifndef SB_MEASURE_NUMBERS_H
#define SB_MEASURE_NUMBERS_H

#include <stddef.h>

#include "kernels/backend.h"

/* device [count] of a weight type = numbers of mean 0 and variance 1, which the position decides.
 * Waits. Local; O(count), on the host. */
sb_status sb_numbers_upload(sb_backend *backend, void *device, sb_dtype dtype, size_t count);

#endif

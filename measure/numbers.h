/* Numbers to time kernels with. Their values do not matter, unless they are 0: with zeros a GPU
 * takes less power, and less time. */
#ifndef SB_MEASURE_NUMBERS_H
#define SB_MEASURE_NUMBERS_H

#include <stddef.h>

#include "kernels/backend.h"

/* device[i], i < count, of a weight type = a number that depends on i, with mean 0 and variance 1.
 * Waits. Local; O(count), on the host. */
sb_status sb_numbers_upload(sb_backend *backend, void *device, sb_dtype dtype, size_t count);

#endif

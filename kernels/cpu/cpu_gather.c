#include "kernels/cpu/cpu.h"

#include <string.h>

#define GATHER(type)                                                                               \
  static void gather_##type(type *to, const type *from, const uint32_t *index, size_t n) {         \
    for (size_t j = 0; j < n; j++) to[j] = from[index[j]];                                         \
  }
GATHER(uint16_t)
GATHER(uint32_t)
#undef GATHER

sb_status sb_cpu_gather_matrix(sb_backend *backend, sb_stream stream, void *dst, const void *src,
                               sb_dtype dtype, size_t rows, size_t cols, const uint32_t *row_from,
                               const uint32_t *col_from) {
  const size_t size = sb_dtype_size(dtype), bytes = cols * size;
  (void)stream;
  if (!sb_dtype_is_weight(dtype))
    return sb_fail(SB_ERR_INTERNAL, "gather_matrix: elements of type %s", sb_dtype_name(dtype));
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t i = 0; i < rows; i++) {
    char *to = (char *)dst + i * bytes;
    const char *from = (const char *)src + (row_from ? row_from[i] : i) * bytes;
    if (!col_from)
      memcpy(to, from, bytes);
    else if (size == sizeof(uint16_t))
      gather_uint16_t((uint16_t *)to, (const uint16_t *)from, col_from, cols);
    else
      gather_uint32_t((uint32_t *)to, (const uint32_t *)from, col_from, cols);
  }
  return SB_OK;
}

/* Memory of a device, its streams, and transfers. */
#ifndef SB_KERNELS_OPS_MEMORY_H
#define SB_KERNELS_OPS_MEMORY_H

#include "kernels/ops/common.h"

#define SB_MEMORY_OPS(OP)                                                                          \
  OP(alloc)                                                                                        \
  OP(free)                                                                                         \
  OP(host_alloc)                                                                                   \
  OP(host_free)                                                                                    \
  OP(host_pin)                                                                                     \
  OP(host_unpin)                                                                                   \
  OP(upload)                                                                                       \
  OP(download)                                                                                     \
  OP(copy)                                                                                         \
  OP(zero)                                                                                         \
  OP(convert)                                                                                      \
  OP(gather_matrix)                                                                                \
  OP(stream_create)                                                                                \
  OP(stream_destroy)                                                                               \
  OP(stream_wait)                                                                                  \
  OP(sync)                                                                                         \
  OP(destroy)

/* *device = `bytes` bytes of device memory; *host = `bytes` bytes of host memory, pinned if the
 * device has such memory. Content undefined. `what` names the memory in the message of
 * SB_ERR_MEMORY. The caller frees it; NULL may be freed. */
typedef sb_status sb_alloc_fn(sb_backend *, size_t bytes, const char *what, void **device);
typedef void sb_free_fn(sb_backend *, void *device);
typedef sb_status sb_host_alloc_fn(sb_backend *, size_t bytes, const char *what, void **host);
typedef void sb_host_free_fn(sb_backend *, void *host);

/* Makes transfers from host memory of another origin fast, until host_unpin. The memory must not be
 * freed before that. SB_ERR_DEVICE if the system refuses: only speed is lost. */
typedef sb_status sb_host_pin_fn(sb_backend *, void *host, size_t bytes);
typedef void sb_host_unpin_fn(sb_backend *, void *host);

typedef sb_status sb_upload_fn(sb_backend *, sb_stream, void *device, const void *host,
                               size_t bytes);
typedef sb_status sb_download_fn(sb_backend *, sb_stream, void *host, const void *device,
                                 size_t bytes);
typedef sb_status sb_copy_fn(sb_backend *, sb_stream, void *device_dst, const void *device_src,
                             size_t bytes);
typedef sb_status sb_zero_fn(sb_backend *, sb_stream, void *device, size_t bytes);

/* dst[count] = (dst_dtype) src; f32, f16, bf16. */
typedef sb_status sb_convert_fn(sb_backend *, sb_stream, void *dst, sb_dtype dst_dtype,
                                const void *src, sb_dtype src_dtype, size_t count);
/* dst[i,j] = src[row_from[i], col_from[j]] for matrices [rows,cols] of f32, f16 or bf16. Indices
 * are in range; NULL for either list keeps the order of that dimension. */
typedef sb_status sb_gather_matrix_fn(sb_backend *, sb_stream, void *dst, const void *src,
                                      sb_dtype dtype, size_t rows, size_t cols,
                                      const uint32_t *row_from, const uint32_t *col_from);

typedef sb_status sb_stream_create_fn(sb_backend *, sb_stream *);
typedef void sb_stream_destroy_fn(sb_backend *, sb_stream);
/* Work queued on `waiter` from now on starts after all work queued on `waited` so far. */
typedef sb_status sb_stream_wait_fn(sb_backend *, sb_stream waiter, sb_stream waited);
/* Waits for all work queued on the stream, and reports its errors. */
typedef sb_status sb_sync_fn(sb_backend *, sb_stream);

/* Ends the backend itself; NULL is allowed. Its memory and streams must have been released. */
typedef void sb_destroy_fn(sb_backend *);

#endif

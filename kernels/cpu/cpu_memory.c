#include "kernels/cpu/cpu.h"

#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"

enum { PIECE = 1 << 20, HUGE_PAGE = 2 << 20 };

sb_status sb_cpu_alloc(sb_backend *backend, size_t bytes, const char *what, void **out) {
  (void)backend;
  SB_TRY(sb_alloc_raw(out, bytes, 1, what));
  /* Large pages save page faults and TLB misses. The advice covers the whole large pages inside the
   * buffer. A system without them only ignores it, so the result is not checked. */
  size_t first = ((uintptr_t)*out + HUGE_PAGE - 1) & ~((size_t)HUGE_PAGE - 1);
  size_t last = ((uintptr_t)*out + bytes) & ~((size_t)HUGE_PAGE - 1);
  if (last > first)
    (void)madvise((char *)*out + (first - (uintptr_t)*out), last - first, MADV_HUGEPAGE);
  return SB_OK;
}

void sb_cpu_free(sb_backend *backend, void *pointer) {
  (void)backend;
  sb_free(&pointer);
}

/* Host and device memory are the same. */
sb_status sb_cpu_host_alloc(sb_backend *backend, size_t bytes, const char *what, void **out) {
  return sb_cpu_alloc(backend, bytes, what, out);
}
void sb_cpu_host_free(sb_backend *backend, void *pointer) {
  sb_cpu_free(backend, pointer);
}

sb_status sb_cpu_copy(sb_backend *backend, sb_stream stream, void *dst, const void *src,
                      size_t bytes) {
  (void)stream;
  if (dst == src || bytes == 0) return SB_OK;
  size_t pieces = sb_div_up(bytes, PIECE);
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (pieces > 1)
  for (size_t i = 0; i < pieces; i++) {
    size_t at = i * PIECE;
    memcpy((char *)dst + at, (const char *)src + at, sb_min_size(PIECE, bytes - at));
  }
  return SB_OK;
}

sb_status sb_cpu_upload(sb_backend *backend, sb_stream stream, void *device, const void *host,
                        size_t bytes) {
  return sb_cpu_copy(backend, stream, device, host, bytes);
}

sb_status sb_cpu_download(sb_backend *backend, sb_stream stream, void *host, const void *device,
                          size_t bytes) {
  return sb_cpu_copy(backend, stream, host, device, bytes);
}

sb_status sb_cpu_zero(sb_backend *backend, sb_stream stream, void *device, size_t bytes) {
  (void)stream;
  size_t pieces = sb_div_up(bytes, PIECE);
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (pieces > 1)
  for (size_t i = 0; i < pieces; i++)
    memset((char *)device + i * PIECE, 0, sb_min_size(PIECE, bytes - i * PIECE));
  return SB_OK;
}

static sb_status no_groups(void) {
  return sb_fail(SB_ERR_UNSUPPORTED, "processors form no groups");
}

/* The device is the host, so ranks exchange by messages. */
sb_status sb_cpu_peers_token(sb_backend *backend, sb_peers_token *token) {
  (void)backend;
  (void)token;
  return no_groups();
}

sb_status sb_cpu_peers_join(sb_backend *backend, sb_peers kind, const sb_peers_token *token,
                            int rank, int size) {
  (void)backend;
  (void)kind;
  (void)token;
  (void)rank;
  (void)size;
  return no_groups();
}

sb_status sb_cpu_peers_ready(sb_backend *backend, sb_peers kind, bool *ready) {
  (void)backend;
  (void)kind;
  *ready = false;
  return no_groups();
}

void sb_cpu_peers_leave(sb_backend *backend, sb_peers kind) {
  (void)backend;
  (void)kind;
}

sb_status sb_cpu_upload_shared(sb_backend *backend, sb_stream stream, void *device,
                               const void *host, size_t bytes) {
  return sb_cpu_upload(backend, stream, device, host, bytes);
}

sb_status sb_cpu_sum_i64(sb_backend *backend, sb_stream stream, int64_t *sums, size_t count) {
  (void)backend;
  (void)stream;
  (void)sums;
  (void)count;
  return no_groups();
}

/* Nothing is transferred. */
sb_status sb_cpu_host_pin(sb_backend *backend, void *host, size_t bytes) {
  (void)backend;
  (void)host;
  (void)bytes;
  return SB_OK;
}

void sb_cpu_host_unpin(sb_backend *backend, void *host) {
  (void)backend;
  (void)host;
}

/* Operations are done when they return: a stream is only a name. */
sb_status sb_cpu_stream_create(sb_backend *backend, sb_stream *stream) {
  *stream = (sb_stream)backend->impl;
  return SB_OK;
}

void sb_cpu_stream_destroy(sb_backend *backend, sb_stream stream) {
  (void)backend;
  (void)stream;
}

sb_status sb_cpu_stream_wait(sb_backend *backend, sb_stream waiter, sb_stream waited) {
  (void)backend;
  (void)waiter;
  (void)waited;
  return SB_OK;
}

sb_status sb_cpu_sync(sb_backend *backend, sb_stream stream) {
  (void)backend;
  (void)stream;
  return SB_OK;
}

#include "kernels/cuda/number.cuh"

/* One block per token. */
template <typename W>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    lookup(float *x, const uint32_t *ids, const W *table, size_t h, size_t v0, size_t nv) {
  const size_t t = blockIdx.x, id = ids[t];
  if (id < v0 || id - v0 >= nv) return;
  for (size_t i = threadIdx.x; i < h; i += blockDim.x)
    x[t * h + i] = sb_number(table[(id - v0) * h + i]);
}

sb_status sb_cuda_embed(sb_backend *backend, sb_stream stream, void *x, const uint32_t *ids,
                        const void *table, sb_dtype table_dtype, size_t T, size_t h, size_t v0,
                        size_t nv) {
  return sb_with_number(table_dtype, "embedding table", [&](auto type) {
    typedef decltype(type) W;
    if (T == 0 || h == 0) return SB_OK;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "embed", lookup<W>, (unsigned)T,
                          SB_CUDA_THREADS, 0, (float *)x, ids, (const W *)table, h, v0, nv);
  });
}

/* One thread per column. It alone writes the column, and sees all tokens in their order. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    add_rows(float *dtable, const uint32_t *ids, const float *dx, size_t T, size_t h, size_t v0,
             size_t nv) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= h) return;
  for (size_t t = 0; t < T; t++) {
    const size_t id = ids[t];
    if (id >= v0 && id - v0 < nv) dtable[(id - v0) * h + i] += dx[t * h + i];
  }
}

sb_status sb_cuda_embed_back(sb_backend *backend, sb_stream stream, float *dtable,
                             const uint32_t *ids, const void *dx, size_t T, size_t h, size_t v0,
                             size_t nv) {
  if (T == 0 || h == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "embed_back", add_rows,
                        sb_cuda_blocks(h, SB_CUDA_THREADS, UINT32_MAX), SB_CUDA_THREADS, 0, dtable,
                        ids, (const float *)dx, T, h, v0, nv);
}

#include "kernels/cuda/number.cuh"

template <typename To, typename From>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    convert(To *to, const From *from, size_t count) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
    sb_store_number(&to[i], sb_number(from[i]));
}

sb_status sb_cuda_convert(sb_backend *backend, sb_stream stream, void *dst, sb_dtype dst_dtype,
                          const void *src, sb_dtype src_dtype, size_t count) {
  if (!sb_dtype_is_weight(dst_dtype) || !sb_dtype_is_weight(src_dtype))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "conversion from %s to %s: only F32, F16 and BF16 are converted",
                   sb_dtype_name(src_dtype), sb_dtype_name(dst_dtype));
  if (count == 0) return SB_OK;
  if (dst_dtype == src_dtype)
    return sb_cuda_copy(backend, stream, dst, src, count * sb_dtype_size(dst_dtype));
  return sb_with_number(dst_dtype, "conversion", [&](auto to) {
    return sb_with_number(src_dtype, "conversion", [&](auto from) {
      typedef decltype(to) To;
      typedef decltype(from) From;
      return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "convert", convert<To, From>,
                            sb_cuda_blocks_for(backend, count), SB_CUDA_THREADS, 0, (To *)dst,
                            (const From *)src, count);
    });
  });
}

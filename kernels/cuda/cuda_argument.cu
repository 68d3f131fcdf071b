#include "kernels/cuda/cuda_blocks.cuh"

enum { CHUNK = 3968 }; /* with the rest, below the 4096 bytes of arguments that every device takes */

typedef struct chunk {
  uint8_t bytes[CHUNK];
} chunk;

__global__ void argument_store(uint8_t *to, const chunk from, unsigned bytes) {
  for (unsigned i = threadIdx.x; i < bytes; i += blockDim.x) to[i] = from.bytes[i];
}

sb_status sb_cuda_argument(sb_backend *backend, cudaStream_t stream, const void *host, size_t bytes,
                           uint8_t **device) {
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_SMALL, bytes, device));
  for (size_t at = 0; at < bytes; at += CHUNK) {
    const size_t n = sb_min_size(CHUNK, bytes - at);
    chunk part;
    memcpy(part.bytes, (const uint8_t *)host + at, n);
    SB_TRY(sb_cuda_launch(backend, stream, "argument", argument_store, 1, SB_CUDA_THREADS, 0, *device + at, part,
                          (unsigned)n));
  }
  return SB_OK;
}

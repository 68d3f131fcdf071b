/* The inside of the CUDA backend: its state, streams, scratch memory, error reports, kernel
 * launches and operations.
 *
 * Operations have the contracts of kernels/ops/. Activations are f32, as on the CPU. GEMM operands
 * are f32 or bf16. Functions queue their work on a stream and do not wait, unless their comment
 * says so. No sum has an order that depends on timing: kernels use no atomics on floating-point
 * numbers.
 *
 * Two compilers read the sources of this folder. nvcc makes the backend of them. A host compiler
 * makes C++ of them that runs thread by thread on a processor, for tests (tests/cuda_host/). So
 * kernels are plain C++ with three rules:
 *
 * - shuffles, tensor cores, asynchronous copies and dynamic shared memory come from warp.cuh
 * - sb_cuda_launch starts kernels, never <<<>>>
 * - __shared__ variables have no initial value */
#ifndef SB_KERNELS_CUDA_CUDA_H
#define SB_KERNELS_CUDA_CUDA_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cuda_runtime.h>

#ifdef __CUDACC__
#include <cuda_fp16.h> /* grid.h needs it, and it is C++ */
#endif

extern "C" {
#include "base/dtype.h"
#include "base/status.h"
#include "kernels/backend.h"
}

#include "kernels/cuda/cuda_blas.h"
#include "kernels/cuda/cuda_solver.h"

enum {
  SB_WARP = 32,
  SB_CUDA_THREADS = 256,            /* threads of a block, unless a kernel needs another number */
  SB_CUDA_STATIC_SHARED = 48 << 10, /* bytes of shared memory per block without asking */
  SB_CUDA_WORKSPACE = 32 << 20 /* bytes for cuBLAS; a fixed size fixes its choice of algorithm, and
                                  so its bits */
};

/* Buffers that outlive a call, so that no operation allocates in the steady state. One slot is in
 * use by one operation at a time. */
typedef enum sb_cuda_slot {
  SB_CUDA_SLOT_A,         /* GEMM operand A converted; RMSNorm: partial sums */
  SB_CUDA_SLOT_B,         /* GEMM operand B converted */
  SB_CUDA_SLOT_WORKSPACE, /* workspace of cuBLAS */
  SB_CUDA_SLOT_WORK,      /* attention, moments, curvature, block scores, rounding */
  SB_CUDA_SLOT_SMALL,     /* moments: flags; GEMM: factors */
  SB_CUDA_SLOT_WALKS,     /* trellis codes: choices of walks */
  SB_CUDA_SLOT_COUNT
} sb_cuda_slot;

/* Most small arguments on their way at a time. */
enum { SB_CUDA_PARCELS = 32 };

/* A small argument (bit map, offsets) on its way: its copies in pinned memory and on the device. */
typedef struct sb_cuda_parcel {
  void *host, *device;
  size_t bytes;
  cudaStream_t user;
  cudaEvent_t used; /* all work queued on `user` until the next parcel */
} sb_cuda_parcel;

/* Faults in numbers that a kernel can find. It stores one of these in sb_cuda.trouble, and the next
 * sync reports it. */
typedef enum sb_cuda_trouble {
  SB_CUDA_TROUBLE_INPUTS = 1,
  SB_CUDA_TROUBLE_GRADIENTS,
  SB_CUDA_TROUBLE_MULTIPLES
} sb_cuda_trouble;

typedef struct sb_cuda {
  sb_compute compute;
  int device;           /* CUDA's number */
  int multiprocessors;  /* number of them, by which work is cut */
  size_t shared_limit;  /* most bytes of shared memory per block */
  size_t memory;        /* bytes of device memory in all */
  uint8_t uuid[16];     /* of the device */
  char where[256];      /* "GPU 1 (NVIDIA H100) of gpu07": starts every message */
  cudaStream_t stream;  /* default stream, which NULL stands for */
  cudaEvent_t crossing; /* lets one stream wait for another */
  int *trouble;         /* host memory that kernels can write; 0 or an sb_cuda_trouble */
  sb_cuda_blas blas;
  struct sb_cuda_nccl *nccl; /* NULL until the first use of a group */
  sb_cuda_solver solver;     /* loaded when factors are first asked for */
  struct {
    void *data;
    size_t bytes;
    cudaStream_t user; /* the last stream that used it */
  } scratch[SB_CUDA_SLOT_COUNT];
  sb_cuda_parcel parcels[SB_CUDA_PARCELS];
  int parcel; /* the last parcel given out */
} sb_cuda;

static inline sb_cuda *sb_cuda_of(sb_backend *backend) {
  return (sb_cuda *)backend->impl;
}

/* The stream an operation runs on. */
static inline cudaStream_t sb_cuda_stream(sb_backend *backend, sb_stream stream) {
  return stream ? (cudaStream_t)stream : sb_cuda_of(backend)->stream;
}

/* SB_OK for cudaSuccess, else SB_ERR_DEVICE. The message has the device, the attempt, and CUDA's
 * name and words for the error. */
sb_status sb_cuda_check(const sb_backend *backend, cudaError_t error, const char *what);

#define SB_CUDA_TRY(backend, call, what) SB_TRY(sb_cuda_check(backend, call, what))

/* *out = at least `bytes` bytes of device memory in `slot`, 256-byte aligned, content undefined.
 * `stream` uses it until the next call with the same slot; if that call is for another stream, that
 * stream waits for the work queued on this one so far. The slot never shrinks; growing waits for
 * the device. */
sb_status sb_cuda_scratch(sb_backend *backend, cudaStream_t stream, sb_cuda_slot slot, size_t bytes,
                          void *out_pointer);

/* *out = a copy of `bytes` bytes of host memory on the device, 256-byte aligned. It serves the work
 * that is queued on `stream` before the next call of this function. The host memory is not read
 * after the call. Waits only if SB_CUDA_PARCELS are on their way. */
sb_status sb_cuda_send(sb_backend *backend, cudaStream_t stream, const void *host, size_t bytes,
                       void *out_pointer);
void sb_cuda_send_free(sb_backend *backend);

/* Number of blocks for `count` items, `each` per block: as many as needed, at most `most`. Kernels
 * stride over the rest. */
static inline unsigned sb_cuda_blocks(size_t count, size_t each, size_t most) {
  size_t blocks = (count + each - 1) / each;
  return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}
/* Number of blocks for kernels with one item per thread and SB_CUDA_THREADS threads per block. */
static inline unsigned sb_cuda_blocks_for(sb_backend *backend, size_t count) {
  return sb_cuda_blocks(count, SB_CUDA_THREADS, (size_t)sb_cuda_of(backend)->multiprocessors * 16);
}

/* Queues kernel(arguments...) on `grid` blocks of `block` threads with `shared` bytes of dynamic
 * shared memory. `name` is for the message. Returns errors of the launch itself; errors of the
 * kernel come from the next sync. */
template <typename... Parameters, typename... Arguments>
sb_status sb_cuda_launch(sb_backend *backend, cudaStream_t stream, const char *name,
                         void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                         Arguments... arguments) {
  if (shared > SB_CUDA_STATIC_SHARED)
    SB_TRY(sb_cuda_check(backend,
                         cudaFuncSetAttribute((const void *)kernel,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              (int)shared),
                         name));
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  return sb_cuda_check(
      backend, cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

/* ---- cuda_gemm.cu ---- */
/* C = alpha op(A) op(B), or += if `add`. A and B are f32, and so is the arithmetic, even if the
 * backend computes in bf16. */
sb_status sb_cuda_add_product(sb_backend *, cudaStream_t, const sb_gemm_args *, float alpha);

/* ---- cuda_peers.cu, cuda_factor.cu: the parts that `destroy` closes ---- */
void sb_cuda_peers_close(sb_backend *);
void sb_cuda_factor_close(sb_backend *);

/* ---- the operations: sb_cuda_NAME for each NAME of kernels/backend.h ---- */
#define SB_CUDA_PROTOTYPE(name) sb_##name##_fn sb_cuda_##name;
SB_OPS(SB_CUDA_PROTOTYPE)
#undef SB_CUDA_PROTOTYPE

#endif

/* The inside of the CUDA backend: its state, its streams and scratch memory, how it reports errors
 * and starts kernels, and its operations.
 *
 * Operations have the contracts of kernels/ops/. Activations are f32 whatever
 * the arithmetic of matrix products (as on the CPU), weights prepared for GEMM are f32 or bf16.
 * Everything is queued on a stream and nothing waits, except where said. Nothing is summed in an
 * order that depends on timing: no atomics on floating-point numbers.
 *
 * Sources here are read by two compilers. nvcc makes them the backend; a host compiler makes them
 * C++ that runs thread by thread on a processor, for tests (tests/cuda_host/). So kernels are plain
 * C++: what is not (shuffles, tensor cores, asynchronous copies, dynamic shared memory) is in
 * warp.cuh, kernels are started by sb_cuda_launch, never by <<<>>>, and
 * __shared__ variables hold no initial value. */
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
  SB_CUDA_THREADS = 256, /* of a block, where a kernel has no reason for another number */
  SB_CUDA_STATIC_SHARED = 48 << 10, /* bytes of shared memory a block gets without asking */
  SB_CUDA_WORKSPACE = 32 << 20 /* bytes for cuBLAS: given by hand, so that its choice of algorithm,
                                  and its bits, stay */
};

/* Buffers that outlive a call, so that no operation allocates in the steady state. One slot is in
 * use by one operation at a time. */
typedef enum sb_cuda_slot {
  SB_CUDA_SLOT_A,         /* GEMM operand A converted; RMSNorm: partial sums */
  SB_CUDA_SLOT_B,         /* GEMM operand B converted */
  SB_CUDA_SLOT_WORKSPACE, /* cuBLAS' own */
  SB_CUDA_SLOT_WORK,      /* attention, moments, curvature, block scores, rounding */
  SB_CUDA_SLOT_SMALL,     /* moments: flags */
  SB_CUDA_SLOT_COUNT
} sb_cuda_slot;

enum { SB_CUDA_PARCELS = 32 };

/* A small argument (bit map, offsets) on its way: its copy in pinned memory, and on the device. */
typedef struct sb_cuda_parcel {
  void *host, *device;
  size_t bytes;
  cudaStream_t user;
  cudaEvent_t used; /* everything that was queued on `user` until the next parcel */
} sb_cuda_parcel;

/* What a kernel finds wrong with numbers: it stores one of these in sb_cuda.trouble, and the next
 * sync reports it. */
typedef enum sb_cuda_trouble {
  SB_CUDA_TROUBLE_INPUTS = 1,
  SB_CUDA_TROUBLE_GRADIENTS,
  SB_CUDA_TROUBLE_MULTIPLES
} sb_cuda_trouble;

typedef struct sb_cuda {
  sb_compute compute;
  int device;           /* CUDA's number */
  int multiprocessors;  /* for cutting work */
  size_t shared_limit;  /* bytes of shared memory a block may ask for */
  size_t memory;        /* bytes of device memory in all */
  uint8_t uuid[16];     /* the device's */
  char where[256];      /* "GPU 1 (NVIDIA H100) of gpu07": starts every message */
  cudaStream_t stream;  /* what NULL stands for */
  cudaEvent_t crossing; /* lets one stream wait for another */
  int *trouble;         /* host memory that kernels can write; 0 or an sb_cuda_trouble */
  sb_cuda_blas blas;
  struct sb_cuda_nccl *nccl; /* NULL until a group is asked for */
  sb_cuda_solver solver;     /* loaded when factors are first asked for */
  struct {
    void *data;
    size_t bytes;
    cudaStream_t user; /* used it last */
  } scratch[SB_CUDA_SLOT_COUNT];
  sb_cuda_parcel parcels[SB_CUDA_PARCELS];
  int parcel; /* the last one given out */
} sb_cuda;

static inline sb_cuda *sb_cuda_of(sb_backend *backend) {
  return (sb_cuda *)backend->impl;
}

/* The stream an operation runs on. */
static inline cudaStream_t sb_cuda_stream(sb_backend *backend, sb_stream stream) {
  return stream ? (cudaStream_t)stream : sb_cuda_of(backend)->stream;
}

/* SB_OK for cudaSuccess; else SB_ERR_DEVICE with one line: where, what was tried, CUDA's name and
 * words for the error. */
sb_status sb_cuda_check(const sb_backend *backend, cudaError_t error, const char *what);

#define SB_CUDA_TRY(backend, call, what) SB_TRY(sb_cuda_check(backend, call, what))

/* *out = at least `bytes` bytes of device memory in `slot`, 256-byte aligned, content undefined, in
 * use by `stream` until the next call with the same slot; a stream that asks for it next waits for
 * what this one has queued by then. Grows (which waits for the device), never shrinks. */
sb_status sb_cuda_scratch(sb_backend *backend, cudaStream_t stream, sb_cuda_slot slot, size_t bytes,
                          void *out_pointer);

/* *out = a copy of `bytes` bytes of host memory on the device, 256-byte aligned, for what is queued
 * on `stream` before the next call of this function; the host memory is not read after the call.
 * Waits only where SB_CUDA_PARCELS are on their way. */
sb_status sb_cuda_send(sb_backend *backend, cudaStream_t stream, const void *host, size_t bytes,
                       void *out_pointer);
void sb_cuda_send_free(sb_backend *backend);

/* Blocks for `count` items at `each` a block: as many as needed, at most `most`; kernels stride
 * over the rest. */
static inline unsigned sb_cuda_blocks(size_t count, size_t each, size_t most) {
  size_t blocks = (count + each - 1) / each;
  return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}
/* The same for kernels of one item a thread, SB_CUDA_THREADS threads a block. */
static inline unsigned sb_cuda_blocks_for(sb_backend *backend, size_t count) {
  return sb_cuda_blocks(count, SB_CUDA_THREADS, (size_t)sb_cuda_of(backend)->multiprocessors * 16);
}

/* Queues kernel(arguments...) on `grid` blocks of `block` threads with `shared` bytes of dynamic
 * shared memory. `name` is for the message. Errors of the launch itself come back; those of the
 * kernel at the next sync. */
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
/* C = alpha op(A) op(B), or += where `add`, for A and B of f32 and in f32, whatever the backend
 * computes in. */
sb_status sb_cuda_add_product(sb_backend *, cudaStream_t, const sb_gemm_args *, float alpha);

/* ---- what `destroy` ends: cuda_peers.cu, cuda_factor.cu ---- */
void sb_cuda_peers_close(sb_backend *);
void sb_cuda_factor_close(sb_backend *);

/* ---- the operations: sb_cuda_NAME for each NAME of kernels/backend.h ---- */
#define SB_CUDA_PROTOTYPE(name) sb_##name##_fn sb_cuda_##name;
SB_OPS(SB_CUDA_PROTOTYPE)
#undef SB_CUDA_PROTOTYPE

#endif

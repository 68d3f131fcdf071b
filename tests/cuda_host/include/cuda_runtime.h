/* Stands where CUDA's header would: the part of the runtime that kernels/cuda uses, for a processor
 * (cuda_host.h says what that is good for). */
#ifndef SB_TESTS_CUDA_HOST_RUNTIME_H
#define SB_TESTS_CUDA_HOST_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <functional>

#include "tests/cuda_host/races.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__      static
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

/* ---- the thread that runs ---- */
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};

extern uint3 sb_host_thread_index, sb_host_block_index;
extern dim3 sb_host_block_dim, sb_host_grid_dim;
#define threadIdx sb_host_thread_index
#define blockIdx  sb_host_block_index
#define blockDim  sb_host_block_dim
#define gridDim   sb_host_grid_dim

void sb_host_block_sync();
#define __syncthreads() sb_host_block_sync()
#define __threadfence() sb_host_races_fence()

/* ---- what CUDA C++ has built in ---- */
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
static inline float2 make_float2(float x, float y) {
  return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

using std::max;
using std::min;

/* PTX orders -0 below +0, and takes a number before a NaN; processors do as they like with zeros.
 */
static inline float sb_host_fminf(float a, float b) {
  return a == b ? (signbit(a) ? a : b) : fminf(a, b);
}
static inline float sb_host_fmaxf(float a, float b) {
  return a == b ? (signbit(a) ? b : a) : fmaxf(a, b);
}
#define fminf sb_host_fminf
#define fmaxf sb_host_fmaxf

/* Threads take turns only at barriers, so a plain addition is atomic. Integers only:
 * kernels/cuda/cuda.h says why. */
__attribute__((no_sanitize("thread"))) static inline unsigned atomicAdd(unsigned *at,
                                                                        unsigned value) {
  sb_host_races_atomic(at, sizeof *at);
  const unsigned before = *at;
  *at = before + value;
  return before;
}
static inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
static inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz((unsigned)x);
}
static inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
static inline float __fmul_rn(float a, float b) {
  volatile float product = a * b; /* never part of a fused product */
  return product;
}
static inline float __fadd_rn(float a, float b) {
  volatile float sum = a + b;
  return sum;
}
static inline double __dmul_rn(double a, double b) {
  volatile double product = a * b;
  return product;
}
static inline double __dadd_rn(double a, double b) {
  volatile double sum = a + b;
  return sum;
}
template <typename T> static inline T __ldg(const T *at) {
  return *at;
}

/* ---- errors, devices ---- */
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchFailure = 719
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum { cudaHostRegisterDefault = 0, cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
typedef struct sb_host_stream *cudaStream_t;
typedef struct sb_host_event *cudaEvent_t;
struct cudaDeviceProp {
  char name[256];
  struct {
    char bytes[16];
  } uuid;
  int major, minor;
  size_t totalGlobalMem;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

const char *cudaGetErrorName(cudaError_t);
const char *cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int *);
cudaError_t cudaDriverGetVersion(int *);
cudaError_t cudaRuntimeGetVersion(int *);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *, int);
cudaError_t cudaDeviceGetAttribute(int *, cudaDeviceAttr, int);
cudaError_t cudaSetDevice(int);

/* ---- memory, streams ---- */
cudaError_t cudaMalloc(void **, size_t);
cudaError_t cudaFree(void *);
cudaError_t cudaMallocHost(void **, size_t);
cudaError_t cudaHostRegister(void *, size_t, unsigned);
cudaError_t cudaHostUnregister(void *);
cudaError_t cudaFreeHost(void *);
cudaError_t cudaMemGetInfo(size_t *left, size_t *all);
cudaError_t cudaMemcpyAsync(void *, const void *, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void *, int, size_t, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *, unsigned);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventDestroy(cudaEvent_t);

/* ---- kernels ---- */
cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute, int value);
cudaError_t sb_host_launch(const cudaLaunchConfig_t *, const void *function,
                           std::function<void()> thread);
/* Queues work of the host's own stand-ins (BLAS). */
void sb_host_queue(cudaStream_t, std::function<void()> work);
/* All that is queued on the stream. */
void sb_host_run_queued(cudaStream_t);

/* Ends the program where a pointer handed to a kernel is neither NULL nor device memory. */
void sb_host_expect_device(const void *pointer);
bool sb_host_is_device(const void *pointer);
/* `work` finds device memory open, as what is queued does. */
void sb_host_with_memory(const std::function<void()> &work);
template <typename T> void sb_host_check_argument(const T &) {}
template <typename T> void sb_host_check_argument(T *const &pointer) {
  sb_host_expect_device((const void *)pointer);
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
  (sb_host_check_argument(arguments), ...);
  return sb_host_launch(config, (const void *)kernel, [=]() { kernel(arguments...); });
}

#endif

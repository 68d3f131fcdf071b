/* Memory, streams and launches of the stand-in; cuda_host.h says how it behaves. */
#include <cuda_runtime.h>

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <deque>
#include <map>
#include <memory>
#include <set>

#include "tests/cuda_host/cuda_host.h"
#include "tests/cuda_host/fibers.h"
#include "tests/cuda_host/races.h"

static long from_environment(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text ? atol(text) : otherwise;
}

sb_cuda_host sb_cuda_host_device = {(int)from_environment("SB_CUDA_HOST_DEVICES", 1),
                                    (int)from_environment("SB_CUDA_HOST_DRIVER", 13000),
                                    9,
                                    0,
                                    (size_t)from_environment("SB_CUDA_HOST_MEMORY", 4l << 30),
                                    (int)from_environment("SB_CUDA_HOST_BLAS", 1),
                                    1,
                                    from_environment("SB_CUDA_HOST_FAIL_IN", -1),
                                    (int)from_environment("SB_CUDA_HOST_MPI", 0),
                                    (int)from_environment("SB_CUDA_HOST_JOIN", 1),
                                    0,
                                    0,
                                    0,
                                    0};

struct sb_host_stream {
  std::deque<std::function<void()>> work;
};
struct sb_host_event {
  std::shared_ptr<bool> passed; /* of the last record */
  sb_host_stream *stream;
};

namespace {

struct allocation {
  char *mapped; /* whole pages, then one that nobody may touch */
  size_t pages_bytes, bytes;
};

std::map<void *, allocation> allocations;
std::set<const void *> pinned; /* host memory that kernels, too, may use */
std::map<const void *, size_t> allowed_shared;
std::set<sb_host_stream *> streams;
size_t &in_use = sb_cuda_host_device.in_use;
int open_depth;
cudaError_t sticky = cudaSuccess;

const size_t page = 4096;

/* Where the processor has protection keys, all of device memory has one, and opening it is an
 * instruction; else every page is protected by a system call. -1: it has none. */
const int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);

void protect(const allocation &a, bool open) {
  if (mprotect(a.mapped, a.pages_bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE) != 0)
    sb_host_die("mprotect failed");
}

void open_all(bool open) {
  if (key >= 0)
    pkey_set(key, open ? 0 : PKEY_DISABLE_ACCESS);
  else
    for (auto &a : allocations) protect(a.second, open);
}

/* Device memory is there while this lives, for the calling thread: libraries
 * must not use others. */
struct opened {
  opened() {
    if (open_depth++ > 0) return;
    threads = omp_get_max_threads();
    omp_set_num_threads(1);
    open_all(true);
  }
  ~opened() {
    if (--open_depth > 0) return;
    open_all(false);
    omp_set_num_threads(threads);
  }
  int threads;
};

void run(sb_host_stream *stream) {
  while (!stream->work.empty()) {
    std::function<void()> work = std::move(stream->work.front());
    stream->work.pop_front();
    work();
  }
}

void run_all() {
  opened memory;
  for (sb_host_stream *stream : streams) run(stream);
}

} // namespace

const char *cudaGetErrorName(cudaError_t error) {
  switch (error) {
  case cudaSuccess:
    return "cudaSuccess";
  case cudaErrorInvalidValue:
    return "cudaErrorInvalidValue";
  case cudaErrorMemoryAllocation:
    return "cudaErrorMemoryAllocation";
  case cudaErrorInvalidConfiguration:
    return "cudaErrorInvalidConfiguration";
  case cudaErrorInsufficientDriver:
    return "cudaErrorInsufficientDriver";
  case cudaErrorNoDevice:
    return "cudaErrorNoDevice";
  case cudaErrorIllegalAddress:
    return "cudaErrorIllegalAddress";
  case cudaErrorLaunchFailure:
    return "cudaErrorLaunchFailure";
  }
  return "?";
}

const char *cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure ? "unspecified launch failure" : cudaGetErrorName(error);
}

cudaError_t cudaGetLastError() {
  return sticky;
}

cudaError_t cudaGetDeviceCount(int *count) {
  *count = sb_cuda_host_device.devices;
  if (sb_cuda_host_device.driver < 13000) return cudaErrorInsufficientDriver;
  return sb_cuda_host_device.devices > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaDriverGetVersion(int *version) {
  *version = sb_cuda_host_device.driver;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (device >= sb_cuda_host_device.devices) return cudaErrorInvalidValue;
  snprintf(properties->name, sizeof properties->name, "no GPU: a stand-in on a processor");
  memset(&properties->uuid, device, sizeof properties->uuid);
  properties->major = sb_cuda_host_device.major;
  properties->minor = sb_cuda_host_device.minor;
  properties->totalGlobalMem = sb_cuda_host_device.memory;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr which, int) {
  *value = which == cudaDevAttrMultiProcessorCount ? 3 : SB_HOST_SHARED_BYTES;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  return device < sb_cuda_host_device.devices ? cudaSuccess : cudaErrorInvalidValue;
}

/* The end of an allocation, to 256 bytes, is the end of its last page. */
cudaError_t cudaMalloc(void **out, size_t bytes) {
  const size_t rounded = (bytes + 255) / 256 * 256, pages = (rounded + page - 1) / page * page;
  *out = NULL;
  if (sticky != cudaSuccess) return sticky;
  if (bytes > sb_cuda_host_device.memory || in_use > sb_cuda_host_device.memory - bytes)
    return cudaErrorMemoryAllocation;
  char *mapped = (char *)mmap(NULL, pages + page, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return cudaErrorMemoryAllocation;
  const allocation a = {mapped, pages, bytes};
  protect(a, true);
  memset(mapped, 0xff, pages);
  if (key < 0)
    protect(a, false);
  else if (pkey_mprotect(mapped, pages, PROT_READ | PROT_WRITE, key) != 0)
    sb_host_die("pkey_mprotect failed");
  *out = mapped + pages - rounded;
  allocations[*out] = a;
  sb_host_races_track(*out, rounded);
  in_use += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void *pointer) {
  run_all();
  auto found = allocations.find(pointer);
  if (found == allocations.end()) sb_host_die("cudaFree of a pointer that cudaMalloc did not give");
  sb_host_races_forget(pointer);
  in_use -= found->second.bytes;
  munmap(found->second.mapped, found->second.pages_bytes + page);
  allocations.erase(found);
  return sticky;
}

cudaError_t cudaMallocHost(void **out, size_t bytes) {
  *out = aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!*out) return cudaErrorMemoryAllocation;
  pinned.insert(*out);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void *pointer) {
  run_all();
  pinned.erase(pointer);
  free(pointer);
  return sticky;
}

/* Copies are all alike here: it is only kept who must give what back. */
static std::set<const void *> registered;

cudaError_t cudaHostRegister(void *pointer, size_t, unsigned) {
  if (!registered.insert(pointer).second) sb_host_die("memory pinned twice");
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *pointer) {
  run_all();
  if (registered.erase(pointer) == 0) sb_host_die("memory unpinned that was not pinned");
  return sticky;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all) {
  *all = sb_cuda_host_device.memory;
  *left = *all - in_use;
  return cudaSuccess;
}

void sb_host_run_queued(cudaStream_t stream) {
  opened memory;
  run(stream);
}

void sb_host_with_memory(const std::function<void()> &work) {
  opened memory;
  work();
}

void sb_host_queue(cudaStream_t stream, std::function<void()> work) {
  stream->work.push_back([work]() {
    if (sticky == cudaSuccess) work();
  });
  if (sb_cuda_host_device.eager) {
    opened memory;
    run(stream);
  }
}

bool sb_host_is_device(const void *pointer) {
  auto after = allocations.upper_bound((void *)pointer);
  if (after == allocations.begin()) return false;
  const allocation &a = (--after)->second;
  return (const char *)pointer < a.mapped + a.pages_bytes;
}

/* Tests of the CPU backend hand over host memory. */
void sb_host_expect_device(const void *pointer) {
  if (pointer && !sb_cuda_host_device.eager && !sb_host_is_device(pointer) &&
      !pinned.count(pointer))
    sb_host_die("a kernel was handed a pointer that is neither device nor pinned memory");
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (!sb_cuda_host_device.eager && (sb_host_is_device(to) != (kind != cudaMemcpyDeviceToHost) ||
                                     sb_host_is_device(from) != (kind != cudaMemcpyHostToDevice)))
    sb_host_die("a copy whose direction is not that of its pointers");
  sb_host_queue(stream, [=]() { memcpy(to, from, bytes); });
  return sticky;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  sb_host_queue(stream, [=]() { memset(to, value, bytes); });
  return sticky;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = new sb_host_stream();
  streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  run_all();
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  opened memory;
  run(stream);
  return sticky;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  *event = new sb_host_event();
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::shared_ptr<bool> passed = std::make_shared<bool>(false);
  event->passed = passed;
  event->stream = stream;
  stream->work.push_back([passed]() { *passed = true; });
  if (sb_cuda_host_device.eager) run(stream);
  return cudaSuccess;
}

/* Up to the record, and no further. */
static void run_until(sb_host_stream *stream, const std::shared_ptr<bool> &passed) {
  while (!*passed) {
    if (stream->work.empty()) sb_host_die("a stream waits for an event that never comes");
    std::function<void()> work = std::move(stream->work.front());
    stream->work.pop_front();
    work();
  }
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  std::shared_ptr<bool> passed = event->passed;
  sb_host_stream *waited = event->stream;
  stream->work.push_back([passed, waited]() { run_until(waited, passed); });
  if (sb_cuda_host_device.eager) run(stream);
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  opened memory;
  if (event->passed) run_until(event->stream, event->passed);
  return sticky;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute, int value) {
  if (value < 0 || value > SB_HOST_SHARED_BYTES) return cudaErrorInvalidValue;
  allowed_shared[function] = (size_t)value;
  return cudaSuccess;
}

cudaError_t sb_host_launch(const cudaLaunchConfig_t *config, const void *function,
                           std::function<void()> thread) {
  const dim3 grid = config->gridDim, block = config->blockDim;
  const size_t shared = config->dynamicSmemBytes, threads = (size_t)block.x * block.y * block.z;
  const size_t limit = allowed_shared.count(function) ? allowed_shared[function] : 48 << 10;
  if (sticky != cudaSuccess) return sticky;
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
    return cudaErrorInvalidConfiguration;
  if (threads % 32 != 0) sb_host_die("a block that is not whole warps");
  if (shared > limit) return cudaErrorInvalidValue;
  sb_host_queue(config->stream, [=]() {
    if (sb_cuda_host_device.fail_in >= 0 && sb_cuda_host_device.fail_in-- == 0) {
      sticky = cudaErrorLaunchFailure;
      return;
    }
    sb_cuda_host_device.kernels++;
    sb_host_run(function, grid, block, shared, thread);
  });
  return cudaSuccess;
}

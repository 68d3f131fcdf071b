/* Shared by tests of the device: the device, or the report that it is missing, copies of host
 * memory on it, and a process for each test. */
#ifndef SB_TESTS_GPU_DEVICE_H
#define SB_TESTS_GPU_DEVICE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/dtype.h"
#include "kernels/cuda/cuda_device.h"
#include "tests/gpu/missing.h"
#include "tests/kernels/check.h"

/* The backend under test, and the one it is held against. */
static sb_backend *gpu, *cpu;

static void *gpu_copies[64];
static size_t gpu_copied;

/* A copy on the device, until gpu_drop(). */
static inline void *gpu_put(const void *host, size_t bytes) {
  void *device;
  assert_ok(gpu->op->alloc(gpu, bytes, "operand", &device));
  assert_true(gpu_copied < sizeof gpu_copies / sizeof *gpu_copies);
  gpu_copies[gpu_copied++] = device;
  assert_ok(gpu->op->upload(gpu, NULL, device, host, bytes));
  assert_ok(gpu->op->sync(gpu, NULL));
  return device;
}

/* A copy of floats as operands. */
static inline void *gpu_put_operands(const float *x, size_t count) {
  uint16_t *narrow = (uint16_t *)check_zeros(count / 2 + 1);
  if (gpu->operand == SB_F32) return gpu_put(x, count * sizeof *x);
  sb_from_f32(narrow, SB_BF16, x, count);
  return gpu_put(narrow, count * sizeof *narrow);
}

/* And back, when all is done. */
static inline void gpu_get(void *host, const void *device, size_t bytes) {
  assert_ok(gpu->op->download(gpu, NULL, host, device, bytes));
  assert_ok(gpu->op->sync(gpu, NULL));
}

static inline void gpu_drop(void) {
  while (gpu_copied > 0) gpu->op->free(gpu, gpu_copies[--gpu_copied]);
}

/* One test, with a device of its own. Returns 0, 1, or 77 where no device is. */
static inline int gpu_run_one(const struct CMUnitTest *test, sb_compute compute) {
  const int missing = gpu_missing(sb_cuda_create(compute, 0, "this machine", &gpu));
  if (missing) return missing;
  if (sb_backend_cpu_create(SB_COMPUTE_F32, 1, &cpu) != SB_OK) return 1;
  int failed = _cmocka_run_group_tests(test->name, test, 1, NULL, NULL) != 0;
  gpu_drop();
  if (gpu->op->sync(gpu, NULL) != SB_OK) { /* a test that does not wait leaves its fault behind */
    printf("%s: %s\n", test->name, sb_message());
    failed = 1;
  }
  gpu->op->destroy(gpu);
  cpu->op->destroy(cpu);
  return failed;
}

/* Runs each test in a process of its own: after one fault of a kernel, CUDA refuses all that the
 * process asks for. `computes` has a bit for each sb_compute. Returns what main is to return: 0, 1,
 * or 77 ("skipped") where no device is. */
static inline int gpu_run(const struct CMUnitTest *tests, size_t count, unsigned computes) {
  int result = 0;
  for (int compute = 0; compute < 2; compute++)
    for (size_t i = 0; i < count && (computes & 1u << compute); i++) {
      fflush(stdout);
      const pid_t child = fork();
      if (child < 0) return 1;
      if (child == 0) exit(gpu_run_one(&tests[i], (sb_compute)compute));
      int status;
      if (waitpid(child, &status, 0) != child) return 1;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 77) return 77;
      if (WIFSIGNALED(status)) printf("%s: killed by signal %d\n", tests[i].name, WTERMSIG(status));
      if (status != 0) result = 1;
    }
  return result;
}
enum { GPU_F32 = 1u << SB_COMPUTE_F32, GPU_BF16 = 1u << SB_COMPUTE_BF16 };
#define GPU_RUN(tests, computes) gpu_run((tests), sizeof(tests) / sizeof *(tests), (computes))

#endif

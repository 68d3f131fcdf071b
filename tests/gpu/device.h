/* Shared by tests of the device: the device, or the report that it is missing, and copies of host
 * memory on it. */
#ifndef SB_TESTS_GPU_DEVICE_H
#define SB_TESTS_GPU_DEVICE_H

#include <stdio.h>

#include "base/dtype.h"
#include "kernels/cuda/cuda_device.h"
#include "tests/kernels/check.h"

/* The backend under test. gpu_open returns what main is to return where there is none (77 tells
 * ctest "skipped"), or 0. */
static sb_backend *gpu;

static inline int gpu_open(sb_compute compute) {
  if (sb_cuda_create(compute, 0, "this machine", &gpu) == SB_OK) return 0;
  printf("skipped: %s\n", sb_message());
  return 77;
}

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

#endif

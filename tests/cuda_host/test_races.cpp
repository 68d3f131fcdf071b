/* races.cpp finds the races that are planted here, and none where they are mended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cuda_runtime.h>

#include "kernels/cuda/warp.cuh"

extern "C" {
#include <cmocka.h>
}

enum { THREADS = 64 };

struct plan {
  bool mended;
  float *out;
  unsigned *count;
};

/* What another warp left in shared memory. */
static void other_warp(plan p) {
  __shared__ float room[THREADS];
  room[threadIdx.x] = (float)threadIdx.x;
  if (p.mended) __syncthreads();
  p.out[threadIdx.x] = room[THREADS - 1 - threadIdx.x];
}

/* What another lane left: the shuffle makes it wait, but orders no memory. */
static void other_lane(plan p) {
  float *room = (float *)sb_shared_bytes();
  room[threadIdx.x] = 1.0f;
  const float got = sb_warp_xor(1.0f, 1);
  if (p.mended) sb_warp_sync();
  p.out[threadIdx.x] = room[threadIdx.x ^ 1] + got;
}

/* One byte each of the same word is no race, one byte of two threads is. */
static void bytes(plan p) {
  ((uint8_t *)p.out)[p.mended ? threadIdx.x : threadIdx.x / 2] = (uint8_t)threadIdx.x;
}

/* Room that is used again while others still read it. */
static void used_again(plan p) {
  float *room = (float *)sb_shared_bytes();
  for (int round = 0; round < 2; round++) {
    room[threadIdx.x] = (float)round;
    __syncthreads();
    p.out[threadIdx.x] = room[THREADS - 1 - threadIdx.x];
    if (p.mended) __syncthreads();
  }
}

/* A matrix load of what the other warp wrote. */
static void matrix(plan p) {
  uint32_t *room = (uint32_t *)sb_shared_bytes(), got[4];
  for (int i = 0; i < 4; i++) room[4 * (THREADS - 1 - threadIdx.x) + (unsigned)i] = threadIdx.x;
  if (p.mended) __syncthreads();
  sb_load_matrix4(got, room + 4 * threadIdx.x);
  p.out[threadIdx.x] = (float)got[0];
}

/* An asynchronous copy into room that others still read. */
static void copied(plan p) {
  float *room = (float *)sb_shared_bytes();
  for (int i = 0; i < 4; i++) room[4 * threadIdx.x + (unsigned)i] = 1.0f;
  __syncthreads();
  const float before = room[4 * (THREADS - 1 - threadIdx.x)];
  if (p.mended) __syncthreads();
  sb_copy16(room + 4 * threadIdx.x, p.out + 4 * threadIdx.x, 16);
  sb_copy_commit();
  sb_copy_wait<0>();
  __syncthreads();
  p.out[256 + threadIdx.x] = before + room[4 * threadIdx.x];
}

/* Two blocks at one place. */
static void two_blocks(plan p) {
  p.out[(p.mended ? blockIdx.x * THREADS : 0) + threadIdx.x] = 1.0f;
}

/* The last block adds up what all left, having fenced or not. */
static void last_block(plan p) {
  __shared__ bool last;
  p.out[blockIdx.x * THREADS + threadIdx.x] = 1.0f;
  if (p.mended) __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(p.count, 1u) + 1 == gridDim.x;
  __syncthreads();
  if (!last) return;
  __threadfence();
  p.out[2 * THREADS + threadIdx.x] = p.out[threadIdx.x] + p.out[THREADS + threadIdx.x];
}

struct plant {
  const char *name;
  void (*kernel)(plan);
};
static const plant plants[] = {{"other warp", other_warp}, {"other lane", other_lane},
                               {"bytes", bytes},           {"used again", used_again},
                               {"matrix", matrix},         {"copied", copied},
                               {"two blocks", two_blocks}, {"last block", last_block}};

static void run(const plant &p, bool mended) {
  plan plan_dev = {mended, NULL, NULL};
  cudaStream_t stream;
  cudaLaunchConfig_t config = {};
  if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess ||
      cudaMalloc((void **)&plan_dev.out, 512 * sizeof(float)) != cudaSuccess ||
      cudaMalloc((void **)&plan_dev.count, sizeof(unsigned)) != cudaSuccess ||
      cudaMemsetAsync(plan_dev.out, 0, 512 * sizeof(float), stream) != cudaSuccess ||
      cudaMemsetAsync(plan_dev.count, 0, sizeof(unsigned), stream) != cudaSuccess)
    _exit(2);
  config.gridDim = 2;
  if (p.kernel != two_blocks && p.kernel != last_block) config.gridDim = 1;
  config.blockDim = THREADS;
  config.dynamicSmemBytes = 4096;
  config.stream = stream;
  if (cudaLaunchKernelEx(&config, p.kernel, plan_dev) != cudaSuccess) _exit(2);
  _exit(cudaStreamSynchronize(stream) == cudaSuccess ? 0 : 2);
}

/* What a child that runs it says on stderr; *status as waitpid leaves it. */
static void in_a_child(const plant &p, bool mended, char *said, size_t room, int *status) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    dup2(ends[1], 2);
    run(p, mended);
  }
  close(ends[1]);
  size_t got = 0;
  for (ssize_t n; (n = read(ends[0], said + got, room - 1 - got)) > 0;) got += (size_t)n;
  said[got] = '\0';
  close(ends[0]);
  assert_int_equal(waitpid(child, status, 0), child);
}

static void finds_races(void **state) {
  (void)state;
  for (const plant &p : plants) {
    char said[1024];
    int status;
    in_a_child(p, false, said, sizeof said, &status);
    if (!WIFSIGNALED(status) || !strstr(said, "race: "))
      fail_msg("%s: no race found (%s)", p.name, said);
  }
}

static void finds_none(void **state) {
  (void)state;
  for (const plant &p : plants) {
    char said[1024];
    int status;
    in_a_child(p, true, said, sizeof said, &status);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      fail_msg("%s: a race where there is none (%s)", p.name, said);
  }
}

int main() {
  const CMUnitTest tests[] = {cmocka_unit_test(finds_races), cmocka_unit_test(finds_none)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

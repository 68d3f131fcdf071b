/* The hardware beyond C++: exchanges inside a warp, tensor cores, matrix loads and asynchronous
 * copies. No other file has intrinsics and PTX.
 *
 * tests/cuda_host/include/kernels/cuda/warp.cuh has the same functions for processors. Both files
 * must change together.
 *
 * All 32 threads of a warp must call the functions of the "warp" sections at once. Blocks are whole
 * warps. */
#ifndef SB_KERNELS_CUDA_WARP_CUH
#define SB_KERNELS_CUDA_WARP_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

/* ---- bits ---- */
__device__ __forceinline__ float sb_bits_float(uint32_t bits) {
  return __uint_as_float(bits);
}
__device__ __forceinline__ uint32_t sb_float_bits(float x) {
  return __float_as_uint(x);
}
/* bf16 to nearest, ties to even. */
__device__ __forceinline__ uint16_t sb_bf16_bits(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
/* A pair of bf16 numbers, `low` in the low half: an operand of sb_mma_bf16. */
__device__ __forceinline__ uint32_t sb_bf16_pair(float low, float high) {
  return (uint32_t)sb_bf16_bits(low) | (uint32_t)sb_bf16_bits(high) << 16;
}

/* Keeps what follows from x where it is used: compilers would compute it ahead of a loop, and run
 * out of registers. */
__device__ __forceinline__ void sb_keep(uint32_t &x) {
  asm volatile("" : "+r"(x));
}

/* a + b of two pairs, each sum rounded to bf16. */
__device__ __forceinline__ uint32_t sb_bf16_add(uint32_t a, uint32_t b) {
  __nv_bfloat162 x, y;
  memcpy(&x, &a, sizeof x);
  memcpy(&y, &b, sizeof y);
  x = __hadd2(x, y);
  memcpy(&a, &x, sizeof a);
  return a;
}

/* ---- shared memory ---- */
/* The block's dynamic shared memory, 128-byte aligned. */
__device__ __forceinline__ unsigned char *sb_shared_bytes() {
  extern __shared__ __align__(128) unsigned char sb_dynamic_shared[];
  return sb_dynamic_shared;
}

/* ---- warp: exchanges ---- */
/* One store of 16 bytes to device memory, where compilers may make several of an assignment. `to`
 * is a multiple of 16. */
__device__ __forceinline__ void sb_store_vector(void *to, uint4 x) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
               "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}

__device__ __forceinline__ void sb_warp_sync() {
  __syncwarp();
}
/* get: the value of lane `lane`. xor: the value of lane (own ^ mask). T is float, double, int,
 * unsigned, long long or unsigned long long. */
template <typename T> __device__ __forceinline__ T sb_warp_get(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
template <typename T> __device__ __forceinline__ T sb_warp_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
/* Bit i is `yes` of lane i. */
__device__ __forceinline__ unsigned sb_warp_ballot(bool yes) {
  return __ballot_sync(0xffffffffu, yes);
}

/* ---- warp: tensor cores ----
 *
 * Each lane holds a part of every matrix. With g = lane / 4 and t = lane % 4:
 *
 *   A [16 x 16], row-major, four registers of pairs
 *     a[0] = A[g    ][2t,     2t + 1]
 *     a[1] = A[g + 8][2t,     2t + 1]
 *     a[2] = A[g    ][2t + 8, 2t + 9]
 *     a[3] = A[g + 8][2t + 8, 2t + 9]
 *
 *   B [16 x 8], k x n, two registers of pairs
 *     b[0] = B[2t,     2t + 1][g]
 *     b[1] = B[2t + 8, 2t + 9][g]
 *
 *   C [16 x 8], four floats
 *     c[0], c[1] = C[g    ][2t], C[g    ][2t + 1]
 *     c[2], c[3] = C[g + 8][2t], C[g + 8][2t + 1]
 *
 * A pair is two neighbours in one register, the first in the low half. */

/* C += A B in f32, A and B bf16. */
__device__ __forceinline__ void sb_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* C += A B in f32, A and B fp16. */
__device__ __forceinline__ void sb_mma_f16(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Load four 8 x 8 matrices M_0 .. M_3 of 16-bit numbers from shared memory. `row` of lane i is the
 * 16-byte aligned address of row i % 8 of matrix i / 8. With g = i / 4 and t = i % 4, lane i gets
 * from matrix m the pair
 *
 *   sb_load_matrix4             out[m] = M_m[g][2t, 2t + 1]
 *   sb_load_matrix4_transposed  out[m] = M_m[2t, 2t + 1][g]
 *
 * These are the registers of A above for M_0 = A[0 .. 7][0 .. 7], M_1 = A[8 .. 15][0 .. 7],
 * M_2 = A[0 .. 7][8 .. 15], M_3 = A[8 .. 15][8 .. 15]. */
__device__ __forceinline__ void sb_load_matrix4(uint32_t out[4], const void *row) {
  uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void sb_load_matrix4_transposed(uint32_t out[4], const void *row) {
  uint32_t address = (uint32_t)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}

/* ---- asynchronous copies, of one thread ---- */
/* Starts a copy of 16 bytes from global to shared memory, both 16-byte aligned. It copies the first
 * `valid` bytes and writes zeros after them. */
__device__ __forceinline__ void sb_copy16(void *shared, const void *global, unsigned valid) {
  uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
               "r"(valid)
               : "memory");
}
/* Closes the group of copies begun since the last call. */
__device__ __forceinline__ void sb_copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Waits until at most `Left` of this thread's groups are under way. Other threads see the data
 * after __syncthreads. */
template <int Left> __device__ __forceinline__ void sb_copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

#endif

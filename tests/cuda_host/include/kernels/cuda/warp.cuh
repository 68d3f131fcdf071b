/* kernels/cuda/warp.cuh for a processor: the same functions, with the hardware's layouts (PTX ISA:
 * mma.m16n8k16, ldmatrix). */
#ifndef SB_KERNELS_CUDA_WARP_CUH
#define SB_KERNELS_CUDA_WARP_CUH

#include <cuda_runtime.h>

#include "tests/cuda_host/fibers.h"

static inline float sb_bits_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
static inline uint32_t sb_float_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
static inline uint16_t sb_bf16_bits(float x) {
  uint32_t bits = sb_float_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
static inline uint32_t sb_bf16_pair(float low, float high) {
  return (uint32_t)sb_bf16_bits(low) | (uint32_t)sb_bf16_bits(high) << 16;
}

static inline void sb_keep(uint32_t &) {}

static inline uint32_t sb_bf16_add(uint32_t a, uint32_t b) {
  return sb_bf16_pair(sb_bits_float(a << 16) + sb_bits_float(b << 16),
                      sb_bits_float(a & 0xffff0000u) + sb_bits_float(b & 0xffff0000u));
}

static inline unsigned char *sb_shared_bytes() {
  return sb_host_shared;
}

static inline void sb_store_vector(void *to, uint4 x) {
  *(uint4 *)to = x;
}

static inline void sb_warp_sync() {
  sb_host_warp_sync(SB_HOST_SYNC);
}
template <typename T> static inline T sb_warp_get(T value, int lane) {
  memcpy(sb_host_slot(sb_host_lane()), &value, sizeof value);
  sb_host_warp_sync(SB_HOST_SHUFFLE);
  memcpy(&value, sb_host_read(lane & 31), sizeof value);
  return value;
}
template <typename T> static inline T sb_warp_xor(T value, int mask) {
  return sb_warp_get(value, sb_host_lane() ^ mask);
}
static inline unsigned sb_warp_ballot(bool yes) {
  *(unsigned char *)sb_host_slot(sb_host_lane()) = yes;
  sb_host_warp_sync(SB_HOST_BALLOT);
  unsigned votes = 0;
  for (int lane = 0; lane < 32; lane++)
    votes |= (unsigned)*(const unsigned char *)sb_host_read(lane) << lane;
  return votes;
}

static inline float sb_host_half(uint32_t pair, int which, bool brain) {
  uint32_t bits = which ? pair >> 16 : pair & 0xffffu;
  return brain ? sb_bits_float(bits << 16) : sb_host_fp16((uint16_t)bits);
}

/* Sums over k in order, then adds c: the hardware promises no order. */
static inline void sb_host_mma(float c[4], const uint32_t a[4], const uint32_t b[2], bool brain) {
  const int lane = sb_host_lane(), g = lane / 4, t = lane % 4;
  uint32_t *own = (uint32_t *)sb_host_slot(lane);
  memcpy(own, a, 16);
  memcpy(own + 4, b, 8);
  sb_host_warp_sync(brain ? SB_HOST_MMA_BF16 : SB_HOST_MMA_F16);
  for (int i = 0; i < 4; i++) {
    const int row = g + (i >= 2 ? 8 : 0), col = 2 * t + i % 2;
    float sum = 0.0f;
    for (int k = 0; k < 16; k++) {
      const uint32_t *at_a = (const uint32_t *)sb_host_read(row % 8 * 4 + k % 8 / 2);
      const uint32_t *at_b = (const uint32_t *)sb_host_read(col * 4 + k % 8 / 2) + 4;
      sum += sb_host_half(at_a[(row >= 8) + 2 * (k >= 8)], k % 2, brain) *
             sb_host_half(at_b[k >= 8], k % 2, brain);
    }
    c[i] += sum;
  }
}
static inline void sb_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  sb_host_mma(c, a, b, true);
}
static inline void sb_mma_f16(float c[4], const uint32_t a[4], const uint32_t b[2]) {
  sb_host_mma(c, a, b, false);
}

static inline void sb_host_load_matrix4(uint32_t out[4], const void *row, bool transposed) {
  const int lane = sb_host_lane(), high = lane / 4, low = lane % 4;
  if ((uintptr_t)row % 16 != 0) sb_host_die("ldmatrix from an address that is not 16-byte aligned");
  sb_host_races_read(row, 16);
  memcpy(sb_host_slot(lane), row, 16);
  sb_host_warp_sync(transposed ? SB_HOST_LOAD_TRANSPOSED : SB_HOST_LOAD);
  for (int m = 0; m < 4; m++) {
    uint16_t pair[2];
    for (int i = 0; i < 2; i++)
      pair[i] = transposed ? ((const uint16_t *)sb_host_read(m * 8 + 2 * low + i))[high]
                           : ((const uint16_t *)sb_host_read(m * 8 + high))[2 * low + i];
    out[m] = (uint32_t)pair[0] | (uint32_t)pair[1] << 16;
  }
}
static inline void sb_load_matrix4(uint32_t out[4], const void *row) {
  sb_host_load_matrix4(out, row, false);
}
static inline void sb_load_matrix4_transposed(uint32_t out[4], const void *row) {
  sb_host_load_matrix4(out, row, true);
}

static inline void sb_copy16(void *shared, const void *global, unsigned valid) {
  sb_host_copy16(shared, global, valid);
}
static inline void sb_copy_commit() {
  sb_host_copy_commit();
}
template <int Left> static inline void sb_copy_wait() {
  sb_host_copy_wait(Left);
}

#endif

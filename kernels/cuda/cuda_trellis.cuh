/* Packed trellis codes on the device (shared/trellis.h, shared/blockrow_layout.h): where the parts
 * of a block lie, and the states of neighbouring weights. Nothing is assumed about alignment. */
#ifndef SB_KERNELS_CUDA_CUDA_TRELLIS_CUH
#define SB_KERNELS_CUDA_CUDA_TRELLIS_CUH

#include "kernels/cuda/number.cuh"

extern "C" {
#include "kernels/shared/blockrow_layout.h"
#include "kernels/shared/tiling.h"
#include "kernels/shared/trellis.h"
}

/* Weights that are decoded together: their codes are whole bytes. */
constexpr int TRELLIS_EACH = 8;

/* Number i of a vector of fp16 numbers. */
__device__ __forceinline__ uint16_t packed_half(const uint8_t *at, size_t i) {
  return (uint16_t)(at[2 * i] | at[2 * i + 1] << 8);
}

/* Bytes of the codes of a block. */
__device__ __forceinline__ size_t trellis_code_bytes(const sb_trellis &t, size_t rows,
                                                     size_t cols) {
  return sb_trellis_tiles(&t, rows, cols) * sb_trellis_tile_bytes(&t);
}

/* The states of the weights 8 o .. 8 o + 7 of a tile. */
__device__ __forceinline__ void trellis_states(uint32_t (&state)[TRELLIS_EACH], const sb_trellis &t,
                                               const uint8_t *tile, unsigned o) {
  if (t.exl3) {
#pragma unroll
    for (unsigned i = 0; i < TRELLIS_EACH; i++)
      state[i] = sb_trellis_state(&t, tile, TRELLIS_EACH * o + i);
    return;
  }
  /* K bytes with the eight codes, and two with the codes that follow */
  const unsigned width = t.width, bytes = SB_TRELLIS_TILE_BYTES_A_BIT * width, first = width * o;
  uint64_t low = 0, high = 0;
#pragma unroll
  for (unsigned i = 0; i < SB_MAX_BITS + 2; i++) {
    if (i >= width + 2) break;
    const unsigned at = first + i < bytes ? first + i : first + i - bytes;
    if (i < 8)
      low |= (uint64_t)tile[at] << 8 * i;
    else
      high |= (uint64_t)tile[at] << 8 * (i - 8);
  }
  const uint32_t mask = (1u << t.state_bits) - 1u;
#pragma unroll
  for (unsigned i = 0; i < TRELLIS_EACH; i++) {
    state[i] = (uint32_t)low & mask;
    low = low >> width | high << (64 - width);
    high >>= width;
  }
}

#endif

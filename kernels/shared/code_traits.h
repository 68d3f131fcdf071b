/* What a kind of codes has: questions that take the place of comparisons of kinds, for C and CUDA
 * C++. Pure, O(1). */
#ifndef SB_KERNELS_SHARED_CODE_TRAITS_H
#define SB_KERNELS_SHARED_CODE_TRAITS_H

#include <stdbool.h>

#include "base/device.h"
#include "kernels/shared/grid_types.h"

enum { SB_GRID_LEVELS = 4 }; /* ways to lay levels: asymmetric, symmetric, signed, by width */

/* The widest groups that are symmetric on grids by width: few levels lie best at both sides of 0
 * alike, more leave no weight for a level at 0 (docs/measurements/grids.md). */
enum { SB_HALF_STEP_BITS = 2 };

/* The numbers that scale a group or a row. */
typedef enum sb_scale_type {
  SB_SCALES_FP16, /* 11 significant bits */
  SB_SCALES_BF16, /* fp16 with 8 significant bits, as many as bf16 has */
  SB_SCALES_6BIT, /* fp16 with 5 significant bits, stored in 6 bits without a sign; bases are fp16
                   */
  SB_SCALE_TYPES
} sb_scale_type;

/* True for grids, false for trellises. */
SB_HOST_DEVICE static inline bool sb_is_grid(sb_code_kind kind) {
  return kind < SB_TRELLIS_12;
}

/* How a grid lays its levels: SB_GRID_ASYMMETRIC, _SYMMETRIC, _SIGNED or _BY_WIDTH. A trellis is
 * returned as it is. */
SB_HOST_DEVICE static inline sb_code_kind sb_grid_levels(sb_code_kind kind) {
  return sb_is_grid(kind) ? (sb_code_kind)((int)kind % SB_GRID_LEVELS) : kind;
}
/* The type of the scales of a kind; fp16 for trellises. */
SB_HOST_DEVICE static inline sb_scale_type sb_scales_of(sb_code_kind kind) {
  return sb_is_grid(kind) ? (sb_scale_type)((int)kind / SB_GRID_LEVELS) : SB_SCALES_FP16;
}
/* True where there is a kind with the levels of `grid` and scales of `type`. */
SB_HOST_DEVICE static inline bool sb_grid_may_have_scales(sb_code_kind grid, sb_scale_type type) {
  return !sb_is_grid(grid) || type != SB_SCALES_6BIT || sb_grid_levels(grid) < SB_GRID_SIGNED;
}
/* That kind, if there is one. A trellis is returned as it is. */
SB_HOST_DEVICE static inline sb_code_kind sb_grid_with_scales(sb_code_kind grid,
                                                              sb_scale_type type) {
  return sb_is_grid(grid) ? (sb_code_kind)((int)grid % SB_GRID_LEVELS + SB_GRID_LEVELS * (int)type)
                          : grid;
}

/* How groups of `bits` bits lay their levels: one of the first three. */
SB_HOST_DEVICE static inline sb_code_kind sb_grid_levels_at(sb_code_kind kind, unsigned bits) {
  const sb_code_kind levels = sb_grid_levels(kind);
  if (levels != SB_GRID_BY_WIDTH) return levels;
  return bits <= SB_HALF_STEP_BITS ? SB_GRID_SYMMETRIC : SB_GRID_SIGNED;
}

/* Groups of `bits` bits have a zero point each. */
SB_HOST_DEVICE static inline bool sb_has_zero_point(sb_code_kind kind, unsigned bits) {
  return sb_grid_levels_at(kind, bits) == SB_GRID_ASYMMETRIC && bits > 1;
}
/* Groups of 1 bit take their scale from the range of their weights, not from means. */
SB_HOST_DEVICE static inline bool sb_one_bit_has_range(sb_code_kind kind) {
  return sb_grid_levels_at(kind, 1) == SB_GRID_SIGNED;
}
/* Groups of `bits` bits have a base each. */
SB_HOST_DEVICE static inline bool sb_has_base(sb_code_kind kind, unsigned bits) {
  return sb_grid_levels_at(kind, bits) == SB_GRID_ASYMMETRIC && bits == 1;
}
/* The center of groups without zero points, in steps from the lowest level. */
SB_HOST_DEVICE static inline float sb_grid_middle(sb_code_kind kind, unsigned bits) {
  return sb_grid_levels_at(kind, bits) == SB_GRID_SIGNED ? (float)(1u << (bits - 1u))
                                                         : 0.5f * (float)((1u << bits) - 1u);
}
/* Centers of all groups of `bits` bits are whole numbers. */
SB_HOST_DEVICE static inline bool sb_has_whole_center(sb_code_kind kind, unsigned bits) {
  return sb_has_zero_point(kind, bits) || sb_grid_levels_at(kind, bits) == SB_GRID_SIGNED;
}

/* Significant bits of scales and of bases, the leading one among them. */
SB_HOST_DEVICE static inline unsigned sb_scale_significant_bits(sb_code_kind kind) {
  const sb_scale_type type = sb_scales_of(kind);
  return type == SB_SCALES_BF16 ? 8u : type == SB_SCALES_6BIT ? 5u : 11u;
}
SB_HOST_DEVICE static inline unsigned sb_base_significant_bits(sb_code_kind kind) {
  return sb_scales_of(kind) == SB_SCALES_BF16 ? 8u : 11u;
}
/* Bits that the scale of a group takes in a block row: 16, or 6 beside an anchor of the block. */
SB_HOST_DEVICE static inline unsigned sb_grid_scale_bits(sb_code_kind kind) {
  return sb_scales_of(kind) == SB_SCALES_6BIT ? 6u : 16u;
}

#endif

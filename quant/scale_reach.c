#include "quant/scale_reach.h"

#include <string.h>

#include "base/log.h"
#include "kernels/shared/trellis.h"
#include "mpi/large.h"
#include "quant/scale_numbers.h"

/* The largest scale of a kind. */
static double largest_scale(sb_code_kind code_kind) {
  return (double)sb_grid_limit(sb_scale_significant_bits(code_kind));
}

double sb_scale_reach(unsigned bits, sb_code_kind code_kind) {
  const double limit = largest_scale(code_kind);
  const double levels = (1u << bits) - 1;
  if (sb_is_trellis(code_kind)) return limit;
  switch (sb_grid_levels_at(code_kind, bits)) {
  case SB_GRID_SYMMETRIC:
    return limit * levels / 2;
  case SB_GRID_SIGNED: /* the side with fewer levels */
    return limit * (levels - 1) / 2;
  default:
    return limit * levels;
  }
}

/* ---- before the work: the largest weight ---- */

/* What a rank has seen. */
typedef struct largest {
  double least;    /* weights beyond are counted */
  uint64_t beyond; /* weights */
  float magnitude; /* of the largest weight */
  size_t tensor;   /* which has it, the first of several, */
  size_t row, col; /* and where, the first place */
} largest;

static float magnitude_of(const void *values, sb_dtype dtype, size_t i) {
  float value;
  const size_t size = sb_dtype_size(dtype);
  sb_to_f32(&value, (const char *)values + i * size, dtype, 1);
  return value < 0 ? -value : value;
}

/* The largest magnitude of a run of weights. Magnitudes of all types are ordered as their bits. */
static float most_of(const void *values, sb_dtype dtype, size_t count) {
  uint32_t most = 0;
  float out;
  if (dtype == SB_F32) {
#pragma omp simd reduction(max : most)
    for (size_t i = 0; i < count; i++) {
      const uint32_t magnitude = sb_element32(values, i) & 0x7fffffffu;
      most = magnitude > most ? magnitude : most;
    }
    memcpy(&out, &most, sizeof out);
    return out;
  }
  uint16_t most16 = 0;
#pragma omp simd reduction(max : most16)
  for (size_t i = 0; i < count; i++) {
    const uint16_t magnitude = sb_element16(values, i) & 0x7fffu;
    most16 = magnitude > most16 ? magnitude : most16;
  }
  return magnitude_of(&most16, dtype, 0);
}

static sb_status see_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                          void *data) {
  largest *found = context;
  size_t first, rows;
  if (!sb_model_place_matrix(m, place)) return SB_OK;
  sb_place_rows(m, place, unit, &first, &rows);
  const size_t cols = m->arch.tensors[place->tensor].cols, count = rows * cols;
  const sb_dtype dtype = m->dtypes[place->tensor];
  const float most = most_of(data, dtype, count);
  if (!((double)most > found->least)) return SB_OK;
  for (size_t i = 0; i < count; i++) {
    const float w = magnitude_of(data, dtype, i);
    found->beyond += (double)w > found->least;
    if (!(w > found->magnitude)) continue;
    found->magnitude = w;
    found->tensor = place->tensor;
    found->row = first + i / cols;
    found->col = i % cols;
  }
  return SB_OK;
}

/* *found = that of all ranks: the largest weight of the first tensor that has one. A rank's rows of
 * a tensor lie before those of the next rank. */
static sb_status agree_on_largest(const sb_world *world, largest *found) {
  uint32_t bits;
  memcpy(&bits, &found->magnitude, sizeof bits);
  const uint64_t mine = (uint64_t)bits << 32 | (UINT32_MAX - (uint32_t)found->tensor);
  uint64_t most = mine;
  SB_TRY(sb_mpi_sum_u64(&found->beyond, 1, world->comm));
  const uint64_t beyond = found->beyond;
  SB_TRY(sb_mpi_max_u64(&most, 1, world->comm));
  uint64_t first = mine == most ? (uint64_t)(world->size - world->rank) : 0;
  SB_TRY(sb_mpi_max_u64(&first, 1, world->comm));
  SB_TRY(sb_mpi_bcast(found, sizeof *found, world->size - (int)first, world->comm));
  found->beyond = beyond;
  return SB_OK;
}

sb_status sb_scale_reach_check(sb_model *m, unsigned min_bits, unsigned max_bits) {
  const sb_code_kind code_kind = m->blocking.code_kind;
  largest found = {.least = sb_scale_reach(min_bits < 2 ? 2 : min_bits, code_kind)};
  SB_TRY(sb_model_visit_owned(m, see_unit, &found)); /* its visitor does not fail */
  SB_TRY(agree_on_largest(m->world, &found));
  if (found.beyond == 0) return SB_OK;
  const char *name = m->arch.tensors[found.tensor].name;
  const double most = sb_scale_reach(max_bits < 2 ? 2 : max_bits, code_kind);
  if ((double)found.magnitude > most)
    return sb_fail(SB_ERR_NUMERIC,
                   "%s[%zu, %zu] has a magnitude of %.3g; fp16 scales reach %.3g at %u bits, so it "
                   "would be cut off; %s",
                   name, found.row, found.col, (double)found.magnitude, most, max_bits,
                   max_bits < 8 ? "raise --max-bits" : "check the weights, or scale them down");
  unsigned bits = 2;
  while (sb_scale_reach(bits, code_kind) < (double)found.magnitude) bits++;
  sb_log_line(
      "warning: %s[%zu, %zu] has a magnitude of %.3g (weights beyond %.3g: %llu); fp16 scales "
      "reach it from %u bits on, fewer cut it off (--min-bits %u keeps it)",
      name, found.row, found.col, (double)found.magnitude, found.least,
      (unsigned long long)found.beyond, bits, bits);
  return SB_OK;
}

/* ---- behind the work: scales at their limit ---- */

typedef struct cuts {
  uint64_t scales;
  size_t tensor; /* the first that has some */
} cuts;

static void see_scale(void *context, size_t index, const sb_scale_number *number) {
  cuts *c = context;
  (void)index;
  c->scales += fabs(sb_scale_number_value(number)) == largest_scale(number->code_kind);
}

static sb_status see_row(void *context, sb_model *m, const sb_place *place, size_t unit,
                         void *data) {
  cuts *c = context;
  const uint64_t before = c->scales;
  sb_scale_numbers_visit(m, (sb_trained){.tables = {true, true}}, place, unit, data, see_scale, c);
  if (c->scales > before && place->tensor < c->tensor) c->tensor = place->tensor;
  return SB_OK;
}

sb_status sb_scale_reach_count_cuts(sb_model *m, uint64_t *scales) {
  cuts c = {.tensor = m->arch.count};
  SB_TRY(sb_model_visit_owned(m, see_row, &c)); /* its visitor does not fail */
  uint64_t last = m->arch.count - c.tensor;     /* the first tensor is the largest one here */
  SB_TRY(sb_mpi_sum_u64(&c.scales, 1, m->world->comm));
  SB_TRY(sb_mpi_max_u64(&last, 1, m->world->comm));
  *scales = c.scales;
  if (c.scales > 0)
    sb_log_line(
        sb_is_trellis(m->blocking.code_kind)
            ? "warning: scales and factors of rows beyond fp16's 65504: %llu, the first in %s; "
              "their weights were cut off, check them"
            : "warning: groups whose scale is beyond fp16's 65504: %llu, the first in %s; their "
              "largest weights were cut off, give more bits (--min-bits) or check them",
        (unsigned long long)c.scales, m->arch.tensors[m->arch.count - last].name);
  return SB_OK;
}

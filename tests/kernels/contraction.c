#include "tests/kernels/contraction.h"

#include <string.h>

#include "kernels/shared/exact_add.h"
#include "kernels/shared/lowprec_code.h"
#include "kernels/shared/refine.h"
#include "tests/support/random.h"

static void put(uint32_t *out, size_t *n, float x) {
  if (*n < CONTRACTION_NUMBERS) memcpy(out + (*n)++, &x, sizeof x);
}

static void put_grid(uint32_t *out, size_t *n, const sb_grid *grid) {
  put(out, n, grid->scale);
  put(out, n, grid->center);
  put(out, n, grid->base);
}

/* A number coded and decoded under every way to scale. */
static void put_lowprec(uint32_t *out, size_t *n, float x, float amax, float tensor_amax) {
  static const sb_scale_rule scales[] = {SB_SCALE_F32, SB_SCALE_POWER_DOWN, SB_SCALE_UP,
                                         SB_SCALE_E4M3};
  for (int i = 0; i < 4; i++) {
    const sb_lowprec_rule rule = {
        .element = SB_ELEMENT_E2M1, .scale = scales[i], .tile_rows = 1, .tile_cols = 16};
    const sb_lowprec_scale tensor = sb_lowprec_tensor_scale(&rule, sb_magnitude(tensor_amax));
    const sb_lowprec_scale block =
        sb_lowprec_block_scale(&rule, sb_magnitude(amax), tensor, i % 2 ? 1.5f : 1.0f);
    const float v = x * block.encode;
    put(out, n, sb_element_nearest(rule.element, v) * block.decode * tensor.decode);
    put(out, n, sb_element_stochastic(rule.element, v, sb_magnitude(x) << 9));
  }
}

/* CONTRACTION_NAME is the function's name, from the build. */
void CONTRACTION_NAME(uint32_t *out) {
  uint64_t s = 7;
  size_t n = 0;
  while (n < CONTRACTION_NUMBERS) {
    const float size = ldexpf(1.0f, (int)(mix(s++) % 40) - 20);
    const sb_group_range range = {.low = -size * fabsf(uniform(&s)),
                                  .high = size * fabsf(uniform(&s)),
                                  .mean = sb_grid_fp16(size * uniform(&s)),
                                  .spread = size * fabsf(uniform(&s)),
                                  .mean_magnitude = size * fabsf(uniform(&s))};
    const unsigned bits = 1 + (unsigned)(mix(s++) % 8), fit = (unsigned)(mix(s++) % SB_FITS);
    for (int code_kind = 0; code_kind < SB_TRELLIS_12; code_kind++) {
      const sb_grid grid = sb_grid_fitted(&range, bits, (sb_code_kind)code_kind, fit);
      const float w = size * uniform(&s), code = sb_grid_code(&grid, w);
      const float step = sb_refine_step((double)uniform(&s), (double)uniform(&s));
      put_grid(out, &n, &grid);
      put(out, &n, code);
      put(out, &n, sb_grid_value(&grid, code));
      put(out, &n, sb_refine_scale(&grid, size * step, (sb_code_kind)code_kind));
      put(out, &n, sb_refine_base(&grid, size * step, (sb_code_kind)code_kind));
    }
    /* the scale alone: a product that nothing else needs is fused soonest */
    put(out, &n, sb_grid_fitted(&range, 3, SB_GRID_ASYMMETRIC, (fit + 1) % SB_FITS).scale);
    put_lowprec(out, &n, size * uniform(&s), size, size * 100.0f);
    int64_t sum[2] = {(int64_t)(mix(s) >> 8), (int64_t)(mix(s + 1) >> 20)};
    s += 2;
    (void)sb_exact_add_float(sum, uniform(&s), ldexp(1.0, (int)(mix(s++) % 50)));
    put(out, &n, (float)sum[0]);
    put(out, &n, (float)sum[1]);
  }
}

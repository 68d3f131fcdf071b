#include "cli/lowprec_options.h"

static const char *const switch_names[] = {[SB_OFF] = "off", [SB_ON] = "on", NULL};
static const char *const mxfp4_names[] = {"floor", "ceil", "even", "up", NULL};
static const char *const dy_names[] = {[SB_LOWPREC_DY_USUAL] = "usual",
                                       [SB_LOWPREC_DY_E4M3] = "e4m3",
                                       [SB_LOWPREC_DY_E5M2] = "e5m2",
                                       NULL};

size_t sb_rounding_options(sb_rounding_request *r, const char *section, sb_option *table) {
  const sb_option options[] = {
      {.name = "stochastic",
       SB_OPTION_ENUM(r->stochastic, switch_names),
       .given = &r->given.stochastic,
       .section = section,
       .help = "Round output gradients in fp4 stochastically."},
      {.name = "hadamard",
       SB_OPTION_ENUM(r->hadamard, switch_names),
       .given = &r->given.hadamard,
       .section = section,
       .help = "nvfp4: rotate both operands of the weight gradient."},
      {.name = "two-scales",
       SB_OPTION_ENUM(r->two_scales, switch_names),
       .given = &r->given.two_scales,
       .section = section,
       .help = "nvfp4: try two scales for each block and keep the one that errs less."},
      {.name = "mxfp4-scale",
       SB_OPTION_ENUM(r->mxfp4_scale, mxfp4_names),
       .given = &r->given.mxfp4_scale,
       .section = section,
       .help = "mxfp4: rule of the scale; floor is that of the OCP specification."},
      {.name = "f32-scales",
       SB_OPTION_ENUM(r->f32_scales, switch_names),
       .given = &r->given.f32_scales,
       .section = section,
       .help = "fp8-128: scales as they are, not rounded down to powers of two."},
      {.name = "fp8-dy",
       SB_OPTION_ENUM(r->fp8_dy, dy_names),
       .given = &r->given.fp8_dy,
       .section = section,
       .help = "Type of output gradients in fp8; usual: e5m2 for fp8-tensor, else e4m3."},
  };
  _Static_assert(sizeof options / sizeof *options == SB_ROUNDING_OPTIONS, "as the header says");
  for (size_t i = 0; i < SB_ROUNDING_OPTIONS; i++) table[i] = options[i];
  return SB_ROUNDING_OPTIONS;
}

sb_status sb_rounding_check(const sb_rounding_request *r, const char *command, unsigned formats) {
  enum {
    NVFP4 = 1 << SB_PRECISION_NVFP4,
    MXFP4 = 1 << SB_PRECISION_MXFP4,
    FP4 = NVFP4 | MXFP4 | 1 << SB_PRECISION_FP4_128,
    FP8_128 = 1 << SB_PRECISION_FP8_128,
    FP8 = FP8_128 | 1 << SB_PRECISION_FP8_TENSOR | 1 << SB_PRECISION_MXFP8
  };
  const struct {
    bool given;
    unsigned formats;
    const char *name, *of;
  } options[] = {{r->given.stochastic, FP4, "stochastic", "formats of 4 bits"},
                 {r->given.hadamard, NVFP4, "hadamard", "nvfp4"},
                 {r->given.two_scales, NVFP4, "two-scales", "nvfp4"},
                 {r->given.mxfp4_scale, MXFP4, "mxfp4-scale", "mxfp4"},
                 {r->given.f32_scales, FP8_128, "f32-scales", "fp8-128"},
                 {r->given.fp8_dy, FP8, "fp8-dy", "formats of 8 bits"}};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    if (options[i].given && !(options[i].formats & formats))
      return sb_fail(SB_ERR_USAGE, "%s: --%s is of %s, and nothing is to run in such; leave it out",
                     command, options[i].name, options[i].of);
  return SB_OK;
}

void sb_rounding_key(const sb_rounding_request *r, bool emulated, sb_key *key) {
  const struct {
    const char *name, *meaning, *value;
  } entries[] = {{"stochastic", "--stochastic", switch_names[r->stochastic]},
                 {"hadamard", "--hadamard", switch_names[r->hadamard]},
                 {"two_scales", "--two-scales", switch_names[r->two_scales]},
                 {"mxfp4_scale", "--mxfp4-scale", mxfp4_names[r->mxfp4_scale]},
                 {"f32_scales", "--f32-scales", switch_names[r->f32_scales]},
                 {"fp8_dy", "--fp8-dy", dy_names[r->fp8_dy]}};
  for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
    sb_key_add(key, entries[i].name, entries[i].meaning, "%s",
               emulated ? entries[i].value : SB_KEY_NONE);
}

sb_lowprec_options sb_rounding_settle(const sb_rounding_request *r) {
  sb_lowprec_options o = sb_lowprec_options_default();
  o.stochastic = r->stochastic == SB_ON;
  o.nvfp4_hadamard = r->hadamard == SB_ON;
  o.nvfp4_two_scales = r->two_scales == SB_ON;
  o.fp8_128_f32_scales = r->f32_scales == SB_ON;
  o.mxfp4_scale = (sb_scale_rule)(SB_SCALE_FLOOR + (int)r->mxfp4_scale);
  o.fp8_dy = r->fp8_dy;
  return o;
}

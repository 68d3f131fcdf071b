#include "kernels/lowprec.h"

#include <string.h>

const char *const sb_precision_names[SB_PRECISION_COUNT + 1] = {
    "bf16", "fp8-tensor", "fp8-128", "mxfp8", "mxfp4", "nvfp4", "fp4-128", NULL};
const char *const sb_gemm_kind_names[SB_GEMM_KINDS + 1] = {"fprop", "dgrad", "wgrad", NULL};

bool sb_precision_parse(const char *name, sb_precision *out) {
  if (strcmp(name, "f32") == 0 || strcmp(name, "high") == 0) name = "bf16";
  for (int i = 0; i < SB_PRECISION_COUNT; i++)
    if (strcmp(name, sb_precision_names[i]) == 0) {
      *out = (sb_precision)i;
      return true;
    }
  return false;
}

unsigned sb_precision_bits(sb_precision precision) {
  if (precision == SB_PRECISION_HIGH) return 16;
  return precision < SB_PRECISION_MXFP4 ? 8 : 4;
}

sb_lowprec_options sb_lowprec_options_default(void) {
  const sb_lowprec_options options = {
      .stochastic = true, .mxfp4_scale = SB_SCALE_FLOOR, .nvfp4_hadamard = true};
  return options;
}

/* Blocks of a run of `length` elements along the summed dimension, or `square` ones for W. */
static void set_tile(sb_lowprec_rule *rule, sb_lowprec_operand operand, sb_gemm_kind gemm,
                     uint32_t length, bool square) {
  /* Rows are summed over in both operands of wgrad (tokens) and in W for dgrad (outputs). */
  const bool along_rows = gemm == SB_WGRAD || (gemm == SB_DGRAD && operand == SB_LOWPREC_W);
  const bool both = square && operand == SB_LOWPREC_W;
  rule->tile_rows = along_rows || both ? length : 1;
  rule->tile_cols = !along_rows || both ? length : 1;
}

sb_lowprec_rule sb_lowprec_rule_of(sb_precision precision, sb_lowprec_operand operand,
                                   sb_gemm_kind gemm, const sb_lowprec_options *options) {
  sb_lowprec_rule rule = {.element = SB_ELEMENT_NONE};
  const bool dy = operand == SB_LOWPREC_DY, fp4 = sb_precision_bits(precision) == 4;
  if (precision == SB_PRECISION_HIGH) return rule;
  rule.element = fp4 ? SB_ELEMENT_E2M1 : SB_ELEMENT_E4M3;
  if (dy && !fp4 &&
      (options->fp8_dy == SB_LOWPREC_DY_E5M2 ||
       (options->fp8_dy == SB_LOWPREC_DY_USUAL && precision == SB_PRECISION_FP8_TENSOR)))
    rule.element = SB_ELEMENT_E5M2;
  rule.stochastic = dy && (fp4 ? options->stochastic : options->stochastic_fp8);
  switch (precision) {
  case SB_PRECISION_FP8_TENSOR:
    rule.scale = SB_SCALE_F32;
    break;
  case SB_PRECISION_FP8_128:
    rule.scale = options->fp8_128_f32_scales ? SB_SCALE_F32 : SB_SCALE_POWER_DOWN;
    set_tile(&rule, operand, gemm, 128, true);
    break;
  case SB_PRECISION_MXFP8:
    rule.scale = SB_SCALE_UP;
    set_tile(&rule, operand, gemm, 32, false);
    break;
  case SB_PRECISION_MXFP4:
    rule.scale = options->mxfp4_scale;
    set_tile(&rule, operand, gemm, 32, false);
    break;
  case SB_PRECISION_NVFP4:
    rule.scale = SB_SCALE_E4M3;
    rule.two_scales = options->nvfp4_two_scales;
    rule.hadamard = options->nvfp4_hadamard && gemm == SB_WGRAD;
    set_tile(&rule, operand, gemm, 16, true);
    break;
  default: /* SB_PRECISION_FP4_128 */
    rule.scale = SB_SCALE_F32;
    set_tile(&rule, operand, gemm, 128, true);
  }
  return rule;
}

bool sb_lowprec_rules_equal(const sb_lowprec_rule *a, const sb_lowprec_rule *b) {
  return a->element == b->element && a->scale == b->scale && a->tile_rows == b->tile_rows &&
         a->tile_cols == b->tile_cols && a->stochastic == b->stochastic &&
         a->hadamard == b->hadamard && a->two_scales == b->two_scales;
}

bool sb_lowprec_fits_bf16(const sb_lowprec_rule *rule) {
  return rule->element != SB_ELEMENT_NONE && (rule->scale != SB_SCALE_F32 || rule->tile_rows == 0);
}

/* Megatron-LM's per-module precision file. */
#include <string.h>

#include "policy/export_rules.h"

/* The recipe of a precision. A module without one runs in BF16; both overrides make it hold
 * whatever the command line has around it. */
static const char *const recipes[SB_PRECISION_COUNT] = {
    [SB_PRECISION_FP8_TENSOR] = "fp8_quantization_recipe: tensorwise\n      fp8_format: hybrid\n",
    [SB_PRECISION_FP8_128] = "fp8_quantization_recipe: blockwise\n      fp8_format: e4m3\n",
    [SB_PRECISION_MXFP8] = "fp8_quantization_recipe: mxfp8\n      fp8_format: e4m3\n",
    [SB_PRECISION_NVFP4] = "fp4_quantization_recipe: nvfp4\n"};

static void put_config(FILE *to, sb_precision precision) {
  fprintf(to, "  %s:\n    transformer_engine_config_type: TEQuantizationParams\n",
          sb_precision_names[precision]);
  if (precision == SB_PRECISION_HIGH)
    fputs("    training_recipe: {}\n", to);
  else
    fprintf(to,
            "    training_recipe:\n      %s      override_quantized_autocast: true\n"
            "      override_nonquantized_autocast: true\n",
            recipes[precision] ? recipes[precision] : "");
}

/* Whether a linear before i is of the same module. */
static bool is_repeated(const sb_policy *policy, size_t i) {
  const sb_linear *l = policy->model.linears;
  for (size_t k = i; k-- > 0 && l[k].layer == l[i].layer;)
    if (strcmp(sb_export_name_of(&l[k])->megatron, sb_export_name_of(&l[i])->megatron) == 0)
      return true;
  return false;
}

void sb_export_megatron(FILE *to, const sb_policy *policy, size_t first, size_t end, size_t stage) {
  fprintf(to,
          SB_EXPORT_STAGE_MARK
          "%zu: layers %zu to %zu of the model, numbered from 0 here.\n"
          "# Written by shardbits policy; for --te-precision-config-file of that stage's ranks.\n"
          "configs:\n",
          stage, first, end - 1);
  bool in[SB_PRECISION_COUNT] = {[SB_PRECISION_HIGH] = true};
  for (size_t i = 0; i < policy->model.count; i++)
    if (policy->model.linears[i].layer >= first && policy->model.linears[i].layer < end)
      in[policy->choices[i].gemm[0]] = true;
  for (int p = 0; p < SB_PRECISION_COUNT; p++)
    if (in[p]) put_config(to, (sb_precision)p);
  fputs("matchers:\n", to);
  for (size_t i = 0; i < policy->model.count; i++) {
    const sb_linear *l = &policy->model.linears[i];
    if (l->layer < first || l->layer >= end || is_repeated(policy, i)) continue;
    const char *module = sb_export_name_of(l)->megatron, *dot = strrchr(module, '.');
    fprintf(to,
            "  layer%zu_%s:\n    type: glob\n    pattern: \"*layers.%zu.%s\"\n    config: %s\n"
            "    enabled: true\n",
            l->layer - first, dot + 1, l->layer - first, module,
            sb_precision_names[policy->choices[i].gemm[0]]);
  }
  /* what is no linear of a layer stays in BF16 */
  fputs("  rest:\n    type: glob\n    pattern: \"*\"\n    config: bf16\n    enabled: true\n", to);
}

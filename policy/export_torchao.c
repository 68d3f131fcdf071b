/* torchao: a Python module that swaps the linears of a model of transformers. */
#include "policy/export_rules.h"

static const char head[] =
    "\"\"\"Precisions of linear layers for torchao, written by shardbits policy.\n"
    "\n"
    "    model = AutoModelForCausalLM.from_pretrained(...)\n"
    "    convert(model)\n"
    "\n"
    "swaps the torch.nn.Linear modules that LINEARS names. Those in bf16 stay as they are.\n"
    "\"\"\"\n"
    "\n";

static const char tail[] =
    "\n"
    "\n"
    "def _named(wanted):\n"
    "    \"\"\"A filter for torchao: modules that have these precisions.\"\"\"\n"
    "    return lambda module, name: LINEARS.get(name) == wanted\n"
    "\n"
    "\n"
    "def float8_config(gemms):\n"
    "    \"\"\"Tensorwise float8, with the GEMMs in bf16 switched off.\"\"\"\n"
    "    from torchao.float8.config import CastConfig, Float8LinearConfig, ScalingType\n"
    "\n"
    "    def cast(gemm):\n"
    "        kind = ScalingType.DISABLED if gemms[gemm] == \"bf16\" else ScalingType.DYNAMIC\n"
    "        return CastConfig(scaling_type=kind)\n"
    "\n"
    "    return Float8LinearConfig(\n"
    "        cast_config_input=cast(0),\n"
    "        cast_config_weight=cast(0),\n"
    "        cast_config_grad_output=cast(1),\n"
    "        cast_config_weight_for_grad_input=cast(1),\n"
    "        cast_config_input_for_grad_weight=cast(2),\n"
    "        cast_config_grad_output_for_grad_weight=cast(2),\n"
    "    )\n"
    "\n"
    "\n"
    "def _mxfp8(linear, wgrad_high):\n"
    "    from torchao.prototype.moe_training.mxfp8_linear import MXFP8Linear\n"
    "\n"
    "    new = MXFP8Linear(\n"
    "        linear.in_features,\n"
    "        linear.out_features,\n"
    "        bias=linear.bias is not None,\n"
    "        device=\"meta\",\n"
    "        wgrad_with_hp=wgrad_high,\n"
    "    )\n"
    "    new.weight, new.bias = linear.weight, linear.bias\n"
    "    return new\n"
    "\n"
    "\n"
    "def convert(model):\n"
    "    \"\"\"Swaps the linears of `model`, in place; returns it.\"\"\"\n"
    "    missing = set(LINEARS) - {name for name, _ in model.named_modules()}\n"
    "    if missing:\n"
    "        raise ValueError(f\"the model has no {sorted(missing)[0]}: another model's policy\")\n"
    "    for gemms in sorted(set(LINEARS.values())):\n"
    "        low = set(gemms) - {\"bf16\"}\n"
    "        if low == {\"fp8-tensor\"}:\n"
    "            from torchao.float8 import convert_to_float8_training\n"
    "\n"
    "            convert_to_float8_training(\n"
    "                model, module_filter_fn=_named(gemms), config=float8_config(gemms)\n"
    "            )\n"
    "        elif low == {\"fp8-128\"}:\n"
    "            from torchao.prototype.blockwise_fp8_training.linear import "
    "Float8BlockwiseLinearConfig\n"
    "            from torchao.quantization import quantize_\n"
    "\n"
    "            quantize_(model, Float8BlockwiseLinearConfig(), filter_fn=_named(gemms))\n"
    "        elif low == {\"mxfp8\"}:\n"
    "            from torchao.float8.float8_linear_utils import swap_linear_layers\n"
    "\n"
    "            wgrad_high = gemms[2] == \"bf16\"\n"
    "            swap_linear_layers(\n"
    "                model, lambda linear: _mxfp8(linear, wgrad_high), "
    "module_filter_fn=_named(gemms)\n"
    "            )\n"
    "        elif low == {\"nvfp4\"}:\n"
    "            from torchao.prototype.moe_training.nvfp4_training.nvfp4_training import (\n"
    "                NVFP4TrainingConfig,\n"
    "            )\n"
    "            from torchao.quantization import quantize_\n"
    "\n"
    "            quantize_(model, NVFP4TrainingConfig(), filter_fn=_named(gemms))\n"
    "    return model\n";

/* Whole linears have any precision; else the low one is fp8-tensor, or mxfp8 with wgrad high. */
sb_status sb_export_check_torchao(const sb_policy *policy) {
  for (size_t i = 0; i < policy->model.count; i++) {
    const sb_policy_choice *choice = &policy->choices[i];
    const sb_precision *p = choice->gemm;
    bool tensor = true;
    for (int g = 0; g < SB_GEMM_KINDS; g++)
      tensor = tensor && (p[g] == SB_PRECISION_HIGH || p[g] == SB_PRECISION_FP8_TENSOR);
    const bool wgrad = p[SB_FPROP] == SB_PRECISION_MXFP8 && p[SB_DGRAD] == SB_PRECISION_MXFP8 &&
                       p[SB_WGRAD] == SB_PRECISION_HIGH;
    if (!tensor && !wgrad && !sb_policy_choice_is_uniform(choice))
      return sb_fail(
          SB_ERR_UNSUPPORTED,
          "%s: torchao has no linear with %s, %s and %s for its GEMMs; choose --by linear",
          policy->model.linears[i].name, sb_precision_names[p[SB_FPROP]],
          sb_precision_names[p[SB_DGRAD]], sb_precision_names[p[SB_WGRAD]]);
  }
  return SB_OK;
}

void sb_export_torchao(FILE *to, const sb_policy *policy) {
  fputs(head, to);
  sb_export_put_table(to, policy);
  fputs(tail, to);
}

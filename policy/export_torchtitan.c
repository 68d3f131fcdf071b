/* torchtitan: lists of module names for its quantization converters. */
#include "policy/export_rules.h"

static const char head[] =
    "\"\"\"Precisions of linear layers for torchtitan, written by shardbits policy.\n"
    "\n"
    "Pass converters() as the quantization converters of the model's configuration. Names are "
    "those of\n"
    "torchtitan's Llama. NVFP4 and MXFP8 take the modules whose names contain an entry, and all "
    "where\n"
    "the list is empty, so an empty list makes no converter. Float8 leaves out what contains an "
    "entry.\n"
    "\"\"\"\n"
    "\n";

static const char tail[] =
    "\n"
    "\n"
    "def converters():\n"
    "    \"\"\"Configurations of the converters that the policy needs.\"\"\"\n"
    "    found = []\n"
    "    if NVFP4:\n"
    "        from torchtitan.components.quantization.nvfp4 import NVFP4LinearConverter\n"
    "\n"
    "        found.append(NVFP4LinearConverter.Config(fqns=NVFP4))\n"
    "    if MXFP8:\n"
    "        from torchtitan.components.quantization.mxfp8.converter import MXFP8LinearConverter\n"
    "\n"
    "        found.append(MXFP8LinearConverter.Config(fqns=MXFP8))\n"
    "    if FLOAT8:\n"
    "        from torchtitan.components.quantization.float8 import Float8LinearConverter\n"
    "\n"
    "        found.append(\n"
    "            Float8LinearConverter.Config(recipe_name=\"tensorwise\", "
    "filter_fqns=FLOAT8_FILTER)\n"
    "        )\n"
    "    return found\n";

static void put_name(FILE *to, const sb_linear *l) {
  fprintf(to, "    \"layers.%zu.%s\",\n", l->layer, sb_export_name_of(l)->torchtitan);
}

/* The linears of a precision, or with `others` those of any other one and what is outside. */
static void put_list(FILE *to, const char *name, const sb_policy *policy, sb_precision precision,
                     bool others) {
  fprintf(to, "%s = [\n", name);
  for (size_t i = 0; i < policy->model.count; i++)
    if ((policy->choices[i].gemm[0] == precision) != others)
      put_name(to, &policy->model.linears[i]);
  if (others) fputs("    \"output\",\n    \"lm_head\",\n", to);
  fputs("]\n", to);
}

void sb_export_torchtitan(FILE *to, const sb_policy *policy) {
  fputs(head, to);
  put_list(to, "NVFP4", policy, SB_PRECISION_NVFP4, false);
  put_list(to, "MXFP8", policy, SB_PRECISION_MXFP8, false);
  put_list(to, "FLOAT8", policy, SB_PRECISION_FP8_TENSOR, false);
  put_list(to, "FLOAT8_FILTER", policy, SB_PRECISION_FP8_TENSOR, true);
  fputs(tail, to);
}

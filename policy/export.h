/* A policy for other trainers. Each format says what it can carry; a policy that it cannot is
 * refused with the first linear at fault and the way out. The schemas were read in the projects'
 * own sources (docs/snip.md names versions); tools/check_policy_export.py holds the files to them,
 * and to the real parsers where they are installed. Local.
 *
 *   json        this project's own file alone
 *   megatron    Megatron-LM --te-precision-config-file, one per pipeline stage, whose layer numbers
 *               are local to it. Fused modules: q, k, v share a precision, and gate and up. Whole
 *               linears
 *   te          TransformerEngine CustomRecipe: a Python module with a quantizer factory. Any GEMM
 *   torchao     a Python module that converts the linears of a model of transformers. fp8-tensor by
 *               GEMM, mxfp8 with or without wgrad, others whole
 *   torchtitan  a Python module with the converters' lists of module names. Whole linears; one
 *               8-bit precision and nvfp4
 *
 *              fp8-tensor  fp8-128    mxfp8  nvfp4  mxfp4, fp4-128
 *   megatron   tensorwise  blockwise  mxfp8  nvfp4  -
 *   te         current     block      mxfp8  nvfp4  -
 *   torchao    tensorwise  blockwise  mxfp8  nvfp4  -
 *   torchtitan tensorwise  -          mxfp8  nvfp4  -
 *
 * Sizes of linears are multiples of 16 in fp8-tensor and TransformerEngine's nvfp4, of 32 in mxfp8,
 * and of 128 in fp8-128 and PyTorch's nvfp4. */
#ifndef SB_POLICY_EXPORT_H
#define SB_POLICY_EXPORT_H

#include "policy/policy_file.h"
#include "policy/stages.h"

typedef enum sb_export {
  SB_EXPORT_JSON,
  SB_EXPORT_MEGATRON,
  SB_EXPORT_TE,
  SB_EXPORT_TORCHAO,
  SB_EXPORT_TORCHTITAN
} sb_export;
extern const char *const sb_export_names[]; /* NULL behind the last */

/* Whether a format can carry a policy: SB_ERR_UNSUPPORTED, naming the linear and the way out;
 * SB_ERR_FORMAT for names that are none of modules. O(linears x linears of a layer). */
sb_status sb_export_check_policy(sb_export format, const sb_policy *policy);
/* Writes the files of a format beside `out`, the name of the policy's file, without its ".json":
 * OUT.stageN.yaml, OUT_te.py, OUT_torchao.py, OUT_torchtitan.py. The log says which. Files appear
 * complete or not at all; those of stages that an earlier policy of this name had, and this one has
 * not, are removed. Errors as sb_export_check_policy, and SB_ERR_IO. */
sb_status sb_export_write(sb_export format, const sb_policy *policy, const sb_stages *stages,
                          const char *out);

#endif

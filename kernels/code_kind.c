#include "kernels/code_kind.h"

#include <stddef.h>
#include <string.h>

const char *const sb_code_kind_names[SB_CODE_KINDS + 1] = {
    [SB_GRID_ASYMMETRIC] = "grid",
    [SB_GRID_SYMMETRIC] = "symmetric-grid",
    [SB_GRID_SIGNED] = "signed-grid",
    [SB_GRID_BY_WIDTH] = "by-width-grid",
    [SB_GRID_ASYMMETRIC_BF16] = "grid-bf16",
    [SB_GRID_SYMMETRIC_BF16] = "symmetric-grid-bf16",
    [SB_GRID_SIGNED_BF16] = "signed-grid-bf16",
    [SB_GRID_BY_WIDTH_BF16] = "by-width-grid-bf16",
    [SB_GRID_ASYMMETRIC_6BIT] = "grid-6bit",
    [SB_GRID_SYMMETRIC_6BIT] = "symmetric-grid-6bit",
    [SB_TRELLIS_12] = "trellis-12",
    [SB_TRELLIS_14] = "trellis-14",
    [SB_TRELLIS_16] = "trellis-16",
    [SB_TRELLIS_EXL3] = "exl3",
    [SB_CODE_KINDS] = NULL};

bool sb_code_kind_find(const char *name, sb_code_kind *out) {
  for (int kind = 0; kind < SB_CODE_KINDS; kind++)
    if (strcmp(name, sb_code_kind_names[kind]) == 0) {
      *out = (sb_code_kind)kind;
      return true;
    }
  return false;
}

/* Names of the kinds of codes, as manifests, reports and messages have them. */
#ifndef SB_KERNELS_CODE_KIND_H
#define SB_KERNELS_CODE_KIND_H

#include <stdbool.h>

#include "kernels/shared/grid_types.h"

/* By kind: "grid", "symmetric-grid", "signed-grid", "by-width-grid", the same with "-bf16",
 * "grid-6bit", "symmetric-grid-6bit", "trellis-12", "trellis-14", "trellis-16", "exl3"; NULL behind
 * the last. */
extern const char *const sb_code_kind_names[];
/* *out = the kind of a name; false where no kind has it. Pure. */
bool sb_code_kind_find(const char *name, sb_code_kind *out);

#endif

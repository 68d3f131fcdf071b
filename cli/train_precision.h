/* The precisions that `train` gives the GEMMs of linear layers, from its command line. */
#ifndef SB_CLI_TRAIN_PRECISION_H
#define SB_CLI_TRAIN_PRECISION_H

#include <stdbool.h>

#include "base/status.h"
#include "cli/train_request.h"
#include "io/key.h"
#include "model/arch.h"
#include "model/precision_map.h"
#include "train/run.h"

typedef struct sb_train_precisions {
  sb_precision_map map;
  bool low;               /* any GEMM is not high */
  char name[SB_KEY_TEXT]; /* "high", "nvfp4", or "policy" and a hash of the map: for keys */
  sb_flop_shares shares;
} sb_train_precisions;

/* *out = the map that --precision or --policy, --keep-first and --keep-last make for this model.
 * SB_ERR_FORMAT for a policy of another model, SB_ERR_UNSUPPORTED for a matrix whose shape cannot
 * carry its precision, by layer, name and the multiple that is needed. Local, equal on all ranks.
 * Release with sb_precision_map_free. */
sb_status sb_train_precisions_make(const sb_train_request *request, const sb_arch *arch,
                                   sb_train_precisions *out);
/* Sets name, `low` and shares to what the map has now: after it was changed. Local. */
void sb_train_precisions_settle(const sb_arch *arch, sb_train_precisions *precisions);

#endif

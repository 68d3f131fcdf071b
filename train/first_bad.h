/* Where a step that had no number had none first: its weights, its forward part or its backward
 * part, by layer and GEMM. For the message of a run that failed; it takes the step again. */
#ifndef SB_TRAIN_FIRST_BAD_H
#define SB_TRAIN_FIRST_BAD_H

#include "base/status.h"
#include "pass/pass.h"
#include "train/shares.h"

/* After a pass over the batch at hand has failed with SB_ERR_NUMERIC, and the store's groups are
 * given back: goes through the batch once more, forward and then backward, and looks at every input
 * of a matrix, every gradient of an output and every gradient of weights. "First" is in the order
 * of the computation, and among sequences the one that comes first: equal on any number of ranks.
 * Gradients of `limit` or more count as well.
 *
 * The GEMM is the last one before the values that are bad: `fprop`, whose outputs made them,
 * `dgrad`, `wgrad`; what lies between two GEMMs (norms, soft-max, SwiGLU, the residual stream)
 * counts with the one before. Returns SB_ERR_NUMERIC with a message that begins with the name of
 * the tensor; where this time nothing is bad, `status` with the message as it was. Collective.
 * Memory: the largest of these values on the host. */
sb_status sb_first_bad(const sb_shares *shares, sb_backend *backend, sb_pass *pass, double limit,
                       sb_status status);

#endif

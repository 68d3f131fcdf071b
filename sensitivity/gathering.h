/* The measure of an order of channels: the share of the sensitivity that lies in few blocks. */
#ifndef SB_SENSITIVITY_GATHERING_H
#define SB_SENSITIVITY_GATHERING_H

#include "base/status.h"
#include "base/ticker.h"
#include "pass/pass.h"
#include "pass/sequences.h"

/* blocks[k] = the sensitivity of block k while all blocks have `width` bits (below 8): the mean
 * over sequences of the squared first-order change of the loss for one bit more
 * (sensitivity/scores.h). `blocks` has model->blocks entries, equal on all ranks. All bits are
 * `width` afterwards. Collective. One gradient pass; messages: 8 bytes per block. */
sb_status sb_gathering_measure(sb_model *model, sb_backend *backend,
                               const sb_sequences *calibration, unsigned width,
                               size_t activation_bytes, sb_ticker ticker, double *blocks);

/* *share = the part of the sensitivity of a role's blocks, in all layers, that lies in the most
 * sensitive `part` of them (at least one block). SB_ROLE_COUNT: of the blocks of all matrices. 0
 * where all sensitivities are 0. Local. O(n log n). */
sb_status sb_gathering_share(const sb_model *model, const double *blocks, sb_role role, double part,
                             double *share);

#endif

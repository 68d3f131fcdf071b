/* A row of a table of losses: the expected cost of a block at every width. */
#ifndef SB_SENSITIVITY_LOSSES_H
#define SB_SENSITIVITY_LOSSES_H

#include "kernels/backend.h"

/* losses[b]: the expected rise of the loss, in nats per token, when the block has b bits. 0,
 * without meaning, at widths that the table does not have. */
typedef double sb_losses[SB_WIDTHS];

#endif

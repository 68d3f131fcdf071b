/* The listener to what the tables of the vocabulary do, embedding and LM head: from it come the
 * statistics by which their rounding is weighed (quant/table_stats.h). */
#ifndef SB_PASS_TABLE_HOOKS_H
#define SB_PASS_TABLE_HOOKS_H

#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"

/* Called on the way back, for one sequence of T tokens at a time, with gradients of the mean loss
 * of that sequence. All is device memory that the next call overwrites: queue on `stream` what
 * reads it. Local. */
typedef struct sb_table_hooks {
  void *context;
  /* The LM head's rows [first_row, first_row + rows): `states`, operands [T, hidden], which are the
   * head's input, and dlogits f32 [T, rows]. The last token has no target: its dlogits are 0. All
   * sequences of a wave for one chunk of rows, then for the next; a sequence's states are the same
   * for all chunks. */
  sb_status (*head)(void *context, sb_stream stream, size_t first_row, size_t rows,
                    const void *states, const float *dlogits);
  /* dx [T, hidden], activations: the gradient at the embedding's output. */
  sb_status (*embedding)(void *context, sb_stream stream, const void *dx);
} sb_table_hooks;

#endif

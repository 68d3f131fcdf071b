/* The listener to what the tables of the vocabulary do, embedding and LM head: from it come the
 * statistics by which their rounding is weighed (quant/table_stats.h), and the gradients of their
 * scales (quant/scale_gradients.h). */
#ifndef SB_PASS_TABLE_HOOKS_H
#define SB_PASS_TABLE_HOOKS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"

/* The LM head's rows [first_row, first_row + rows), as a sequence uses them. The last token has no
 * target: its dlogits are 0. A sequence's states are the same for all chunks of rows. */
typedef struct sb_head_use {
  size_t first_row, rows, tokens; /* tokens: T */
  const void *weights;            /* operands [rows, hidden] */
  const void *states;             /* operands [T, hidden], the head's input */
  const float *dlogits;           /* [T, rows] */
} sb_head_use;

/* The embedding, as a sequence uses it. */
typedef struct sb_embedding_use {
  size_t count;           /* T */
  const uint32_t *tokens; /* [T], in host memory */
  const float *x;         /* [T, hidden] its output: the rows of the tokens */
  const float *dx;        /* [T, hidden] the gradient there */
} sb_embedding_use;

/* Called on the way back, for one sequence of T tokens at a time, with gradients of the mean loss
 * of that sequence. All but tokens is device memory that the next call overwrites: queue on
 * `stream` what reads it. Local. */
typedef struct sb_table_hooks {
  void *context;
  /* All sequences of a wave for one chunk of rows, then for the next. */
  sb_status (*head)(void *context, sb_stream stream, const sb_head_use *use);
  sb_status (*embedding)(void *context, sb_stream stream, const sb_embedding_use *use);
} sb_table_hooks;

#endif

/* The embedding: x[t] = the row of token t, chunk by chunk of the vocabulary. */
#ifndef SB_PASS_EMBEDDING_H
#define SB_PASS_EMBEDDING_H

#include "base/status.h"
#include "pass/parameter_hook.h"
#include "pass/vocabulary.h"

/* x [room, T, hidden], activations: the rows of the tokens of the wave at hand. Collective. */
sb_status sb_embedding_forward(sb_vocab *vocab, void *x);

/* The other use of a tied table: g_dev f32 [chunk->count, hidden] = the gradient of sequence s with
 * respect to the chunk's rows as rows of the LM head. Local. */
typedef struct sb_embedding_head {
  void *context;
  sb_status (*gradient)(void *context, const sb_vocab_chunk *chunk, size_t s, float *g_dev);
  bool needs_rows; /* the chunk's rows_dev */
} sb_embedding_head;

/* Tells the hook the gradient of the table, chunk by chunk, for each sequence of the wave at hand,
 * from dx [room, T, hidden], the gradient at its output. The gradient of a tied table is the sum of
 * both uses; where the head needs rows, they are gathered once more. Otherwise nothing is gathered.
 * Of a table that is not tied, `head` is not called. `vocab` has room for gradients. Collective. */
sb_status sb_embedding_backward(sb_vocab *vocab, void *dx, const sb_parameter_hook *hook,
                                const sb_embedding_head *head);

#endif

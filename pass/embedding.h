/* The embedding: x[t] = the row of token t, chunk by chunk of the vocabulary. */
#ifndef SB_PASS_EMBEDDING_H
#define SB_PASS_EMBEDDING_H

#include "base/status.h"
#include "pass/vocabulary.h"

/* x [room, T, hidden], activations: the rows of the tokens of the wave at hand. Collective. */
sb_status sb_embedding_forward(sb_vocab *vocab, void *x);

#endif

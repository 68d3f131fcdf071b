/* A loss of a sequence's predictions, as the LM head drives it. The logits come one chunk of the
 * vocabulary at a time, never as a whole: first on the way forward, then again on the way back.
 *
 *   begin                                       forget the wave before
 *   chunk_forward   per chunk and sequence      see the logits
 *   end                                         each sequence's loss
 *   chunk_backward  per chunk and sequence      logits become their own gradient
 *
 * Every loss also reports the negative log-likelihood of the tokens, which users want to see
 * whatever is minimised. Implementations: pass/loss_tokens.h, pass/loss_divergence.h. A new loss is
 * a new table; head and pass stay unchanged.
 *
 * All functions are local and queue on the wave's stream; `end` waits. `s` counts the sequences of
 * the wave at hand; logits are f32 [T, chunk->count] on the device. */
#ifndef SB_PASS_LOSS_H
#define SB_PASS_LOSS_H

#include <stddef.h>

#include "base/status.h"
#include "pass/vocabulary.h"

/* Means over the T - 1 predicted tokens of a sequence, nats. */
typedef struct sb_sequence_loss {
  double loss; /* the one that backward passes differentiate */
  double nll;  /* negative log-likelihood of the tokens */
} sb_sequence_loss;

typedef struct sb_loss_ops {
  sb_status (*begin)(void *state);
  sb_status (*chunk_forward)(void *state, const sb_vocab_chunk *chunk, size_t s,
                             const float *logits);
  /* out [count of the wave]. */
  sb_status (*end)(void *state, sb_sequence_loss *out);
  /* In place: logits become the gradient of the sequence's loss with respect to them; rows without
   * a target become 0. Any time between `end` and the next `begin`. */
  sb_status (*chunk_backward)(void *state, const sb_vocab_chunk *chunk, size_t s, float *logits);
} sb_loss_ops;

typedef struct sb_loss {
  const sb_loss_ops *op;
  void *state;
} sb_loss;

#endif

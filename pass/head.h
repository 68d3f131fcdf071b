/* The end of the model: final norm, LM head and loss. Chunks of the vocabulary go through the
 * device one at a time (pass/vocabulary.h). The loss sees each chunk's logits (pass/loss.h); no
 * other part of the pass does. */
#ifndef SB_PASS_HEAD_H
#define SB_PASS_HEAD_H

#include "base/status.h"
#include "pass/loss.h"
#include "pass/parameter_hook.h"
#include "pass/table_hooks.h"
#include "pass/vocabulary.h"

typedef enum sb_head_kept { SB_HEAD_NOTHING, SB_HEAD_LOGITS, SB_HEAD_GRADIENTS } sb_head_kept;

typedef struct sb_head {
  sb_vocab *vocab;
  sb_wave *wave;
  void *states_dev;      /* [room, T, hidden] after the final norm: operands */
  void *state_grads_dev; /* [room, T, hidden] dL/d(states), activations; NULL without gradients */
  float *norm_gradient_dev; /* [hidden] of one sequence; NULL without gradients */
  float *rstd_dev;          /* [room, T] of the final norm */
  float *norm_dev;          /* [hidden] its weights, */
  void *source_norm_dev;    /* in the source's type */
  float *logits_dev;        /* [T, largest chunk] */
  /* [room, chunks, T, rows of the chunk] where logits are kept from the way forward, or NULL */
  float *kept_logits_dev;
  sb_head_kept kept; /* what kept_logits_dev has of the wave at hand */
} sb_head;

/* `vocab`, which has room for the head, and its wave outlive it. `keep_logits`: T x vocabulary
 * floats per sequence (pass/kept_states.h), so that none are computed twice. sb_head_free also
 * releases the memory of a failed call. Local. */
sb_status sb_head_allocate(sb_head *head, sb_vocab *vocab, bool gradients, bool keep_logits);
void sb_head_free(sb_head *head);
/* Bytes that sb_head_allocate takes, without kept logits: all but the logits; the logits. */
size_t sb_head_bytes(const sb_wave_sizes *wave, bool gradients);
size_t sb_head_logits_bytes(const sb_wave_sizes *wave);

/* states = final norm of x [room, T, hidden]. Collective. */
sb_status sb_head_norm(sb_head *head, void *x);
/* After sb_head_norm: each sequence's loss, out [count]. Collective. */
sb_status sb_head_forward(sb_head *head, sb_loss loss, sb_sequence_loss *out);
/* After sb_head_forward of the same wave with the same loss: dx [room, T, hidden] = dL/dx of each
 * sequence's loss, with x as sb_head_norm had it. Tells the hook the gradients of the final norm
 * and, unless it is tied to the embedding, of the LM head, chunk by chunk; and `tables`, unless
 * NULL, the gradients of logits. Collective. */
sb_status sb_head_backward(sb_head *head, sb_loss loss, void *dx, void *x,
                           const sb_parameter_hook *hook, const sb_table_hooks *tables);
/* After sb_head_backward: g_dev f32 [chunk->count, hidden] = the gradient of sequence s with
 * respect to the chunk's rows. Local. */
sb_status sb_head_chunk_gradient(sb_head *head, sb_loss loss, const sb_vocab_chunk *chunk, size_t s,
                                 float *g_dev);
/* True where sb_head_chunk_gradient needs no rows: of the chunk, `tensor`, `first` and `count`
 * suffice. Local, equal on all ranks. */
static inline bool sb_head_has_gradients(const sb_head *head) {
  return head->kept == SB_HEAD_GRADIENTS;
}
/* Logits of sequence s of the wave into host memory [T, vocab]; for s >= count
 * nothing. For tests. Collective. */
sb_status sb_head_logits(sb_head *head, size_t s, float *out);

#endif

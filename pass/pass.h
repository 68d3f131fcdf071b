/* One pass of sequences through a distributed model, layer by layer: the loss, and the gradients of
 * the decoder layers' matrices.
 *
 * Sequences are dealt to ranks in turn: sequence s belongs to rank s mod ranks. A rank takes its
 * sequences through a layer one after another, so what is computed for a sequence does not depend
 * on the others, nor on the number of ranks. Each layer's parameters are gathered once a wave; a
 * *wave* is as many of a rank's sequences as the activation memory carries (forward only: one
 * layer's input each; with gradients: the inputs of all layers). On a device that has less room it
 * is fewer, and at the least one, whose inputs the host keeps; the numbers are the same.
 *
 * The loss of a sequence of T tokens is the mean negative log-likelihood (nats) of its
 * tokens 1..T-1, each given the ones before, or their divergence (sb_pass_learn); the loss of the
 * pass is the mean over all sequences, summed exactly: the same bits for any number of ranks. */
#ifndef SB_PASS_PASS_H
#define SB_PASS_PASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/device_layer.h"

typedef struct sb_pass sb_pass;

typedef struct sb_pass_setup {
  sb_model *model;
  sb_backend *backend;
  const uint32_t *tokens; /* this rank's sequences, [local, seqlen], kept by the caller; local =
                             sb_pass_local(...) */
  size_t sequences;       /* of all ranks */
  size_t seqlen;
  bool gradients;     /* prepare for sb_pass_gradients */
  bool all_gradients; /* and for its hook `parameter` */
  bool divergence;    /* prepare for sb_pass_learn */
  bool keep_packed;   /* multiply with packed matrices as they are: of SB_CODING_CODES, without
                         gradients */
  size_t at_once; /* no more sequences of all ranks than these are taken at a time (sb_pass_select);
                     0: all */
  size_t activation_bytes; /* bound on the memory of a wave's layer inputs; at least one sequence is
                              taken */
  sb_ticker ticker;        /* told the share of the running call that is done */
} sb_pass_setup;

/* Number of the `sequences` that fall to a rank. */
size_t sb_pass_local(const sb_world *world, size_t sequences);

/* Collective. */
sb_status sb_pass_create(const sb_pass_setup *setup, sb_pass **out);
void sb_pass_free(sb_pass **pass);

/* The loss at the model's present bits. Collective; every rank gets the same. */
sb_status sb_pass_loss(sb_pass *pass, double *loss);

/* From here on the loss is how far the model, at whatever bits, is from its source weights: the
 * mean over the same tokens of the Kullback-Leibler divergence KL(source || model) of the predicted
 * distributions, in nats; exactly 0 at the source weights. What the source weights predict is kept
 * as the states before the LM head (host memory: T x hidden activations a sequence of this rank),
 * so each pass multiplies with the head once more. One forward pass; for a pass set up with
 * `divergence`. Collective. */
sb_status sb_pass_learn(sb_pass *pass);
/* The same along with the next sb_pass_gradients, which the caller makes at full precision and
 * whose loss is still that of tokens: a forward pass less. Local. */
void sb_pass_learn_next(sb_pass *pass);

/* The same with what `teacher` has learnt, a pass over the same tokens through a model whose
 * residual stream has its channels in the same order, on the same backend; it forgets them. Local.
 */
sb_status sb_pass_learn_from(sb_pass *pass, sb_pass *teacher);

/* The mean negative log-likelihood of the tokens when the loss was last measured, whatever the loss
 * is. Local, equal on all ranks. */
double sb_pass_token_loss(const sb_pass *pass);

/* What the backward pass tells about each layer. */
typedef struct sb_pass_hooks {
  void *context;
  /* A layer is ready: its weights are prepared. Local. */
  sb_status (*begin_layer)(void *context, sb_stream stream, size_t layer,
                           const sb_device_layer *prepared);
  /* The gradient of the mean loss of ONE sequence, f32 [rows, cols] on the device, rows and columns
   * as the store has them (so have `factors` and observers). May be NULL: gradients are then not
   * made, which saves a quarter of the pass. Local. */
  sb_status (*matrix)(void *context, sb_stream stream, size_t layer, size_t matrix, const float *g);
  /* All matrices of the layer have been seen for this sequence. Local. */
  sb_status (*end_sequence)(void *context, sb_stream stream, size_t layer);
  /* All sequences of the wave have been through the layer. Collective. */
  sb_status (*end_layer)(void *context, size_t layer);
  /* The factors of that gradient, x [T, cols] and dy [T, rows] of type `operand`
   * (pass/layer_call.h), just before it; the last token has no target, so its row of dy is 0. May
   * be NULL. Local. */
  sb_status (*factors)(void *context, sb_stream stream, size_t layer, size_t matrix, const void *x,
                       const void *dy);
  /* The gradient of the mean loss of ONE sequence with respect to the rows [first_row, first_row +
   * rows) of a tensor that is no matrix of a layer (index in arch.tensors): norms, which are one
   * row, embedding and LM head by chunks of the vocabulary. f32 [rows, cols] on the device, rows
   * and columns as the store has them; the next gradient overwrites it, so queue on `stream` what
   * reads it. A wave tells, in this order: chunks of the LM head, final norm, norms of the layers
   * among their matrices, chunks of the embedding; a table that is both comes last, both uses
   * added. The teacher of a divergence is held as it is. NULL on all ranks or on none: gradients
   * are then not made and cost nothing. Local. */
  sb_status (*parameter)(void *context, sb_stream stream, size_t tensor, size_t first_row,
                         size_t rows, const float *g);
} sb_pass_hooks;

/* Sees what goes into the matrices on the way forward. */
typedef struct sb_pass_observer {
  void *context;
  /* Input x [T, channels] of type `operand` of the matrices that share it (its `input` hook in
   * pass/layer_call.h), of ONE sequence. Local. */
  sb_status (*input)(void *context, sb_stream stream, size_t layer, size_t input, const void *x);
} sb_pass_observer;

/* sb_pass_loss with an observer. */
sb_status sb_pass_observe(sb_pass *pass, const sb_pass_observer *observer, double *loss);

/* Backward through all layers, last one first, for every sequence, at the model's present bits;
 * also gives the loss. Directly after sb_pass_loss at the same bits the forward part is not
 * repeated (where one wave carries all sequences). */
sb_status sb_pass_gradients(sb_pass *pass, const sb_pass_hooks *hooks, double *loss);

/* Number of waves of a pass, of the sequences of all ranks, and of a sequence's tokens. Local. */
size_t sb_pass_waves(const sb_pass *pass);
size_t sb_pass_sequences(const sb_pass *pass);
size_t sb_pass_seqlen(const sb_pass *pass);
/* From here on passes take only the sequences [first, end) of all that the pass was created with,
 * the same on all ranks. Local. */
void sb_pass_select(sb_pass *pass, size_t first, size_t end);
/* Forgets a kept forward part: call it when the model's bits have changed. */
void sb_pass_forget(sb_pass *pass);

/* How two models differ on the same tokens, as means over all targets. */
typedef struct sb_comparison {
  double loss, ref_loss; /* mean NLL of a token, nats */
  double mean_kl;        /* KL(reference || model), nats */
  double top1_agreement; /* share of targets at which both models' most likely token is the same */
  uint64_t targets;
} sb_comparison;

/* Both passes over the same tokens, without gradients, on the same world and backend, of models
 * with one vocabulary. Collective. */
sb_status sb_pass_compare(sb_pass *pass, sb_pass *reference, sb_comparison *out);

/* For tests: logits f32 [seqlen, vocab] of this rank's local sequence `index` into host memory.
 * Collective.
 */
sb_status sb_pass_logits(sb_pass *pass, size_t index, float *out);

#endif

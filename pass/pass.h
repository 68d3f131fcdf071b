/* Passes of sequences through a distributed model, layer by layer: forward for the loss, backward
 * for gradients.
 *
 *   sb_pass_create       memory for a set of sequences; used for any number of passes
 *   sb_pass_loss         forward
 *   sb_pass_observe      forward; an observer sees the inputs of the matrices
 *   sb_pass_gradients    forward and backward; hooks see gradients as they are made
 *   sb_pass_learn        from then on the loss is the divergence from the source weights
 *   sb_pass_set_batch    other tokens, as training has them for every step
 *
 * Sequences are dealt to ranks in turn: sequence s belongs to rank s mod ranks. A rank takes its
 * sequences through a layer one after another. So the results of a sequence depend neither on the
 * other sequences nor on the number of ranks.
 *
 * A *wave* is a set of a rank's sequences that go through the layers together; the parameters of a
 * layer are gathered once per wave. Memory bounds it: a forward pass holds one layer's input of
 * each sequence, a gradient pass the inputs of all layers. Where a device has less memory than
 * asked for, waves become smaller; a wave of one sequence may leave its inputs to the host. Results
 * have the same bits.
 *
 * Tables of the vocabulary that are coded (model/model.h) are read at their present bits, as the
 * matrices of layers are; they are coded before the pass is created.
 *
 * The loss of a sequence of T tokens is the mean negative log-likelihood (nats) of its tokens 1 ..
 * T-1, each given the ones before, or their divergence. The loss of a pass is the mean over all
 * sequences, summed exactly: the same bits for any number of ranks. */
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
#include "pass/table_hooks.h"

typedef struct sb_pass sb_pass;

typedef struct sb_pass_setup {
  sb_model *model;
  sb_backend *backend;
  const uint32_t *tokens; /* [sb_pass_local(world, sequences), seqlen] of this rank; the caller's */
  size_t sequences;       /* of all ranks */
  size_t seqlen;          /* tokens of each, at least 2 */
  /* Abilities of the pass besides sb_pass_loss. */
  bool gradients;      /* sb_pass_gradients */
  bool all_gradients;  /* and its hook `parameter` */
  bool norm_gradients; /* the same for norms alone: the tables of the vocabulary get none */
  bool divergence;     /* sb_pass_learn */
  bool keep_packed;    /* of SB_CODING_CODES, without gradients: multiply with packed matrices as
                          they are */
  /* Bounds of a wave, which has at least one sequence. */
  size_t at_once; /* sequences of all ranks that a pass takes at most (sb_pass_select); 0: all */
  size_t activation_bytes; /* of this rank, for the inputs of layers */
  /* Passes with gradients: device memory of this rank for what layers and head compute on the way
   * forward, which is then not computed again on the way back (pass/kept_states.h). Results have
   * the same bits. The same on all ranks. */
  size_t keep_bytes;
  /* The precision of each GEMM, emulated, from the start; NULL: all high. See
   * sb_pass_set_precisions. */
  const sb_precision_map *precisions;
  const sb_lowprec_options *lowprec; /* NULL: sb_lowprec_options_default */
  sb_ticker ticker;                  /* hears which share of the running call is done */
} sb_pass_setup;

/* Sequences, of `sequences`, that belong to this rank. Local. */
size_t sb_pass_local(const sb_world *world, size_t sequences);

/* Model, backend and tokens outlive the pass. Pins the memory of the model's store (sb_model_pin).
 * SB_ERR_MEMORY where one sequence at a time is too much. Collective. */
sb_status sb_pass_create(const sb_pass_setup *setup, sb_pass **out);
/* Local. *pass may be NULL. */
void sb_pass_free(sb_pass **pass);

/* What the inputs of layers leave of setup->activation_bytes, for setup->keep_bytes. Pure. */
size_t sb_pass_spare_bytes(const sb_pass_setup *setup);

/* The loss at the model's present bits, equal on all ranks. SB_ERR_NUMERIC where it is not a
 * number. Collective. */
sb_status sb_pass_loss(sb_pass *pass, double *loss);
/* The negative log-likelihood of the tokens when the loss was last measured, whatever the loss is.
 * Local, equal on all ranks. */
double sb_pass_token_loss(const sb_pass *pass);

/* losses [sequences of this rank that are selected] = the loss of each when it was last measured.
 * Local. */
void sb_pass_sequence_losses(const sb_pass *pass, double *losses);

/* Sees the inputs of the matrices, on the way forward. */
typedef struct sb_pass_observer {
  void *context;
  /* Input number `input` of the layer (model/arch.h), x [T, channels] of ONE sequence, operands on
   * the device, channels in their stored order, before the matrices that share it are applied.
   * Queue on `stream` what reads x. Local. */
  sb_status (*input)(void *context, sb_stream stream, size_t layer, size_t input, const void *x);
} sb_pass_observer;

/* sb_pass_loss with an observer. Collective. */
sb_status sb_pass_observe(sb_pass *pass, const sb_pass_observer *observer, double *loss);

/* Sees gradients, on the way back. A wave calls, from the last layer to the first:
 *
 *   begin_layer
 *     factors, matrix   for each matrix: down, gate, up, o, q, k, v  }
 *     parameter         for each norm                                } for each sequence
 *     end_sequence                                                   }
 *   end_layer
 *
 * and `parameter`, then `end_parameter`, for LM head and final norm before them, for the embedding
 * after them. All that
 * hooks get is device memory which the next call overwrites: queue on `stream` what reads it. Rows
 * and columns are in the order in which the store has them. Gradients are f32, of the mean loss of
 * ONE sequence. Hooks are local but for end_layer
 * and end_parameter. */
typedef struct sb_pass_hooks {
  void *context;
  /* The weights of the layer are prepared. */
  sb_status (*begin_layer)(void *context, sb_stream stream, size_t layer,
                           const sb_device_layer *prepared);
  /* The gradient of matrix number `matrix` of the layer, [rows, cols]. NULL: it is not made, which
   * saves a quarter of the pass. */
  sb_status (*matrix)(void *context, sb_stream stream, size_t layer, size_t matrix, const float *g);
  /* All matrices of the layer have been seen for this sequence. */
  sb_status (*end_sequence)(void *context, sb_stream stream, size_t layer);
  /* All sequences of the wave have been through the layer. Collective. */
  sb_status (*end_layer)(void *context, size_t layer);
  /* The factors of a matrix's gradient dy' x before it is made: operands x [T, cols] and
   * dy [T, rows]. The last token has no target: its row of dy is 0. NULL: nobody. */
  sb_status (*factors)(void *context, sb_stream stream, size_t layer, size_t matrix, const void *x,
                       const void *dy);
  /* The gradient [rows, cols] of the rows [first_row, first_row + rows) of any other tensor, an
   * index into arch.tensors: norms, which are one row, embedding and LM head in chunks of the
   * vocabulary. A table that is both comes once, with the embedding, both uses added. The teacher
   * of a divergence is held as it is. A pass set up with `norm_gradients` tells those of norms
   * alone. NULL on all ranks or on none: these gradients are then not made and cost nothing. */
  sb_status (*parameter)(void *context, sb_stream stream, size_t tensor, size_t first_row,
                         size_t rows, const float *g);
  /* All sequences of the wave have been seen for these rows of a tensor outside the layers; a norm
   * of a layer is done with its layer. NULL on all ranks or on none. Collective. */
  sb_status (*end_parameter)(void *context, size_t tensor, size_t first_row, size_t rows);
} sb_pass_hooks;

/* Forward and backward for every sequence, at the model's present bits; also the loss. Where one
 * wave has all sequences, directly after sb_pass_loss at the same bits, the forward part is not
 * repeated. SB_ERR_INTERNAL for hooks that the pass was not set up for. Collective. */
sb_status sb_pass_gradients(sb_pass *pass, const sb_pass_hooks *hooks, double *loss);
/* From here on sb_pass_gradients also tells `hooks`, which are the caller's, what the tables of the
 * vocabulary do; NULL: nobody. So whatever listens to the layers, one pass serves both. Needs no
 * more than `gradients`. Local. */
void sb_pass_tell_tables(sb_pass *pass, const sb_table_hooks *hooks);
/* Forgets a forward part that sb_pass_gradients might use. For callers that change bits
 * or weights. Local. */
void sb_pass_forget(sb_pass *pass);

/* Learns the predictions of the source weights by one forward pass. From then on the loss is the
 * mean over the tokens of KL(source || model) of the predicted distributions, in nats, at whatever
 * bits the model has; exactly 0 at the source weights. Host memory keeps the states before the LM
 * head (T x hidden operands per sequence of this rank), so each later pass multiplies with the head
 * once more: with its source weights, also where the model's head has widths. SB_ERR_INTERNAL
 * unless the pass was set up with `divergence`. Collective. */
sb_status sb_pass_learn(sb_pass *pass);
/* The same as part of the next sb_pass_gradients, which saves the forward pass. The caller runs
 * that pass at full precision; its loss is still that of tokens. Local. */
void sb_pass_learn_next(sb_pass *pass);
/* Takes over what `teacher` has learnt; the teacher then has forgotten it. `teacher` is a pass over
 * the same tokens, on the same backend, through a model whose residual stream has its channels in
 * the same order; otherwise SB_ERR_INTERNAL. The model that was learnt, which has the source
 * weights of the head, outlives the loss. Local. */
sb_status sb_pass_learn_from(sb_pass *pass, sb_pass *teacher);

/* From here on passes take other tokens of the same shape: `tokens` [sb_pass_local(world,
 * sequences), seqlen] of this rank, the caller's, as sb_pass_setup has them. A sequence's number in
 * the batch is its number of sb_pass_create; sb_pass_select stays as it is. Forgets a forward part,
 * and what sb_pass_learn has learnt: the loss is that of tokens again. `key` is the batch's, the
 * same on all ranks: equal keys give equal random bits (stochastic rounding). Local. */
void sb_pass_set_batch(sb_pass *pass, const uint32_t *tokens, uint64_t key);

/* From here on the GEMMs of the layers' matrices have the precisions of `map` (the model's; NULL:
 * all high), emulated; the same on all ranks. Map and options (NULL: the default) are copied.
 * Forgets a forward part. SB_ERR_MEMORY; SB_ERR_INTERNAL for models of codes or indexed orders.
 * After a failure all are high. Collective. */
sb_status sb_pass_set_precisions(sb_pass *pass, const sb_precision_map *map,
                                 const sb_lowprec_options *options);

/* From here on passes take only the sequences [first, end) of those that the pass was created with,
 * the same on all ranks. Local. */
void sb_pass_select(sb_pass *pass, size_t first, size_t end);

/* Waves of a pass; sequences of all ranks that a pass takes; tokens of a sequence. Local. */
size_t sb_pass_waves(const sb_pass *pass);
size_t sb_pass_sequences(const sb_pass *pass);
size_t sb_pass_seqlen(const sb_pass *pass);

/* Differences of two models on the same tokens: means over all targets. */
typedef struct sb_comparison {
  double loss, ref_loss; /* negative log-likelihood of a token, nats */
  double mean_kl;        /* KL(reference || model), nats */
  double top1_agreement; /* share of targets at which both models' most likely token is the same */
  uint64_t targets;
} sb_comparison;

/* A forward pass of each, side by side, over the same tokens, on the same world and backend.
 * SB_ERR_INTERNAL for other tokens or another vocabulary. Collective. */
sb_status sb_pass_compare(sb_pass *pass, sb_pass *reference, sb_comparison *out);

/* For tests: a forward pass of the wave that has this rank's sequence `index`; its logits f32
 * [seqlen, vocab] into host memory, or nothing on a rank that has fewer sequences. Collective. */
sb_status sb_pass_logits(sb_pass *pass, size_t index, float *out);

#endif

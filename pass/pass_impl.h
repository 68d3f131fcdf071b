/* The inside of a pass, shared by pass.c (the decoder layers) and head.c (the ends of the model).
 */
#ifndef SB_PASS_PASS_IMPL_H
#define SB_PASS_PASS_IMPL_H

#include "pass/group_walk.h"
#include "pass/layer.h"
#include "pass/pass.h"

/* What the source weights say, where the loss is the divergence from it (sb_pass_learn). */
typedef struct sb_reference {
  bool learnt;      /* the loss is the divergence */
  bool next;        /* what the next gradient pass predicts is to be learnt */
  char *all_states; /* host, [local, T, hidden] after the final norm, operands */
  float *all_lse;   /* host, [local, T] log-sum-exp of their logits */
  void *states;     /* [wave, T, hidden], those of the running wave */
  float *lse;       /* [wave, T] */
  float *logits;    /* [T, rows of the largest head chunk] */
  double *kl; /* [wave, T], with the model's logits shifted by the reference's lse instead of their
                 own */
  double *host_kl; /* [wave, T] */
} sb_reference;

struct sb_pass {
  sb_pass_setup setup;
  sb_model *model;
  sb_backend *backend;
  sb_stream stream;
  size_t T, wave, waves; /* wave: most sequences at a time */
  size_t first,
      local; /* this rank's sequences that passes take: which one is the first, and how many */
  bool kept; /* the layer inputs of the only wave belong to the model's present bits */
  double step, steps;               /* for tick */
  const sb_pass_observer *observer; /* of the running forward part; NULL for none */

  sb_device_layer *prepared;
  sb_layer_work *work;
  float *cos_sin;
  void **inputs;  /* [layers + 1] activations [wave, T, hidden]: what a layer gets, and what leaves
                     the last; one buffer for all where nothing is kept, two in turn but for the last
                     where the host keeps them */
  void **on_host; /* [layers] the same, in host memory; NULL where the device keeps them */
  void *normed;   /* [wave, T, hidden] after the final norm: operands, with room for activations */
  void *grads;    /* [wave, T, hidden] dL/d(a layer's output), then its input */
  void *normed_grads;                            /* [wave, T, hidden] dL/d(normed) */
  float *rstd;                                   /* [wave, T] of the final norm */
  uint32_t *ids, *targets;                       /* [wave, T], device */
  uint32_t *argmax;                              /* [wave, T], device */
  float *row_max, *row_sum, *target_logit, *lse; /* [wave, T], device */
  double *nll;                                   /* [wave, T], device */
  float *logits;                                 /* [T, rows of the largest head chunk] */
  void *chunk, *chunk_source; /* the head chunk in weight type; its source rows where host and
                                 device differ */
  float *final_norm;
  void *raw_norm;

  sb_reference reference;

  /* host */
  double *host_nll;      /* [wave, T] */
  uint32_t *host_ids;    /* [wave, T] */
  double *sequence_loss; /* [local] of each sequence, from the last forward */
  double *sequence_nll;  /* [local] mean negative log-likelihood, which is the loss where none is
                            learnt */
  double token_loss;
};

/* Sequences of this rank in a wave. */
size_t sb_pass_wave_count(const sb_pass *pass, size_t wave);
/* Address of sequence s's [T, width] of activations in a [wave, T, width] buffer. */
void *sb_pass_at(const sb_pass *pass, void *buffer, size_t s, size_t width);
/* The same for operands. */
void *sb_pass_operand_at(const sb_pass *pass, void *buffer, size_t s, size_t width);
/* A call of the layer that is prepared, for one sequence. */
sb_layer_call sb_pass_layer_call(const sb_pass *pass, const sb_device_layer *prepared,
                                 const sb_layer_hooks *hooks);
void sb_pass_start_ticks(sb_pass *pass, double forward, double backward);
void sb_pass_tick(sb_pass *pass, double steps);

/* Forward of one wave up to the final norm (fills normed); keeps every layer's input where `keep`.
 * Collective. */
sb_status sb_pass_forward_wave(sb_pass *pass, size_t wave, bool keep);

/* Fills inputs[0] with the embeddings of the wave's tokens. Collective. */
sb_status sb_head_embed(sb_pass *pass, size_t wave);
/* normed = final norm of `x`. Collective. */
sb_status sb_head_norm(sb_pass *pass, size_t wave, void *x);
/* Soft-max statistics of the wave (lse, argmax) and each sequence's loss. Collective. */
sb_status sb_head_forward(sb_pass *pass, size_t wave);
/* grads = dL/d(input of the final norm). `x` is that input. Collective. */
sb_status sb_head_backward(sb_pass *pass, size_t wave, void *x);
/* The weights of head chunk `group`, in the type of the GEMMs; its first token and size. Local. */
sb_status sb_head_chunk(sb_pass *pass, size_t group, const void *image, size_t *v0, size_t *nv,
                        const void **weights);
/* logits[T, nv] = states W' of sequence s of the wave, for a chunk's weights; states [wave, T,
 * hidden]: normed, or like it. Local. */
sb_status sb_head_logits(sb_pass *pass, void *states, const void *weights, size_t nv, size_t s,
                         float *logits);
/* The reference of a pass set up with `divergence`: memory, and its part in each chunk of the head
 * (pass/loss_divergence.c). Local. */
sb_status sb_reference_create(sb_pass *pass);
void sb_reference_free(sb_pass *pass);
/* Before the head's chunks of a wave: its states and log-sum-exps, kl = 0. */
/* The states and log-sum-exps of a wave that has gone forward, as those of the source weights.
 * Local. */
sb_status sb_reference_keep(sb_pass *pass, size_t wave);
sb_status sb_reference_begin(sb_pass *pass, size_t wave);
/* The reference's logits of sequence s, and what they and pass->logits add to kl. */
sb_status sb_reference_forward(sb_pass *pass, const void *weights, size_t nv, size_t s);
/* pass->logits = scale * the gradient of the divergence. */
sb_status sb_reference_backward(sb_pass *pass, const void *weights, size_t nv, size_t s,
                                float scale);
/* After the chunks. */
sb_status sb_reference_end(sb_pass *pass, size_t wave);
/* Rows of the largest chunk of the head. */
size_t sb_head_largest_chunk(const sb_model *model);

#endif

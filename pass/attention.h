/* Grouped-query attention with rotary positions, between the norm before it and the residual
 * stream:
 *
 *   q, k, v = n Wq', n Wk', n Wv';   q, k = rope(q), rope(k)
 *   o = softmax(q k' / sqrt(head_dim), causal) v;   x1 = x1 + o Wo'
 *
 * n [T, hidden] is the normed input (operands), x1 [T, hidden] the residual stream (activations).
 * The soft-max is recomputed in the backward pass from its log-sum-exps, so memory is linear in T.
 * All functions are local. */
#ifndef SB_PASS_ATTENTION_H
#define SB_PASS_ATTENTION_H

#include "pass/buffers.h"
#include "pass/layer_call.h"

/* Scratch of one sequence; all pointers are device memory. */
typedef struct sb_attention_work {
  void *q, *k, *v, *o; /* [T, heads x head_dim] and [T, kv_heads x head_dim] */
  float *lse;          /* [T, heads] */
  void *o_in;          /* o as operands, where these are another type */
  void *d_o, *dq, *dk, *dv;
} sb_attention_work;

enum { SB_ATTENTION_BUFFERS = 10 };
/* The table of its buffers, with room for every layer; `arch` NULL: their places only. */
void sb_attention_buffers(const sb_arch *arch, sb_buffer out[SB_ATTENTION_BUFFERS]);

/* x1 += o Wo', and fills q, k, v, o and lse. */
sb_status sb_attention_forward(const sb_layer_step *step, sb_attention_work *work, void *x1,
                               const void *n);
/* After sb_attention_forward of the same n: dn [T, hidden] = dL/dn from dy = dL/dx1
 * (activations). `dy_room` [T, hidden] holds dy as operands where these are another type.
 * Overwrites q, k and v. */
sb_status sb_attention_backward(const sb_layer_step *step, sb_attention_work *work, void *dn,
                                const void *dy, void *dy_room, const void *n);

#endif

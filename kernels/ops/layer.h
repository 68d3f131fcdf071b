/* The parts of a decoder layer, for one sequence of T tokens. Backward operations are named
 * NAME_back. */
#ifndef SB_KERNELS_OPS_LAYER_H
#define SB_KERNELS_OPS_LAYER_H

#include "kernels/ops/common.h"

#define SB_LAYER_OPS(OP)                                                                           \
  OP(rmsnorm)                                                                                      \
  OP(rmsnorm_back)                                                                                 \
  OP(rope)                                                                                         \
  OP(attention)                                                                                    \
  OP(attention_back)                                                                               \
  OP(swiglu)                                                                                       \
  OP(swiglu_back)                                                                                  \
  OP(add)

/* y[T,h] = x / rms(x) * w, an operand; rstd[T] = 1 / rms(x) (f32). x is [T,h] of type act, w is
 * f32[h]. rms(x) = sqrt(mean of x^2 + eps). */
typedef sb_status sb_rmsnorm_fn(sb_backend *, sb_stream, void *y, float *rstd, const void *x,
                                const float *w, size_t T, size_t h, float eps);
/* From dy and the arguments and results of rmsnorm: dx[T,h] += its gradient, and dw[h] (f32) += its
 * gradient unless dw is NULL. */
typedef sb_status sb_rmsnorm_back_fn(sb_backend *, sb_stream, void *dx, float *dw, const void *dy,
                                     const void *x, const float *w, const float *rstd, size_t T,
                                     size_t h);

/* Rotary embedding, in place on x[T, heads * head_dim]. Pairs are Hugging Face's half-split ones,
 * (i, i + head_dim/2); token t has position t. cos_sin is f32[T, head_dim/2, 2]. `inverse` rotates
 * back: the backward pass. */
typedef sb_status sb_rope_fn(sb_backend *, sb_stream, void *x, const float *cos_sin, size_t T,
                             size_t heads, size_t head_dim, bool inverse);

/* Grouped-query causal attention. Scores are scaled by 1/sqrt(d). */
typedef struct sb_attention_args {
  const void *q;     /* [T, heads * d] */
  const void *k, *v; /* [T, kv_heads * d] */
  void *o;           /* [T, heads * d] */
  float *lse;        /* [heads, T]: the log-sum-exp of each row of scaled scores */
  size_t T, heads, kv_heads, d;
} sb_attention_args;

/* Computes o and lse. Memory is linear in T; O(heads T^2 d). (FlashAttention, arXiv 2205.14135.) */
typedef sb_status sb_attention_fn(sb_backend *, sb_stream, const sb_attention_args *);
/* Computes the gradients dq, dk, dv from the arguments and results of `attention` and the gradient
 * d_o of o. */
typedef sb_status sb_attention_back_fn(sb_backend *, sb_stream, const sb_attention_args *,
                                       const void *d_o, void *dq, void *dk, void *dv);

/* y[n] = silu(gate) * up, an operand; gate and up are of type act. y may be gate or up (in place)
 * if operand and act are the same type. */
typedef sb_status sb_swiglu_fn(sb_backend *, sb_stream, void *y, const void *gate, const void *up,
                               size_t n);
/* Computes the gradients dgate and dup from dy, and y[n] = silu(gate) * up unless y is NULL: all
 * operands. Each may be gate, up or dy (in place) if operand and act are the same type. */
typedef sb_status sb_swiglu_back_fn(sb_backend *, sb_stream, void *dgate, void *dup, void *y,
                                    const void *dy, const void *gate, const void *up, size_t n);

/* y[n] += x[n], both of type act. */
typedef sb_status sb_add_fn(sb_backend *, sb_stream, void *y, const void *x, size_t n);

#endif

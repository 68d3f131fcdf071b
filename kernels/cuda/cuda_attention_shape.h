/* Attention on the device: the choice of kernels for a shape, and their common parts.
 *
 * Tensor cores (cuda_attention.cu, cuda_attention_back.cu) take heads of up to 128 with bf16
 * arithmetic. They round q, k, v and dO to bf16, and also probabilities and their gradients as
 * operands; sums are f32. Any other shape runs in f32 with a warp per query, or per key
 * (cuda_attention_plain.cu): slow, for checks and for heads that few models have. Both need memory
 * for a few copies of [T, heads * d] and no more. */
#ifndef SB_KERNELS_CUDA_CUDA_ATTENTION_SHAPE_H
#define SB_KERNELS_CUDA_CUDA_ATTENTION_SHAPE_H

#include "kernels/cuda/cuda.h"

typedef struct attention_shape {
  int T, heads, kv_heads, d;
  int group;   /* query heads per KV head */
  float scale; /* 1 / sqrt(d) */
} attention_shape;

/* Fills the shape. SB_ERR_INTERNAL if kv_heads does not divide heads or d is 0. SB_ERR_UNSUPPORTED
 * beyond 2^22 tokens, 2^15 heads or 2^12 columns per head. */
sb_status sb_cuda_attention_shape(attention_shape *out, const sb_attention_args *x);
/* True if the tensor-core kernels take the shape. */
bool sb_cuda_attention_is_tiled(sb_backend *, const attention_shape *);

sb_status sb_cuda_attention_plain(sb_backend *, cudaStream_t, const attention_shape *, float *o,
                                  float *lse, const float *q, const float *k, const float *v);
/* delta [heads, T]: rowsum(dO * O). */
sb_status sb_cuda_attention_back_plain(sb_backend *, cudaStream_t, const attention_shape *,
                                       float *dq, float *dk, float *dv, const float *d_o,
                                       const float *lse, const float *delta, const float *q,
                                       const float *k, const float *v);

#endif

/* Attention on the device: which kernels take which shape, and what they share.
 *
 * With bf16 arithmetic and heads of up to 128 it runs on the tensor cores (cuda_attention.cu,
 * cuda_attention_back.cu): q, k, v and dO are rounded to bf16, and so are probabilities and their
 * gradients where they are operands; sums are f32. Otherwise a warp takes one query, or one key, in
 * f32 (cuda_attention_plain.cu): slow, for checks and for heads that few models have. Either needs
 * memory for a few copies of [T, heads * d] and no more. */
#ifndef SB_KERNELS_CUDA_CUDA_ATTENTION_SHAPE_H
#define SB_KERNELS_CUDA_CUDA_ATTENTION_SHAPE_H

#include "kernels/cuda/cuda.h"

typedef struct attention_shape {
  int T, heads, kv_heads, d;
  int group;   /* query heads a KV head serves */
  float scale; /* 1 / sqrt(d) */
} attention_shape;

/* Fills the shape; SB_ERR_INTERNAL for heads that do not fit, SB_ERR_UNSUPPORTED beyond 2^31
 * numbers a head. */
sb_status sb_cuda_attention_shape(attention_shape *out, const sb_attention_args *x);
/* True where the tensor cores take it. */
bool sb_cuda_attention_is_tiled(sb_backend *, const attention_shape *);

sb_status sb_cuda_attention_plain(sb_backend *, cudaStream_t, const attention_shape *, float *o,
                                  float *lse, const float *q, const float *k, const float *v);
/* delta: [heads, T], rowsum(dO * O). */
sb_status sb_cuda_attention_back_plain(sb_backend *, cudaStream_t, const attention_shape *,
                                       float *dq, float *dk, float *dv, const float *d_o,
                                       const float *lse, const float *delta, const float *q,
                                       const float *k, const float *v);

#endif

/* The ends of a model: embedding and head. The vocabulary comes in chunks [v0, v0 + nv). */
#ifndef SB_KERNELS_OPS_HEAD_H
#define SB_KERNELS_OPS_HEAD_H

#include "kernels/ops/common.h"

#define SB_HEAD_OPS(OP)                                                                            \
  OP(embed)                                                                                        \
  OP(embed_back)                                                                                   \
  OP(xent_begin)                                                                                   \
  OP(xent_chunk)                                                                                   \
  OP(xent_end)                                                                                     \
  OP(xent_back_chunk)                                                                              \
  OP(kl_chunk)                                                                                     \
  OP(kl_end)                                                                                       \
  OP(kl_back_chunk)

#define SB_NO_TARGET UINT32_MAX

/* x[t] = table[ids[t] - v0] for the tokens whose id lies in the chunk; other rows of x are left
 * alone. x is [T,h] of type act, table is [nv,h] of table_dtype. */
typedef sb_status sb_embed_fn(sb_backend *, sb_stream, void *x, const uint32_t *ids,
                              const void *table, sb_dtype table_dtype, size_t T, size_t h,
                              size_t v0, size_t nv);
/* dtable[ids[t] - v0] (f32 [nv,h]) += dx[t] for the tokens whose id lies in the chunk. */
typedef sb_status sb_embed_back_fn(sb_backend *, sb_stream, float *dtable, const uint32_t *ids,
                                   const void *dx, size_t T, size_t h, size_t v0, size_t nv);

/* Online soft-max over the chunks, in three steps: begin, one call per chunk, end.
 *
 * Begin: row_max[T] = -inf; row_sum[T], target_logit[T] and argmax[T] = 0. argmax may be NULL here
 * and in the next step. */
typedef sb_status sb_xent_begin_fn(sb_backend *, sb_stream, float *row_max, float *row_sum,
                                   float *target_logit, uint32_t *argmax, size_t T);
/* Chunk, with its logits f32[T,nv]. Over all chunks so far,
 *
 *   row_max[t] = the largest logit
 *   row_sum[t] = sum of exp(logit - row_max[t])
 *   argmax[t]  = the index of the first largest logit
 *
 * and target_logit[t] = logits[t, targets[t] - v0] if the target lies in this chunk. */
typedef sb_status sb_xent_chunk_fn(sb_backend *, sb_stream, float *row_max, float *row_sum,
                                   float *target_logit, uint32_t *argmax, const float *logits,
                                   const uint32_t *targets, size_t T, size_t v0, size_t nv);
/* End. With L = row_max[t] + log(row_sum[t]) in double,
 *
 *   lse[t] = L, rounded to f32
 *   nll[t] = L - target_logit[t] (double): the negative log-likelihood of the target
 *
 * nll[t] = 0 if the target is SB_NO_TARGET. */
typedef sb_status sb_xent_end_fn(sb_backend *, sb_stream, float *lse, double *nll,
                                 const float *row_max, const float *row_sum,
                                 const float *target_logit, const uint32_t *targets, size_t T);
/* In place: logits[t,j] = scale * (exp(logits[t,j] - lse[t]) - [v0 + j == targets[t]]). Rows whose
 * target is SB_NO_TARGET become 0. */
typedef sb_status sb_xent_back_chunk_fn(sb_backend *, sb_stream, float *logits, const float *lse,
                                        const uint32_t *targets, float scale, size_t T, size_t v0,
                                        size_t nv);

/* kl[t] (double) += sum over this chunk of p_ref (log p_ref - log p), with log p = logits - lse and
 * log p_ref = ref_logits - ref_lse. */
typedef sb_status sb_kl_chunk_fn(sb_backend *, sb_stream, double *kl, const float *ref_logits,
                                 const float *ref_lse, const float *logits, const float *lse,
                                 size_t T, size_t nv);
/* Completes kl after the last chunk. lse is not known earlier, so kl_chunk was given ref_lse in its
 * place: kl[t] (double) += lse[t] - ref_lse[t]. kl[t] = 0 if the target is SB_NO_TARGET. */
typedef sb_status sb_kl_end_fn(sb_backend *, sb_stream, double *kl, const float *lse,
                               const float *ref_lse, const uint32_t *targets, size_t T);
/* In place: logits[t,j] = scale * (p - p_ref), the gradient of scale * kl[t] with respect to the
 * logits of this chunk. Rows whose target is SB_NO_TARGET become 0. */
typedef sb_status sb_kl_back_chunk_fn(sb_backend *, sb_stream, float *logits, const float *lse,
                                      const float *ref_logits, const float *ref_lse,
                                      const uint32_t *targets, float scale, size_t T, size_t nv);

#endif

/* Every operation of kernels/backend.h as plain loops in double precision, written from the
 * formulas: what the backends are measured against. Inputs and outputs are double, shapes as in
 * backend.h; gradients are overwritten ("="). */
#ifndef SB_TESTS_KERNELS_NAIVE_H
#define SB_TESTS_KERNELS_NAIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void naive_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, double alpha,
                const double *a, size_t lda, const double *b, size_t ldb, double beta, double *c,
                size_t ldc);

void naive_rmsnorm(double *y, double *rstd, const double *x, const double *w, size_t T, size_t h,
                   double eps);
void naive_rmsnorm_back(double *dx, double *dw, const double *dy, const double *x, const double *w,
                        size_t T, size_t h, double eps);

void naive_rope(double *x, const double *cos_sin, size_t T, size_t heads, size_t head_dim,
                bool inverse);

void naive_attention(double *o, double *lse, const double *q, const double *k, const double *v,
                     size_t T, size_t heads, size_t kv_heads, size_t d);
void naive_attention_back(double *dq, double *dk, double *dv, const double *d_o, const double *q,
                          const double *k, const double *v, size_t T, size_t heads, size_t kv_heads,
                          size_t d);

void naive_swiglu(double *y, const double *gate, const double *up, size_t n);
void naive_swiglu_back(double *dgate, double *dup, const double *dy, const double *gate,
                       const double *up, size_t n);

/* lse[T] of whole rows of logits[T, vocab]. */
void naive_lse(double *lse, const double *logits, size_t T, size_t vocab);
/* The mean over tokens with a target of lse - logit[target], and its gradient. */
double naive_xent(double *dlogits, const double *logits, const uint32_t *targets, size_t T,
                  size_t vocab);
/* kl[T] = sum_j p_ref (log p_ref - log p) */
void naive_kl(double *kl, const double *ref_logits, const double *logits, size_t T, size_t vocab);

#endif

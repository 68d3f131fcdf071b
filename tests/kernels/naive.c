#include "tests/kernels/naive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"

void naive_gemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, double alpha,
                const double *a, size_t lda, const double *b, size_t ldb, double beta, double *c,
                size_t ldc) {
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) {
      double sum = 0.0;
      for (size_t p = 0; p < k; p++)
        sum += (trans_a ? a[p * lda + i] : a[i * lda + p]) *
               (trans_b ? b[j * ldb + p] : b[p * ldb + j]);
      c[i * ldc + j] = alpha * sum + (beta == 0.0 ? 0.0 : beta * c[i * ldc + j]);
    }
}

void naive_rmsnorm(double *y, double *rstd, const double *x, const double *w, size_t T, size_t h,
                   double eps) {
  for (size_t t = 0; t < T; t++) {
    double squares = 0.0;
    for (size_t i = 0; i < h; i++) squares += x[t * h + i] * x[t * h + i];
    rstd[t] = 1.0 / sqrt(squares / (double)h + eps);
    for (size_t i = 0; i < h; i++) y[t * h + i] = x[t * h + i] * rstd[t] * w[i];
  }
}

void naive_rmsnorm_back(double *dx, double *dw, const double *dy, const double *x, const double *w,
                        size_t T, size_t h, double eps) {
  memset(dw, 0, h * sizeof *dw);
  for (size_t t = 0; t < T; t++) {
    const double *xt = x + t * h, *dyt = dy + t * h;
    double squares = 0.0, along = 0.0;
    for (size_t i = 0; i < h; i++) squares += xt[i] * xt[i];
    double r = 1.0 / sqrt(squares / (double)h + eps);
    for (size_t i = 0; i < h; i++) along += dyt[i] * w[i] * xt[i];
    for (size_t i = 0; i < h; i++) {
      dx[t * h + i] = r * dyt[i] * w[i] - r * r * r / (double)h * along * xt[i];
      dw[i] += dyt[i] * xt[i] * r;
    }
  }
}

void naive_rope(double *x, const double *cos_sin, size_t T, size_t heads, size_t head_dim,
                bool inverse) {
  size_t half = head_dim / 2;
  for (size_t t = 0; t < T; t++)
    for (size_t head = 0; head < heads; head++)
      for (size_t i = 0; i < half; i++) {
        double *a = x + (t * heads + head) * head_dim + i, *b = a + half;
        double c = cos_sin[(t * half + i) * 2], s = cos_sin[(t * half + i) * 2 + 1], first = *a,
               second = *b;
        if (inverse) s = -s;
        *a = first * c - second * s;
        *b = first * s + second * c;
      }
}

/* p[0..t] of query t: soft-max of its scaled scores; returns their log-sum-exp. */
static double probabilities(double *p, const double *q, const double *k, size_t t, size_t kv_stride,
                            size_t d) {
  double high = -INFINITY, sum = 0.0;
  for (size_t s = 0; s <= t; s++) {
    p[s] = 0.0;
    for (size_t i = 0; i < d; i++) p[s] += q[i] * k[s * kv_stride + i];
    p[s] /= sqrt((double)d);
    if (p[s] > high) high = p[s];
  }
  for (size_t s = 0; s <= t; s++) sum += exp(p[s] - high);
  for (size_t s = 0; s <= t; s++) p[s] = exp(p[s] - high) / sum;
  return high + log(sum);
}

void naive_attention(double *o, double *lse, const double *q, const double *k, const double *v,
                     size_t T, size_t heads, size_t kv_heads, size_t d) {
  double *p = malloc(T * sizeof *p);
  for (size_t head = 0; head < heads; head++)
    for (size_t t = 0; t < T; t++) {
      size_t at = (t * heads + head) * d, kv = head / (heads / kv_heads) * d;
      lse[head * T + t] = probabilities(p, q + at, k + kv, t, kv_heads * d, d);
      for (size_t i = 0; i < d; i++) {
        o[at + i] = 0.0;
        for (size_t s = 0; s <= t; s++) o[at + i] += p[s] * v[s * kv_heads * d + kv + i];
      }
    }
  free(p);
}

void naive_attention_back(double *dq, double *dk, double *dv, const double *d_o, const double *q,
                          const double *k, const double *v, size_t T, size_t heads, size_t kv_heads,
                          size_t d) {
  double *p = malloc(T * sizeof *p), *dp = malloc(T * sizeof *dp);
  memset(dq, 0, T * heads * d * sizeof *dq);
  memset(dk, 0, T * kv_heads * d * sizeof *dk);
  memset(dv, 0, T * kv_heads * d * sizeof *dv);
  for (size_t head = 0; head < heads; head++)
    for (size_t t = 0; t < T; t++) {
      size_t at = (t * heads + head) * d, kv = head / (heads / kv_heads) * d;
      double mean = 0.0;
      probabilities(p, q + at, k + kv, t, kv_heads * d, d);
      for (size_t s = 0; s <= t; s++) {
        dp[s] = 0.0;
        for (size_t i = 0; i < d; i++) dp[s] += d_o[at + i] * v[s * kv_heads * d + kv + i];
        mean += p[s] * dp[s];
      }
      for (size_t s = 0; s <= t; s++) {
        double dscore = p[s] * (dp[s] - mean) / sqrt((double)d);
        for (size_t i = 0; i < d; i++) {
          size_t other = s * kv_heads * d + kv + i;
          dv[other] += p[s] * d_o[at + i];
          dk[other] += dscore * q[at + i];
          dq[at + i] += dscore * k[other];
        }
      }
    }
  free(p);
  free(dp);
}

void naive_swiglu(double *y, const double *gate, const double *up, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
}

void naive_swiglu_back(double *dgate, double *dup, const double *dy, const double *gate,
                       const double *up, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double s = 1.0 / (1.0 + exp(-gate[i]));
    dgate[i] = dy[i] * up[i] * (s + gate[i] * s * (1.0 - s));
    dup[i] = dy[i] * gate[i] * s;
  }
}

void naive_lse(double *lse, const double *logits, size_t T, size_t vocab) {
  for (size_t t = 0; t < T; t++) {
    const double *row = logits + t * vocab;
    double high = -INFINITY, sum = 0.0;
    for (size_t j = 0; j < vocab; j++) high = row[j] > high ? row[j] : high;
    for (size_t j = 0; j < vocab; j++) sum += exp(row[j] - high);
    lse[t] = high + log(sum);
  }
}

double naive_xent(double *dlogits, const double *logits, const uint32_t *targets, size_t T,
                  size_t vocab) {
  double *lse = malloc(T * sizeof *lse), loss = 0.0;
  size_t counted = 0;
  naive_lse(lse, logits, T, vocab);
  for (size_t t = 0; t < T; t++) counted += targets[t] != SB_NO_TARGET;
  for (size_t t = 0; t < T; t++) {
    bool counts = targets[t] != SB_NO_TARGET;
    if (counts) loss += (lse[t] - logits[t * vocab + targets[t]]) / (double)counted;
    for (size_t j = 0; dlogits && j < vocab; j++)
      dlogits[t * vocab + j] =
          counts ? (exp(logits[t * vocab + j] - lse[t]) - (targets[t] == j ? 1.0 : 0.0)) /
                       (double)counted
                 : 0.0;
  }
  free(lse);
  return loss;
}

void naive_kl(double *kl, const double *ref_logits, const double *logits, size_t T, size_t vocab) {
  double *ref_lse = malloc(T * sizeof *ref_lse), *lse = malloc(T * sizeof *lse);
  naive_lse(ref_lse, ref_logits, T, vocab);
  naive_lse(lse, logits, T, vocab);
  for (size_t t = 0; t < T; t++) {
    kl[t] = 0.0;
    for (size_t j = 0; j < vocab; j++) {
      double log_ref = ref_logits[t * vocab + j] - ref_lse[t],
             log_p = logits[t * vocab + j] - lse[t];
      if (log_ref > -INFINITY) kl[t] += exp(log_ref) * (log_ref - log_p);
    }
  }
  free(ref_lse);
  free(lse);
}

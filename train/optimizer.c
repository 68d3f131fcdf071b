#include "train/optimizer.h"

#include <math.h>

#include "base/memory.h"

static sb_status check_beta(const char *option, double beta) {
  if (beta >= 0 && beta < 1) return SB_OK;
  return sb_fail(SB_ERR_USAGE, "%s %g: a number from 0 to below 1 is expected", option, beta);
}

sb_status sb_adamw_check(const sb_adamw *a) {
  SB_TRY(check_beta("--beta1", a->beta1));
  SB_TRY(check_beta("--beta2", a->beta2));
  if (!(a->eps > 0) || !isfinite(a->eps))
    return sb_fail(SB_ERR_USAGE, "--eps %g: a number above 0 is expected", a->eps);
  if (!(a->decay >= 0) || !isfinite(a->decay))
    return sb_fail(SB_ERR_USAGE, "--decay %g: a number from 0 on is expected", a->decay);
  return SB_OK;
}

sb_status sb_optimizer_create(const sb_shares *shares, sb_optimizer *o) {
  *o = (sb_optimizer){.shares = shares};
  sb_status status = sb_alloc(&o->m, shares->elements, sizeof *o->m, "first moments of AdamW");
  SB_THEN(sb_alloc(&o->v, shares->elements, sizeof *o->v, "second moments of AdamW"));
  if (status != SB_OK) sb_optimizer_free(o);
  return status;
}

size_t sb_optimizer_bytes(const sb_share_sizes *z) {
  return z->elements * 2 * sizeof(float);
}

void sb_optimizer_free(sb_optimizer *o) {
  sb_free(&o->m);
  sb_free(&o->v);
}

/* The numbers of a step, as f32 where PyTorch has them so. */
typedef struct factors {
  double scale;
  float clip, shrink, first, keep, second, bias, eps, size;
} factors;

static void update(float *restrict w, float *restrict m, float *restrict v,
                   const int64_t *restrict sums, size_t count, const factors *f) {
  const factors c = *f;
  for (size_t i = 0; i < count; i++) {
    const float g = (float)((double)sums[i] * c.scale) * c.clip;
    m[i] += c.first * (g - m[i]);
    v[i] = v[i] * c.keep + c.second * (g * g);
    w[i] = w[i] * c.shrink - c.size * (m[i] / (sqrtf(v[i]) / c.bias + c.eps));
  }
}

void sb_optimizer_step(sb_optimizer *o, const sb_optimizer_step_args *args) {
  const sb_shares *shares = o->shares;
  const sb_adamw *a = &args->adamw;
  const double t = (double)++o->updates;
  const factors base = {.scale = args->scale,
                        .clip = (float)args->factor,
                        .first = (float)(1 - a->beta1),
                        .keep = (float)a->beta2,
                        .second = (float)(1 - a->beta2),
                        .bias = (float)sqrt(1 - pow(a->beta2, t)),
                        .eps = (float)a->eps,
                        .size = (float)(args->rate / (1 - pow(a->beta1, t)))};
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t i = 0; i < shares->count; i++) {
    const sb_share *u = &shares->units[i];
    const bool decays = shares->model->arch.tensors[u->tensor].dims > 1;
    factors f = base;
    f.shrink = decays ? (float)(1 - args->rate * a->decay) : 1.0f;
    update(u->master, o->m + u->first, o->v + u->first, args->sums + u->first, u->count, &f);
  }
}

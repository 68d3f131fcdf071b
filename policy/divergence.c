#include "policy/divergence.h"

#include <math.h>

/* out = the mean over sequences s of a field of `entry`, which names s. */
#define MEAN(out, setup, entry, field)                                                             \
  do {                                                                                             \
    double mean_ = 0;                                                                              \
    for (size_t s = 0; s < (setup)->sequences; s++) mean_ += (entry)->field;                       \
    (out) = mean_ / (double)(setup)->sequences;                                                    \
  } while (0)

static const sb_linear_sums *linear_at(const sb_divergence_setup *d, size_t s, size_t i) {
  return &d->linears[s * d->arch->matrix_count + i];
}
static const sb_error_sums *error_at(const sb_divergence_setup *d, size_t P, size_t s, size_t i,
                                     size_t p) {
  return &d->errors[(s * d->arch->matrix_count + i) * P + p];
}

/* ---- norms ---- */

static sb_linear_sums mean_of_linear(const sb_divergence_setup *d, size_t i) {
  sb_linear_sums m;
  MEAN(m.x, d, linear_at(d, s, i), x);
  MEAN(m.w, d, linear_at(d, s, i), w);
  MEAN(m.y, d, linear_at(d, s, i), y);
  MEAN(m.dy, d, linear_at(d, s, i), dy);
  MEAN(m.dx, d, linear_at(d, s, i), dx);
  MEAN(m.dw, d, linear_at(d, s, i), dw);
  return m;
}

/* Of a typical sequence: roots of means of squares. */
static sb_profile_norms norms_of(const sb_divergence_setup *d, size_t i) {
  const sb_linear_sums m = mean_of_linear(d, i);
  return (sb_profile_norms){.x = sqrt(m.x),
                            .w = sqrt(m.w),
                            .y = sqrt(m.y),
                            .dx = sqrt(m.dx),
                            .dw = sqrt(m.dw),
                            .dy = sqrt(m.dy)};
}

static double over(double error, double all) {
  return all > 0 ? error / all : 0;
}

/* Over the operands of the three GEMMs; relative errors as the root of the sum of squares. */
static void local_errors(const sb_divergence_setup *d, size_t P, size_t i, size_t p,
                         sb_profile_entry *out) {
  const sb_linear_sums m = mean_of_linear(d, i);
  double x, w, dy;
  MEAN(x, d, error_at(d, P, s, i, p), x);
  MEAN(w, d, error_at(d, P, s, i, p), w);
  MEAN(dy, d, error_at(d, P, s, i, p), dy);
  out->abs_error = sqrt(x + w + dy);
  out->rel_error =
      sqrt((m.x > 0 ? x / m.x : 0) + (m.w > 0 ? w / m.w : 0) + (m.dy > 0 ? dy / m.dy : 0));
}

/* ---- the metrics ---- */

/* Squares: of a_s; of <r, dg> for an error of each GEMM. */
typedef struct squares {
  double change, gemm[SB_GEMM_KINDS];
} squares;

static squares squares_of(const sb_divergence_setup *d, sb_metric metric, size_t i,
                          const sb_linear_sums *l, const sb_error_sums *e) {
  const sb_model_tensor *t = &d->arch->tensors[d->arch->matrices[i]];
  const double T = (double)d->T, rows = (double)t->rows, cols = (double)t->cols;
  const double step = d->step * d->step;
  if (metric == SB_METRIC_EXACT)
    return (squares){
        .change = e->loss * e->loss,
        .gemm = {
            [SB_FPROP] = e->fprop / step, [SB_DGRAD] = e->dgrad / step, [SB_WGRAD] = e->wgrad}};
  return (squares){.change = l->dx * e->x / (T * cols) + l->dw * e->w / (rows * cols),
                   .gemm = {[SB_FPROP] = e->y * l->moved_dy / (T * rows) / step,
                            [SB_DGRAD] = e->dx * l->moved_x / (T * cols) / step,
                            [SB_WGRAD] = l->sloped * (over(e->dy, l->dy) + over(e->x, l->x))}};
}

static void fill_parts(const sb_divergence_setup *d, const sb_profile *profile, size_t i, size_t p,
                       sb_metric metric, sb_divergence parts[SB_PARTS]) {
  const double S = (double)d->sequences, u = d->slope->update_norm;
  squares sum = {0};
  double all = 0;
  for (size_t s = 0; s < d->sequences; s++) {
    const squares q = squares_of(d, metric, i, linear_at(d, s, i),
                                 error_at(d, profile->precision_count, s, i, p));
    sum.change += q.change;
    for (int g = 0; g < SB_GEMM_KINDS; g++) sum.gemm[g] += q.gemm[g];
  }
  const double rise = (double)(d->T - 1) / 2 * sum.change / S;
  for (int g = 0; g < SB_GEMM_KINDS; g++) {
    /* The batch's gradient is the mean over sequences, whose errors are independent. */
    parts[g].weight = sqrt(sum.gemm[g]) / (S * u);
    parts[g].loss = g == SB_FPROP ? sqrt(rise / profile->loss) : 0;
    all += sum.gemm[g];
  }
  parts[SB_PART_ALL].weight = sqrt(all) / (S * u);
  parts[SB_PART_ALL].loss = parts[SB_FPROP].loss;
}

void sb_divergences(const sb_divergence_setup *d, sb_profile *profile) {
  profile->combine = SB_COMBINE_SQUARES;
  for (size_t i = 0; i < d->arch->matrix_count; i++) {
    profile->norms[i] = norms_of(d, i);
    for (size_t p = 0; p < profile->precision_count; p++) {
      sb_profile_entry *out = sb_profile_at(profile, i, p);
      local_errors(d, profile->precision_count, i, p, out);
      for (int metric = 0; metric < SB_METRIC_COUNT; metric++)
        fill_parts(d, profile, i, p, (sb_metric)metric, out->parts[metric]);
    }
  }
  for (int metric = 0; metric < SB_METRIC_COUNT; metric++) profile->has_metric[metric] = true;
}

double sb_expected_change(const sb_divergence_setup *d, size_t P, size_t i, size_t p) {
  double first, second;
  MEAN(first, d, error_at(d, P, s, i, p), loss);
  MEAN(second, d, error_at(d, P, s, i, p), tokens);
  return first + (double)(d->T - 1) / 2 * second;
}

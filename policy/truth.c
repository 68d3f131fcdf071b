#include "policy/truth.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "policy/correlation.h"
#include "policy/drawn.h"

const char *const sb_predictor_names[] = {"exact", "norms", "absolute", "relative", NULL};

typedef struct run {
  const sb_truth_setup *setup;
  sb_truth *out;
  sb_step_rig rig;
  sb_precision_map map;
  size_t done, all; /* steps */
} run;

static const sb_profile *profile_of(const run *r) {
  return &r->setup->measured->profile;
}

static sb_status step(run *r, sb_step_change *out) {
  const double begun = sb_now();
  SB_TRY(sb_step_rig_measure(&r->rig, &r->map, out));
  r->out->step_seconds += (sb_now() - begun) / (double)r->all;
  sb_tick(r->setup->ticker, (double)++r->done / (double)r->all);
  return SB_OK;
}

/* ---- single linears ---- */

static void set(const run *r, size_t linear, sb_precision precision) {
  for (int g = 0; g < SB_GEMM_KINDS; g++) r->map.gemms[linear][g] = precision;
}

static sb_status measure_linears(run *r) {
  const sb_profile *profile = profile_of(r);
  const size_t P = profile->precision_count;
  for (size_t i = 0; i < r->out->linear_count; i++)
    for (size_t p = 0; p < P; p++) {
      const size_t linear = r->out->linears[i];
      char line[1024];
      set(r, linear, profile->precisions[p]);
      const sb_status status = step(r, &r->out->changes[i * P + p]);
      set(r, linear, SB_PRECISION_HIGH);
      if (status != SB_ERR_NUMERIC) {
        SB_TRY(status);
        continue;
      }
      snprintf(line, sizeof line, "%s", sb_message());
      return sb_fail_from(sb_origin(), status, "%s in %s: %s", profile->model.linears[linear].name,
                          sb_precision_names[profile->precisions[p]], line);
    }
  return SB_OK;
}

static double predicted(const sb_profile_entry *e, int predictor, bool weight) {
  if (predictor == SB_PREDICT_ABSOLUTE) return e->abs_error;
  if (predictor == SB_PREDICT_RELATIVE) return e->rel_error;
  const sb_divergence *all = &e->parts[predictor][SB_PART_ALL];
  return weight ? all->weight : all->loss;
}

/* The truth in the units of the loss divergence (policy/divergence.h). */
static double divergence_of(const sb_profile *profile, double size) {
  return sqrt((double)(profile->seqlen - 1) / 2 * size * size / profile->loss);
}

static void hand_over(run *r) {
  sb_profile *profile = &r->setup->measured->profile;
  const size_t P = profile->precision_count;
  if (r->out->linear_count < profile->model.count) return;
  for (size_t i = 0; i < r->out->linear_count; i++)
    for (size_t p = 0; p < P; p++) {
      const sb_step_change *c = &r->out->changes[i * P + p];
      sb_profile_at(profile, r->out->linears[i], p)->truth =
          (sb_divergence){.loss = divergence_of(profile, c->size), .weight = c->weight};
    }
  profile->has_truth = true;
}

static sb_status rank_linears(const run *r, double *a, double *b) {
  const sb_profile *profile = profile_of(r);
  const size_t P = profile->precision_count, count = r->out->linear_count * P;
  sb_truth_ranks *ranks = &r->out->ranks;
  for (int k = 0; k < SB_PREDICTORS; k++)
    for (int weight = 0; weight < 2; weight++) {
      for (size_t i = 0; i < count; i++) {
        a[i] = predicted(sb_profile_at(profile, r->out->linears[i / P], i % P), k, weight);
        b[i] = weight ? r->out->changes[i].weight : r->out->changes[i].size;
      }
      SB_TRY(sb_rank_correlation(a, b, count, weight ? &ranks->weight[k] : &ranks->loss[k]));
    }
  for (size_t i = 0; i < count; i++) {
    a[i] = r->setup->measured->changes[r->out->linears[i / P] * P + i % P];
    b[i] = r->out->changes[i].change;
  }
  return sb_rank_correlation(a, b, count, &ranks->change);
}

/* ---- policies ---- */

static void predict_policy(const run *r, sb_truth_policy *out) {
  const sb_profile *profile = profile_of(r);
  double square = 0;
  for (size_t i = 0; i < profile->model.count; i++) {
    const size_t p = sb_profile_find(profile, r->map.gemms[i][SB_FPROP]);
    if (p == SB_NONE) continue;
    const sb_divergence *d = &sb_profile_at(profile, i, p)->parts[SB_METRIC_EXACT][SB_PART_ALL];
    out->expected += r->setup->measured->changes[i * profile->precision_count + p];
    out->rise += d->loss * d->loss * profile->loss;
    square += d->weight * d->weight;
  }
  out->weight = sqrt(square);
}

static sb_status measure_policies(run *r) {
  const sb_truth_setup *u = r->setup;
  for (size_t i = 0; i < r->out->policy_count; i++) {
    sb_truth_policy *policy = &r->out->policies[i];
    SB_TRY(sb_drawn_policy(profile_of(r), u->share, u->profile->seed, i, &r->map));
    predict_policy(r, policy);
    SB_TRY(step(r, &policy->change));
  }
  return SB_OK;
}

static sb_status rank_policies(const run *r, double *a, double *b) {
  const size_t count = r->out->policy_count;
  for (int k = 0; k < 3; k++) {
    for (size_t i = 0; i < count; i++) {
      const sb_truth_policy *p = &r->out->policies[i];
      a[i] = k == 0 ? p->expected : k == 1 ? p->rise : p->weight;
      b[i] = k == 2 ? p->change.weight : p->change.change;
    }
    SB_TRY(sb_rank_correlation(a, b, count, &r->out->policy_ranks[k]));
  }
  return SB_OK;
}

/* ---- all of it ---- */

static sb_status allocate(run *r) {
  const sb_truth_setup *u = r->setup;
  const sb_profile *profile = profile_of(r);
  const size_t all = profile->model.count,
               count = u->linears && u->linears < all ? u->linears : all;
  sb_truth *t = r->out;
  t->linear_count = count;
  t->policy_count = u->policies;
  r->all = count * profile->precision_count + u->policies;
  SB_TRY(sb_alloc(&t->linears, count, sizeof *t->linears, "truth"));
  SB_TRY(sb_alloc(&t->changes, count * profile->precision_count, sizeof *t->changes, "truth"));
  SB_TRY(sb_alloc(&t->policies, u->policies, sizeof *t->policies, "truth"));
  for (size_t i = 0; i < count; i++) t->linears[i] = i * all / count;
  return sb_precision_map_create(&u->profile->model->arch, SB_PRECISION_HIGH, &r->map);
}

static sb_status rank_all(run *r) {
  double *numbers = NULL;
  const size_t count = r->all;
  sb_status status = sb_alloc(&numbers, 2 * count, sizeof *numbers, "truth");
  SB_THEN(rank_linears(r, numbers, numbers + count));
  SB_THEN(rank_policies(r, numbers, numbers + count));
  sb_free(&numbers);
  return status;
}

sb_status sb_truth_measure(const sb_truth_setup *setup, sb_truth *out) {
  const sb_world *world = setup->profile->model->world;
  run r = {.setup = setup, .out = out};
  *out = (sb_truth){0};
  sb_status status = sb_world_agree(world, allocate(&r));
  SB_THEN(sb_step_rig_create(setup->profile, setup->sums, &r.rig));
  SB_THEN(measure_linears(&r));
  SB_THEN(measure_policies(&r));
  if (status == SB_OK) hand_over(&r);
  SB_THEN(sb_world_agree(world, rank_all(&r)));
  sb_step_rig_free(&r.rig);
  sb_precision_map_free(&r.map);
  if (status != SB_OK) sb_truth_free(out);
  return status;
}

void sb_truth_free(sb_truth *t) {
  sb_free(&t->linears);
  sb_free(&t->changes);
  sb_free(&t->policies);
}

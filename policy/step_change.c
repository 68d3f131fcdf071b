#include "policy/step_change.h"

#include <math.h>

#include "base/memory.h"
#include "mpi/exact.h"

/* AdamW's update over its rate, with the gradient of the sums; train/optimizer.h has the formula.
 */
typedef struct updating {
  double beta1, beta2, root, below, eps, scale;
  const int64_t *sums;
} updating;

static updating updating_of(const sb_step_rig *rig) {
  const sb_adamw *a = &rig->setup->adamw;
  const double t = (double)rig->setup->optimizer->updates + 1;
  updating u = {.beta1 = a->beta1,
                .beta2 = a->beta2,
                .root = 1 / sqrt(1 - pow(a->beta2, t)),
                .below = 1 / (1 - pow(a->beta1, t)),
                .eps = a->eps};
  u.sums = sb_gradient_sums_owned(rig->sums, &u.scale);
  return u;
}

static double update_of(const updating *u, const sb_optimizer_unit *unit, size_t first, size_t k) {
  const double g = (double)u->sums[first + k] * u->scale;
  const double m = u->beta1 * (double)unit->m[k] + (1 - u->beta1) * g;
  const double v = u->beta2 * (double)unit->v[k] + (1 - u->beta2) * g * g;
  return u->below * m / (sqrt(v) * u->root + u->eps);
}

/* squares[i] = of unit i, the squared norm of the update (`keep`: which is stored), or of its
 * difference from the stored one. */
static void square_units(sb_step_rig *rig, bool keep) {
  const sb_optimizer *o = rig->setup->optimizer;
  const updating u = updating_of(rig);
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *share = &o->shares->units[i];
    const sb_optimizer_unit unit = sb_optimizer_unit_at(o, i);
    double sum = 0;
    if (o->shares->model->arch.tensors[share->tensor].is_linear)
      for (size_t k = 0; k < share->count; k++) {
        float *kept = &rig->update[share->first + k];
        const double now = update_of(&u, &unit, share->first, k);
        const double by = keep ? now : now - (double)*kept;
        if (keep) *kept = (float)now;
        sum += by * by;
      }
    rig->squares[i] = sum;
  }
}

/* *norm = root of the sum of the units' squares over all ranks, exact in their order. */
static sb_status norm_of_units(const sb_step_rig *rig, double *norm) {
  const sb_shares *shares = rig->setup->optimizer->shares;
  double sum;
  SB_TRY(sb_exact_total(rig->squares, shares->count, shares->model->world->comm, &sum));
  *norm = sqrt(sum);
  return SB_OK;
}

static size_t local(const sb_step_rig *rig) {
  return sb_pass_local(rig->setup->model->world, sb_pass_sequences(rig->setup->pass));
}

static sb_status allocate(sb_step_rig *rig) {
  const sb_shares *shares = rig->setup->optimizer->shares;
  SB_TRY(sb_alloc(&rig->losses, local(rig), sizeof *rig->losses, "losses of sequences"));
  SB_TRY(sb_alloc(&rig->now, local(rig), sizeof *rig->now, "losses of sequences"));
  SB_TRY(sb_alloc(&rig->update, shares->elements, sizeof *rig->update, "an update"));
  return sb_alloc(&rig->squares, shares->count, sizeof *rig->squares, "an update");
}

sb_status sb_step_rig_create(const sb_profile_setup *setup, sb_gradient_sums *sums,
                             sb_step_rig *rig) {
  *rig = (sb_step_rig){.setup = setup, .sums = sums};
  SB_AGREE(setup->model->world, allocate(rig));
  sb_pass_forget(setup->pass);
  SB_TRY(sb_gradient_sums_measure(sums, setup->pass, &rig->loss));
  sb_pass_sequence_losses(setup->pass, rig->losses);
  square_units(rig, true);
  return norm_of_units(rig, &rig->update_norm);
}

void sb_step_rig_free(sb_step_rig *rig) {
  sb_free(&rig->losses);
  sb_free(&rig->now);
  sb_free(&rig->update);
  sb_free(&rig->squares);
}

/* Root of the mean over all sequences of the squared change. */
static sb_status size_of(const sb_step_rig *rig, double *size) {
  const sb_world *world = rig->setup->model->world;
  sb_exact sum = {0};
  sb_status status = SB_OK;
  for (size_t s = 0; s < local(rig); s++) {
    const double change = rig->now[s] - rig->losses[s];
    SB_THEN(sb_exact_add(&sum, change * change));
  }
  SB_AGREE(world, status);
  SB_TRY(sb_exact_allreduce(&sum, 1, world->comm));
  *size = sqrt(sb_exact_value(&sum) / (double)sb_pass_sequences(rig->setup->pass));
  return SB_OK;
}

sb_status sb_step_rig_measure(sb_step_rig *rig, const sb_precision_map *map, sb_step_change *out) {
  sb_pass *pass = rig->setup->pass;
  double loss;
  SB_TRY(sb_pass_set_precisions(pass, map, rig->setup->lowprec));
  SB_TRY(sb_gradient_sums_measure(rig->sums, pass, &loss));
  sb_pass_sequence_losses(pass, rig->now);
  SB_TRY(sb_pass_set_precisions(pass, NULL, NULL));
  out->change = loss - rig->loss;
  SB_TRY(size_of(rig, &out->size));
  square_units(rig, false);
  SB_TRY(norm_of_units(rig, &out->weight));
  out->weight /= rig->update_norm;
  return SB_OK;
}

#include "sensitivity/loss_table.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/code_kind.h"
#include "kernels/shared/trellis.h"
#include "sensitivity/diagonal.h"
#include "sensitivity/energy.h"
#include "sensitivity/kronecker.h"

struct sb_loss_table {
  sb_model *model;
  unsigned min_bits, max_bits;
  sb_losses *losses; /* [owned] */
  size_t owned;
  sb_kronecker *kronecker; /* one of the three */
  sb_diagonal *diagonal;
  sb_energy *energy; /* `diagonal` of a trellis */
};

static sb_status create(sb_loss_table *t, sb_backend *backend, sb_estimator estimator) {
  if (t->model->coding != SB_CODING_SOURCE)
    return sb_fail(SB_ERR_INTERNAL,
                   "a table of losses needs the source weights, the model is packed");
  SB_TRY(sb_alloc(&t->losses, t->owned, sizeof *t->losses, "table of losses"));
  if (sb_is_trellis(t->model->blocking.code_kind)) {
    if (estimator == SB_ESTIMATOR_DIAGONAL) return sb_energy_create(t->model, backend, &t->energy);
    return sb_fail(SB_ERR_UNSUPPORTED, "sensitivity %s makes no table of codes %s: diagonal does",
                   sb_estimator_names[estimator], sb_code_kind_names[t->model->blocking.code_kind]);
  }
  if (estimator == SB_ESTIMATOR_HESSIAN)
    return sb_kronecker_create(t->model, backend, t->min_bits, t->max_bits, &t->kronecker);
  if (estimator == SB_ESTIMATOR_DIAGONAL)
    return sb_diagonal_create(t->model, backend, t->min_bits, t->max_bits, &t->diagonal);
  return sb_fail(SB_ERR_INTERNAL, "estimator %d makes no table", (int)estimator);
}

size_t sb_loss_table_bytes(const sb_sizes *z, sb_estimator estimator, unsigned widths,
                           bool several_waves) {
  return sizeof(sb_loss_table) + z->owned * sizeof(sb_losses) +
         (estimator == SB_ESTIMATOR_HESSIAN ? sb_kronecker_bytes(z, several_waves)
                                            : sb_diagonal_bytes(z, widths));
}

sb_status sb_loss_table_create(sb_model *model, sb_backend *backend, sb_estimator estimator,
                               unsigned min_bits, unsigned max_bits, sb_loss_table **out) {
  sb_status status = sb_world_alloc(model->world, out, sizeof **out, "table of losses");
  SB_TRY(status);
  **out = (sb_loss_table){.model = model,
                          .min_bits = min_bits,
                          .max_bits = max_bits,
                          .owned = sb_model_owned_count(model)};
  status = sb_world_agree(model->world, create(*out, backend, estimator));
  if (status != SB_OK) sb_loss_table_free(out);
  return status;
}

void sb_loss_table_free(sb_loss_table **table) {
  sb_loss_table *t = *table;
  if (!t) return;
  sb_free(&t->losses);
  sb_kronecker_free(&t->kronecker);
  sb_diagonal_free(&t->diagonal);
  sb_energy_free(&t->energy);
  sb_free(table);
}

static sb_status fill(sb_loss_table *t, sb_pass *pass, double *loss) {
  if (t->kronecker) return sb_kronecker_measure(t->kronecker, pass, t->losses, loss);
  if (t->energy)
    return sb_energy_measure(t->energy, pass, t->min_bits, t->max_bits, t->losses, loss);
  return sb_diagonal_measure(t->diagonal, pass, t->losses, loss);
}

static sb_status measure(sb_loss_table *t, sb_pass *pass, double *loss) {
  memset(t->losses, 0, t->owned * sizeof *t->losses);
  SB_TRY(fill(t, pass, loss));
  sb_status status = SB_OK;
  for (size_t i = 0; i < t->owned && status == SB_OK; i++)
    for (unsigned b = t->min_bits; b <= t->max_bits; b++)
      if (!isfinite(t->losses[i][b]))
        status = sb_fail(SB_ERR_NUMERIC,
                         "the expected loss of a block at %u bits is not a number; check the "
                         "model for NaN or infinity",
                         b);
  return sb_world_agree(t->model->world, status);
}

sb_status sb_loss_table_measure(sb_loss_table *t, sb_pass *pass, bool full_precision,
                                double *loss) {
  sb_model *m = t->model;
  uint8_t *bits = NULL;
  if (!full_precision) return measure(t, pass, loss);
  SB_TRY(sb_model_lift_bits(m, &bits));
  sb_pass_forget(pass);
  const sb_status status = measure(t, pass, loss);
  sb_model_return_bits(m, &bits);
  sb_pass_forget(pass);
  return status;
}

const sb_losses *sb_loss_table_losses(const sb_loss_table *t) {
  return t->losses;
}

void sb_loss_table_gains(const sb_loss_table *t, const uint8_t *bits, double *raise_gain,
                         double *cut_loss) {
  for (size_t i = 0; i < t->owned; i++) {
    const unsigned b = bits[i];
    const double *loss = t->losses[i];
    const bool known = b >= t->min_bits && b <= t->max_bits;
    raise_gain[i] = known && b < t->max_bits ? loss[b] - loss[b + 1] : 0;
    cut_loss[i] = known && b > t->min_bits ? loss[b - 1] - loss[b] : 0;
  }
}

double sb_loss_table_seconds(const sb_loss_table *t) {
  return t->kronecker ? sb_kronecker_seconds(t->kronecker)
         : t->energy  ? sb_energy_seconds(t->energy)
                      : sb_diagonal_seconds(t->diagonal);
}

#include "sensitivity/gains.h"

#include <string.h>

#include "base/memory.h"
#include "mpi/exact.h"
#include "sensitivity/scores.h"

struct sb_gains {
  sb_model *model;
  sb_backend *backend;
  sb_estimator estimator;
  unsigned min_bits, max_bits;
  /* one of them; where there are costs, once these are measured: two tables at a time
   * would be too much */
  sb_scores *scores;    /* of moves */
  sb_loss_table *table; /* of widths, measured each time */
  sb_losses *costs;     /* of each owned block at each width, at full precision; or NULL */
  uint8_t *bits;        /* of the owned blocks */
  double cost_seconds;  /* for costs */
};

static sb_status create_estimator(sb_gains *g) {
  return sb_estimator_of_moves(g->estimator)
             ? sb_scores_create(g->model, g->backend, g->min_bits, g->max_bits, &g->scores)
             : sb_loss_table_create(g->model, g->backend, g->estimator, g->min_bits, g->max_bits,
                                    &g->table);
}

size_t sb_gains_bytes(const sb_sizes *z, sb_estimator estimator, unsigned widths, bool costs,
                      bool several_waves) {
  const size_t measure = sb_estimator_of_moves(estimator)
                             ? sb_scores_bytes(z)
                             : sb_loss_table_bytes(z, estimator, widths, several_waves);
  const size_t own = sizeof(sb_gains) + z->owned;
  if (!costs && estimator != SB_ESTIMATOR_DIVERGENCE) return own + measure;
  /* costs first, by the diagonal; then, in its place, what measures */
  return own + z->owned * sizeof(sb_losses) +
         sb_max_size(sb_loss_table_bytes(z, SB_ESTIMATOR_DIAGONAL, widths, several_waves), measure);
}

sb_status sb_gains_create(sb_model *model, sb_backend *backend, sb_estimator estimator,
                          unsigned min_bits, unsigned max_bits, bool costs, sb_gains **out) {
  sb_status status = sb_world_alloc(model->world, out, sizeof **out, "gains");
  SB_TRY(status);
  sb_gains *g = *out;
  *g = (sb_gains){.model = model,
                  .backend = backend,
                  .estimator = estimator,
                  .min_bits = min_bits,
                  .max_bits = max_bits};
  status = sb_alloc(&g->bits, sb_model_owned_count(model), 1, "bit map");
  if (status == SB_OK && (costs || estimator == SB_ESTIMATOR_DIVERGENCE))
    status = sb_alloc(&g->costs, sb_model_owned_count(model), sizeof *g->costs, "costs of widths");
  status = sb_world_agree(model->world, status);
  if (status == SB_OK && !g->costs) status = create_estimator(g);
  if (status != SB_OK) sb_gains_free(out);
  return status;
}

void sb_gains_free(sb_gains **gains) {
  sb_gains *g = *gains;
  if (!g) return;
  sb_scores_free(&g->scores);
  sb_loss_table_free(&g->table);
  sb_free(&g->costs);
  sb_free(&g->bits);
  sb_free(gains);
}

sb_status sb_gains_prepare(sb_gains *g, sb_pass *pass) {
  sb_loss_table *table = NULL;
  double loss;
  if (!g->costs) return SB_OK;
  SB_TRY(sb_loss_table_create(g->model, g->backend, SB_ESTIMATOR_DIAGONAL, g->min_bits, g->max_bits,
                              &table));
  if (g->estimator == SB_ESTIMATOR_DIVERGENCE) sb_pass_learn_next(pass);
  sb_status status = sb_loss_table_measure(table, pass, true, &loss);
  if (status == SB_OK) {
    memcpy(g->costs, sb_loss_table_losses(table),
           sb_model_owned_count(g->model) * sizeof *g->costs);
    g->cost_seconds = sb_loss_table_seconds(table);
  }
  sb_loss_table_free(&table);
  return status;
}

const sb_losses *sb_gains_costs(const sb_gains *g) {
  return g->costs;
}

/* The measured divergence over the costs of the present widths: squares of gradients of
 * tokens, without what is off the diagonal, are in proportion to the curvature rather than
 * equal to it. Collective. */
static sb_status scale_of_costs(const sb_gains *g, double divergence, double *scale) {
  sb_exact sum = {0};
  sb_status status = SB_OK;
  for (size_t i = 0; i < sb_model_owned_count(g->model) && status == SB_OK; i++)
    status = sb_exact_add(&sum, g->costs[i][g->bits[i]]);
  SB_AGREE(g->model->world, status);
  SB_TRY(sb_exact_allreduce(&sum, 1, g->model->world->comm));
  const double expected = sb_exact_value(&sum);
  *scale = expected > 0 ? divergence / expected : 1.0;
  return SB_OK;
}

/* First order, and the curvature along a move: of the error that it takes away and of the one that
 * it brings, which are independent. */
static sb_status predict_divergence(const sb_gains *g, double divergence, double *raise_gain,
                                    double *cut_loss) {
  const sb_moves *moves = sb_scores_moves(g->scores);
  double scale;
  SB_TRY(scale_of_costs(g, divergence, &scale));
  for (size_t i = 0; i < sb_model_owned_count(g->model); i++) {
    const unsigned b = g->bits[i];
    const double *cost = g->costs[i];
    raise_gain[i] = b < g->max_bits ? -moves[i].raise - scale * (cost[b] + cost[b + 1]) : 0;
    cut_loss[i] = b > g->min_bits ? moves[i].cut + scale * (cost[b] + cost[b - 1]) : 0;
  }
  return SB_OK;
}

sb_status sb_gains_measure(sb_gains *g, sb_pass *pass, double *raise_gain, double *cut_loss,
                           double *loss) {
  sb_model_get_bits(g->model, g->bits);
  if (!g->scores && !g->table) SB_TRY(create_estimator(g));
  if (g->table) {
    SB_TRY(sb_loss_table_measure(g->table, pass, false, loss));
    sb_loss_table_gains(g->table, g->bits, raise_gain, cut_loss);
    return SB_OK;
  }
  SB_TRY(sb_scores_measure(g->scores, pass, loss));
  if (g->estimator == SB_ESTIMATOR_DIVERGENCE)
    return predict_divergence(g, *loss, raise_gain, cut_loss);
  sb_scores_predict(g->scores, g->estimator, raise_gain, cut_loss);
  return SB_OK;
}

double sb_gains_seconds(const sb_gains *g) {
  return g->cost_seconds + (g->scores  ? sb_scores_seconds(g->scores)
                            : g->table ? sb_loss_table_seconds(g->table)
                                       : 0);
}

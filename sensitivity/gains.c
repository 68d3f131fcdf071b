#include "sensitivity/gains.h"

#include "base/memory.h"
#include "sensitivity/scores.h"
#include "sensitivity/table.h"

struct sb_gains {
  sb_model *model;
  sb_estimator estimator;
  sb_scores *scores; /* one of the two */
  sb_table *table;
  uint8_t *bits; /* of the owned blocks */
};

sb_status sb_gains_create(sb_model *model, sb_backend *backend, sb_estimator estimator, unsigned min_bits,
                          unsigned max_bits, sb_gains **out) {
  const bool of_moves = sb_estimator_of_moves(estimator);
  sb_status status = sb_alloc(out, 1, sizeof **out, "gains");
  SB_AGREE(model->world, status);
  sb_gains *g = *out;
  g->model = model;
  g->estimator = estimator;
  status = sb_world_agree(model->world, sb_alloc(&g->bits, sb_model_owned_count(model), 1, "bit map"));
  if (status == SB_OK)
    status = of_moves ? sb_scores_create(model, backend, min_bits, max_bits, &g->scores)
                      : sb_table_create(model, backend, estimator, min_bits, max_bits, &g->table);
  if (status != SB_OK) sb_gains_free(out);
  return status;
}

void sb_gains_free(sb_gains **gains) {
  sb_gains *g = *gains;
  if (!g) return;
  sb_scores_free(&g->scores);
  sb_table_free(&g->table);
  sb_free(&g->bits);
  sb_free(gains);
}

sb_status sb_gains_measure(sb_gains *g, sb_pass *pass, double *raise_gain, double *cut_loss, double *loss) {
  if (g->scores) {
    SB_TRY(sb_scores_measure(g->scores, pass, loss));
    sb_scores_predict(g->scores, g->estimator, raise_gain, cut_loss);
  } else {
    SB_TRY(sb_table_measure(g->table, pass, false, loss));
    sb_model_get_bits(g->model, g->bits);
    sb_table_gains(g->table, g->bits, raise_gain, cut_loss);
  }
  return SB_OK;
}

double sb_gains_seconds(const sb_gains *g) {
  return g->scores ? sb_scores_seconds(g->scores) : sb_table_seconds(g->table);
}

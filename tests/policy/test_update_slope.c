/* Slopes of AdamW's update: moves of the weights along them, their model by row and column, and
 * norms, against plain loops over all moments on one rank alone. */
#include "tests/train/runs.h"

#include <math.h>

#include "policy/update_slope.h"

enum { STEPS = 4 };

static double slope_of(const run *r, float v) {
  const sb_adamw *a = &r->options.adamw;
  return (1 - a->beta1) / (1 - pow(a->beta1, STEPS + 1)) /
         (sqrt((double)v / (1 - pow(a->beta2, STEPS))) + a->eps);
}

static float *masters_of(const sb_optimizer *o) {
  float *all = calloc(o->shares->elements, sizeof *all);
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *u = &o->shares->units[i];
    memcpy(all + u->first, u->master, u->count * sizeof *all);
  }
  return all;
}

/* Every weight of a layer's matrix moves by `step` times its slope, up or down; nothing else does.
 */
static void check_moves(const run *r, const float *before, double step) {
  const sb_optimizer *o = sb_trainer_optimizer(r->trainer);
  size_t up = 0, all = 0, wrong = 0;
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *u = &o->shares->units[i];
    const bool moves = r->model->arch.tensors[u->tensor].is_linear;
    for (size_t k = 0; k < u->count; k++) {
      const double w = (double)before[u->first + k], by = (double)u->master[k] - w;
      const double want = moves ? step * slope_of(r, o->v[u->first + k]) : 0;
      /* one rounding of the sum, one of the move */
      wrong += !(fabs(fabs(by) - want) <= 0x1p-23 * (fabs(w) + 2 * want));
      up += moves && by > 0;
      all += moves;
    }
  }
  EXPECT(wrong == 0);
  EXPECT(all == 0 || fabs((double)up / (double)all - 0.5) < 4 * 0.5 / sqrt((double)all));
}

static void moves_and_returns(void **state) {
  run r;
  sb_update_slope s;
  (void)state;
  run_open(&r, &world, "tied", 2, 0);
  for (size_t i = 0; i < STEPS; i++) (void)run_step(&r);
  const sb_optimizer *o = sb_trainer_optimizer(r.trainer);
  float *before = masters_of(o);
  EXPECT_OK(sb_update_slope_create(o, r.options.adamw, &s));
  EXPECT_OK(sb_update_slope_move(&s, 1e-6, 3));
  check_moves(&r, before, 1e-6);
  sb_update_slope_return(&s);
  float *after = masters_of(o);
  EXPECT(memcmp(before, after, o->shares->elements * sizeof *before) == 0);
  sb_update_slope_free(&s);
  free(before);
  free(after);
  run_close(&r);
  all_ranks_passed();
}

/* ---- what all ranks know ---- */

typedef struct plain {
  double update, slope, weight, *rows, *cols;
} plain;

/* Sums over all moments, which one rank alone has. */
static plain plain_of(const run *r, const sb_update_slope *s) {
  const sb_optimizer *o = sb_trainer_optimizer(r->trainer);
  const sb_arch *arch = &r->model->arch;
  const sb_adamw *a = &r->options.adamw;
  const size_t count = arch->matrix_count;
  plain p = {.rows = calloc(s->first_row[count], sizeof *p.rows),
             .cols = calloc(s->first_col[count], sizeof *p.cols)};
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *u = &o->shares->units[i];
    const sb_model_tensor *t = &arch->tensors[u->tensor];
    if (!t->is_linear) continue;
    const size_t m = arch->layers[t->layer].first_matrix + t->matrix;
    for (size_t k = 0; k < u->count; k++) {
      const double d = slope_of(r, o->v[u->first + k]), w = (double)u->master[k];
      const double by = (double)o->m[u->first + k] / (1 - pow(a->beta1, STEPS)) * d *
                        (1 - pow(a->beta1, STEPS + 1)) / (1 - a->beta1);
      p.update += by * by;
      p.slope += d * d;
      p.weight += w * w;
      p.rows[s->first_row[m] + u->first_row + k / t->cols] += d * d;
      p.cols[s->first_col[m] + k % t->cols] += d * d;
    }
  }
  return p;
}

static void check_model(const run *alone, const sb_update_slope *s, const plain *p) {
  const sb_arch *arch = &alone->model->arch;
  for (size_t m = 0; m < arch->matrix_count; m++) {
    double all = 0;
    for (size_t i = s->first_row[m]; i < s->first_row[m + 1]; i++) {
      all += p->rows[i];
      EXPECT(fabs((double)s->rows[i] - p->rows[i]) <= 1e-6 * p->rows[i]);
    }
    for (size_t j = s->first_col[m]; j < s->first_col[m + 1]; j++)
      EXPECT(fabs((double)s->cols[j] - p->cols[j] / all) <= 1e-6 * p->cols[j] / all);
  }
}

static void equals_plain_loops(void **state) {
  run r, alone;
  sb_update_slope s, one;
  (void)state;
  run_open(&r, &world, "untied", 1, 0);
  run_open(&alone, world_alone(), "untied", 1, 0);
  for (size_t i = 0; i < STEPS; i++) {
    (void)run_step(&r);
    (void)run_step(&alone);
  }
  EXPECT_OK(sb_update_slope_create(sb_trainer_optimizer(r.trainer), r.options.adamw, &s));
  EXPECT_OK(sb_update_slope_create(sb_trainer_optimizer(alone.trainer), r.options.adamw, &one));
  const size_t count = r.model->arch.matrix_count;
  EXPECT(s.update_norm == one.update_norm && s.slope_norm == one.slope_norm);
  EXPECT(s.weight_norm == one.weight_norm);
  EXPECT(memcmp(s.rows, one.rows, s.first_row[count] * sizeof *s.rows) == 0);
  EXPECT(memcmp(s.cols, one.cols, s.first_col[count] * sizeof *s.cols) == 0);
  plain p = plain_of(&alone, &one);
  EXPECT(fabs(s.update_norm / sqrt(p.update) - 1) < 1e-9);
  EXPECT(fabs(s.slope_norm / sqrt(p.slope) - 1) < 1e-9);
  EXPECT(fabs(s.weight_norm / sqrt(p.weight) - 1) < 1e-9);
  check_model(&alone, &s, &p);
  free(p.rows);
  free(p.cols);
  sb_update_slope_free(&s);
  sb_update_slope_free(&one);
  run_close(&r);
  run_close(&alone);
  all_ranks_passed();
}

/* Without an update, or with moments of nothing, there is no slope to speak of. */
static void refuses(void **state) {
  run r;
  sb_update_slope s;
  (void)state;
  run_open(&r, &world, "untied", 1, 0);
  sb_optimizer *o = sb_trainer_optimizer(r.trainer);
  EXPECT(sb_update_slope_create(o, r.options.adamw, &s) == SB_ERR_INTERNAL);
  sb_update_slope_free(&s);
  o->updates = 1;
  EXPECT(sb_update_slope_create(o, r.options.adamw, &s) == SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "moments are all 0") != NULL);
  sb_update_slope_free(&s);
  for (size_t i = 0; i < o->shares->count; i++)
    if (r.model->arch.tensors[o->shares->units[i].tensor].is_linear && world.rank == 0)
      o->m[o->shares->units[i].first] = NAN;
  EXPECT(sb_update_slope_create(o, r.options.adamw, &s) == SB_ERR_NUMERIC);
  sb_update_slope_free(&s);
  run_close(&r);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(moves_and_returns),
                                          cmocka_unit_test(equals_plain_loops),
                                          cmocka_unit_test(refuses)};
RANKS_MAIN(tests)

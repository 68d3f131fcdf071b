#include "policy/update_slope.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "mpi/exact.h"
#include "mpi/large.h"

/* Sums of the matrices of layers: of the squares of updates, slopes, weights, and of D^2 by matrix
 * and column. */
enum { UPDATE, SLOPE, WEIGHT, NORMS };

static bool is_matrix(const sb_optimizer *o, const sb_share *u) {
  return o->shares->model->arch.tensors[u->tensor].is_linear;
}

/* Number of a layer's matrix through the whole model. */
static size_t matrix_of(const sb_arch *arch, size_t tensor) {
  const sb_model_tensor *t = &arch->tensors[tensor];
  return arch->layers[t->layer].first_matrix + t->matrix;
}

/* What is common to all elements of slopes and updates. */
typedef struct factors {
  double slope, update, root, eps;
} factors;

static factors factors_of(const sb_update_slope *s) {
  const double t = (double)s->optimizer->updates;
  const sb_adamw *a = &s->adamw;
  return (factors){(1 - a->beta1) / (1 - pow(a->beta1, t + 1)), 1 / (1 - pow(a->beta1, t)),
                   1 / sqrt(1 - pow(a->beta2, t)), a->eps};
}

/* ---- sums over the units of this rank ---- */

/* What is summed: over each unit, in the order of its elements, so that it depends on its shape
 * alone; then over units, exactly. */
typedef struct sums {
  size_t cols, all;       /* columns of all matrices; sums: norms, columns, matrices */
  double *rows;           /* [rows of all matrices] */
  sb_exact *exact;        /* [all] */
  double (*norms)[NORMS]; /* [units of this rank] */
  double *unit_cols;      /* columns of its units of matrices, one after another */
  size_t *first_unit_col; /* [units of this rank + 1] */
} sums;

static void sum_unit(const factors *f, const sb_optimizer_unit *unit, const sb_share *u,
                     double *rows, double *cols, double norms[NORMS]) {
  const size_t width = u->count / u->rows;
  for (size_t r = 0; r < u->rows; r++) {
    rows[r] = 0;
    for (size_t c = 0; c < width; c++) {
      const size_t i = r * width + c;
      const double below = 1 / (sqrt((double)unit->v[i]) * f->root + f->eps);
      const double slope = f->slope * below, update = f->update * (double)unit->m[i] * below;
      rows[r] += slope * slope;
      cols[c] += slope * slope;
      norms[UPDATE] += update * update;
      norms[WEIGHT] += (double)unit->master[i] * (double)unit->master[i];
    }
    norms[SLOPE] += rows[r];
  }
}

static void sum_units(const sb_update_slope *s, sums *w) {
  const sb_optimizer *o = s->optimizer;
  const factors f = factors_of(s);
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *u = &o->shares->units[i];
    if (!is_matrix(o, u)) continue;
    const sb_optimizer_unit unit = sb_optimizer_unit_at(o, i);
    const size_t m = matrix_of(&o->shares->model->arch, u->tensor);
    sum_unit(&f, &unit, u, w->rows + s->first_row[m] + u->first_row,
             w->unit_cols + w->first_unit_col[i], w->norms[i]);
  }
}

/* Adds the sums of all units, in the units of what is added. */
static sb_status add_units(const sb_update_slope *s, sums *w, const double units[NORMS]) {
  const sb_optimizer *o = s->optimizer;
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *u = &o->shares->units[i];
    if (!is_matrix(o, u)) continue;
    const size_t m = matrix_of(&o->shares->model->arch, u->tensor), width = u->count / u->rows;
    for (int n = 0; n < NORMS; n++) SB_TRY(sb_exact_add(&w->exact[n], w->norms[i][n] / units[n]));
    for (size_t c = 0; c < width; c++)
      SB_TRY(sb_exact_add(&w->exact[NORMS + s->first_col[m] + c],
                          w->unit_cols[w->first_unit_col[i] + c] / units[SLOPE]));
    SB_TRY(sb_exact_add(&w->exact[NORMS + w->cols + m], w->norms[i][SLOPE] / units[SLOPE]));
  }
  return SB_OK;
}

/* ---- what all ranks know ---- */

static sb_status lay_out(sb_update_slope *s, sums *w) {
  const sb_shares *shares = s->optimizer->shares;
  const sb_arch *arch = &shares->model->arch;
  const size_t count = arch->matrix_count;
  SB_TRY(sb_alloc(&s->first_row, count + 1, sizeof *s->first_row, "profile"));
  SB_TRY(sb_alloc(&s->first_col, count + 1, sizeof *s->first_col, "profile"));
  for (size_t m = 0; m < count; m++) {
    const sb_model_tensor *t = &arch->tensors[arch->matrices[m]];
    s->first_row[m + 1] = s->first_row[m] + t->rows;
    s->first_col[m + 1] = s->first_col[m] + t->cols;
  }
  SB_TRY(sb_alloc(&w->first_unit_col, shares->count + 1, sizeof *w->first_unit_col, "profile"));
  for (size_t i = 0; i < shares->count; i++) {
    const sb_share *u = &shares->units[i];
    w->first_unit_col[i + 1] =
        w->first_unit_col[i] + (is_matrix(s->optimizer, u) ? u->count / u->rows : 0);
  }
  w->cols = s->first_col[count];
  w->all = NORMS + w->cols + count;
  SB_TRY(sb_alloc(&s->rows, s->first_row[count], sizeof *s->rows, "profile"));
  SB_TRY(sb_alloc(&s->cols, w->cols, sizeof *s->cols, "profile"));
  SB_TRY(sb_alloc(&w->rows, s->first_row[count], sizeof *w->rows, "profile"));
  SB_TRY(sb_alloc(&w->exact, w->all, sizeof *w->exact, "profile"));
  SB_TRY(sb_alloc(&w->norms, shares->count, sizeof *w->norms, "profile"));
  return sb_alloc(&w->unit_cols, w->first_unit_col[shares->count], sizeof *w->unit_cols, "profile");
}

static void release(sums *w) {
  sb_free(&w->rows);
  sb_free(&w->exact);
  sb_free(&w->norms);
  sb_free(&w->unit_cols);
  sb_free(&w->first_unit_col);
}

static void share_out(sb_update_slope *s, const sums *w, const double units[NORMS]) {
  const sb_arch *arch = &s->optimizer->shares->model->arch;
  s->update_norm = sqrt(sb_exact_value(&w->exact[UPDATE]) * units[UPDATE]);
  s->slope_norm = sqrt(sb_exact_value(&w->exact[SLOPE]) * units[SLOPE]);
  s->weight_norm = sqrt(sb_exact_value(&w->exact[WEIGHT]) * units[WEIGHT]);
  for (size_t m = 0; m < arch->matrix_count; m++) {
    const double all = sb_exact_value(&w->exact[NORMS + w->cols + m]);
    for (size_t c = s->first_col[m]; c < s->first_col[m + 1]; c++)
      s->cols[c] = all > 0 ? (float)(sb_exact_value(&w->exact[NORMS + c]) / all) : 0;
  }
  for (size_t r = 0; r < s->first_row[arch->matrix_count]; r++) s->rows[r] = (float)w->rows[r];
}

static sb_status measure(sb_update_slope *s, sums *w) {
  const sb_world *world = s->optimizer->shares->model->world;
  const sb_arch *arch = &s->optimizer->shares->model->arch;
  double largest[NORMS] = {0}, units[NORMS];
  bool finite = true;
  sum_units(s, w);
  for (size_t i = 0; i < s->optimizer->shares->count; i++)
    for (int n = 0; n < NORMS; n++)
      if (isfinite(w->norms[i][n]))
        largest[n] = fmax(largest[n], w->norms[i][n]);
      else
        finite = false;
  SB_AGREE(world, finite ? SB_OK
                         : sb_fail(SB_ERR_NUMERIC, "the optimizer's moments have no finite "
                                                   "update; profile a state that trains"));
  for (int n = 0; n < NORMS; n++) SB_TRY(sb_exact_unit(largest[n], world->comm, &units[n]));
  SB_AGREE(world, add_units(s, w, units));
  SB_TRY(sb_exact_allreduce(w->exact, w->all, world->comm));
  /* A row is known to one rank; the others have 0. */
  SB_TRY(sb_mpi_sum_f64(w->rows, s->first_row[arch->matrix_count], world->comm));
  share_out(s, w, units);
  if (s->update_norm > 0) return SB_OK;
  return sb_fail(SB_ERR_NUMERIC, "the optimizer's moments are all 0, so no update has a norm");
}

sb_status sb_update_slope_create(const sb_optimizer *optimizer, sb_adamw adamw,
                                 sb_update_slope *s) {
  const sb_world *world = optimizer->shares->model->world;
  sums w = {0};
  *s = (sb_update_slope){.optimizer = optimizer, .adamw = adamw};
  if (optimizer->updates == 0)
    return sb_fail(SB_ERR_INTERNAL, "a profile needs moments of at least one update");
  sb_status status = sb_world_agree(world, lay_out(s, &w));
  SB_THEN(measure(s, &w));
  release(&w);
  return status;
}

void sb_update_slope_free(sb_update_slope *s) {
  sb_free(&s->first_row);
  sb_free(&s->first_col);
  sb_free(&s->rows);
  sb_free(&s->cols);
  sb_free(&s->kept);
}

/* ---- moving the weights ---- */

sb_status sb_update_slope_move(sb_update_slope *s, double step, uint64_t seed) {
  const sb_optimizer *o = s->optimizer;
  const factors f = factors_of(s);
  SB_AGREE(o->shares->model->world,
           sb_alloc_raw(&s->kept, o->shares->elements, sizeof *s->kept, "weights while they move"));
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *u = &o->shares->units[i];
    if (!is_matrix(o, u)) continue;
    const sb_optimizer_unit unit = sb_optimizer_unit_at(o, i);
    const uint64_t key = sb_mix64_with(seed, u->tensor);
    const size_t first = u->first_row * (u->count / u->rows);
    memcpy(s->kept + u->first, unit.master, u->count * sizeof *s->kept);
    for (size_t k = 0; k < u->count; k++) {
      const double slope = f.slope / (sqrt((double)unit.v[k]) * f.root + f.eps);
      const bool up = sb_mix64_with(key, first + k) >> 63;
      unit.master[k] += (float)(up ? step * slope : -step * slope);
    }
  }
  return SB_OK;
}

void sb_update_slope_return(sb_update_slope *s) {
  const sb_optimizer *o = s->optimizer;
  if (!s->kept) return;
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *u = &o->shares->units[i];
    if (is_matrix(o, u)) memcpy(u->master, s->kept + u->first, u->count * sizeof *s->kept);
  }
  sb_free(&s->kept);
}

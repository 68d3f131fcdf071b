/* A profile: what low precisions would cost a training step, linear by linear. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "report/chart.h"
#include "report/sections.h"

enum { LINEARS = 64, LAYERS = 4096 };

typedef struct linears {
  size_t rows, cols;
  char row_texts[LAYERS][8];
  const char *row_names[LAYERS], *col_names[LINEARS];
  double values[LAYERS * LINEARS];
} linears;

/* "model.layers.3.mlp.down_proj.weight" -> "mlp.down_proj.weight" */
static const char *within_layer(const char *name) {
  const char *at = strstr(name, "layers.");
  const char *dot = at ? strchr(at + strlen("layers."), '.') : NULL;
  return dot ? dot + 1 : name;
}

static void fill(const json_t *list, const char *precision, linears *t) {
  t->rows = t->cols = 0;
  for (size_t k = 0; k < LAYERS * LINEARS; k++) t->values[k] = NAN;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *linear = json_array_get(list, i);
    const char *name = within_layer(sb_run_text(linear, "name"));
    const double layer = sb_run_real(linear, "layer");
    size_t col = 0;
    if (!(layer >= 0 && layer < LAYERS)) continue;
    while (col < t->cols && strcmp(t->col_names[col], name) != 0) col++;
    if (col == LINEARS) continue;
    if (col == t->cols) t->col_names[t->cols++] = name;
    if ((size_t)layer + 1 > t->rows) t->rows = (size_t)layer + 1;
    t->values[(size_t)layer * LINEARS + col] =
        sb_run_real(json_object_get(json_object_get(linear, "precisions"), precision), "rel_error");
  }
  for (size_t i = 0; i < t->rows; i++) {
    snprintf(t->row_texts[i], sizeof t->row_texts[i], "%u", (unsigned)i);
    t->row_names[i] = t->row_texts[i];
    memmove(&t->values[i * t->cols], &t->values[i * LINEARS], t->cols * sizeof *t->values);
  }
}

static void errors(sb_page *p, const json_t *list, const char *precision, linears *t) {
  char title[96];
  double most = 0;
  fill(list, precision, t);
  for (size_t k = 0; k < t->rows * t->cols; k++)
    if (isfinite(t->values[k])) most = fmax(most, t->values[k]);
  if (t->rows == 0 || !(most > 0)) return;
  snprintf(title, sizeof title, "Errors of %.32s", precision);
  sb_chart_heat(p, &(sb_heat_chart){.title = title,
                                    .about = "Norm of the quantization error of a linear layer's "
                                             "operands, over the norm of the operands.",
                                    .row_name = "layer",
                                    .value_name = "relative error",
                                    .rows = t->rows,
                                    .cols = t->cols,
                                    .row_names = t->row_names,
                                    .col_names = t->col_names,
                                    .values = t->values,
                                    .low = 0,
                                    .high = most,
                                    .digits = 3});
}

/* Weight divergences summed over the linears of each layer; false where the profile has none. */
typedef struct layer_sums {
  double layer[LAYERS], predicted[LAYERS], measured[LAYERS];
} layer_sums;

static bool add_up(const json_t *list, const char *precision, layer_sums *sums, size_t *layers) {
  bool found = false;
  *layers = 0;
  memset(sums, 0, sizeof *sums);
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *linear = json_array_get(list, i),
                 *entry = json_object_get(json_object_get(linear, "precisions"), precision);
    const double layer = sb_run_real(linear, "layer"),
                 predicted =
                     sb_run_real(json_object_get(json_object_get(entry, "exact"), "all"), "weight"),
                 measured = sb_run_real(json_object_get(entry, "truth"), "weight");
    if (!(layer >= 0 && layer < LAYERS) || !isfinite(predicted) || !isfinite(measured)) continue;
    found = true;
    sums->predicted[(size_t)layer] += predicted;
    sums->measured[(size_t)layer] += measured;
    *layers = sb_max_size(*layers, (size_t)layer + 1);
  }
  for (size_t i = 0; i < *layers; i++) sums->layer[i] = (double)i;
  return found;
}

static void predictions(sb_page *p, const json_t *list, const char *precision) {
  layer_sums *sums = NULL;
  size_t layers;
  char title[96];
  if (p->status == SB_OK) p->status = sb_alloc(&sums, 1, sizeof *sums, "sums of layers");
  if (p->status != SB_OK) return;
  if (add_up(list, precision, sums, &layers)) {
    const sb_points series[] = {{"predicted", layers, sums->layer, sums->predicted, NULL, false},
                                {"measured", layers, sums->layer, sums->measured, NULL, false}};
    snprintf(title, sizeof title, "Error a layer with %.32s, predicted and measured", precision);
    sb_chart_lines(p, &(sb_line_chart){
                          .title = title,
                          .about = "Change of the optimizer's update over the update, summed over "
                                   "the layer's linears. Measured: each linear alone in that "
                                   "precision for one step.",
                          .x_name = "layer",
                          .y_name = "relative change",
                          .level = NAN,
                          .count = 2,
                          .series = series});
  }
  sb_free(&sums);
}

void sb_section_profile(sb_page *p, const sb_run *run) {
  const json_t *list = json_object_get(run->json, "linears"),
               *precisions = json_object_get(run->json, "precisions");
  linears *t = NULL;
  if (p->status == SB_OK) p->status = sb_alloc(&t, 1, sizeof *t, "errors of a report");
  if (p->status != SB_OK) return;
  sb_page_add(p, "<section><h2>Profile ");
  sb_page_text(p, run->label);
  sb_page_add(p,
              "</h2>\n<p class=\"about\">Step %.0f, loss %.4f nats a token, %.0f sequences of "
              "%.0f tokens.</p><div class=\"cards\">\n",
              sb_run_real(run->json, "step"), sb_run_real(run->json, "loss"),
              sb_run_real(run->json, "batch"), sb_run_real(run->json, "seqlen"));
  for (size_t i = 0; i < json_array_size(precisions); i++) {
    const char *name = json_string_value(json_array_get(precisions, i));
    if (!name) continue;
    errors(p, list, name, t);
    predictions(p, list, name);
  }
  sb_page_add(p, "</div></section>\n");
  sb_free(&t);
}

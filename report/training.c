/* Runs of train, by their results and by their events; and profiles of precisions. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "report/chart.h"
#include "report/sections.h"

enum { POINTS = 400, LINEARS = 64, LAYERS = 4096 };

static void table(sb_page *p, const sb_runs *runs) {
  static const char *const columns[] = {"Run",      "Precision", "Step",  "Loss",
                                        "Held-out", "Skipped",   "FP4",   "FP8",
                                        "Tokens/s", "Time",      "Ranks", "Peak memory"};
  if (!sb_runs_have(runs, SB_RUN_TRAIN)) return;
  sb_page_table(p,
                "Losses in nats a token. FP4, FP8: shares of the products' work. Peak memory: of "
                "the largest rank.",
                columns, sizeof columns / sizeof *columns);
  for (size_t i = 0; i < runs->count; i++) {
    const json_t *j = runs->run[i].json;
    char time[SB_TEXT_SIZE];
    if (runs->run[i].kind != SB_RUN_TRAIN) continue;
    sb_page_row(p, runs->run[i].label);
    sb_page_cell(p, "%s", sb_run_text(j, "precision"));
    sb_page_number(p, sb_run_real(j, "step"), 12);
    sb_page_number(p, sb_run_real(j, "loss"), 5);
    sb_page_number(p, sb_run_real(j, "heldout_loss"), 5);
    sb_page_number(p, sb_run_real(j, "skipped"), 12);
    sb_page_number(p, sb_run_real(j, "fp4_share"), 4);
    sb_page_number(p, sb_run_real(j, "fp8_share"), 4);
    sb_page_number(p, sb_run_real(j, "tokens_per_second"), 4);
    sb_page_cell(p, "%s", sb_text_seconds(time, sizeof time, sb_run_real(j, "seconds")));
    sb_page_number(p, sb_run_real(j, "ranks"), 10);
    sb_page_cell(p, "%.4g MB", sb_run_real(j, "peak_resident_bytes") / 1e6);
    sb_page_row_end(p);
  }
  sb_page_table_end(p);
}

typedef struct curve {
  double x[POINTS], y[POINTS];
} curve;

static bool is_event(const json_t *event, const char *name) {
  return strcmp(sb_run_text(event, "event"), name) == 0 && isfinite(sb_run_real(event, "step")) &&
         isfinite(sb_run_real(event, "loss"));
}

/* Means over as many events at a time as leave at most POINTS. Returns how many that is. */
static size_t draw_curve(const json_t *events, const char *name, curve *out, size_t *points) {
  size_t count = 0, at = 0;
  for (size_t i = 0; i < json_array_size(events); i++)
    count += is_event(json_array_get(events, i), name);
  const size_t each = sb_div_up(count, POINTS) > 0 ? sb_div_up(count, POINTS) : 1;
  memset(out, 0, sizeof *out);
  for (size_t i = 0; i < json_array_size(events); i++) {
    const json_t *event = json_array_get(events, i);
    if (!is_event(event, name)) continue;
    const size_t bin = at++ / each;
    const double share = 1 / (double)sb_min_size(each, count - bin * each);
    out->x[bin] += share * sb_run_real(event, "step");
    out->y[bin] += share * sb_run_real(event, "loss");
  }
  *points = sb_div_up(count, each);
  return each;
}

static void curves(sb_page *p, const sb_runs *runs, const char *event, const char *title,
                   const char *what) {
  curve *of = NULL;
  sb_points series[SB_RUNS_MAX];
  size_t n = 0, most = 1;
  char about[160];
  if (p->status == SB_OK) p->status = sb_alloc(&of, SB_RUNS_MAX, sizeof *of, "curves of a report");
  if (p->status != SB_OK) return;
  for (size_t i = 0; i < runs->count; i++) {
    size_t points;
    if (runs->run[i].kind != SB_RUN_EVENTS) continue;
    const size_t each = draw_curve(runs->run[i].json, event, &of[n], &points);
    if (each > most) most = each;
    if (points == 0) continue;
    series[n] = (sb_points){runs->run[i].label, points, of[n].x, of[n].y, NULL, false};
    n++;
  }
  snprintf(about, sizeof about, most > 1 ? "%s A point is the mean of up to %zu." : "%s", what,
           most);
  if (n > 0)
    sb_chart_lines(p, &(sb_line_chart){.title = title,
                                       .about = about,
                                       .x_name = "step",
                                       .y_name = "loss, nats a token",
                                       .level = NAN,
                                       .count = n,
                                       .series = series});
  sb_free(&of);
}

void sb_section_training(sb_page *p, const sb_runs *runs) {
  if (!sb_runs_have(runs, SB_RUN_TRAIN) && !sb_runs_have(runs, SB_RUN_EVENTS)) return;
  sb_page_add(p, "<section><h2>Training</h2>\n");
  table(p, runs);
  sb_page_add(p, "<div class=\"cards\">\n");
  curves(p, runs, "step", "Training loss", "Loss of each step's batch.");
  curves(p, runs, "eval", "Held-out loss", "Loss on tokens that are not trained on.");
  for (size_t i = 0; i < runs->count; i++)
    if (runs->run[i].kind == SB_RUN_TRAIN) sb_section_phases(p, runs->run[i].json);
  sb_page_add(p, "</div></section>\n");
}

/* ---- profiles ---- */

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
    if (name) errors(p, list, name, t);
  }
  sb_page_add(p, "</div></section>\n");
  sb_free(&t);
}

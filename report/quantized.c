/* One run of quantize, and one of reorder. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "report/chart.h"
#include "report/sections.h"

enum { ROLES = 64, LAYERS = 4096, SIDE = 256, STEPS = 4096, CANDIDATES = 8 };

/* ---- widths by layer and matrix ---- */

typedef struct widths {
  size_t rows, cols;
  const char *row_names[LAYERS], *col_names[ROLES];
  char numbers[LAYERS][8];
  double *values;
  double low, high;
} widths;

static bool read_widths(sb_page *p, const json_t *json, widths *w) {
  const json_t *mean = json_object_get(json, "mean"), *roles = json_object_get(json, "roles");
  w->rows = sb_min_size(json_array_size(mean), LAYERS);
  w->cols = sb_min_size(json_array_size(roles), ROLES);
  if (w->rows == 0 || w->cols == 0 || p->status != SB_OK) return false;
  p->status = sb_alloc(&w->values, w->rows * w->cols, sizeof *w->values, "widths of a report");
  if (p->status != SB_OK) return false;
  w->low = INFINITY;
  w->high = -INFINITY;
  for (size_t i = 0; i < w->rows; i++) {
    snprintf(w->numbers[i], sizeof w->numbers[i], "%u", (unsigned)i);
    w->row_names[i] = w->numbers[i];
    for (size_t j = 0; j < w->cols; j++) {
      const json_t *value = json_array_get(json_array_get(mean, i), j);
      const double here = json_is_number(value) ? json_number_value(value) : NAN;
      const char *name = json_string_value(json_array_get(roles, j));
      w->col_names[j] = name ? name : "?";
      w->values[i * w->cols + j] = here;
      if (!isfinite(here)) continue;
      w->low = fmin(w->low, floor(here));
      w->high = fmax(w->high, ceil(here));
    }
  }
  if (w->low == w->high) w->low--; /* uniform: all of one colour */
  return w->high > w->low;
}

static void heat(sb_page *p, const json_t *json) {
  widths *w = NULL;
  if (p->status != SB_OK) return;
  p->status = sb_alloc(&w, 1, sizeof *w, "widths of a report");
  if (p->status != SB_OK) return;
  if (read_widths(p, json, w))
    sb_chart_heat(p, &(sb_heat_chart){.title = "Mean bits by layer and matrix",
                                      .about = "Codes alone: widths of blocks, weighted by their "
                                               "weights. Layers run down, matrices across.",
                                      .row_name = "layer",
                                      .value_name = "bits",
                                      .rows = w->rows,
                                      .cols = w->cols,
                                      .row_names = w->row_names,
                                      .col_names = w->col_names,
                                      .values = w->values,
                                      .low = w->low,
                                      .high = w->high,
                                      .digits = 3});
  sb_free(&w->values);
  sb_free(&w);
}

/* Shares of the weights of each matrix at each width: rows add up to 100 %. */
static void histogram(sb_page *p, const json_t *json) {
  static const char *const columns[] = {"1", "2", "3", "4", "5", "6", "7", "8"};
  const char *names[ROLES];
  double shares[ROLES * 8];
  const char *role;
  json_t *counts;
  size_t n = 0;
  json_object_foreach(json_object_get(json, "weights_by_bits"), role, counts) {
    double sum = 0;
    if (n == ROLES) break;
    for (size_t b = 0; b < 8; b++) sum += json_number_value(json_array_get(counts, b));
    for (size_t b = 0; b < 8; b++) {
      const double here = json_number_value(json_array_get(counts, b));
      shares[n * 8 + b] = here > 0 && sum > 0 ? 100 * here / sum : NAN;
    }
    names[n++] = role;
  }
  if (n == 0) return;
  sb_chart_heat(p, &(sb_heat_chart){.title = "Widths of each kind of matrix",
                                    .about = "Share of its weights, in percent, that have 1 to 8 "
                                             "bits. A row is a histogram: it adds up to 100.",
                                    .row_name = "bits",
                                    .value_name = "percent",
                                    .rows = n,
                                    .cols = 8,
                                    .row_names = names,
                                    .col_names = columns,
                                    .values = shares,
                                    .low = 0,
                                    .high = 100,
                                    .digits = 3});
}

/* ---- the picture of a matrix ---- */

/* A row of numbers with spaces between them. Returns how many there are, at most SIDE. */
static size_t read_row(const char *text, double out[SIDE]) {
  size_t n = 0;
  for (char *end; text && n < SIDE; text = end, n++) {
    out[n] = strtod(text, &end);
    if (end == text) break;
  }
  return n;
}

/* values[rows * cols]. False where the rows are not of one length. */
static bool read_picture(const json_t *list, double *values, size_t *rows, size_t *cols) {
  *rows = json_array_size(list);
  *cols = 0;
  if (*rows == 0 || *rows > SIDE) return false;
  for (size_t i = 0; i < *rows; i++) {
    double row[SIDE];
    const size_t n = read_row(json_string_value(json_array_get(list, i)), row);
    if (i == 0) *cols = n;
    if (n == 0 || n != *cols) return false;
    memcpy(values + i * n, row, n * sizeof *row);
  }
  return true;
}

static void picture_of(sb_page *p, const json_t *list, const char *title, const char *about,
                       double *values) {
  size_t rows, cols;
  double low = INFINITY, high = -INFINITY;
  if (!read_picture(list, values, &rows, &cols)) return;
  for (size_t i = 0; i < rows * cols; i++) {
    low = fmin(low, values[i]);
    high = fmax(high, values[i]);
  }
  char text[512];
  if (!(high > low)) return; /* uniform: nothing to see */
  low = floor(low);
  high = ceil(high);
  snprintf(text, sizeof text, "%s Dark is %g bits, yellow %g.", about, low, high);
  sb_chart_image(p, &(sb_image_chart){.title = title,
                                      .about = text,
                                      .rows = rows,
                                      .cols = cols,
                                      .values = values,
                                      .low = low,
                                      .high = high});
}

static void pictures(sb_page *p, const json_t *picture) {
  double *values = NULL;
  char title[256];
  const char *name = sb_run_text(picture, "matrix");
  const json_t *shape = json_object_get(picture, "shape");
  if (!picture || p->status != SB_OK) return;
  p->status = sb_alloc(&values, (size_t)SIDE * SIDE, sizeof *values, "a picture of a report");
  if (p->status != SB_OK) return;
  const double rows = json_number_value(json_array_get(shape, 0)),
               cols = json_number_value(json_array_get(shape, 1));
  const json_t *source = json_object_get(picture, "source");
  snprintf(title, sizeof title, "Bits of %.160s%s", name, source ? ", as stored" : "");
  char about[256];
  snprintf(about, sizeof about,
           "%.0f rows down, %.0f columns across; the matrix whose blocks differ most.", rows, cols);
  if (source) {
    char before[256];
    snprintf(before, sizeof before, "Bits of %.160s, in the model's own order", name);
    picture_of(p, source, before,
               "The same widths at the places that the channels had before they were reordered.",
               values);
  }
  picture_of(p, json_object_get(picture, "stored"), title, about, values);
  sb_free(&values);
}

/* ---- the search and what follows ---- */

static void steps_of(sb_page *p, const json_t *json) {
  const json_t *steps = json_object_get(json, "search");
  const size_t count = sb_min_size(json_array_size(steps), STEPS);
  static double x[2][STEPS], y[2][STEPS];
  static char notes[STEPS][96];
  static const char *note_list[2][STEPS];
  sb_points series[] = {{.name = "path, and trades that were kept"},
                        {.name = "trades taken back", .unjoined = true}};
  for (size_t i = 0; i < count; i++) {
    const json_t *step = json_array_get(steps, i);
    const int back = json_is_false(json_object_get(step, "accepted"));
    const size_t at = series[back].count++;
    x[back][at] = sb_run_real(step, "step");
    y[back][at] = sb_run_real(step, "loss");
    snprintf(notes[i], sizeof notes[i], "%.12s, %.0f raised, %.0f cut, %.4g bits",
             sb_run_text(step, "kind"), sb_run_real(step, "raised"), sb_run_real(step, "cut"),
             sb_run_real(step, "effective_bits"));
    note_list[back][at] = notes[i];
  }
  for (int s = 0; s < 2; s++) {
    series[s].x = x[s];
    series[s].y = y[s];
    series[s].notes = note_list[s];
  }
  const bool kl = strcmp(sb_run_text(json, "search_loss"), "divergence") == 0;
  sb_chart_lines(
      p,
      &(sb_line_chart){
          .title = "The search",
          .about = "Loss on its calibration sequences. A point of the path is the loss before its "
                   "stride, that of a trade the loss after it.",
          .x_name = "step",
          .y_name = kl ? "divergence, nats a token" : "loss, nats a token",
          .level = NAN,
          .count = series[1].count > 0 ? 2 : 1,
          .series = series});
}

/* Of trellis codes: whole maps that were tried, not steps. */
static void candidates_of(sb_page *p, const json_t *json) {
  const json_t *steps = json_object_get(json, "search");
  const char *names[CANDIDATES], *shown[CANDIDATES];
  char texts[CANDIDATES][64];
  double values[CANDIDATES];
  const size_t count = sb_min_size(json_array_size(steps), CANDIDATES);
  for (size_t i = 0; i < count; i++) {
    const json_t *step = json_array_get(steps, i);
    names[i] = sb_run_text(step, "kind");
    values[i] = fmax(sb_run_real(step, "loss"), 0);
    snprintf(texts[i], sizeof texts[i], "%.5g, %.4g bits", sb_run_real(step, "loss"),
             sb_run_real(step, "effective_bits"));
    shown[i] = texts[i];
  }
  sb_chart_bars(p, &(sb_bar_chart){.title = "The search",
                                   .about = "Loss of the bit maps that were tried, rounded, on the "
                                            "calibration sequences: the least was taken.",
                                   .value_name = "Loss",
                                   .count = count,
                                   .names = names,
                                   .values = values,
                                   .shown = shown});
}

static void search(sb_page *p, const json_t *json) {
  const json_t *steps = json_object_get(json, "search");
  if (json_array_size(steps) < 2) return;
  if (isfinite(sb_run_real(json_array_get(steps, 0), "step")))
    steps_of(p, json);
  else
    candidates_of(p, json);
}

static void tuning(sb_page *p, const json_t *tune) {
  const double values[] = {sb_run_real(tune, "divergence_before"),
                           sb_run_real(tune, "divergence_after")};
  static const char *const names[] = {"before", "after"};
  char texts[2][32], about[160];
  const char *shown[] = {texts[0], texts[1]};
  if (!isfinite(values[0]) || !isfinite(values[1])) return;
  for (int i = 0; i < 2; i++) snprintf(texts[i], sizeof texts[i], "%.4g", values[i]);
  snprintf(about, sizeof about,
           "Divergence from the original model on sequences of the training, nats a token; %.0f "
           "steps, %.0f sequences.",
           sb_run_real(tune, "steps"), sb_run_real(tune, "sequences"));
  sb_chart_bars(p, &(sb_bar_chart){.title = "Training of scales",
                                   .about = about,
                                   .value_name = "Divergence",
                                   .count = 2,
                                   .names = names,
                                   .values = values,
                                   .shown = shown});
}

void sb_section_quantize(sb_page *p, const sb_run *run, bool open) {
  const json_t *w = json_object_get(run->json, "widths");
  sb_page_add(p, "<details class=\"run\"%s><summary><h3>", open ? " open=\"open\"" : "");
  sb_page_text(p, run->label);
  sb_page_add(p, "</h3> ");
  sb_page_text(p, run->series);
  sb_page_add(p, ", %.5g bits a weight</summary>\n<div class=\"cards\">\n",
              sb_run_real(run->json, "effective_bits"));
  heat(p, w);
  histogram(p, w);
  pictures(p, json_object_get(w, "picture"));
  sb_section_errors(p, run->json);
  search(p, run->json);
  tuning(p, json_object_get(run->json, "tune"));
  sb_section_phases(p, run->json);
  sb_page_add(p, "</div></details>\n");
}

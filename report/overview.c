/* What runs have in common, and in what they differ. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "report/chart.h"
#include "report/sections.h"

/* ---- the table ---- */

static void size_cell(sb_page *p, double bytes) {
  if (isfinite(bytes))
    sb_page_cell(p, "%.4g MB", bytes / 1e6);
  else
    sb_page_number(p, bytes, 4);
}

static void quantize_row(sb_page *p, const sb_run *run) {
  const json_t *j = run->json;
  char method[128], time[SB_TEXT_SIZE];
  snprintf(method, sizeof method, "%s", run->series);
  sb_page_row(p, run->label);
  sb_page_cell(p, "%s", method);
  sb_page_number(p, sb_run_real(j, "bits"), 5);
  sb_page_number(p, sb_run_real(j, "effective_bits"), 5);
  sb_page_number(p, sb_run_real(j, "file_bits"), 5);
  size_cell(p, sb_run_real(j, "file_bytes"));
  sb_page_number(p, sb_run_real(run->eval, "perplexity"), 6);
  sb_page_number(p, sb_run_real(run->eval, "mean_kl"), 4);
  const double seconds = sb_run_real(j, "seconds");
  if (isfinite(seconds))
    sb_page_cell(p, "%s", sb_text_seconds(time, sizeof time, seconds));
  else
    sb_page_number(p, seconds, 4);
  sb_page_number(p, sb_run_real(j, "ranks"), 10);
  size_cell(p, sb_run_real(j, "peak_resident_bytes"));
  sb_page_cell(p, "%.16s", sb_run_text(j, "content_hash"));
  sb_page_row_end(p);
}

static bool belongs(const sb_runs *runs, const json_t *eval) {
  for (size_t i = 0; i < runs->count; i++)
    if (runs->run[i].eval == eval) return true;
  return false;
}

static void eval_row(sb_page *p, const sb_runs *runs, const sb_run *run) {
  sb_page_row(p, run->label);
  sb_page_cell(p, "%s", run->json == runs->original ? "original" : "eval");
  for (int i = 0; i < 4; i++) sb_page_number(p, NAN, 1);
  sb_page_number(p, sb_run_real(run->json, "perplexity"), 6);
  sb_page_number(p, sb_run_real(run->json, "mean_kl"), 4);
  for (int i = 0; i < 4; i++) sb_page_number(p, NAN, 1);
  sb_page_row_end(p);
}

static void table(sb_page *p, const sb_runs *runs) {
  static const char *const columns[] = {"Run",         "Method", "Bits asked",  "Bits a weight",
                                        "Of the file", "File",   "Perplexity",  "Mean KL",
                                        "Time",        "Ranks",  "Peak memory", "Content hash"};
  sb_page_table(
      p,
      "Bits a weight: of the layers, with scales and bit maps. Of the file: of all weights. "
      "File: before zstd. Peak memory: of the largest rank. Mean KL: nats a token.",
      columns, sizeof columns / sizeof *columns);
  for (size_t i = 0; i < runs->count; i++)
    if (runs->run[i].kind == SB_RUN_EVAL && !belongs(runs, runs->run[i].json))
      eval_row(p, runs, &runs->run[i]);
  for (size_t i = 0; i < runs->count; i++)
    if (runs->run[i].kind == SB_RUN_QUANTIZE) quantize_row(p, &runs->run[i]);
  sb_page_table_end(p);
}

/* ---- figures that compare ---- */

typedef struct sample {
  double x, y;
  const char *label;
} sample;

static int by_x(const void *a, const void *b) {
  const sample *one = a, *two = b;
  return one->x < two->x ? -1 : one->x > two->x ? 1 : strcmp(one->label, two->label);
}

typedef struct comparison {
  sb_points series[SB_RUNS_MAX];
  char names[SB_RUNS_MAX][128];
  sample samples[SB_RUNS_MAX][SB_RUNS_MAX];
  double x[SB_RUNS_MAX][SB_RUNS_MAX], y[SB_RUNS_MAX][SB_RUNS_MAX];
  const char *notes[SB_RUNS_MAX][SB_RUNS_MAX];
  size_t count, points;
} comparison;

static void put(comparison *c, const char *series, double x, double y, const char *label) {
  size_t s = 0;
  if (!isfinite(x) || !isfinite(y)) return;
  while (s < c->count && strcmp(c->names[s], series) != 0) s++;
  if (s == c->count) {
    snprintf(c->names[s], sizeof c->names[s], "%s", series);
    c->count++;
  }
  c->samples[s][c->series[s].count++] = (sample){x, y, label};
  c->points++;
}

static void settle(comparison *c) {
  for (size_t s = 0; s < c->count; s++) {
    sb_points *points = &c->series[s];
    qsort(c->samples[s], points->count, sizeof *c->samples[s], by_x);
    for (size_t i = 0; i < points->count; i++) {
      c->x[s][i] = c->samples[s][i].x;
      c->y[s][i] = c->samples[s][i].y;
      c->notes[s][i] = c->samples[s][i].label;
    }
    *points = (sb_points){c->names[s], points->count, c->x[s], c->y[s], c->notes[s], false};
  }
}

static void against(sb_page *p, const sb_runs *runs, comparison *c, const char *key, double unit,
                    const char *title, const char *x_name) {
  const char *measure = sb_runs_measure(runs);
  const bool is_kl = measure && strcmp(measure, "mean_kl") == 0;
  memset(c, 0, sizeof *c);
  for (size_t i = 0; measure && i < runs->count; i++) {
    const sb_run *run = &runs->run[i];
    if (run->kind == SB_RUN_QUANTIZE)
      put(c, run->series, sb_run_real(run->json, key) / unit, sb_run_real(run->eval, measure),
          run->label);
  }
  if (c->points < 2) return;
  settle(c);
  sb_chart_lines(
      p,
      &(sb_line_chart){
          .title = title,
          .about = is_kl ? "Mean KL divergence from the original model's predictions on held-out "
                           "tokens: lower is better."
                         : "Perplexity on held-out tokens: lower is better.",
          .x_name = x_name,
          .y_name = is_kl ? "mean KL, nats a token" : "perplexity",
          .log_y = true,
          .level = is_kl ? NAN : sb_run_real(runs->original, "perplexity"),
          .level_name = "original model",
          .count = c->count,
          .series = c->series});
}

/* Leaves the series whose points lie at more than one x. */
static void keep_spread(comparison *c) {
  size_t kept = 0;
  for (size_t s = 0; s < c->count; s++) {
    const sb_points *points = &c->series[s];
    if (points->x[0] < points->x[points->count - 1]) c->series[kept++] = *points;
  }
  c->count = kept;
}

/* Where runs differ in the number of their ranks alone. */
static void time_against_ranks(sb_page *p, const sb_runs *runs, comparison *c) {
  memset(c, 0, sizeof *c);
  for (size_t i = 0; i < runs->count; i++) {
    const sb_run *run = &runs->run[i];
    char series[128];
    const double ranks = sb_run_real(run->json, "ranks");
    if (run->kind != SB_RUN_QUANTIZE) continue;
    snprintf(series, sizeof series, "%s, %.4g bits", run->series,
             sb_run_real(run->json, "effective_bits"));
    put(c, series, ranks, sb_run_real(run->json, "seconds"), run->label);
  }
  settle(c);
  keep_spread(c);
  if (c->count == 0) return;
  sb_chart_lines(p, &(sb_line_chart){.title = "Time against ranks",
                                     .about = "Of the whole run. Equal content hashes in the table "
                                              "are equal results, bit for bit.",
                                     .x_name = "ranks",
                                     .y_name = "seconds",
                                     .level = NAN,
                                     .count = c->count,
                                     .series = c->series});
}

/* ---- sizes ---- */

enum { FORMATS = 3 };

static void sizes(sb_page *p, const sb_runs *runs) {
  const char *names[SB_RUNS_MAX + FORMATS], *shown[SB_RUNS_MAX + FORMATS];
  char texts[SB_RUNS_MAX + FORMATS][64];
  double values[SB_RUNS_MAX + FORMATS];
  size_t n = 0;
  for (size_t i = 0; i < runs->count; i++) {
    const sb_run *run = &runs->run[i];
    const double weights = sb_run_real(run->json, "weights"),
                 layers = sb_run_real(run->json, "layer_weights");
    if (run->kind != SB_RUN_QUANTIZE) continue;
    if (n == 0 && isfinite(weights) && isfinite(layers)) {
      names[n] = "original, 16 bits";
      values[n++] = 2 * weights;
      names[n] = "8 bits, without scales";
      values[n++] = weights;
      names[n] = "4.25 bits in the layers, tables 16";
      values[n++] = layers * 4.25 / 8 + (weights - layers) * 2;
    }
    names[n] = run->label;
    values[n++] = sb_run_real(run->json, "file_bytes");
  }
  for (size_t i = 0; i < n; i++) {
    snprintf(texts[i], sizeof texts[i], "%.4g %s, fits on %.0f x 80 GB",
             values[i] >= 1e9 ? values[i] / 1e9 : values[i] / 1e6, values[i] >= 1e9 ? "GB" : "MB",
             fmax(1, ceil(values[i] / 80e9)));
    shown[i] = isfinite(values[i]) ? texts[i] : "not in the file";
  }
  if (n > 0)
    sb_chart_bars(p, &(sb_bar_chart){.title = "Size of the weights",
                                     .about = "In memory, of all files: codes, scales, bit maps, "
                                              "tables. Activations and caches come on top. The 8 "
                                              "and 4.25 bits (groups of 128, 16-bit scale and zero "
                                              "point) are computed from the number of weights.",
                                     .value_name = "Size",
                                     .count = n,
                                     .names = names,
                                     .values = values,
                                     .shown = shown});
}

void sb_section_overview(sb_page *p, const sb_runs *runs) {
  comparison *c = NULL;
  if (!sb_runs_have(runs, SB_RUN_QUANTIZE) && !sb_runs_have(runs, SB_RUN_EVAL)) return;
  if (p->status == SB_OK) p->status = sb_alloc(&c, 1, sizeof *c, "figures of a report");
  if (p->status != SB_OK) return;
  sb_page_add(p, "<section><h2>Runs</h2>\n");
  table(p, runs);
  sb_page_add(p, "<div class=\"cards\">\n");
  against(p, runs, c, "effective_bits", 1, "Loss against budget",
          "bits a weight of the layers, all counted");
  against(p, runs, c, "file_bytes", 1e6, "Loss against size", "MB, the whole file");
  sizes(p, runs);
  time_against_ranks(p, runs, c);
  sb_page_add(p, "</div></section>\n");
  sb_free(&c);
}

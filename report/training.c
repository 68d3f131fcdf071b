/* Runs of train, by their results and by their events. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "report/chart.h"
#include "report/sections.h"

enum { POINTS = 400 };

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

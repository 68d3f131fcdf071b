#include "report/report.h"

#include <math.h>
#include <string.h>

#include "report/sections.h"
#include "report/style.h"

static bool is_uniform(const sb_run *run) {
  return strcmp(sb_run_text(run->json, "method"), "rtn") == 0;
}

/* The run that is seen first: the best by the measure of those whose widths were chosen, else of
 * all; without evals the last. */
static const sb_run *best(const sb_runs *runs) {
  const char *measure = sb_runs_measure(runs);
  const sb_run *found = NULL;
  double least = INFINITY;
  for (size_t i = 0; i < runs->count; i++) {
    const sb_run *run = &runs->run[i];
    const double loss = measure ? sb_run_real(run->eval, measure) : NAN;
    if (run->kind != SB_RUN_QUANTIZE) continue;
    const bool better_kind = found && is_uniform(found) && !is_uniform(run);
    const bool worse_kind = found && !is_uniform(found) && is_uniform(run);
    if (worse_kind || (!better_kind && isfinite(least) && !(loss < least))) continue;
    found = run;
    least = isfinite(loss) ? loss : INFINITY;
  }
  return found;
}

static void head(sb_page *p, const sb_runs *runs) {
  const char *model = "", *version = "";
  for (size_t i = 0; i < runs->count; i++) {
    const sb_run *run = &runs->run[i];
    if (!model[0] || run->kind == SB_RUN_QUANTIZE) model = sb_run_text(run->json, "model");
    if (!version[0]) version = sb_run_text(run->json, "version");
  }
  sb_page_add(p, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                 "<title>shardbits report");
  if (model[0]) sb_page_add(p, ": ");
  sb_page_text(p, model);
  sb_page_add(p,
              "</title>\n<style>\n%s</style></head>\n<body><header><h1>shardbits report</h1>\n"
              "<p class=\"about\">",
              sb_report_style);
  if (model[0]) sb_page_add(p, "Model ");
  sb_page_text(p, model);
  if (version[0]) sb_page_add(p, "%sshardbits ", model[0] ? ", " : "");
  sb_page_text(p, version);
  sb_page_add(p, "</p></header>\n<main>\n");
}

static void foot(sb_page *p, const sb_runs *runs) {
  sb_page_add(p, "</main><footer><h2>Files</h2><ul class=\"small\">\n");
  for (size_t i = 0; i < runs->count; i++) sb_page_element(p, "li", "", runs->run[i].path);
  sb_page_add(p, "</ul></footer></body></html>\n");
}

static void body(sb_page *p, const sb_runs *runs) {
  const sb_run *first = best(runs);
  sb_section_overview(p, runs);
  sb_section_training(p, runs);
  if (first) sb_page_add(p, "<section><h2>Each run</h2>\n");
  if (first) sb_section_quantize(p, first, true);
  for (size_t i = 0; i < runs->count; i++)
    if (runs->run[i].kind == SB_RUN_QUANTIZE && &runs->run[i] != first)
      sb_section_quantize(p, &runs->run[i], false);
  if (first) sb_page_add(p, "</section>\n");
  for (size_t i = 0; i < runs->count; i++) {
    if (runs->run[i].kind == SB_RUN_REORDER) sb_section_reorder(p, &runs->run[i]);
    if (runs->run[i].kind == SB_RUN_PROFILE) sb_section_profile(p, &runs->run[i]);
  }
}

sb_status sb_report_make(const char *const *paths, size_t count, sb_page *page) {
  sb_runs runs;
  sb_status status = sb_runs_read(paths, count, &runs);
  if (status == SB_OK) {
    head(page, &runs);
    body(page, &runs);
    foot(page, &runs);
    status = page->status;
  }
  sb_runs_free(&runs);
  return status;
}

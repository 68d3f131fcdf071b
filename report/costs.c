/* What a run took: time and memory by phase and rank. */
#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/text.h"
#include "report/chart.h"
#include "report/sections.h"

enum { PHASES = 32 };

static void by_rank(sb_page *p, const json_t *phases, size_t count) {
  const char *columns[PHASES + 1] = {"rank"};
  size_t ranks = 0;
  for (size_t i = 0; i < count; i++) {
    const json_t *phase = json_array_get(phases, i);
    columns[i + 1] = sb_run_text(phase, "name");
    ranks = json_array_size(json_object_get(json_object_get(phase, "ranks"), "seconds"));
  }
  if (ranks < 2) return;
  sb_chart_begin(p, "Time and memory by rank",
                 "Seconds of each phase, and the most memory that the "
                 "rank has had until its end, in MB.");
  sb_page_add(p, "<details><summary>Numbers</summary>\n");
  sb_page_table(p, "Seconds, peak memory in MB", columns, count + 1);
  for (size_t r = 0; r < ranks; r++) {
    char name[24];
    snprintf(name, sizeof name, "%zu", r);
    sb_page_row(p, name);
    for (size_t i = 0; i < count; i++) {
      const json_t *list = json_object_get(json_array_get(phases, i), "ranks");
      sb_page_cell(p, "%.4g s, %.4g",
                   json_number_value(json_array_get(json_object_get(list, "seconds"), r)),
                   json_number_value(json_array_get(json_object_get(list, "peak_bytes"), r)) / 1e6);
    }
    sb_page_row_end(p);
  }
  sb_page_table_end(p);
  sb_page_add(p, "</details>\n");
  sb_chart_end(p);
}

void sb_section_phases(sb_page *p, const json_t *json) {
  const json_t *phases = json_object_get(json, "phases");
  const size_t count = sb_min_size(json_array_size(phases), PHASES);
  const char *names[PHASES], *shown[PHASES];
  char texts[PHASES][96];
  double values[PHASES];
  size_t n = 0;
  for (size_t i = 0; i < count; i++) {
    const json_t *phase = json_array_get(phases, i);
    char time[SB_TEXT_SIZE];
    names[n] = sb_run_text(phase, "name");
    values[n] = sb_run_real(phase, "seconds");
    if (!(values[n] >= 0.005)) continue;
    snprintf(texts[n], sizeof texts[n], "%s, %.4g MB",
             sb_text_seconds(time, sizeof time, values[n]), sb_run_real(phase, "peak_bytes") / 1e6);
    shown[n] = texts[n];
    n++;
  }
  if (n == 0) return;
  sb_chart_bars(p, &(sb_bar_chart){.title = "Time and memory by phase",
                                   .about = "Seconds of the slowest rank, and the most memory that "
                                            "any rank has had until the end of the phase. What "
                                            "takes no hundredth of a second is left out.",
                                   .value_name = "Time, peak memory",
                                   .count = n,
                                   .names = names,
                                   .values = values,
                                   .shown = shown});
  by_rank(p, phases, count);
}

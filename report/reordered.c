/* A run of reorder: sensitivities of the blocks of one layer before and after. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "report/chart.h"
#include "report/sections.h"

enum { MODES = 3, KINDS = 64, SIDE = 512 };
static const char *const modes[MODES] = {"none", "fused", "indexed"};

static void shares(sb_page *p, const json_t *top) {
  const char *names[KINDS];
  double values[KINDS * MODES];
  const char *kind;
  json_t *unused;
  size_t n = 0;
  json_object_foreach(json_object_get(top, modes[0]), kind, unused) {
    if (n == KINDS) break;
    for (int m = 0; m < MODES; m++)
      values[n * MODES + (size_t)m] = 100 * sb_run_real(json_object_get(top, modes[m]), kind);
    names[n++] = kind;
  }
  if (n > 0)
    sb_chart_heat(p, &(sb_heat_chart){.title = "Sensitivity in the top tenth of blocks",
                                      .about = "Percent of all sensitivity that lies in the most "
                                               "sensitive tenth of blocks: the more is gathered, "
                                               "the more a width a block is worth.",
                                      .row_name = "order",
                                      .value_name = "percent",
                                      .rows = n,
                                      .cols = MODES,
                                      .row_names = names,
                                      .col_names = modes,
                                      .values = values,
                                      .low = 0,
                                      .high = 100,
                                      .digits = 3});
}

/* logs[rows * cols] of a map; false where it is none. */
static bool read_map(const json_t *map, double *logs, size_t *rows, size_t *cols) {
  *rows = json_array_size(map);
  *cols = json_array_size(json_array_get(map, 0));
  if (*rows == 0 || *cols == 0 || *rows > SIDE || *cols > SIDE) return false;
  for (size_t i = 0; i < *rows; i++)
    for (size_t j = 0; j < *cols; j++) {
      const json_t *value = json_array_get(json_array_get(map, i), j);
      if (!json_is_number(value)) return false;
      logs[i * *cols + j] = log10(fmax(json_number_value(value), 1e-300));
    }
  return true;
}

/* One matrix in each order, on one scale of colours. */
static void maps_of(sb_page *p, const json_t *maps, const char *matrix, double *logs) {
  double low = INFINITY, high = -INFINITY;
  size_t rows, cols;
  for (int m = 0; m < MODES; m++) {
    if (!read_map(json_object_get(json_object_get(maps, modes[m]), matrix), logs, &rows, &cols))
      continue;
    for (size_t k = 0; k < rows * cols; k++) high = fmax(high, logs[k]);
    for (size_t k = 0; k < rows * cols; k++) low = fmin(low, fmax(logs[k], high - 4));
  }
  for (int m = 0; m < MODES; m++) {
    char title[160];
    if (!read_map(json_object_get(json_object_get(maps, modes[m]), matrix), logs, &rows, &cols))
      continue;
    snprintf(title, sizeof title, "%.96s, order: %s", matrix, modes[m]);
    sb_chart_image(p, &(sb_image_chart){.title = title,
                                        .about = "Sensitivity of blocks, in powers of ten: yellow "
                                                 "is the most, dark the least, or a ten "
                                                 "thousandth of the most.",
                                        .rows = rows,
                                        .cols = cols,
                                        .values = logs,
                                        .low = low,
                                        .high = high});
  }
}

void sb_section_reorder(sb_page *p, const sb_run *run) {
  const json_t *maps = json_object_get(run->json, "maps");
  const char *chosen = NULL, *matrix;
  json_t *map;
  size_t most = 0;
  double *logs = NULL;
  if (p->status == SB_OK)
    p->status = sb_alloc(&logs, (size_t)SIDE * SIDE, sizeof *logs, "maps of a report");
  if (p->status != SB_OK) return;
  json_object_foreach(json_object_get(maps, modes[0]), matrix, map) {
    const size_t blocks = json_array_size(map) * json_array_size(json_array_get(map, 0));
    if (blocks >= most) chosen = matrix;
    if (blocks >= most) most = blocks;
  }
  sb_page_add(p, "<details class=\"run\" open=\"open\"><summary><h3>");
  sb_page_text(p, run->label);
  sb_page_add(p, "</h3> channels in other orders, layer %.0f</summary>\n<div class=\"cards\">\n",
              sb_run_real(run->json, "map_layer"));
  shares(p, json_object_get(run->json, "top_tenth"));
  if (chosen) maps_of(p, maps, chosen, logs);
  sb_section_phases(p, run->json);
  sb_page_add(p, "</div></details>\n");
  sb_free(&logs);
}

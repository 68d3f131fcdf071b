#include "cli/report_widths.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "cli/report_json.h"
#include "model/width_figures.h"

/* Sums of one role over all layers. */
static sb_width_cell sum_of(const sb_model *m, const sb_width_cell *cells, int role) {
  sb_width_cell sum = {{0}};
  for (size_t layer = 0; layer < m->config.layers; layer++)
    for (unsigned b = 0; b <= 8; b++)
      sum.weights[b] += cells[layer * SB_ROLE_COUNT + (size_t)role].weights[b];
  return sum;
}

/* Two decimals are what a picture shows. */
static json_t *short_real(double value, double digits) {
  return json_real(round(value * digits) / digits);
}

static json_t *means_of(const sb_model *m, const sb_width_cell *cells,
                        const bool has[SB_ROLE_COUNT]) {
  json_t *mean = json_array();
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    json_t *row = json_array();
    for (int role = 0; role < SB_ROLE_COUNT; role++) {
      const sb_width_cell *cell = &cells[layer * SB_ROLE_COUNT + (size_t)role];
      if (!has[role]) continue;
      json_array_append_new(row, sb_width_cell_weights(cell)
                                     ? short_real(sb_width_cell_mean(cell), 1e4)
                                     : json_null());
    }
    json_array_append_new(mean, row);
  }
  return mean;
}

static json_t *noise_of(const sb_model *m, const sb_width_cell *cells) {
  json_t *noise = json_array();
  for (size_t layer = 0; layer < m->config.layers; layer++)
    json_array_append_new(
        noise, json_real(sb_width_cells_noise(&cells[layer * SB_ROLE_COUNT], SB_ROLE_COUNT)));
  return noise;
}

static json_t *by_role(const sb_model *m, const sb_width_cell *cells) {
  json_t *roles = json_array(), *weights = json_array(), *counts = json_object();
  bool has[SB_ROLE_COUNT] = {false};
  for (int role = 0; role < SB_ROLE_COUNT; role++) {
    const sb_width_cell sum = sum_of(m, cells, role);
    json_t *list;
    has[role] = sb_width_cell_weights(&sum) > 0;
    if (!has[role]) continue;
    json_array_append_new(roles, json_string(sb_role_name((sb_role)role)));
    json_array_append_new(weights, json_integer((json_int_t)sb_width_cell_weights(&sum)));
    list = json_array();
    for (unsigned b = 1; b <= 8; b++)
      json_array_append_new(list, json_integer((json_int_t)sum.weights[b]));
    json_object_set_new(counts, sb_role_name((sb_role)role), list);
  }
  return json_pack("{s:o, s:o, s:o, s:o, s:o}", "roles", roles, "weights", weights, "mean",
                   means_of(m, cells, has), "noise", noise_of(m, cells), "weights_by_bits", counts);
}

static json_t *rows_of(const sb_width_picture *p, const float *cells) {
  json_t *rows = json_array();
  for (size_t i = 0; i < p->rows; i++) {
    char text[SB_PICTURE_SIDE * 8];
    size_t n = 0;
    for (size_t j = 0; j < p->cols; j++)
      n += (size_t)snprintf(text + n, sizeof text - n, "%s%.4g", j ? " " : "",
                            round(100 * (double)cells[i * p->cols + j]) / 100);
    json_array_append_new(rows, json_string(text));
  }
  return rows;
}

static sb_status add_picture(json_t *widths, const sb_model *m) {
  sb_width_picture *p = NULL;
  SB_TRY(sb_alloc(&p, 1, sizeof *p, "a picture of widths"));
  const sb_status status = sb_width_picture_make(m, p);
  if (status == SB_OK) {
    const sb_model_tensor *t = sb_arch_matrix(&m->arch, p->layer, p->matrix);
    json_t *picture = json_object();
    sb_report_count(picture, "layer", p->layer);
    sb_report_text(picture, "matrix", t->name);
    json_object_set_new(picture, "shape",
                        json_pack("[I, I]", (json_int_t)t->rows, (json_int_t)t->cols));
    sb_report_flag(picture, "reordered", p->reordered);
    json_object_set_new(picture, "stored", rows_of(p, p->stored));
    if (p->reordered) json_object_set_new(picture, "source", rows_of(p, p->source));
    json_object_set_new(widths, "picture", picture);
  }
  sb_free(&p);
  return status;
}

sb_status sb_report_widths(json_t *report, const sb_model *m) {
  sb_width_cell *cells = NULL;
  if (!report) return SB_OK;
  SB_TRY(sb_alloc(&cells, m->config.layers * SB_ROLE_COUNT, sizeof *cells, "widths of layers"));
  sb_width_cells(m, cells);
  json_t *widths = by_role(m, cells);
  sb_free(&cells);
  const sb_status status = add_picture(widths, m);
  json_object_set_new(report, "widths", widths);
  return status;
}

/* Errors of layers: as they were measured while they were rounded, beside what their widths say. */
#include <math.h>

#include "base/memory.h"
#include "report/chart.h"
#include "report/sections.h"

enum { LAYERS = 4096 };

typedef struct layer_errors {
  double layer[LAYERS], measured[LAYERS], predicted[LAYERS];
} layer_errors;

static double at(const json_t *list, size_t i) {
  const json_t *value = json_array_get(list, i);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Widths give ratios between layers alone: the mean logarithm is that of the measured ones. */
static size_t read_errors(const json_t *measured, const json_t *noise, layer_errors *e) {
  const size_t layers = sb_min_size(json_array_size(measured), LAYERS);
  double shift = 0;
  size_t both = 0;
  for (size_t i = 0; i < layers; i++) {
    e->layer[i] = (double)i;
    e->measured[i] = at(measured, i);
    e->predicted[i] = at(noise, i);
    if (!(e->measured[i] > 0) || !(e->predicted[i] > 0)) continue;
    shift += log(e->measured[i] / e->predicted[i]);
    both++;
  }
  for (size_t i = 0; i < layers; i++)
    e->predicted[i] *= both > 0 ? exp(shift / (double)both) : (double)NAN;
  return layers;
}

void sb_section_errors(sb_page *p, const json_t *json) {
  const json_t *measured = json_object_get(json, "layer_errors"),
               *noise = json_object_get(json_object_get(json, "widths"), "noise");
  layer_errors *e = NULL;
  if (json_array_size(measured) == 0) return;
  if (p->status == SB_OK) p->status = sb_alloc(&e, 1, sizeof *e, "errors of layers");
  if (p->status != SB_OK) return;
  const size_t layers = read_errors(measured, noise, e);
  const sb_points series[] = {
      {"measured", layers, e->layer, e->measured, NULL, false},
      {"predicted by widths alone", layers, e->layer, e->predicted, NULL, false}};
  sb_chart_lines(
      p, &(sb_line_chart){.title = "Error a layer, predicted and measured",
                          .about = "Measured: squared change of what the layer adds to its input, "
                                   "over what it adds, when it was rounded. Predicted: a quarter "
                                   "for each bit more, on the same scale.",
                          .x_name = "layer",
                          .y_name = "relative squared error",
                          .log_y = true,
                          .level = NAN,
                          .count = 2,
                          .series = series});
  sb_free(&e);
}

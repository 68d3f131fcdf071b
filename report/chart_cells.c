/* Figures of cells and of bars. */
#include <math.h>
#include <stdio.h>

#include "report/chart.h"

void sb_chart_bars(sb_page *p, const sb_bar_chart *c) {
  double most = 0;
  for (size_t i = 0; i < c->count; i++)
    if (isfinite(c->values[i])) most = fmax(most, c->values[i]);
  sb_chart_begin(p, c->title, c->about);
  /* a table whose cells hold the bars: the figure and its numbers are one */
  sb_page_add(p, "<table class=\"bars\"><thead class=\"unseen\"><tr><th scope=\"col\">Name</th>"
                 "<th scope=\"col\">");
  sb_page_text(p, c->value_name);
  sb_page_add(p, "</th></tr></thead><tbody>\n");
  for (size_t i = 0; i < c->count; i++) {
    sb_page_row(p, c->names[i]);
    sb_page_add(p, "<td><span class=\"bar\" style=\"width:%.2f%%\"></span><span>",
                most > 0 && isfinite(c->values[i]) ? 45 * c->values[i] / most : 0.0);
    sb_page_text(p, c->shown[i]);
    sb_page_add(p, "</span></td></tr>\n");
  }
  sb_page_add(p, "</tbody></table>\n");
  sb_chart_end(p);
}

static double place_of(double value, double low, double high) {
  return high > low ? (value - low) / (high - low) : 0.5;
}

static void heat_cell(sb_page *p, const sb_heat_chart *c, double value) {
  char colour[8];
  bool dark;
  if (!isfinite(value)) {
    sb_page_add(p, "<td>&#8211;</td>");
    return;
  }
  sb_chart_colour(place_of(value, c->low, c->high), colour, &dark);
  sb_page_add(p, "<td style=\"background:%s;color:%s\">%.*g</td>", colour, dark ? "#000" : "#fff",
              c->digits, value);
}

void sb_chart_heat(sb_page *p, const sb_heat_chart *c) {
  sb_chart_begin(p, c->title, c->about);
  sb_chart_scale(p, c->low, c->high, c->value_name);
  sb_page_add(p, "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"");
  sb_page_text(p, c->title);
  sb_page_add(p, "\"><table class=\"heat\"><thead><tr>");
  sb_page_element(p, "th", "scope=\"col\"", c->row_name);
  for (size_t j = 0; j < c->cols; j++) sb_page_element(p, "th", "scope=\"col\"", c->col_names[j]);
  sb_page_add(p, "</tr></thead><tbody>\n");
  for (size_t i = 0; i < c->rows; i++) {
    sb_page_row(p, c->row_names[i]);
    for (size_t j = 0; j < c->cols; j++) heat_cell(p, c, c->values[i * c->cols + j]);
    sb_page_row_end(p);
  }
  sb_page_add(p, "</tbody></table></div>\n");
  sb_chart_end(p);
}

enum { SHADES = 32 };

static int shade(const sb_image_chart *c, size_t i, size_t j) {
  const double place = place_of(c->values[i * c->cols + j], c->low, c->high);
  return (int)lround(fmin(fmax(place, 0), 1) * (SHADES - 1));
}

/* All cells of one shade are one path, runs of them one rectangle. */
static void draw_shade(sb_page *p, const sb_image_chart *c, int which) {
  bool open = false;
  for (size_t i = 0; i < c->rows; i++)
    for (size_t j = 0, end; j < c->cols; j = end) {
      for (end = j + 1; end < c->cols && shade(c, i, end) == shade(c, i, j);) end++;
      if (shade(c, i, j) != which) continue;
      if (!open) {
        char colour[8];
        bool dark;
        sb_chart_colour((double)which / (SHADES - 1), colour, &dark);
        sb_page_add(p, "<path fill=\"%s\" d=\"", colour);
      }
      open = true;
      sb_page_add(p, "M%zu %zuh%zuv1h-%zuz", j, i, end - j, end - j);
    }
  if (open) sb_page_add(p, "\"/>\n");
}

void sb_chart_image(sb_page *p, const sb_image_chart *c) {
  const unsigned id = sb_chart_begin(p, c->title, c->about);
  sb_page_add(p,
              "<svg class=\"image\" viewBox=\"0 0 %zu %zu\" role=\"img\" "
              "aria-labelledby=\"t%u d%u\" preserveAspectRatio=\"none\" "
              "shape-rendering=\"crispEdges\">\n",
              c->cols, c->rows, id, id);
  for (int which = 0; which < SHADES; which++) draw_shade(p, c, which);
  sb_page_add(p, "</svg>\n");
  sb_chart_end(p);
}

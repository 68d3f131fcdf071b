#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "report/axis.h"
#include "report/chart.h"

enum { WIDTH = 480, HEIGHT = 300, LEFT = 62, RIGHT = 14, TOP = 12, BOTTOM = 44, POINTS = 1 << 14 };

typedef struct frame {
  const sb_line_chart *c;
  sb_axis x, y;
} frame;

static double x_at(const frame *f, double x) {
  return LEFT + sb_axis_place(&f->x, x) * (WIDTH - LEFT - RIGHT);
}

static double y_at(const frame *f, double y) {
  return HEIGHT - BOTTOM - sb_axis_place(&f->y, y) * (HEIGHT - TOP - BOTTOM);
}

static bool is_point(const sb_points *s, size_t i) {
  return isfinite(s->x[i]) && isfinite(s->y[i]);
}

static size_t drawn(const sb_line_chart *c) {
  return sb_min_size(c->count, SB_CHART_SERIES);
}

static sb_axis axis_of(const sb_line_chart *c, bool is_y) {
  static double values[POINTS];
  size_t n = 0;
  for (size_t s = 0; s < drawn(c); s++)
    for (size_t i = 0; i < c->series[s].count && n + 1 < POINTS; i++)
      if (is_point(&c->series[s], i)) values[n++] = (is_y ? c->series[s].y : c->series[s].x)[i];
  if (is_y && isfinite(c->level)) values[n++] = c->level;
  return sb_axis_make(values, n, is_y && c->log_y, 6);
}

static void draw_axes(sb_page *p, const frame *f) {
  for (size_t i = 0; i < f->y.count; i++) {
    const double y = y_at(f, f->y.ticks[i]);
    sb_page_add(p, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>", LEFT, y, WIDTH - RIGHT);
    sb_page_add(p, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n", LEFT - 7, y + 4,
                f->y.ticks[i]);
  }
  for (size_t i = 0; i < f->x.count; i++) {
    const double x = x_at(f, f->x.ticks[i]);
    sb_page_add(p, "<path class=\"grid\" d=\"M%.1f %dv5\"/>", x, HEIGHT - BOTTOM);
    sb_page_add(p, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n", x,
                HEIGHT - BOTTOM + 19, f->x.ticks[i]);
  }
  sb_page_add(p, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (WIDTH + LEFT) / 2, HEIGHT - 5);
  sb_page_text(p, f->c->x_name);
  sb_page_add(p,
              "</text>\n<text transform=\"translate(13 %d) rotate(-90)\" "
              "text-anchor=\"middle\">",
              (HEIGHT - BOTTOM) / 2);
  sb_page_text(p, f->c->y_name);
  sb_page_add(p, "</text>\n");
}

/* Circle, square, triangle, diamond: series differ in shape, too. */
static void add_marker(sb_page *p, size_t series, double x, double y) {
  static const char *const shapes[] = {"m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
                                       "m-3.7 -3.7h7.4v7.4h-7.4z", "m0 -5l4.6 8h-9.2z",
                                       "m0 -5l5 5l-5 5l-5 -5z"};
  sb_page_add(p, "<path class=\"mark s%zu\" d=\"M%.1f %.1f%s\"/>", series, x, y,
              shapes[series % 4]);
}

static void draw_series(sb_page *p, const frame *f, size_t number) {
  const sb_points *s = &f->c->series[number];
  const bool crowded = s->count > 60;
  const char *move = "M";
  if (!s->unjoined) {
    sb_page_add(p, "<path class=\"line s%zu\" d=\"", number);
    for (size_t i = 0; i < s->count; i++) {
      if (!is_point(s, i)) continue;
      sb_page_add(p, "%s%.1f %.1f", move, x_at(f, s->x[i]), y_at(f, s->y[i]));
      move = "L";
    }
    sb_page_add(p, "\"/>\n");
  }
  for (size_t i = 0; i < s->count && !crowded; i++)
    if (is_point(s, i)) add_marker(p, number, x_at(f, s->x[i]), y_at(f, s->y[i]));
  sb_page_add(p, "\n");
}

static void add_legend(sb_page *p, const sb_line_chart *c) {
  sb_page_add(p, "<ul class=\"legend\">");
  for (size_t s = 0; s < drawn(c); s++) {
    sb_page_add(p, "<li><svg viewBox=\"0 0 28 14\" aria-hidden=\"true\">");
    if (!c->series[s].unjoined) sb_page_add(p, "<path class=\"line s%zu\" d=\"M1 7h26\"/>", s);
    add_marker(p, s, 14, 7);
    sb_page_add(p, "</svg>");
    sb_page_text(p, c->series[s].name);
    sb_page_add(p, "</li>\n");
  }
  if (isfinite(c->level)) {
    sb_page_add(p, "<li><svg viewBox=\"0 0 28 14\" aria-hidden=\"true\"><path class=\"level\" "
                   "d=\"M1 7h26\"/></svg>");
    sb_page_text(p, c->level_name);
    sb_page_add(p, "</li>\n");
  }
  sb_page_add(p, "</ul>\n");
}

static void add_numbers(sb_page *p, const sb_line_chart *c) {
  const char *columns[] = {"", c->x_name, c->y_name, ""};
  bool noted = false;
  for (size_t s = 0; s < c->count; s++) noted = noted || c->series[s].notes;
  sb_page_add(p, "<details><summary>Numbers</summary>\n");
  sb_page_table(p, c->title, columns, noted ? 4 : 3);
  for (size_t s = 0; s < c->count; s++)
    for (size_t i = 0; i < c->series[s].count; i++) {
      if (!is_point(&c->series[s], i)) continue;
      sb_page_row(p, c->series[s].name);
      sb_page_number(p, c->series[s].x[i], 6);
      sb_page_number(p, c->series[s].y[i], 6);
      if (noted) sb_page_cell(p, "%s", c->series[s].notes ? c->series[s].notes[i] : "");
      sb_page_row_end(p);
    }
  if (isfinite(c->level)) {
    sb_page_row(p, c->level_name);
    sb_page_number(p, NAN, 6);
    sb_page_number(p, c->level, 6);
    if (noted) sb_page_cell(p, "%s", "");
    sb_page_row_end(p);
  }
  sb_page_table_end(p);
  sb_page_add(p, "</details>\n");
}

void sb_chart_lines(sb_page *p, const sb_line_chart *c) {
  const frame f = {c, axis_of(c, false), axis_of(c, true)};
  const unsigned id = sb_chart_begin(p, c->title, c->about);
  add_legend(p, c);
  sb_page_add(p,
              "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
              "aria-labelledby=\"t%u d%u\">\n",
              WIDTH, HEIGHT, id, id);
  draw_axes(p, &f);
  if (isfinite(c->level))
    sb_page_add(p, "<path class=\"level\" d=\"M%d %.1fH%d\"/>\n", LEFT, y_at(&f, c->level),
                WIDTH - RIGHT);
  for (size_t s = 0; s < drawn(c); s++) draw_series(p, &f, s);
  sb_page_add(p, "</svg>\n");
  add_numbers(p, c);
  sb_chart_end(p);
}

/* Figures as inline SVG, each with a heading, a sentence that says what it shows (which screen
 * readers speak, too), and a table of its numbers behind it. Colours are the page's
 * (report/style.h); no figure says anything by colour alone. */
#ifndef SB_REPORT_CHART_H
#define SB_REPORT_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "report/page.h"

enum { SB_CHART_SERIES = 8 };

typedef struct sb_points {
  const char *name;
  size_t count;
  const double *x, *y;      /* in the order in which they are joined; NaN: no point */
  const char *const *notes; /* [count] what each point is; or NULL */
  bool unjoined;
} sb_points;

typedef struct sb_line_chart {
  const char *title, *about, *x_name, *y_name;
  bool log_y;
  double level; /* a horizontal line across, NaN: none */
  const char *level_name;
  size_t count; /* of series: further ones than SB_CHART_SERIES are in the table alone */
  const sb_points *series;
} sb_line_chart;
void sb_chart_lines(sb_page *page, const sb_line_chart *chart);

typedef struct sb_bar_chart {
  const char *title, *about, *value_name;
  size_t count;
  const char *const *names;
  const double *values;     /* not negative; NaN: no bar */
  const char *const *shown; /* the value as text, beside its bar */
} sb_bar_chart;
/* Bars that lie, with names and values beside them. */
void sb_chart_bars(sb_page *page, const sb_bar_chart *chart);

typedef struct sb_heat_chart {
  const char *title, *about, *row_name, *value_name;
  size_t rows, cols;
  const char *const *row_names, *const *col_names;
  const double *values; /* [rows, cols], NaN: none */
  double low, high;     /* of the colours */
  int digits;           /* significant ones of the numbers in the cells */
} sb_heat_chart;
/* Cells with their numbers in them: the figure is its own table. */
void sb_chart_heat(sb_page *page, const sb_heat_chart *chart);

typedef struct sb_image_chart {
  const char *title, *about;
  size_t rows, cols;
  const double *values; /* [rows, cols] */
  double low, high;
} sb_image_chart;
/* Cells without numbers; what they amount to is in the sentence and in other figures. */
void sb_chart_image(sb_page *page, const sb_image_chart *chart);
/* The colours of a range in five steps with their numbers. */
void sb_chart_scale(sb_page *page, double low, double high, const char *name);

/* For the figures: the colour of `place` in [0, 1] as "#rrggbb", and whether text on it is dark. */
void sb_chart_colour(double place, char out[8], bool *dark_text);
/* <figure>, heading and sentence; *id numbers them for aria-labelledby. */
unsigned sb_chart_begin(sb_page *page, const char *title, const char *about);
void sb_chart_end(sb_page *page);

#endif

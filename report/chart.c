/* What all figures share: their frame, and the colours of a range. */
#include "report/chart.h"

#include <math.h>
#include <stdio.h>

unsigned sb_chart_begin(sb_page *p, const char *title, const char *about) {
  const unsigned id = sb_page_id(p);
  sb_page_add(p, "<figure>\n<h4 id=\"t%u\">", id);
  sb_page_text(p, title);
  sb_page_add(p, "</h4>\n<p id=\"d%u\" class=\"about\">", id);
  sb_page_text(p, about);
  sb_page_add(p, "</p>\n");
  return id;
}

void sb_chart_end(sb_page *p) {
  sb_page_add(p, "</figure>\n");
}

/* Dark blue over grey to yellow: told apart by lightness alone, so by eyes that confuse hues and in
 * print. Six points of the colour map cividis (Nunez, Anderton, Renslow, PLoS ONE 13(7), 2018). */
void sb_chart_colour(double place, char out[8], bool *dark_text) {
  static const double points[][3] = {{0, 34, 78},     {53, 69, 108},   {102, 105, 112},
                                     {148, 142, 119}, {200, 184, 102}, {254, 232, 56}};
  const double at = 5 * fmin(fmax(place, 0), 1);
  const int i = at >= 5 ? 4 : (int)at;
  double c[3];
  for (int k = 0; k < 3; k++) c[k] = points[i][k] + (at - i) * (points[i + 1][k] - points[i][k]);
  /* at 0.18 of white's luminance black and white text have nearly the same contrast */
  double light = 0;
  static const double weights[] = {0.2126, 0.7152, 0.0722};
  for (int k = 0; k < 3; k++) light += weights[k] * pow(c[k] / 255, 2.2);
  *dark_text = light > 0.18;
  snprintf(out, 8, "#%02x%02x%02x", (unsigned)lround(c[0]) & 255, (unsigned)lround(c[1]) & 255,
           (unsigned)lround(c[2]) & 255);
}

void sb_chart_scale(sb_page *p, double low, double high, const char *name) {
  enum { STEPS = 5 };
  sb_page_add(p, "<ul class=\"scale\"><li class=\"name\">");
  sb_page_text(p, name);
  sb_page_add(p, "</li>");
  for (int i = 0; i < STEPS; i++) {
    char colour[8];
    bool dark;
    const double place = (double)i / (STEPS - 1);
    sb_chart_colour(place, colour, &dark);
    sb_page_add(p, "<li style=\"background:%s;color:%s\">%.3g</li>", colour, dark ? "#000" : "#fff",
                low + place * (high - low));
  }
  sb_page_add(p, "</ul>\n");
}

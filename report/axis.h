/* The scale of one side of a figure, and its ticks. Pure. */
#ifndef SB_REPORT_AXIS_H
#define SB_REPORT_AXIS_H

#include <stdbool.h>
#include <stddef.h>

enum { SB_AXIS_TICKS = 12 };

typedef struct sb_axis {
  bool log;
  double low, high; /* of the values; low < high, and 0 < low where log */
  size_t count;
  double ticks[SB_AXIS_TICKS]; /* rising, within [low, high] */
} sb_axis;

/* Values within a smaller ratio are shown on a linear axis, which has more round numbers there. */
enum { SB_AXIS_LOG_RANGE = 4 };
/* An axis that holds all finite values, widened to where ticks lie: whole multiples of 1, 2 or 5
 * times a power of ten, some `most` of them (3 to 8). log: 1, 2 and 5 times powers of ten, or
 * powers alone; a value that is not positive, or too small a range, makes the axis linear. Without
 * values it is [0, 1]. */
sb_axis sb_axis_make(const double *values, size_t count, bool log, size_t most);
/* The place of a value: 0 at low, 1 at high. */
double sb_axis_place(const sb_axis *axis, double value);

#endif

#include "report/axis.h"

#include <math.h>

#include "base/memory.h"

static double step_of(double range, size_t most) {
  const double raw = range / (double)most, power = pow(10, floor(log10(raw)));
  const double times = raw / power;
  return power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
}

static void linear_ticks(sb_axis *a, size_t most) {
  const double step = step_of(a->high - a->low, most);
  const double first = floor(a->low / step + 1e-9), last = ceil(a->high / step - 1e-9);
  a->low = first * step;
  a->high = last * step;
  for (double k = first; k <= last && a->count < SB_AXIS_TICKS; k++)
    a->ticks[a->count++] = k * step;
}

/* 1, 2, 5 and 10 times powers: at least one below low, and one above high. */
static void log_ticks(sb_axis *a, size_t most) {
  static const double times[] = {1, 2, 5};
  const double decades = log10(a->high / a->low);
  const size_t each = decades * 3 <= (double)most ? 3 : 1;
  const double stride = fmax(1, ceil(decades / (double)most));
  double below = 0;
  for (double power = floor(log10(a->low) + 1e-9);; power += stride)
    for (size_t i = 0; i < each; i++) {
      const double tick = times[i] * pow(10, power);
      if (tick <= a->low * (1 + 1e-9)) {
        below = tick;
        continue;
      }
      if (a->count == 0 && below > 0) a->ticks[a->count++] = below;
      if (a->count < SB_AXIS_TICKS) a->ticks[a->count++] = tick;
      if (tick < a->high * (1 - 1e-9) && a->count < SB_AXIS_TICKS) continue;
      a->low = fmin(a->low, a->ticks[0]);
      a->high = fmax(a->high, tick);
      return;
    }
}

sb_axis sb_axis_make(const double *values, size_t count, bool log, size_t most) {
  double low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < count; i++)
    if (isfinite(values[i])) {
      low = fmin(low, values[i]);
      high = fmax(high, values[i]);
    }
  if (low > high) return (sb_axis){.high = 1, .count = 2, .ticks = {0, 1}};
  sb_axis a = {.log = log && low > 0 && high >= SB_AXIS_LOG_RANGE * low, .low = low, .high = high};
  if (high - low <= 1e-9 * fmax(fabs(low), fabs(high))) {
    const double around = low == 0 ? 1 : fabs(low) / 4;
    a.low = low - around;
    a.high = high + around;
  }
  if (a.log)
    log_ticks(&a, most);
  else
    linear_ticks(&a, most);
  return a;
}

double sb_axis_place(const sb_axis *a, double value) {
  return a->log ? log(value / a->low) / log(a->high / a->low)
                : (value - a->low) / (a->high - a->low);
}

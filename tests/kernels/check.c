#include "tests/kernels/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 4096 };
static void *held[LIMIT]; /* what check_done() releases */
static size_t held_count;

static void *hold(size_t bytes) {
  void *memory = calloc(1, bytes ? bytes : 1);
  if (!memory || held_count == LIMIT) {
    fprintf(stderr, "test memory ran out\n");
    exit(1);
  }
  held[held_count++] = memory;
  return memory;
}

void check_done(void) {
  while (held_count > 0) free(held[--held_count]);
}

float *check_zeros(size_t count) {
  return hold(count * sizeof(float));
}

double *check_double_zeros(size_t count) {
  return hold(count * sizeof(double));
}

float *check_random(size_t count, float scale, uint64_t seed) {
  float *x = check_zeros(count);
  for (size_t i = 0; i < count; i++) { /* splitmix64 */
    uint64_t z = (seed << 32) + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    x[i] = scale * ((float)(z >> 40) * 0x1p-23f - 1.0f);
  }
  return x;
}

double *check_double(const float *x, size_t count) {
  double *out = check_double_zeros(count);
  for (size_t i = 0; i < count; i++) out[i] = (double)x[i];
  return out;
}

void check_close(const char *what, const float *got, const double *want, size_t count,
                 double tolerance, double floor) {
  double worst = 0.0;
  size_t at = 0;
  for (size_t i = 0; i < count; i++) {
    double error = fabs((double)got[i] - want[i]) / (fabs(want[i]) + floor);
    if (!(error <= worst)) { /* NaN comes here too */
      worst = error;
      at = i;
    }
    if (isnan(error)) break;
  }
  if (!(worst <= tolerance))
    fail_msg("%s: item %zu of %zu is %.9g, expected %.9g: error %.3g, allowed %.3g", what, at,
             count, (double)got[at], want[at], worst, tolerance);
}

void check_same(const char *what, const float *got, const float *want, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (memcmp(&got[i], &want[i], sizeof *got) != 0)
      fail_msg("%s: item %zu of %zu is %a, expected the same bits as %a", what, i, count,
               (double)got[i], (double)want[i]);
}

double check_slope(double (*f)(void *context), void *context, double *x, size_t i) {
  const double step = 1e-5, before = x[i];
  x[i] = before + step;
  double above = f(context);
  x[i] = before - step;
  double below = f(context);
  x[i] = before;
  return (above - below) / (2.0 * step);
}

/* This source is compiled without fused products and sums: the bits of transforms are defined. */
#include "kernels/cpu/cpu_transform.h"

#include <string.h>

#include "kernels/cpu/lanes.h"

/* ---- butterflies ---- */

typedef float vector __attribute__((vector_size(sizeof(float) * LANES)));

SB_LANES_INLINE vector load(const float *from) {
  vector v;
  memcpy(&v, from, sizeof v);
  return v;
}
SB_LANES_INLINE void store(float *to, vector v) {
  memcpy(to, &v, sizeof v);
}

/* Strides 1, 2, 4 and 8 of sixteen neighbours: lane i becomes the other one plus or minus itself.
 */
SB_LANES_INLINE vector turn_lanes(vector v) {
  const vector one = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
               two = {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
               four = {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
               eight = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
  v = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14) + one * v;
  v = __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13) + two * v;
  v = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11) +
      four * v;
  return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7) +
         eight * v;
}

/* Most vectors that are turned in registers. */
#ifdef __AVX512F__
enum { MOST = 16 };
#else
enum { MOST = 8 }; /* of two registers each, of sixteen */
#endif

/* Vectors at x, x + step, ...: all strides of `n` <= MOST of them, a constant, then times norm. */
SB_LANES_INLINE void turn_registers(float *x, size_t step, size_t n, float norm) {
  vector v[MOST];
#pragma GCC unroll 16
  for (size_t i = 0; i < n; i++) v[i] = load(x + i * step);
#pragma GCC unroll 4
  for (size_t stride = 1; stride < n; stride *= 2)
#pragma GCC unroll 16
    for (size_t i = 0; i < n; i++) {
      if (i & stride) continue;
      const vector a = v[i], b = v[i + stride];
      v[i] = a + b;
      v[i + stride] = a - b;
    }
#pragma GCC unroll 16
  for (size_t i = 0; i < n; i++) store(x + i * step, v[i] * norm);
}

SB_LANES_INLINE void turn_some(float *x, size_t step, size_t n, float norm) {
  switch (n) {
  case 1:
    turn_registers(x, step, 1, norm);
    break;
  case 2:
    turn_registers(x, step, 2, norm);
    break;
  case 4:
    turn_registers(x, step, 4, norm);
    break;
  case 8:
    turn_registers(x, step, 8, norm);
    break;
  default:
    turn_registers(x, step, MOST, norm);
  }
}

/* Vectors at x, x + step, ... of number n: strides first, 2 first, ..., n / 2 of them, as many as
 * fit into registers at once; then times norm. */
static void turn_vectors(float *x, size_t step, size_t n, float norm) {
  size_t stride = 1;
  for (; n / stride > MOST; stride *= MOST)
    for (size_t i = 0; i < n; i += stride * MOST)
      for (size_t k = 0; k < stride; k++) turn_some(x + (i + k) * step, stride * step, MOST, 1.0f);
  for (size_t k = 0; k < stride; k++) turn_some(x + k * step, stride * step, n / stride, norm);
}

static void turn_run(float *x, size_t n) {
  const float norm = sb_hadamard_norm(n);
  if (n >= LANES) {
    for (size_t i = 0; i < n; i += LANES) store(x + i, turn_lanes(load(x + i)));
    turn_vectors(x, LANES, n / LANES, norm);
  } else {
    for (size_t stride = 1; stride < n; stride *= 2)
      for (size_t i = 0; i < n; i++) {
        if (i & stride) continue;
        const float a = x[i], b = x[i + stride];
        x[i] = a + b;
        x[i + stride] = a - b;
      }
    for (size_t i = 0; i < n; i++) x[i] *= norm;
  }
}

void sb_cpu_hadamard_runs(float *x, size_t n) {
  for (size_t first = 0; first < n;) {
    const size_t run = sb_hadamard_run(n - first);
    turn_run(x + first, run);
    first += run;
  }
}

/* The runs of all columns, and of those that fill up the last sixteen. */
static void turn_columns(sb_cpu_patch *p) {
  const size_t fill = (LANES - p->cols % LANES) % LANES;
  for (size_t r = 0; r < p->rows; r++)
    memset(p->x + r * SB_PATCH_LD + p->cols, 0, fill * sizeof *p->x);
  for (size_t first = 0; first < p->rows;) {
    const size_t run = sb_hadamard_run(p->rows - first);
    const float norm = sb_hadamard_norm(run);
    for (size_t c = 0; c < p->cols; c += LANES)
      turn_vectors(p->x + first * SB_PATCH_LD + c, SB_PATCH_LD, run, norm);
    first += run;
  }
}

static void turn(sb_cpu_patch *p) {
  for (size_t r = 0; r < p->rows; r++) sb_cpu_hadamard_runs(p->x + r * SB_PATCH_LD, p->cols);
  turn_columns(p);
}

/* ---- patches ---- */

static float factor_of(const void *from, size_t i) {
  uint16_t half;
  memcpy(&half, (const char *)from + 2 * i, sizeof half);
  return sb_grid_from_fp16(half);
}
static void factors_of(float *to, const void *from, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = factor_of(from, i);
}

void sb_cpu_patch_forward(sb_cpu_patch *p, const void *w, sb_dtype dtype,
                          const sb_cpu_patch_place *at) {
  float room[SB_TRELLIS_PATCH], col[SB_TRELLIS_PATCH];
  factors_of(col, at->col_factors, p->cols);
  for (size_t r = 0; r < p->rows; r++) {
    const float row = factor_of(at->row_factors, r);
    const float *from = lanes_floats(room, w, dtype, at->first + r * at->ld, p->cols);
    float *to = p->x + r * SB_PATCH_LD;
    for (size_t c = 0; c < p->cols; c++) to[c] = from[c] / (row * col[c]);
  }
  turn(p);
}

void sb_cpu_patch_back(sb_cpu_patch *p, void *out, sb_dtype dtype, const sb_cpu_patch_place *at) {
  float col[SB_TRELLIS_PATCH];
  factors_of(col, at->col_factors, p->cols);
  turn(p);
  for (size_t r = 0; r < p->rows; r++) {
    const float row = factor_of(at->row_factors, r);
    float *x = p->x + r * SB_PATCH_LD;
    for (size_t c = 0; c < p->cols; c++) x[c] = x[c] * row * col[c];
    for (size_t c = 0; c < p->cols; c += LANES) {
      const lanes_mask m = lanes_first(p->cols - c);
      lanes_store_as(out, dtype, at->first + r * at->ld + c, m, lanes_load(x + c, m));
    }
  }
}

/* ---- sums of squares ---- */

/* Adds the squares of x to sixteen sums; x[0] belongs to the first. Squares of floats are exact in
 * double. */
static void add_squares(double sums[LANES], const float *x, size_t n) {
  size_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (size_t k = 0; k < LANES; k++) sums[k] += (double)x[i + k] * (double)x[i + k];
  for (size_t k = 0; i + k < n; k++) sums[k] += (double)x[i + k] * (double)x[i + k];
}

static double total_of(double sums[LANES]) {
  for (size_t width = LANES / 2; width > 0; width /= 2)
    for (size_t i = 0; i < width; i++) sums[i] += sums[i + width];
  return sums[0];
}

double sb_cpu_patch_squares(const sb_cpu_patch *p) {
  double all = 0.0;
  for (size_t r = 0; r < p->rows; r++) {
    double sums[LANES] = {0};
    add_squares(sums, p->x + r * SB_PATCH_LD, p->cols);
    all += total_of(sums);
  }
  return all;
}

double sb_cpu_row_squares(const void *w, sb_dtype dtype, size_t first, size_t n,
                          const uint16_t *col_factors) {
  enum { STEP = 8 * LANES };
  float room[STEP], col[STEP], x[STEP];
  double sums[LANES] = {0};
  for (size_t c = 0; c < n; c += STEP) {
    const size_t count = n - c < STEP ? n - c : STEP;
    const float *from = lanes_floats(room, w, dtype, first + c, count);
    factors_of(col, col_factors + c, count);
    for (size_t i = 0; i < count; i++) x[i] = from[i] / col[i];
    add_squares(sums, x, count);
  }
  return total_of(sums);
}

/* Second moments in multiples of a quantum, and their factors. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/factor.h"
#include "kernels/shared/multiple.h"

enum { PIECE = 4096 };

/* sb_add_multiple for elements in a row, as a loop that vectorises: 1.5 x 2^52 added to a number
 * below 2^50 leaves the whole number, rounded to nearest even, in its last bits. The product with a
 * power of two is exact, so it does not matter whether it is fused. True if a value does not fit.
 */
static bool add_piece(int64_t *restrict sums, const float *restrict x, size_t count, double scale) {
  const double shift = 0x1.8p52;
  int64_t shift_bits, bad = 0;
  memcpy(&shift_bits, &shift, sizeof shift_bits);
  for (size_t k = 0; k < count; k++) {
    const double multiple = (double)x[k] * scale;
    const bool fits = fabs(multiple) < 0x1p50;
    const double shifted = (fits ? multiple : 0.0) + shift;
    int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    sums[k] += bits - shift_bits;
    bad |= !fits;
  }
  return bad != 0;
}

sb_status sb_cpu_add_multiples(sb_backend *backend, sb_stream stream, int64_t *sums, const float *x,
                               size_t count, double quantum, bool reversed) {
  (void)stream;
  const double scale = 1.0 / quantum;
  int bad = 0;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static) reduction(| : bad)
  for (size_t from = 0; from < count; from += PIECE) {
    const size_t end = sb_min_size(from + PIECE, count);
    if (!reversed) bad |= add_piece(sums + from, x + from, end - from, scale);
    for (size_t k = from; reversed && k < end; k++)
      bad |= !sb_add_multiple(&sums[k], x[count - 1 - k], scale);
  }
  return bad ? sb_fail(SB_ERR_NUMERIC,
                       "numbers to be added up are not finite, or differ too much in size")
             : SB_OK;
}

static void factorise(sb_factor_job *job) {
  const size_t n = job->n;
  double *h = job->sums;
  sb_factor_real(h, n * n, job->quantum);
  for (size_t k = 0; job->kept && k < n * n; k++) job->kept[k] = (float)h[k];
  job->status = sb_factor_lapack(job->factor, h, n, job->damping, &job->repair);
  if (job->status != SB_OK) /* messages are a thread's own */
    snprintf(job->message, sizeof job->message, "%s", sb_message());
  for (size_t i = 0; job->kept && i < n; i++)
    job->kept[i * n + i] = sb_factor_damped(job->kept[i * n + i], &job->repair);
}

/* Jobs run side by side, each on one thread: the order of LAPACK's sums depends on its number of
 * threads. */
sb_status sb_cpu_factor_moments(sb_backend *backend, sb_stream stream, sb_factor_job *jobs,
                                size_t count) {
  (void)stream;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(dynamic, 1)
  for (size_t i = 0; i < count; i++) factorise(&jobs[i]);
  return SB_OK;
}

/* What the kernel tests share: reproducible numbers, comparisons with a stated tolerance, and the
 * same operation under several numbers of threads. */
#ifndef SB_TESTS_KERNELS_CHECK_H
#define SB_TESTS_KERNELS_CHECK_H

#include <stdbool.h>

#include "kernels/backend.h"
#include "tests/support/assertions.h"

/* Uniform in [-scale, scale], a function of `seed` and the position; memory is released
 * at exit of check_done(). */
float *check_random(size_t count, float scale, uint64_t seed);
float *check_zeros(size_t count);
/* The same numbers in double. */
double *check_double(const float *x, size_t count);
double *check_double_zeros(size_t count);
/* Releases everything the functions above returned. */
void check_done(void);

/* The backend under test: the CPU's with default threads (check_cpu.c), or the stand-in for
 * a GPU, which takes host pointers too (tests/cuda_host/check_cuda.c). Fails the test where
 * it cannot be made. */
sb_backend *check_backend(sb_compute compute);

/* Fails unless |got - want| <= tolerance * (|want| + floor) for every item; `floor` is the size
 * below which items count as small: the scale of the sums they came from. */
void check_close(const char *what, const float *got, const double *want, size_t count,
                 double tolerance, double floor);
/* Fails unless both are the same bits. */
void check_same(const char *what, const float *got, const float *want, size_t count);

/* Central difference of f at x[i]: (f(x + e) - f(x - e)) / 2e, e = 1e-5; its error is about 1e-9 of
 * f's scale. */
double check_slope(double (*f)(void *context), void *context, double *x, size_t i);

#endif

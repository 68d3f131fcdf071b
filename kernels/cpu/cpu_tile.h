/* A small matrix product on one thread, for operands that lie in cache: the building block of
 * attention. */
#ifndef SB_KERNELS_CPU_CPU_TILE_H
#define SB_KERNELS_CPU_CPU_TILE_H

#include <stdbool.h>
#include <stddef.h>

/* C[m,n] = A B, or += A B if `add`. n is a multiple of 16. B is [k,n] and C is [m,n], row-major
 * with rows of ldb and ldc floats. A may be a matrix or its transpose:
 *
 *   A(i, p) = a[i * a_row + p * a_col] */
void sb_cpu_tile(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_col,
                 const float *b, size_t ldb, float *c, size_t ldc, bool add);

#endif

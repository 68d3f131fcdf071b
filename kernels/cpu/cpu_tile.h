/* A small matrix product on one thread, for operands that lie in cache: the building block of
 * attention. */
#ifndef SB_KERNELS_CPU_CPU_TILE_H
#define SB_KERNELS_CPU_CPU_TILE_H

#include <stdbool.h>
#include <stddef.h>

/* C[m,n] = A B, or += A B when `add`. n is a multiple of 16. Item (i, p) of A is a[i * a_row + p *
 * a_col], so that A may be a matrix or its transpose; B is [k,n] and C is [m,n], row-major with
 * rows of ldb and ldc. */
void sb_cpu_tile(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_col,
                 const float *b, size_t ldb, float *c, size_t ldc, bool add);

#endif

/* The factor of kernels/factor.h for a matrix that is spread over all ranks (mpi/blockcyclic.h), by
 * ScaLAPACK: for second moments that are too large for one rank to hold or factorise.
 *
 * The upper triangular U with `U' U = H^-1` is found without forming H^-1. Let J reverse the order
 * of rows and columns, and let `J H J = C' C` with C upper triangular (Cholesky, p?potrf). Then
 * `U' = J C^-1 J` (p?trtri). That takes `2/3 n^3` operations; Cholesky, inverse and Cholesky of the
 * inverse take `4/3 n^3`. Its error grows with the square root of the condition of H, theirs with
 * the condition.
 *
 * So all matrices here are *reversed*: row-major element (i, j) of H or U is column-major element
 * (n - 1 - j, n - 1 - i) of the layout. A dense panel is then read from its end. Rows [a, b) x
 * columns [a, n) of the matrix, row-major, are the region of rows [0, n - a) x columns
 * [n - b, n - a) as one array read backwards. Only the upper triangle of the layout is used. */
#ifndef SB_QUANT_FACTOR_SCALAPACK_H
#define SB_QUANT_FACTOR_SCALAPACK_H

#include "base/status.h"
#include "kernels/factor.h"
#include "mpi/blockcyclic.h"
#include "mpi/world.h"

/* Single precision is kept while no channel's variance inflation factor is above this. For channel
 * j that factor is `(H + damping)_jj` times the diagonal element of the inverse, or `1 / (1 - R^2)`
 * of j's regression on the others. It is a condition number that does not depend on the sizes of
 * channels, and neither does the error of Cholesky. Measured: docs/measurements/factor.md. */
enum { SB_FACTOR_INFLATION = 200 };

typedef enum sb_factor_precision { SB_FACTOR_DOUBLE, SB_FACTOR_SINGLE } sb_factor_precision;

/* `h`: this rank's part of H, reversed; overwritten. `factor`: this rank's part of U, reversed,
 * which may lie in h's memory. Dead inputs, damping and *repair are those of sb_factor_lapack. In
 * single precision, a matrix that is not found positive definite, or too ill-conditioned
 * (SB_FACTOR_INFLATION), is factorised in double precision before more damping is tried.
 *
 * The result is the same, bit for bit, for the same layout; layouts differ by rounding.
 * SB_ERR_NUMERIC, on all ranks, when H is not finite or no damping helps. Collective. Memory:
 * another h (single precision: half of it), and 16 n bytes. One thread per rank. */
sb_status sb_factor_scalapack(const sb_cyclic *layout, const sb_world *world, float *factor,
                              double *h, double least_damping, sb_factor_precision precision,
                              sb_factor_repair *repair);

/* out = rows [a, b) x columns [a, n) of U, row-major, on every rank. Collective. Memory: the panel
 * once more. */
sb_status sb_factor_panel(const sb_cyclic *layout, const sb_world *world, float *out,
                          const float *factor, size_t a, size_t b);

/* out = rows [a, b) of H [b - a, n], row-major, on every rank, of a matrix of floats whose reversed
 * upper triangle is in the layout as H's is. Collective. `part` has (b - a) n floats; memory: the
 * panel once more. */
sb_status sb_symmetric_rows(const sb_cyclic *layout, const sb_world *world, float *out, float *part,
                            const float *h, size_t a, size_t b);

#endif

/* The functions of ScaLAPACK and its BLACS that are called here; they come without a C header.
 * Matrices and indices are Fortran's: column-major, from 1, 32 bits. A descriptor is {1, context,
 * rows, columns, block rows, block columns, 0, 0, leading dimension}. Collective over the ranks of
 * the context. */
#ifndef SB_QUANT_SCALAPACK_H
#define SB_QUANT_SCALAPACK_H

#include <mpi.h>

int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int rows, int cols);
void Cblacs_gridexit(int context);

/* Cholesky factor in place; info > 0: the leading minor of that order is not positive. */
void pdpotrf_(const char *uplo, const int *n, double *a, const int *ia, const int *ja,
              const int *desc, int *info);
void pspotrf_(const char *uplo, const int *n, float *a, const int *ia, const int *ja,
              const int *desc, int *info);
/* Inverse of a triangular matrix in place. */
void pdtrtri_(const char *uplo, const char *diag, const int *n, double *a, const int *ia,
              const int *ja, const int *desc, int *info);
void pstrtri_(const char *uplo, const char *diag, const int *n, float *a, const int *ia,
              const int *ja, const int *desc, int *info);
/* Inverse of a symmetric matrix from its Cholesky factor, in place. */
void pdpotri_(const char *uplo, const int *n, double *a, const int *ia, const int *ja,
              const int *desc, int *info);

#endif

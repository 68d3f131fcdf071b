/* The transfers of mpi/large.h with the size of a piece as a parameter (in bytes, at least
 * 8), so that tests reach the paths of many pieces without many gigabytes. Internal to
 * mpi/ and its tests. */
#ifndef SB_MPI_LARGE_PIECES_H
#define SB_MPI_LARGE_PIECES_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

sb_status sb_mpi_bcast_by(size_t piece, void *data, size_t bytes, int root, MPI_Comm comm);
/* data[i] = op over ranks of data[i], 8-byte elements of `type`. */
sb_status sb_mpi_reduce_by(size_t piece, void *data, size_t count, MPI_Datatype type, MPI_Op op,
                           MPI_Comm comm);
sb_status sb_mpi_reduce_scatter_by(size_t piece, int64_t *out, const int64_t *data,
                                   const size_t *starts, MPI_Comm comm);
sb_status sb_mpi_allgather_by(size_t piece, void *all, const void *mine, const size_t *starts,
                              MPI_Comm comm);
size_t sb_mpi_pieces_by(size_t piece, size_t bytes);
sb_status sb_mpi_isend_by(size_t piece, const void *data, size_t bytes, int to, int tag,
                          MPI_Comm comm, MPI_Request *requests, size_t *n);
sb_status sb_mpi_irecv_by(size_t piece, void *data, size_t bytes, int from, int tag, MPI_Comm comm,
                          MPI_Request *requests, size_t *n);

#endif

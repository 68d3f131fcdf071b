/* MPI collectives with 64-bit counts: Open MPI 4 counts in int, and 2^31 elements are a small
 * tensor. Large transfers are cut into pieces: at most 2^30 bytes for broadcasts and messages, 2^26
 * for reductions, for which MPI libraries hold temporary copies. All collective over `comm` unless
 * said otherwise; counts must be equal on all ranks. An MPI failure is SB_ERR_MPI. */
#ifndef SB_MPI_LARGE_H
#define SB_MPI_LARGE_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

sb_status sb_mpi_bcast(void *data, size_t bytes, int root, MPI_Comm comm);
/* data[i] = sum over ranks of data[i], in place; integer, so exact (modulo 2^64). */
sb_status sb_mpi_sum_i64(int64_t *data, size_t count, MPI_Comm comm);
sb_status sb_mpi_sum_u64(uint64_t *data, size_t count, MPI_Comm comm);
/* The same of doubles, in the order that MPI chooses: exact where only one rank has a number and
 * the others have 0. */
sb_status sb_mpi_sum_f64(double *data, size_t count, MPI_Comm comm);
/* data[i] = the largest data[i] of all ranks, in place. For a minimum, pass complements. */
sb_status sb_mpi_max_u64(uint64_t *data, size_t count, MPI_Comm comm);
/* Rank r receives in `out` the sums of elements [starts[r], starts[r+1]) of every rank's
 * `data[starts[size]]`. `starts` has size + 1 non-decreasing entries from 0, equal on all ranks;
 * parts may be empty. More data than one piece goes in rounds that take an equal share of every
 * rank's part, through a copy of one piece. */
sb_status sb_mpi_reduce_scatter_i64(int64_t *out, const int64_t *data, const size_t *starts,
                                    MPI_Comm comm);
/* Rank r contributes `mine` of starts[r+1] - starts[r] bytes; every rank receives all of them in
 * order in `all`, which holds starts[size] bytes (starts[0] = 0). `mine` may lie inside `all` at
 * its place. */
sb_status sb_mpi_allgather_bytes(void *all, const void *mine, const size_t *starts, MPI_Comm comm);
/* Point to point, non-blocking, local: requests are appended to requests[*n] (the caller provides
 * room for sb_mpi_pieces(bytes) of them). Nothing is sent for 0 bytes. Pieces share the tag: MPI
 * keeps them in order. */
size_t sb_mpi_pieces(size_t bytes);
sb_status sb_mpi_isend(const void *data, size_t bytes, int to, int tag, MPI_Comm comm,
                       MPI_Request *requests, size_t *n);
sb_status sb_mpi_irecv(void *data, size_t bytes, int from, int tag, MPI_Comm comm,
                       MPI_Request *requests, size_t *n);

#endif

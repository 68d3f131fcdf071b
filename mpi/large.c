#include "mpi/large.h"

#include "base/trace.h"
#include "mpi/large_pieces.h"

#define PIECE        ((size_t)1 << 30)
#define REDUCE_PIECE ((size_t)1 << 26)

sb_status sb_mpi_bcast(void *data, size_t bytes, int root, MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "broadcast", SB_TRACE_NONE);
  return sb_mpi_bcast_by(PIECE, data, bytes, root, comm);
}

sb_status sb_mpi_sum_i64(int64_t *data, size_t count, MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "sum", SB_TRACE_NONE);
  return sb_mpi_reduce_by(REDUCE_PIECE, data, count, MPI_INT64_T, MPI_SUM, comm);
}

sb_status sb_mpi_sum_u64(uint64_t *data, size_t count, MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "sum", SB_TRACE_NONE);
  return sb_mpi_reduce_by(REDUCE_PIECE, data, count, MPI_UINT64_T, MPI_SUM, comm);
}

sb_status sb_mpi_sum_f64(double *data, size_t count, MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "sum", SB_TRACE_NONE);
  return sb_mpi_reduce_by(REDUCE_PIECE, data, count, MPI_DOUBLE, MPI_SUM, comm);
}

sb_status sb_mpi_max_u64(uint64_t *data, size_t count, MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "maximum", SB_TRACE_NONE);
  return sb_mpi_reduce_by(REDUCE_PIECE, data, count, MPI_UINT64_T, MPI_MAX, comm);
}

sb_status sb_mpi_reduce_scatter_i64(int64_t *out, const int64_t *data, const size_t *starts,
                                    MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "reduce-scatter", SB_TRACE_NONE);
  return sb_mpi_reduce_scatter_by(REDUCE_PIECE, out, data, starts, comm);
}

sb_status sb_mpi_allgather_bytes(void *all, const void *mine, const size_t *starts, MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "allgather", SB_TRACE_NONE);
  return sb_mpi_allgather_by(PIECE, all, mine, starts, comm);
}

size_t sb_mpi_pieces(size_t bytes) {
  return sb_mpi_pieces_by(PIECE, bytes);
}

sb_status sb_mpi_isend(const void *data, size_t bytes, int to, int tag, MPI_Comm comm,
                       MPI_Request *requests, size_t *n) {
  return sb_mpi_isend_by(PIECE, data, bytes, to, tag, comm, requests, n);
}

sb_status sb_mpi_irecv(void *data, size_t bytes, int from, int tag, MPI_Comm comm,
                       MPI_Request *requests, size_t *n) {
  return sb_mpi_irecv_by(PIECE, data, bytes, from, tag, comm, requests, n);
}

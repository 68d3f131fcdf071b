#include "mpi/large_pieces.h"

#include <string.h>

#include "base/memory.h"
#include "mpi/world.h"

sb_status sb_mpi_bcast_by(size_t piece, void *data, size_t bytes, int root, MPI_Comm comm) {
  for (size_t at = 0; at < bytes; at += piece)
    SB_MPI(MPI_Bcast((char *)data + at, (int)sb_min_size(piece, bytes - at), MPI_BYTE, root, comm));
  return SB_OK;
}

sb_status sb_mpi_reduce_by(size_t piece, void *data, size_t count, MPI_Datatype type, MPI_Op op,
                           MPI_Comm comm) {
  const size_t step = piece / 8;
  for (size_t at = 0; at < count; at += step)
    SB_MPI(MPI_Allreduce(MPI_IN_PLACE, (char *)data + 8 * at, (int)sb_min_size(step, count - at),
                         type, op, comm));
  return SB_OK;
}

/* Elements [round * share, (round + 1) * share) of the part of rank r, clipped to the part. */
static size_t share_of(const size_t *starts, int r, size_t round, size_t share, size_t *first) {
  const size_t part = starts[r + 1] - starts[r];
  const size_t begin = sb_min_size(round * share, part);
  *first = starts[r] + begin;
  return sb_min_size(share, part - begin);
}

sb_status sb_mpi_reduce_scatter_by(size_t piece, int64_t *out, const int64_t *data,
                                   const size_t *starts, MPI_Comm comm) {
  sb_status status;
  int size, rank;
  int *counts = NULL;
  int64_t *packed = NULL;
  size_t share, longest = 0;
  SB_MPI(MPI_Comm_size(comm, &size));
  SB_MPI(MPI_Comm_rank(comm, &rank));
  share = sb_max_size(1, piece / 8 / (size_t)size);
  for (int r = 0; r < size; r++) longest = sb_max_size(longest, starts[r + 1] - starts[r]);
  if (starts[size] <= piece / 8) share = longest; /* one round, straight from `data` */
  status = sb_alloc_raw(&counts, (size_t)size, sizeof *counts, "counts of a reduction");
  if (share < longest)
    SB_THEN(
        sb_alloc_raw(&packed, share * (size_t)size, sizeof *packed, "one piece of a reduction"));
  SB_GO(sb_comm_agree(comm, status));
  for (size_t round = 0; round * share < longest; round++) {
    const int64_t *from = packed ? packed : data;
    size_t at = 0, first;
    for (int r = 0; r < size; r++) {
      const size_t n = share_of(starts, r, round, share, &first);
      if (packed && n) memcpy(packed + at, data + first, n * sizeof *data);
      at += n;
      counts[r] = (int)n;
    }
    (void)share_of(starts, rank, round, share, &first);
    SB_GO(sb_mpi_check(
        MPI_Reduce_scatter(from, out + (first - starts[rank]), counts, MPI_INT64_T, MPI_SUM, comm),
        "MPI_Reduce_scatter"));
  }
done:
  sb_free(&counts);
  sb_free(&packed);
  return status;
}

sb_status sb_mpi_allgather_by(size_t piece, void *all, const void *mine, const size_t *starts,
                              MPI_Comm comm) {
  sb_status status;
  int size, rank;
  int *counts = NULL;
  char *bytes = all;
  SB_MPI(MPI_Comm_size(comm, &size));
  SB_MPI(MPI_Comm_rank(comm, &rank));
  if (starts[rank + 1] > starts[rank] && mine != bytes + starts[rank])
    memmove(bytes + starts[rank], mine, starts[rank + 1] - starts[rank]);
  if (starts[size] > piece) { /* displacements of a gather are ints; large parts lose nothing by
                                 going one by one */
    for (int r = 0; r < size; r++)
      SB_TRY(sb_mpi_bcast_by(piece, bytes + starts[r], starts[r + 1] - starts[r], r, comm));
    return SB_OK;
  }
  SB_GO(sb_comm_agree(
      comm, sb_alloc_raw(&counts, 2 * (size_t)size, sizeof *counts, "counts of a gather")));
  for (int r = 0; r < size; r++) {
    counts[r] = (int)(starts[r + 1] - starts[r]);
    counts[size + r] = (int)starts[r];
  }
  SB_GO(sb_mpi_check(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, counts, counts + size,
                                    MPI_BYTE, comm),
                     "MPI_Allgatherv"));
done:
  sb_free(&counts);
  return status;
}

size_t sb_mpi_pieces_by(size_t piece, size_t bytes) {
  return sb_div_up(bytes, piece);
}

sb_status sb_mpi_isend_by(size_t piece, const void *data, size_t bytes, int to, int tag,
                          MPI_Comm comm, MPI_Request *requests, size_t *n) {
  for (size_t at = 0; at < bytes; at += piece) {
    SB_MPI(MPI_Isend((const char *)data + at, (int)sb_min_size(piece, bytes - at), MPI_BYTE, to,
                     tag, comm, &requests[*n]));
    ++*n;
  }
  return SB_OK;
}

sb_status sb_mpi_irecv_by(size_t piece, void *data, size_t bytes, int from, int tag, MPI_Comm comm,
                          MPI_Request *requests, size_t *n) {
  for (size_t at = 0; at < bytes; at += piece) {
    SB_MPI(MPI_Irecv((char *)data + at, (int)sb_min_size(piece, bytes - at), MPI_BYTE, from, tag,
                     comm, &requests[*n]));
    ++*n;
  }
  return SB_OK;
}

/* A square matrix in two-dimensional block-cyclic layout over all ranks, as ScaLAPACK takes it.
 * sb_cyclic_add sums a matrix into the layout, where every rank has a summand. sb_cyclic_gather
 * brings parts of it back to all ranks.
 *
 * The ranks form a grid, row-major: rank = row x grid columns + column. Element (i, j) belongs to
 * the rank at row (i / block) mod grid rows, column (j / block) mod grid columns. A rank's
 * elements, in their order, are a column-major array [local_cols][local_rows] with leading
 * dimension sb_cyclic_ld. A rank may have none.
 *
 * A region is rows [r0, r1) x columns [c0, c1) of the matrix. Outside the layout it is a dense
 * column-major array of (c1 - c0) x (r1 - r0) elements. A rank's share of a region is a rectangle
 * of its array. */
#ifndef SB_MPI_BLOCKCYCLIC_H
#define SB_MPI_BLOCKCYCLIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/status.h"
#include "mpi/world.h"

typedef struct sb_cyclic {
  size_t n, block;
  int grid_rows, grid_cols;
  int row, col; /* this rank's place in the grid */
  size_t local_rows, local_cols;
} sb_cyclic;

typedef struct sb_region {
  size_t r0, r1, c0, c1;
} sb_region;

/* The squarest grid of all ranks, with at least as many rows as columns: that way round is faster
 * where upper triangles are factorised (bench/bench_factor.c). */
void sb_cyclic_grid(int ranks, int *rows, int *cols);

/* The layout of an n x n matrix as `rank` sees it, on the grid of sb_cyclic_grid, or on one of
 * `grid_rows` rows where that is not 0. SB_ERR_INTERNAL when grid_rows does not divide
 * `ranks`; SB_ERR_RANGE, with the number of ranks that would do, when a rank would get 2^31
 * elements or more, which ScaLAPACK cannot address. The answer is the same on all ranks.
 * Local, O(1), no memory. */
sb_status sb_cyclic_create(size_t n, size_t block, int grid_rows, int ranks, int rank,
                           sb_cyclic *out);

/* Number of the first `count` rows (columns) that belong to place `place` of `places`
 * in the grid. */
static inline size_t sb_cyclic_share(size_t count, size_t block, int place, int places) {
  const size_t blocks = count / block, whole = blocks / (size_t)places,
               rest = blocks % (size_t)places;
  const size_t at = (size_t)place;
  return whole * block + (at < rest ? block : at == rest ? count % block : 0);
}

/* The row (column) of the matrix that is number `local` at `place`. */
static inline size_t sb_cyclic_global(size_t local, size_t block, int place, int places) {
  return (local / block * (size_t)places + (size_t)place) * block + local % block;
}

static inline int sb_cyclic_owner(const sb_cyclic *c, size_t i, size_t j) {
  return (int)(i / c->block % (size_t)c->grid_rows) * c->grid_cols +
         (int)(j / c->block % (size_t)c->grid_cols);
}

static inline size_t sb_cyclic_ld(const sb_cyclic *c) {
  return c->local_rows ? c->local_rows : 1;
}

/* Elements of this rank's array. */
static inline size_t sb_cyclic_elements(const sb_cyclic *c) {
  return sb_cyclic_ld(c) * c->local_cols;
}

/* Where element (i, j), which is this rank's, lies in its array. */
static inline size_t sb_cyclic_at(const sb_cyclic *c, size_t i, size_t j) {
  const size_t block = c->block, rows = (size_t)c->grid_rows, cols = (size_t)c->grid_cols;
  return (j / block / cols * block + j % block) * sb_cyclic_ld(c) + i / block / rows * block +
         i % block;
}

/* local += the sum over ranks of `part`, their regions. Exact (modulo 2^64). Every rank sends
 * its region once, each element to its owner only. Collective; the region is equal on all
 * ranks. All ranks fail together. Memory: 8 bytes per element of the region, twice where one
 * rank owns all of it. */
sb_status sb_cyclic_add(const sb_cyclic *c, const sb_world *world, int64_t *local,
                        const sb_region *region, const int64_t *part);

/* out = the region, on every rank, of elements of `size` bytes. Collective; the region is equal on
 * all ranks. Memory: the region once more. */
sb_status sb_cyclic_gather(const sb_cyclic *c, const sb_world *world, const void *local,
                           size_t size, const sb_region *region, void *out);

#endif

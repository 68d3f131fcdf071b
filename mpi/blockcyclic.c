#include "mpi/blockcyclic.h"

#include <string.h>

#include "mpi/large.h"

void sb_cyclic_grid(int ranks, int *rows, int *cols) {
  *cols = 1;
  for (int c = 2; c <= ranks / c; c++)
    if (ranks % c == 0) *cols = c;
  *rows = ranks / *cols;
}

/* The most elements that a rank of the grid gets: those at (0, 0). False where they do
 * not fit a size_t. */
static bool largest_part(size_t n, size_t block, int rows, int cols, size_t *out) {
  return sb_mul_size(sb_cyclic_share(n, block, 0, rows), sb_cyclic_share(n, block, 0, cols), out);
}

sb_status sb_cyclic_create(size_t n, size_t block, int grid_rows, int ranks, int rank,
                           sb_cyclic *out) {
  const size_t limit = INT32_MAX;
  int rows, cols;
  size_t most;
  sb_cyclic_grid(ranks, &rows, &cols);
  if (grid_rows) {
    rows = grid_rows;
    cols = ranks / rows;
  }
  if (rows * cols != ranks || block == 0)
    return sb_fail(SB_ERR_INTERNAL, "a grid of %d rows for %d ranks, blocks of %zu", rows, ranks,
                   block);
  if (n > limit || !largest_part(n, block, rows, cols, &most) || most > limit)
    return sb_fail(
        SB_ERR_RANGE,
        "a matrix of %zu x %zu leaves a rank more elements than ScaLAPACK can address; run on more "
        "ranks, about %zu",
        n, n, sb_div_up(n, 46340) * sb_div_up(n, 46340)); /* 46340^2 < 2^31 */
  *out = (sb_cyclic){.n = n, .block = block, .grid_rows = rows, .grid_cols = cols};
  out->row = rank / cols;
  out->col = rank % cols;
  out->local_rows = sb_cyclic_share(n, block, out->row, rows);
  out->local_cols = sb_cyclic_share(n, block, out->col, cols);
  return SB_OK;
}

/* What a rank has of a region: rows [r0, r1) and columns [c0, c1) of its array. */
static sb_region part_of(const sb_cyclic *c, const sb_region *region, int rank) {
  const int row = rank / c->grid_cols, col = rank % c->grid_cols;
  return (sb_region){sb_cyclic_share(region->r0, c->block, row, c->grid_rows),
                     sb_cyclic_share(region->r1, c->block, row, c->grid_rows),
                     sb_cyclic_share(region->c0, c->block, col, c->grid_cols),
                     sb_cyclic_share(region->c1, c->block, col, c->grid_cols)};
}

/* starts[r] = elements of the region that ranks before r have; [ranks + 1], owned by the caller. */
static sb_status count_parts(const sb_cyclic *c, const sb_region *region, size_t scale,
                             size_t **starts) {
  const int ranks = c->grid_rows * c->grid_cols;
  SB_TRY(sb_alloc(starts, (size_t)ranks + 1, sizeof **starts, "starts of a region's parts"));
  for (int r = 0; r < ranks; r++) {
    const sb_region part = part_of(c, region, r);
    (*starts)[r + 1] = (*starts)[r] + (part.r1 - part.r0) * (part.c1 - part.c0) * scale;
  }
  return SB_OK;
}

/* Copies a rank's part of a region between the dense array and a packed one, in runs of rows that
 * follow one another. */
static void copy_part(const sb_cyclic *c, const sb_region *region, int rank, size_t size,
                      char *dense, char *packed, bool pack) {
  const sb_region part = part_of(c, region, rank);
  const int row = rank / c->grid_cols, col = rank % c->grid_cols;
  const size_t height = region->r1 - region->r0, part_height = part.r1 - part.r0;
#pragma omp parallel for schedule(static)
  for (size_t lc = part.c0; lc < part.c1; lc++) {
    char *column =
        dense + (sb_cyclic_global(lc, c->block, col, c->grid_cols) - region->c0) * height * size;
    char *to = packed + (lc - part.c0) * part_height * size;
    for (size_t lr = part.r0, run; lr < part.r1; lr += run) {
      char *from = column + (sb_cyclic_global(lr, c->block, row, c->grid_rows) - region->r0) * size;
      run = sb_min_size(c->block - lr % c->block, part.r1 - lr);
      if (pack)
        memcpy(to, from, run * size);
      else
        memcpy(from, to, run * size);
      to += run * size;
    }
  }
}

sb_status sb_cyclic_add(const sb_cyclic *c, const sb_world *world, int64_t *local,
                        const sb_region *region, const int64_t *part) {
  const int ranks = c->grid_rows * c->grid_cols, rank = c->row * c->grid_cols + c->col;
  const sb_region own = part_of(c, region, rank);
  const size_t height = own.r1 - own.r0;
  size_t *starts = NULL;
  int64_t *packed = NULL, *sums = NULL;
  sb_status status = count_parts(c, region, 1, &starts);
  SB_THEN(sb_alloc_raw(&packed, starts[ranks], sizeof *packed, "panel of a sum"));
  SB_THEN(sb_alloc_raw(&sums, starts[rank + 1] - starts[rank], sizeof *sums, "panel of a sum"));
  SB_GO(sb_world_agree(world, status));
  for (int r = 0; r < ranks; r++)
    copy_part(c, region, r, sizeof *packed, (char *)(uintptr_t)part, (char *)(packed + starts[r]),
              true);
  SB_GO(sb_mpi_reduce_scatter_i64(sums, packed, starts, world->comm));
  for (size_t lc = own.c0; lc < own.c1; lc++)
    for (size_t lr = own.r0; lr < own.r1; lr++)
      local[lc * sb_cyclic_ld(c) + lr] += sums[(lc - own.c0) * height + lr - own.r0];
done:
  sb_free(&starts);
  sb_free(&packed);
  sb_free(&sums);
  return status;
}

sb_status sb_cyclic_gather(const sb_cyclic *c, const sb_world *world, const void *local,
                           size_t size, const sb_region *region, void *out) {
  const int ranks = c->grid_rows * c->grid_cols, rank = c->row * c->grid_cols + c->col;
  const sb_region own = part_of(c, region, rank);
  const size_t run = (own.r1 - own.r0) * size;
  size_t *starts = NULL;
  char *packed = NULL;
  sb_status status = count_parts(c, region, size, &starts);
  SB_THEN(sb_alloc_raw(&packed, starts[ranks], 1, "panel of a matrix"));
  SB_GO(sb_world_agree(world, status));
  for (size_t lc = own.c0; lc < own.c1; lc++)
    memcpy(packed + starts[rank] + (lc - own.c0) * run,
           (const char *)local + (lc * sb_cyclic_ld(c) + own.r0) * size, run);
  SB_GO(sb_mpi_allgather_bytes(packed, packed + starts[rank], starts, world->comm));
  for (int r = 0; r < ranks; r++) copy_part(c, region, r, size, out, packed + starts[r], false);
done:
  sb_free(&starts);
  sb_free(&packed);
  return status;
}

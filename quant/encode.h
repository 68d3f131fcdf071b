/* From weights to codes: the one place where the matrices of a model become coded
 * block rows (kernels/blockrow.h).
 *
 * A *coded model* (SB_CODING_CODES) has the tensors, orders and bit map of its source. Its matrices
 * are codes; everything else is as in the source. sb_encode_nearest makes a whole one, rounded to
 * nearest. Better rounding (quant/gptq.h) lays out an empty one by sb_encode_create and fills it
 * group by group: sb_encode_copy for tensors that are not quantized, sb_encode_visit for the block
 * rows, sb_encode_codes for each once its codes are chosen.
 *
 * A rank writes the units that it owns, from the image of the source's group that it holds
 * (mpi/store.h); no codes travel. */
#ifndef SB_QUANT_ENCODE_H
#define SB_QUANT_ENCODE_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"

/* *out = a coded model laid out for the bits of `source` (SB_CODING_SOURCE, all bits in 1..8),
 * with its column factors, without contents. After a failure the caller releases *out. Collective.
 * Memory: the coded bytes of the rank's units. */
sb_status sb_encode_create(const sb_model *source, sb_model **out);

/* *out = a complete coded model: every weight at the nearest level of its group's grid, every tile
 * of a trellis at its nearest walk. Grids are fitted to source->importance where it has one. On
 * failure *out is NULL. Collective. OpenMP threads share a group's block rows. */
sb_status sb_encode_nearest(sb_model *source, sb_model **out);

/* The same for one group of the store, whose matrix is on grids: the block rows that this rank
 * owns. `image` is the source's. Local. SB_ERR_MEMORY. */
sb_status sb_encode_nearest_group(const sb_model *source, sb_model *coded, size_t group,
                                  const void *image);

/* A block row of a matrix on its way to codes. */
typedef struct sb_encode_row {
  const sb_matrix *matrix;
  size_t index;        /* of the block row in its matrix */
  const uint8_t *bits; /* [block columns] */
  const void
      *weights; /* [rows of the block row, matrix columns] of `dtype`, in the source's image */
  sb_dtype dtype;
  const float *importance; /* [matrix columns], or NULL (sb_model_importance) */
  sb_code_kind code_kind;
  uint64_t row_key;            /* of the matrix: sb_model_row_key */
  const uint16_t *col_factors; /* [matrix columns]: sb_model_col_factors */
  uint8_t *to;                 /* its place in the coded store */
} sb_encode_row;

/* Calls back for every block row of a group that this rank owns, in order; `image` is the source's
 * of that group. Stops at the first failure. Local. */
typedef sb_status (*sb_encode_visitor)(void *context, const sb_encode_row *row);
sb_status sb_encode_visit(const sb_model *source, sb_model *coded, size_t group, const void *image,
                          sb_encode_visitor visit, void *context);
/* Copies the group's units that are not quantized and that this rank owns. Local. */
void sb_encode_copy(const sb_model *source, sb_model *coded, size_t group, const void *image);

/* Writes a block row from chosen grids and codes: grids [block columns, rows], codes
 * [rows, matrix columns] and row_factors [rows], as sb_blockrow_pack takes them. Local. */
void sb_encode_codes(const sb_encode_row *row, const sb_grid *grids, const uint8_t *codes,
                     const uint16_t *row_factors);

#endif

/* Where the bits of a model's layers went, in figures small enough for a report: widths by layer
 * and kind of matrix, and a picture of one matrix. Pure, from the bit map, which all ranks have. */
#ifndef SB_MODEL_WIDTH_FIGURES_H
#define SB_MODEL_WIDTH_FIGURES_H

#include <stdint.h>

#include "base/status.h"
#include "model/model.h"

/* The matrices of one role of a layer; experts are taken together. */
typedef struct sb_width_cell {
  uint64_t weights[9]; /* by width, 1 to 8; 0: in source precision */
} sb_width_cell;

/* cells[layer * SB_ROLE_COUNT + role], all zero where a layer has no such matrix. O(blocks). */
void sb_width_cells(const sb_model *model, sb_width_cell *cells);
/* Weights of a cell, and their mean width (0 for none). */
uint64_t sb_width_cell_weights(const sb_width_cell *cell);
double sb_width_cell_mean(const sb_width_cell *cell);

/* Mean of 4^-width over the weights of `count` cells (0 for none): how the error of uniform
 * quantization falls with the width, a quarter for each bit. */
double sb_width_cells_noise(const sb_width_cell *cells, size_t count);

enum { SB_PICTURE_SIDE = 64 };

/* A matrix cut into rows x cols cells that are as equal as whole rows and columns of it allow: cell
 * i of n covers [i * size / n, (i + 1) * size / n). */
typedef struct sb_width_picture {
  size_t layer, matrix; /* the latter as in sb_model_matrix */
  size_t rows,
      cols; /* cells: SB_PICTURE_SIDE, or the matrix' own rows or columns if these are fewer */
  bool reordered;                                  /* `source` differs from `stored` */
  float stored[SB_PICTURE_SIDE * SB_PICTURE_SIDE]; /* mean width of each cell, as it is stored */
  float source[SB_PICTURE_SIDE * SB_PICTURE_SIDE]; /* the same in the order of the source model */
} sb_width_picture;

/* The picture of the matrix whose blocks' widths vary most; of several the first. SB_ERR_MEMORY.
 * O(blocks + channels of the matrix + its blocks x SB_PICTURE_SIDE). */
sb_status sb_width_picture_make(const sb_model *model, sb_width_picture *out);

#endif

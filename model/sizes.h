/* The numbers that buffers are sized by. Every `sb_..._bytes()` takes them, so a plan and a run
 * compute memory from the same figures. Sizes count weights, unless something else is said. Pure
 * but for sb_model_sizes. */
#ifndef SB_MODEL_SIZES_H
#define SB_MODEL_SIZES_H

#include <stddef.h>

#include "model/model.h"

/* Sizes of a decoder layer. In sb_sizes each number is the largest of any layer. */
typedef struct sb_layer_sizes {
  size_t weights, largest; /* of all matrices; of the largest matrix */
  size_t blocks, groups;   /* a group is a row of a block */
  size_t rows, cols;       /* summed over matrices */
  size_t vectors;          /* elements of its vectors, which are norms */
  size_t tallest;          /* most rows of a matrix */
  size_t channels;         /* of its inputs; an input that several matrices share counts once */
  size_t widest;           /* most channels of an input */
  size_t sharing;          /* most weights of the matrices that share an input */
  size_t squares;          /* sum over inputs of channels^2 */
  size_t grams;            /* sum over inputs of sb_grams_count (kernels/backend.h) */
} sb_layer_sizes;

typedef struct sb_sizes {
  const sb_arch *arch;
  sb_blocking blocking;
  size_t ranks, layers;
  size_t blocks, groups, channels;  /* of the model */
  size_t owned, owned_groups;       /* that a rank owns, of all layers */
  size_t owned_rows, owned_vectors; /* rows of matrices; elements of norms, the final one too */
  /* most of one layer that it owns; of norms, of a layer or the final one */
  size_t owned_of_a_layer, owned_groups_of_a_layer, owned_rows_of_a_layer, owned_vectors_of_a_layer;
  /* groups of the tables that have widths, and those that a rank owns; sb_sizes_even: of all */
  size_t table_groups[SB_TABLES], owned_table_groups[SB_TABLES];
  sb_layer_sizes layer;
} sb_sizes;

/* Sizes of a planned run: every rank owns an even share of blocks and groups, rounded up. `arch`
 * outlives the result. */
sb_sizes sb_sizes_even(const sb_arch *arch, const sb_blocking *blocking, size_t ranks);
/* Sizes of a loaded model: this rank's own share. Local. */
sb_sizes sb_model_sizes(const sb_model *model);

#endif

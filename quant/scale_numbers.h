/* The numbers of a coded model that training moves (quant/scales.h), and their order.
 *
 *   integer grids   the scale of every group, a row of a block; the base of an asymmetric 1-bit
 *                   group is proportional to it
 *   trellises       the factor of every row of a matrix, and the scale of every block
 *   both            the weights of norms, where they are asked for, and the scales of embedding and
 *                   LM head, whose codes are on grids
 *
 * All weights that a scale or a factor stands for are proportional to it, so with g the gradients
 * of the weights w, the gradient of its logarithm is the sum of g w over them. Column factors of
 * trellises stay: their magnitudes would say again what norms and the factors of rows say of the
 * same channels.
 *
 * A *part* is a group of the store that has some, in the store's order: chunks of the embedding,
 * decoder layers, the final norm, chunks of the LM head. Layers are parts in any case, the others
 * where their numbers are trained. The numbers of a part stand unit by unit, in the store's
 * order:
 *
 *   a block row of a grid      row by row, block column by block column
 *   a block row of a trellis   its rows, then its blocks
 *   a norm                     channel by channel; none where norms are not asked for
 *
 * Ranks own runs of units, so each owns a run of a part's numbers. All functions are local. */
#ifndef SB_QUANT_SCALE_NUMBERS_H
#define SB_QUANT_SCALE_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/blockrow.h"
#include "model/model.h"
#include "model/sizes.h"

/* What is trained beside the matrices of layers: the weights of norms, and the scales of each table
 * of the model (model/model.h). */
typedef struct sb_trained {
  bool norms, tables[SB_TABLES];
} sb_trained;
/* `wanted` without the tables that have no codes. */
sb_trained sb_trained_of(const sb_model *coded, sb_trained wanted);

/* Parts of a model; the group of the store that a part is, and the part that a group is, which is
 * one. O(1). */
size_t sb_scale_parts(const sb_model *coded, sb_trained);
size_t sb_scale_part_group(const sb_model *coded, sb_trained, size_t part);
size_t sb_scale_group_part(const sb_model *coded, sb_trained, size_t group);
/* Numbers of a part in the units before `end` of its group. O(places of the group). */
size_t sb_scale_numbers_before(const sb_model *coded, sb_trained, size_t part, size_t end);
/* Numbers that a rank owns, in all parts, and at most in one that is no chunk of a table; the most
 * of any layer. Pure. */
size_t sb_scale_numbers_owned(const sb_sizes *sizes, sb_trained);
size_t sb_scale_numbers_owned_of_a_part(const sb_sizes *sizes, sb_trained);
size_t sb_scale_numbers_of_a_layer(const sb_sizes *sizes, sb_trained);

typedef enum sb_scale_kind {
  SB_SCALE_GROUP,
  SB_SCALE_ROW,
  SB_SCALE_BLOCK,
  SB_SCALE_NORM
} sb_scale_kind;

/* Gradients of numbers are summed in whole multiples of this. */
#define SB_SCALE_QUANTUM 0x1p-44

/* Where a number lies. */
typedef struct sb_scale_number {
  sb_scale_kind kind;
  sb_code_kind code_kind; /* of the matrix; scales of its type are rounded to it */
  sb_dtype dtype;         /* of what is at `value` */
  unsigned bits;          /* the width of a group or block; 0 for others */
  uint8_t *value;         /* NULL for a group's scale, which is at `place` of the block row `row` */
  uint8_t *row;
  sb_scale_place place;
  uint8_t *base; /* fp16, or NULL */
} sb_scale_number;

/* What the number is. O(1). */
double sb_scale_number_value(const sb_scale_number *number);

/* Visits each number of a unit, whose bytes are `data`, in any order; `index` is its place among
 * them. Returns how many there are. */
typedef void (*sb_scale_visit)(void *context, size_t index, const sb_scale_number *number);
size_t sb_scale_numbers_visit(const sb_model *coded, sb_trained, const sb_place *place, size_t unit,
                              void *data, sb_scale_visit visit, void *context);

/* True where the numbers of layers are their groups, one for one; those of tables always are. */
bool sb_scale_numbers_are_groups(sb_code_kind code_kind, sb_trained);
/* numbers [of the layer] from sums over its groups (as group_products orders them, matrix after
 * matrix) and, with norms, over the channels of its norms, norm after norm. SB_ERR_NUMERIC where a
 * sum overflows, without a message. O(groups). */
sb_status sb_scale_numbers_gather(const sb_model *coded, sb_trained, size_t layer,
                                  const int64_t *groups, const int64_t *vectors, int64_t *numbers);
/* Channels of all norms of a layer, and the first of them that a norm of a layer has. O(tensors of
 * the layer). */
size_t sb_scale_vectors(const sb_model *coded, size_t layer);
size_t sb_scale_first_vector(const sb_model *coded, size_t norm_tensor);

#endif

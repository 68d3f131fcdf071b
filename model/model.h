/* A model spread over the ranks: the place of each tensor in the store, the coding of its matrices,
 * and the numbers of their blocks.
 *
 * Groups of the store, in order: chunks of the embedding (runs of vocabulary rows,
 * model/chunks.h), decoder layers, the final norm, chunks of the LM head (none where it is tied to
 * the embedding). Units are runs of `block_rows` rows of one tensor; a norm is one unit. So a
 * tensor's units, one after another, are its rows in order, and a layer's image is its tensors in
 * the order of model/arch.h.
 *
 * Blocks are numbered through the whole model: layer by layer, matrix by matrix, row-major inside;
 * then those of the tables of the vocabulary. The bit map (one byte per block) is replicated on
 * every rank: 4.3 MB for 4.3 million blocks.
 * Everything else is O(model / ranks). */
#ifndef SB_MODEL_MODEL_H
#define SB_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/shared/code_traits.h"
#include "model/arch.h"
#include "model/config.h"
#include "model/orders.h"
#include "mpi/store.h"
#include "mpi/world.h"

/* The form in which the store holds the matrices of the decoder layers. */
typedef enum sb_coding {
  SB_CODING_SOURCE, /* rows of the source file; quantized on the fly where the bit map is set */
  SB_CODING_CODES   /* coded block rows (kernels/blockrow.h), as shards carry them */
} sb_coding;

typedef struct sb_blocking {
  size_t rows, cols; /* of a block; ragged at the edges */
  sb_code_kind code_kind;
} sb_blocking;

/* A tensor's place in the store. A tensor that is cut into several groups (embedding, head) has one
 * place per group. */
typedef struct sb_place {
  size_t tensor; /* index into arch.tensors */
  size_t group;
  size_t first_unit; /* within the group */
  size_t units;
  size_t first_row, rows; /* of the tensor, held by this place */
} sb_place;

typedef struct sb_matrix {
  sb_tiling tiling;
  size_t first_block; /* number of its first block in the model */
  size_t first_group; /* number of its first group (row of a block) in the model */
  size_t tensor;      /* index into arch.tensors */
} sb_matrix;

/* A table with a row for each token of the vocabulary, seen as a matrix of blocks: the embedding,
 * or the LM head where it is not tied to it. Its codes are on grids, whatever the layers' are. */
typedef struct sb_table {
  sb_matrix matrix;    /* its blocks and groups are numbered after those of the layers */
  size_t group, count; /* of the store */
  bool coded; /* its blocks have widths, and in a model of codes the store has coded block rows;
                 else it is in source precision and its bits are 0 */
} sb_table;
enum { SB_TABLES = 2 };
enum { SB_SOURCE_BITS = 16 }; /* the width that, asked for, leaves a table in source precision */

typedef struct sb_model {
  const sb_world *world;
  sb_config config;
  sb_arch arch;
  sb_dtype *dtypes; /* [arch.count] of the source */
  sb_blocking blocking;
  sb_coding coding;
  sb_store *store;
  sb_orders orders; /* by which the store's rows and columns are arranged; owned */

  sb_place *places;
  size_t place_count;
  size_t *group_place; /* [groups + 1] first place of each group */
  size_t groups;
  size_t embed_first, embed_count; /* groups of the embedding */
  size_t layer_first;              /* group of decoder layer 0 */
  size_t norm_group;
  size_t head_first, head_count; /* equal to the embedding's where tied */

  sb_matrix *matrices;         /* [arch.matrix_count], as arch.matrices */
  size_t blocks, quant_groups; /* in the matrices of all layers: blocks, and rows of blocks */
  sb_table tables[SB_TABLES];  /* the embedding; then the head, unless it is tied */
  size_t table_count;
  size_t all_blocks;     /* of layers and tables */
  uint8_t *bits;         /* [all_blocks], 0 = source precision; equal on all ranks */
  bool pin_tried;        /* sb_model_pin has run: it logs a failure once */
  sb_backend *pinned_by; /* pinned the memory of the store's images (sb_model_pin), or NULL */
  float *importance; /* [arch.channels] of the inputs of all layers, equal on all ranks; NULL: grids
                        are not fitted */
  float
      *table_importance; /* [table_count, hidden] the same of the columns of the tables, or NULL */
  uint16_t *col_factors; /* fp16 [arch.channels], as importance: the factors of the columns of all
                            matrices (kernels/ops/trellis.h); NULL unless codes are a trellis' */
} sb_model;

/* Call it before the backend that sb_model_pin was given is destroyed. Collective. */
void sb_model_free(sb_model **model);

/* Pins the memory of the store's images, so that a device can copy from it while it computes. Where
 * the system refuses, the log says so and copies do not overlap. Does nothing on a unified backend,
 * or a second time. Local. */
void sb_model_pin(sb_model *model, sb_backend *backend);

/* Matrix number `matrix` of a layer. */
static inline const sb_matrix *sb_model_matrix(const sb_model *model, size_t layer, size_t matrix) {
  return &model->matrices[model->arch.layers[layer].first_matrix + matrix];
}
/* The table of a tensor, coded or not; NULL for other tensors. */
const sb_table *sb_model_table(const sb_model *model, size_t tensor);
/* True for the matrix of a table. */
static inline bool sb_matrix_is_table(const sb_model *model, const sb_matrix *matrix) {
  return matrix->first_block >= model->blocks;
}
/* The matrix that has widths whose rows a place has: of a layer, or of a coded table; NULL for
 * norms, and for tables in source precision. */
const sb_matrix *sb_model_place_matrix(const sb_model *model, const sb_place *place);
/* Number, in its matrix, of the block row that is a place's unit. */
static inline size_t sb_place_block_row(const sb_model *model, const sb_place *place, size_t unit) {
  return place->first_row / model->blocking.rows + unit;
}
/* The kind of the codes of tables where the layers' is `layers`: theirs if it is of grids, else
 * asymmetric grids. */
static inline sb_code_kind sb_table_code_kind(sb_code_kind layers) {
  return sb_is_grid(layers) ? layers : SB_GRID_ASYMMETRIC;
}
/* The kind of a matrix' codes: the model's, or of a table sb_table_code_kind. */
sb_code_kind sb_model_code_kind(const sb_model *model, const sb_matrix *matrix);
/* Blocks, and groups, of the layers before `layer`; of the whole model for layer == layers. */
size_t sb_model_first_block(const sb_model *model, size_t layer);
size_t sb_model_first_group(const sb_model *model, size_t layer);
/* The most blocks, and groups, that a layer has. O(layers). */
size_t sb_model_most_blocks(const sb_model *model);
size_t sb_model_most_groups(const sb_model *model);

/* The importance of the input channels [cols] of a matrix of a layer (quant/importance.h), or of a
 * table's columns; NULL where its grids are not fitted. Local. */
const float *sb_model_importance(const sb_model *model, const sb_matrix *matrix);

/* In trellis codes: the factors of a matrix' columns, fp16 [cols]; NULL on grids, so for tables.
 * Local. */
const uint16_t *sb_model_col_factors(const sb_model *model, const sb_matrix *matrix);
/* The keys of sb_transform_sign for the rows of a matrix and for the channels of an input of a
 * layer. They follow from numbers and shapes alone, so they are the same on all ranks, and in every
 * later run. Local. */
uint64_t sb_model_row_key(const sb_model *model, const sb_matrix *matrix);
uint64_t sb_model_col_key(size_t layer, size_t input);

/* Blocks of decoder layer `layer` owned by `rank`: [*first, *end). A contiguous run, because
 * ownership of units is. Local. */
void sb_model_owned_blocks(const sb_model *model, size_t layer, int rank, size_t *first,
                           size_t *end);
/* The same for any group of the store: of a layer, or of a coded table; none of other groups. */
void sb_model_owned_of_group(const sb_model *model, size_t group, int rank, size_t *first,
                             size_t *end);
/* Number of blocks this rank owns in all layers; in all coded tables. Local. */
size_t sb_model_owned_count(const sb_model *model);
size_t sb_model_owned_table_count(const sb_model *model);

/* Sets the bits of all blocks of layers on every rank; `owned` has those of this rank's blocks,
 * layer by layer. Collective. Messages: 1 byte per block. */
sb_status sb_model_set_bits(sb_model *model, const uint8_t *owned);
/* The reverse: this rank's part of the bit map. Local. */
void sb_model_get_bits(const sb_model *model, uint8_t *owned);
/* Both for the blocks of coded tables, group by group of the store. */
sb_status sb_model_set_table_bits(sb_model *model, const uint8_t *owned);
void sb_model_get_table_bits(const sb_model *model, uint8_t *owned);
/* Moves the bits of all blocks to *kept, so that the model is its source weights until they are
 * returned. SB_ERR_MEMORY. Collective. */
sb_status sb_model_lift_bits(sb_model *model, uint8_t **kept);
/* Gives back the bits that sb_model_lift_bits took; *kept becomes NULL. Local. */
void sb_model_return_bits(sb_model *model, uint8_t **kept);

/* For the loaders (folders/hf_load.c, folders/output_load.c): lays out places and groups for the
 * given unit sizes. In a model of codes tables[i].coded is set before, for the embedding first,
 * creates the store and leaves its units to be filled. `unit_bytes(context, place, unit)` gives the
 * size of a place's unit; NULL means source rows. After a failure the caller releases *model.
 * Collective. */
typedef size_t (*sb_unit_bytes)(const void *context, const sb_model *model, const sb_place *place,
                                size_t unit);
sb_status sb_model_lay_out(sb_model *model, sb_unit_bytes unit_bytes, const void *context);
/* Bytes of one row of a tensor in its source type. Local. */
size_t sb_model_row_bytes(const sb_model *model, size_t tensor);
/* Rows of the tensor in a place's unit: [*first, *first + *count). Local. */
void sb_place_rows(const sb_model *model, const sb_place *place, size_t unit, size_t *first,
                   size_t *count);
/* Calls `visit` for every unit this rank owns, in store order. Stops at
 * the first failure. Local. */
typedef sb_status (*sb_unit_visitor)(void *context, sb_model *model, const sb_place *place,
                                     size_t unit, void *data);
sb_status sb_model_visit_owned(sb_model *model, sb_unit_visitor visit, void *context);
/* Number of units that it visits. Local. O(groups). */
size_t sb_model_owned_units(const sb_model *model);

#endif

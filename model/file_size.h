/* Bytes of the weights in an output folder: coded block rows with all that they hold (bit maps,
 * scales, zero points, factors of rows, padding), stored orders, and the tensors in source
 * precision. So norms count, and the tables of the vocabulary, coded or not; a tied table counts
 * once. The folder's shards compress these bytes, and its manifest and headers come on top.
 * Local and equal on all ranks. */
#ifndef SB_MODEL_FILE_SIZE_H
#define SB_MODEL_FILE_SIZE_H

#include <stdint.h>

#include "base/dtype.h"
#include "model/arch.h"
#include "model/effective_bits.h"
#include "model/model.h"
#include "model/orders.h"

/* All that sizes depend on but widths: known before weights are read. */
typedef struct sb_file_shape {
  const sb_arch *arch;
  const sb_dtype *dtypes; /* [arch->count] of the source; NULL: all are `dtype` */
  sb_dtype dtype;
  sb_blocking blocking;
  sb_reorder mode; /* orders are stored where it is indexed */
} sb_file_shape;

/* Of a loaded model that will be reordered by `mode`. Pure. */
sb_file_shape sb_file_shape_of(const sb_model *model, sb_reorder mode);

/* The tables of the vocabulary: 1 where the head is tied to the embedding, else 2; in the order of
 * sb_model.tables. */
size_t sb_file_tables(const sb_file_shape *shape);
/* Bytes of table i in source precision, and its tiling where it is coded. */
uint64_t sb_file_table_source(const sb_file_shape *shape, size_t table);
sb_tiling sb_file_table_tiling(const sb_file_shape *shape, size_t table);
/* Bytes of table i at `bits`; SB_SOURCE_BITS: in source precision. */
uint64_t sb_file_table_bytes(const sb_file_shape *shape, size_t table, unsigned bits);
/* Bytes that no width changes: orders, norms, biases; not tables. O(tensors). */
uint64_t sb_file_fixed_bytes(const sb_file_shape *shape);

/* Bytes of a table at the model's present widths; in source precision where it is not coded.
 * O(blocks of the table). */
uint64_t sb_table_bytes(const sb_model *model, const sb_table *table);
/* Bytes of the whole file at the model's present widths and orders. O(blocks). */
uint64_t sb_file_bytes(const sb_model *model);
/* `bytes` in bits per weight of the whole model, a tied table counted once. Pure. */
double sb_file_bits(const sb_arch *arch, uint64_t bytes);

#endif

/* The blocks of a model that this rank owns, in the form that allocators take, and the conversion
 * between effective bits and the storage of blocks. Local. */
#ifndef SB_ALLOC_OWNED_H
#define SB_ALLOC_OWNED_H

#include <stddef.h>
#include <stdint.h>

#include "alloc/blocks.h"
#include "base/status.h"
#include "model/model.h"

typedef struct sb_owned {
  sb_blocks blocks; /* in the order of sb_model_get_bits; points into the arrays below */
  uint64_t *id;     /* number of the block in the model */
  uint16_t *rows, *cols;
  uint32_t *matrix; /* number of its matrix in the model */
} sb_owned;

/* SB_ERR_MEMORY. O(blocks of this rank). Release in any case. */
sb_status sb_owned_create(const sb_model *model, unsigned min_bits, unsigned max_bits,
                          sb_owned *out);
/* The same for the coded tables, in the order of sb_model_get_table_bits; matrix[i] is the number
 * of the block's table. */
sb_status sb_owned_create_tables(const sb_model *model, unsigned min_bits, unsigned max_bits,
                                 sb_owned *out);
/* Bytes that either takes for `count` blocks. Pure. */
size_t sb_owned_bytes(size_t count);
void sb_owned_free(sb_owned *owned);

/* Storage of blocks, in bits as sb_blocks_cost counts, that a budget in effective bits per weight
 * leaves after bit maps and stored orders; and the effective bits per weight of a given storage. */
uint64_t sb_owned_budget(const sb_model *model, double effective_bits);
double sb_owned_effective_bits(const sb_model *model, uint64_t storage);
/* The budget that leaves exactly `storage` to blocks; storage and weights are below 2^50. */
double sb_owned_bits_for(const sb_model *model, uint64_t storage);

#endif

/* A model's blocks as the allocators want them: those this rank owns, and what a budget leaves for
 * them. Local. */
#ifndef SB_ALLOC_OWNED_H
#define SB_ALLOC_OWNED_H

#include <stddef.h>
#include <stdint.h>

#include "alloc/greedy.h"
#include "base/status.h"
#include "model/model.h"

typedef struct sb_owned {
  sb_blocks blocks; /* in the order of sb_model_get_bits; points into the arrays below */
  uint64_t *id;     /* number of the block in the model */
  uint16_t *rows, *cols;
  uint32_t *matrix; /* number of its matrix: layer x SB_LINEARS + sb_linear */
} sb_owned;

/* SB_ERR_MEMORY. O(blocks). Release in any case. */
sb_status sb_owned_create(const sb_model *model, unsigned min_bits, unsigned max_bits,
                          sb_owned *out);
void sb_owned_free(sb_owned *owned);

/* Storage bits of blocks (sb_blocks_cost) that a budget in effective bits a weight leaves when bit
 * maps and stored orders are paid, and the effective bits of a given storage. */
uint64_t sb_owned_budget(const sb_model *model, double effective_bits);
double sb_owned_effective_bits(const sb_model *model, uint64_t storage);

#endif

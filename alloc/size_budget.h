/* Budgets in bytes of the whole output folder (model/file_size.h): which ones are possible, and
 * what they leave to the layers. All but sb_size_uniform are pure. Equal on all ranks. */
#ifndef SB_ALLOC_SIZE_BUDGET_H
#define SB_ALLOC_SIZE_BUDGET_H

#include <stdint.h>

#include "base/byte_size.h"
#include "base/status.h"
#include "model/file_size.h"
#include "model/model.h"
#include "model/width_rules.h"

/* Widths that a table may be given where they are chosen. */
enum { SB_TABLE_MIN_BITS = 1, SB_TABLE_MAX_BITS = 8 };

typedef struct sb_size_budget {
  sb_byte_size size;
  unsigned min_bits, max_bits; /* of the layers */
  sb_width_scope scope;        /* of the layers. SB_WIDTH_OF_MODEL: tables share their width */
  /* Of each table, as sb_model.tables: 0: chosen by block; 1..8: all blocks have it;
   * SB_SOURCE_BITS: left in source precision. */
  unsigned table_bits[SB_TABLES];
  sb_width_set widths;       /* of the layers, where more than a block shares one; 0: all */
  sb_width_set table_widths; /* a chosen table has one width, of these; 0: each block its own */
} sb_size_budget;

/* Bytes of the smallest and the largest file. O(tensors). */
void sb_size_range(const sb_file_shape *shape, const sb_size_budget *budget, uint64_t *least,
                   uint64_t *most);
/* SB_ERR_RANGE, with the possible range in the unit of the size, where no widths have it. A limit
 * that the message names is accepted. O(tensors). */
sb_status sb_size_check(const sb_file_shape *shape, const sb_size_budget *budget);
/* About how many effective bits the layers will have, before losses are known: as if chosen tables
 * had SB_TABLE_LEAD bits more than the layers. For what must be known early: the width by which
 * channels are ordered, least widths, disk space. O(tensors). */
double sb_size_guess(const sb_file_shape *shape, const sb_size_budget *budget);
enum { SB_TABLE_LEAD = 1 };
/* Storage of the layers' blocks, in bits as sb_blocks_cost counts, in a file of `bytes` whose
 * tables take `table_bytes`. Not above that of max_bits; 0 where the rest takes all. O(tensors). */
uint64_t sb_size_storage(const sb_model *model, const sb_size_budget *budget, uint64_t bytes,
                         uint64_t table_bytes);

/* Bytes that the layers' matrices hold beside blocks. O(matrices). */
uint64_t sb_size_overhead(const sb_model *model);
/* Storage of the blocks of layers and chosen tables together; 0 where the rest takes all.
 * O(tensors). */
uint64_t sb_size_room(const sb_model *model, const sb_size_budget *budget);

/* Gives all blocks of layers and chosen tables the largest width that the size admits, and given
 * tables theirs. Local. SB_ERR_RANGE as sb_size_check. O(blocks). */
sb_status sb_size_uniform(sb_model *model, const sb_size_budget *budget);
/* Makes a table coded with `bits` for all blocks, or leaves it: SB_SOURCE_BITS. Local. */
void sb_size_set_table(sb_model *model, size_t table, unsigned bits);

#endif

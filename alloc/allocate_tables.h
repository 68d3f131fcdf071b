/* The widths of embedding and LM head, and what the layers get beside them.
 *
 * One gradient pass at full precision gives the costs of all widths of the layers' blocks
 * (sensitivity/loss_table.h) and, to the same sequences, the statistics of the tables
 * (quant/table_stats.h), from which the costs of theirs follow (sensitivity/table_costs.h). Then
 *
 *   by size   one knapsack over the blocks of layers and tables, under what the size leaves after
 *             norms, orders and bit maps (alloc/size_budget.h). The tables keep the widths found;
 *             the storage it gives the layers becomes the budget of their search
 *   by bits   the layers' knapsack at their own budget has a price: the loss that the last bit of
 *             storage saves. A table's block takes the width at which storage is worth as much
 *
 * Nothing is kept in a checkpoint: a resumed run measures again, to the same bits. */
#ifndef SB_ALLOC_ALLOCATE_TABLES_H
#define SB_ALLOC_ALLOCATE_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "alloc/size_budget.h"
#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/sizes.h"
#include "pass/sequences.h"
#include "quant/table_stats.h"

typedef struct sb_allocate_tables_options {
  sb_byte_size size;           /* of the whole file; bytes 0: the layers have `bits` */
  double bits;                 /* effective bits per weight of the layers; without size */
  unsigned min_bits, max_bits; /* of the layers */
  sb_width_scope scope;        /* of the layers: of a block, or of more */
  sb_width_set widths;         /* of the layers, where more than a block shares one */
  sb_width_set table_widths;   /* not 0: layers and chosen tables have a width for each item, tables
                                  one of these (alloc/choose_items.h) */
  unsigned table_bits[SB_TABLES]; /* as sb_size_budget has them */
  bool statistics; /* they are wanted, moments of all channels too: measured in any case */
  bool fitted;     /* grids of tables are fitted (sb_table_stats_fit): model->table_importance */
  size_t activation_bytes;
  sb_ticker ticker; /* share of the pass */
} sb_allocate_tables_options;

typedef struct sb_allocate_tables_result {
  double bits;    /* budget of the layers, which leaves the storage chosen here to the bit; without
                     size: options->bits */
  uint64_t bytes; /* of the whole file where the layers use all of it */
  uint64_t table_bytes[SB_TABLES];
  double table_mean_bits[SB_TABLES]; /* mean width of a weight's code; SB_SOURCE_BITS: left */
  bool measured;                     /* the pass was made; else all below is 0 */
  bool chosen;      /* some widths were chosen; else price, predicted and gap are 0 */
  double loss;      /* of the source weights on the calibration, nats per token */
  double price;     /* loss that one byte more would save */
  double predicted; /* rise of the loss by layers and chosen tables, */
  double gap; /* proven: no widths within the budget have a rise that is lower by more than this */
  sb_table_stats *stats;                  /* the caller's; NULL where none were measured */
  double score_seconds, gradient_seconds; /* of this rank; gradient: the pass, scoring included */
} sb_allocate_tables_result;

/* Sets tables[i].coded, the bits of coded tables and, `fitted`, model->table_importance. `model`:
 * SB_CODING_SOURCE, in its final order. SB_ERR_RANGE as sb_size_check, or for layers' bits that
 * are not possible; SB_ERR_NUMERIC for losses that are not finite. Collective; all ranks fail
 * together. Memory beside the model: that of a gradient pass, and sb_allocate_tables_bytes. */
sb_status sb_allocate_tables(sb_model *model, sb_backend *backend, const sb_sequences *calibration,
                             const sb_allocate_tables_options *options,
                             sb_allocate_tables_result *result);
/* Most bytes that it takes beside its pass where host and device are one, statistics included. A
 * chunk of a table has `chunk` rows (model/chunks.h); `owned`: blocks of tables of a rank. Pure. */
size_t sb_allocate_tables_bytes(const sb_sizes *sizes, unsigned widths, size_t chunk, size_t owned,
                                bool statistics);

#endif

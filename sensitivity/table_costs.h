/* The loss table of embedding and LM head: what every width of their blocks costs, from the
 * statistics of quant/table_stats.h,
 *
 *   loss[k][b] = 1/2 sum over uses and rows r of block k of w_r e_r M_j e_r',   e = Q_b(w) - w
 *
 * with M_j the part of M for block column j. Q rounds to nearest, on grids that are fitted where
 * the model has an importance of the tables' columns. */
#ifndef SB_SENSITIVITY_TABLE_COSTS_H
#define SB_SENSITIVITY_TABLE_COSTS_H

#include "model/sizes.h"
#include "quant/table_stats.h"
#include "sensitivity/losses.h"

/* losses[i] = those of this rank's i-th owned block of the coded tables, in the order of
 * sb_model_get_table_bits, sb_model_owned_table_count of them, at the widths min_bits .. max_bits.
 * `model` has its source weights; bits are not read. Each rank works on the blocks that it owns.
 * Same bits for any number of ranks. Collective. O(4 n FLOP) per weight, width and use, for blocks
 * of n columns. */
sb_status sb_table_costs(sb_model *model, sb_backend *backend, const sb_table_stats *stats,
                         unsigned min_bits, unsigned max_bits, sb_losses *losses);
/* Bytes that it takes where host and device are one: the moments of the block columns, and the
 * costs of a rank's blocks of the largest chunk of a table, which has `chunk` rows. Pure. */
size_t sb_table_costs_bytes(const sb_sizes *sizes, size_t chunk);

#endif

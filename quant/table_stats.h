/* What rounding errors of embedding and LM head cost, measured by one gradient pass of the tokens'
 * loss over the calibration. An error e_v of row v of a table raises the loss by
 *
 *   1/2 sum over v of w_v e_v M e_v'
 *
 * for each *use* of the table, with row weights w_v and column moments M [hidden, hidden] of the
 * use. A tied table has both uses, and their costs add up. n = T - 1 tokens of a sequence have
 * targets; gradients are of a sequence's mean loss; S is the number of sequences.
 *
 *   head       w_v = the mean over targets of p (1 - p), p the probability of token v there
 *              M   = the mean over targets of x x', x the input of the head
 *   embedding  w_v = the smoothed share of token v among the calibration's (sb_table_share)
 *              M   = n T times the mean over tokens of dx dx', dx the gradient at the output
 *
 * These are Kronecker factors of the Fisher matrix (K-FAC, arXiv 1503.05671). Of the head's logits
 * it is the expectation over what the model itself predicts: diag(p) - p p', of which the diagonal
 * is taken, so that rows of tokens that are no target anywhere are not thought free. Errors of two
 * positions of an embedding are taken to be unrelated.
 *
 * Channels are in the order in which the store has them: whoever reorders a model measures after.
 * Sums are exact (mpi/exact.h): the same bits for any number of ranks. */
#ifndef SB_QUANT_TABLE_STATS_H
#define SB_QUANT_TABLE_STATS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"
#include "pass/table_hooks.h"

typedef enum sb_table_use { SB_USE_HEAD, SB_USE_EMBEDDING, SB_TABLE_USES } sb_table_use;

typedef struct sb_table_stats sb_table_stats;

/* Nothing measured yet. `whole`: moments of all pairs of channels, as compensated rounding needs
 * them; otherwise of those in one block column alone, which is enough for costs. seqlen: T. The
 * model outlives the result; the backend, until sb_table_stats_finish. SB_ERR_MEMORY. Local. */
sb_status sb_table_stats_create(const sb_model *model, sb_backend *backend, size_t seqlen,
                                bool whole, sb_table_stats **out);
/* Bytes that the calls of this file take at most where host and device are one, passes left out.
 * With h channels, where `whole`: 16 h^2 while they listen, 20 h^2 as sums become moments, then
 * 8 h^2. Pure. */
size_t sb_table_stats_bytes(const sb_arch *arch, const sb_blocking *blocking, bool whole);
void sb_table_stats_free(sb_table_stats **stats);

/* Listens to a gradient pass of the tokens' loss (sb_pass_tell_tables), whoever else does. The
 * stats'. Local. */
const sb_table_hooks *sb_table_stats_hooks(sb_table_stats *stats);
/* Once, after that pass, which went over all of `calibration`. Messages: the sums. SB_ERR_NUMERIC
 * for sums out of range. Collective. */
sb_status sb_table_stats_finish(sb_table_stats *stats, const sb_sequences *calibration);
/* All of the above with a gradient pass of its own, at the model's present bits. Collective. */
sb_status sb_table_stats_measure(sb_model *model, sb_backend *backend,
                                 const sb_sequences *calibration, size_t activation_bytes,
                                 bool whole, sb_ticker ticker, sb_table_stats **out);

/* The share by which a token's row counts: half of it is the token's share of `total` tokens, of
 * which `count` are this one; half is the same for all of the vocabulary, so that words which the
 * calibration lacks are not free (docs/measurements/tables.md). Pure. */
double sb_table_share(uint64_t count, uint64_t total, size_t vocab);

/* From here on: after sb_table_stats_finish. Local, equal on all ranks. */

/* Whether a table of the model has a use. */
bool sb_table_stats_has_use(const sb_table_stats *stats, const sb_table *table, sb_table_use use);
/* w [vocab]. The stats'. */
const float *sb_table_stats_row_weights(const sb_table_stats *stats, sb_table_use use);
/* out = M of each block column, full matrices as block_curvature takes them (kernels/ops/scores.h):
 * [block columns, block_cols^2] floats. */
void sb_table_stats_grams(const sb_table_stats *stats, sb_table_use use, float *out);
/* out [hidden, hidden] = the sum over the uses of a table of (mean of w) M: the one matrix by which
 * errors of all of its rows are weighed together. Where not `whole`, 0 between block columns. */
void sb_table_stats_moments(const sb_table_stats *stats, const sb_table *table, double *out);
/* out [hidden] = the diagonal of that: the importance of the table's columns (model/model.h). */
void sb_table_stats_importance(const sb_table_stats *stats, const sb_table *table, float *out);
/* The same of all tables of the model, into model->table_importance: grids of its tables are fitted
 * from here on. SB_ERR_MEMORY. Collective. */
sb_status sb_table_stats_fit(const sb_table_stats *stats, sb_model *model);

#endif

/* Compensated rounding (quant/gptq.h) of the coded tables of the vocabulary: embedding and LM head.
 *
 * All rows of a table are weighed by one matrix, the second moments that its statistics give
 * (sb_table_stats_moments); of a tied table, the sum for both of its uses. GPTQ rounds each row by
 * itself, so what one row weighs against another does not matter, and only where rows of a tied
 * table differ in what their two uses weigh does the one matrix stand for many.
 *
 * The table goes chunk by chunk of the vocabulary; every rank rounds the block rows of a chunk that
 * it owns (quant/gptq_input.h), so no rank holds the table in floats. Where the factor is
 * distributed, its panels come to all ranks once per chunk, and its moments as often again per pass
 * of refining and one. */
#ifndef SB_QUANT_GPTQ_TABLES_H
#define SB_QUANT_GPTQ_TABLES_H

#include <stdbool.h>

#include "base/status.h"
#include "base/ticker.h"
#include "io/key.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/sizes.h"
#include "quant/gptq_checkpoint.h"
#include "quant/moments.h"
#include "quant/table_stats.h"

/* What is to be done; options as in quant/gptq.h. */
typedef struct sb_gptq_tables {
  sb_model *source; /* with its bits lifted */
  sb_model *coded;
  sb_backend *backend;
  const sb_table_stats *stats; /* of whole moments; NULL: to nearest */
  double damping;
  bool fitted;
  int refine;
  sb_factor_mode factor;
  sb_gptq_checkpoint *checkpoint; /* or NULL */
  size_t done;                    /* chunks that it has, of all coded tables */
  sb_ticker ticker;               /* told the share of the others that is done */
  sb_moments_repair repair;       /* added to */
} sb_gptq_tables;

/* Rounds the chunks of all coded tables, but for those that are done, into the store of the coded
 * model, and saves each. Collective; all ranks fail together. Memory: sb_gptq_tables_bytes. */
sb_status sb_gptq_tables_round(sb_gptq_tables *work);
/* Bytes that it takes at most by statistics, where host and device are one: the moments of an input
 * of as many channels as the model is wide, h (quant/moments.h); and 8 h^2 while they are given, or
 * what factorising them takes, or the rank's rows of a chunk (quant/round_stack.h). `chunk`: rows
 * of the largest chunk; `factor` is settled; of the backend its types are read. Pure. */
size_t sb_gptq_tables_bytes(const sb_sizes *sizes, sb_backend *types, size_t chunk,
                            sb_factor_mode factor, bool refined, int threads);

/* Adds what rounded tables depend on beside model, bits and damping. SB_ERR_MEMORY. Collective. */
sb_status sb_gptq_tables_key(const sb_gptq_tables *work, sb_key *key);

#endif

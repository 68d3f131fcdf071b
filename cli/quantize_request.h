/* The request that the command line of `quantize` makes. `plan` fills the same request from the
 * same table of options, so it plans what quantize would do. */
#ifndef SB_CLI_QUANTIZE_REQUEST_H
#define SB_CLI_QUANTIZE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "alloc/budget.h"
#include "alloc/size_budget.h"
#include "base/status.h"
#include "cli/options.h"
#include "cli/quantize_asked.h"
#include "quant/scale_numbers.h"

enum { SB_REFINE_PASSES = 6 }; /* default of --refine; gains: docs/results.md */

/* A request that asks for nothing yet. Pure. */
sb_quantize_request sb_quantize_defaults(void);

typedef enum sb_quantize_set {
  SB_QUANTIZE_PLANNED, /* memory and time depend on them: the options of `plan` too */
  SB_QUANTIZE_ALL
} sb_quantize_set;
enum { SB_QUANTIZE_OPTIONS_MAX = 64 };

/* Writes the options in `set` into table[SB_QUANTIZE_OPTIONS_MAX], pointing into *request; returns
 * their number. Pure. */
size_t sb_quantize_options(sb_quantize_request *request, sb_quantize_set set, sb_option *table);

/* Chooses values that the command line left open, and checks those it gave. `calibrates`: the run
 * has calibration tokens.
 *
 *   quantizer   gptq with tokens and a method other than rtn, else rtn
 *   estimator   fisher with gptq, else divergence: what divergence knows is of codes rounded to
 *               nearest; other errors, by GPTQ, gain little from it (docs/results.md).
 *               divergence with trellises, where it only says what decides
 *   strides     0 where the search starts from the costs of all widths, which it does by
 *               divergence without --start-bits, and where an item has one width (alloc/items.h);
 *               else 2
 *   min_bits    1 with trellises, 2 with signed grids; else left open (sb_quantize_choose_least)
 *   tune_seqs   round_seqs with gptq, else 0
 *   tune_norms  yes with trellises, else no
 *   tune_epochs 2 with trellises, else 1
 *   embed_bits, head_bits   chosen (0) with --size, or with tokens and a method other than rtn;
 *               SB_SOURCE_BITS else, and with --widths-for exl3, which has no place for their codes
 *   reorder     fused for methods with a width for each block, else none
 *   grid        fitted with tokens and a method other than rtn, else plain; plain with
 *               trellises, which have no grids
 *
 * SB_ERR_USAGE where the request contradicts itself, or needs tokens and has none; `command` is for
 * the message. Pure. */
sb_status sb_quantize_settle(sb_quantize_request *request, const char *command, bool calibrates);

/* Whether their grids are fitted: where those of layers are, and where layers have none. Pure. */
bool sb_quantize_fits_tables(const sb_quantize_request *request);
/* Passes of refining for embedding and LM head, whose codes are on grids where those of layers are
 * a trellis', too. Pure. */
int sb_quantize_table_refine(const sb_quantize_request *request);

/* The kind of codes that a settled request asks for. Pure. */
sb_code_kind sb_quantize_code_kind(const sb_quantize_request *request);

/* The widths that the tables of a model are to have, in the order of sb_model.tables: 0 chosen, 1
 * to 8, or SB_SOURCE_BITS. `tied`: the head is the embedding, one table, and out[1] is
 * SB_SOURCE_BITS. SB_ERR_USAGE where a tied table is to have two widths. Pure. */
sb_status sb_quantize_table_bits(const sb_quantize_request *request, const char *command, bool tied,
                                 unsigned out[SB_TABLES]);
/* The same with a guess where they are chosen, for what must be known before: 1 to 8 bits, some
 * more than `bits`, the layers' effective bits. Pure. */
void sb_quantize_guess_tables(double bits, unsigned table_bits[SB_TABLES]);
/* Chooses --min-bits of a settled request where it was left open: 2, or 1 where the budget is below
 * uniform 2 bits. Pure. */
void sb_quantize_choose_least(sb_quantize_request *request, const sb_arch *arch);
/* Chooses what is open of a settled request's budget, and holds it to what is possible: min_bits;
 * with --size a guess of the layers' bits. `table_bits`: of sb_quantize_table_bits. SB_ERR_RANGE
 * names the possible range. Pure. */
sb_status sb_quantize_settle_budget(sb_quantize_request *request, const sb_file_shape *shape,
                                    const unsigned table_bits[SB_TABLES]);
/* The size to keep to, as tables and layers share it. Pure. */
sb_size_budget sb_quantize_size_budget(const sb_quantize_request *request,
                                       const unsigned table_bits[SB_TABLES]);
/* The budget of the layers, once --min-bits is chosen. Pure. */
sb_budget sb_quantize_budget(const sb_quantize_request *request);

/* What training is to move beside the scales of layers, where tables have the widths `table_bits`
 * (sb_quantize_table_bits). Pure. */
sb_trained sb_quantize_trained(const sb_quantize_request *request,
                               const unsigned table_bits[SB_TABLES]);

/* The times that a settled request's model is rounded: once, or as the search for trellis codes
 * asks (alloc/allocate_trellis.h). Pure. */
size_t sb_quantize_roundings(const sb_quantize_request *request);

/* Fills the request from the command line of quantize and settles it. *help: it was asked for, and
 * printed. Collective within a node. */
sb_status sb_quantize_parse(const sb_world *world, int argc, char **argv,
                            sb_quantize_request *request, bool *help);

#endif

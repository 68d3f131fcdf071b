/* The inside of `shardbits quantize`: the state of a run, and its phases in the order in which
 * cmd_quantize.c calls them. Phases are collective and report into the JSON of the run. A phase
 * does nothing where the request (cli/quantize_request.h) does not ask for it. */
#ifndef SB_CLI_QUANTIZE_H
#define SB_CLI_QUANTIZE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "cli/quantize_request.h"
#include "folders/destination.h"
#include "io/file.h"
#include "io/lock.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"
#include "quant/gptq.h"
#include "quant/table_stats.h"

typedef struct sb_quantize_run {
  const sb_world *world;
  sb_quantize_request *r;
  json_t *report, *steps; /* of the run; of its search */
  sb_backend *backend;
  sb_model *model;
  sb_model *source;     /* source of the rounded `model`, while scales are trained; else NULL */
  uint64_t fingerprint; /* of the model as it was read; with --checkpoint */
  unsigned table_bits[SB_TABLES]; /* asked for (sb_quantize_table_bits) */
  sb_table_stats *table_stats;    /* of coded tables that gptq will round; else NULL */
  bool least_chosen;              /* --min-bits was left open */
  sb_sequences calibration, check, rounding, tuning; /* for gradients, trades, GPTQ, scales */
  sb_model *rounded; /* the search's coded model of the bits it chose, until sb_quantize_round */
  sb_gptq_stats rounded_stats;
  bool rounded_nearest; /* its rounding fell back to nearest */
  int reuses;           /* --allocation names a bit map that exists */
  int step;             /* of the search, under way */
  bool went_back;       /* the search ended with fewer bits than it had tried */
  sb_destination out;
  sb_lock checkpoint; /* of --checkpoint, rank 0's */
} sb_quantize_run;

/* Locks OUT and the checkpoint, and begins OUT with the model's side files: what stands in the way
 * of the result is found now, not after hours. */
sb_status sb_quantize_begin_out(sb_quantize_run *run);
/* Sets run->reuses: whether --allocation names a bit map that exists. */
sb_status sb_quantize_find_bits(sb_quantize_run *run);
/* Chooses what is open of the budget, and holds it to what is possible. */
sb_status sb_quantize_check_budget(sb_quantize_run *run);
/* Fails if the disks of OUT and the checkpoint have too little space for them, as far as the budget
 * tells. After sb_quantize_load. */
sb_status sb_quantize_require_space(const sb_quantize_run *run);
sb_status sb_quantize_load(sb_quantize_run *run);
/* Reads and checks the tokens of all phases that this run will have, and warns of those that teach
 * nothing (pass/variety.h). */
sb_status sb_quantize_tokens(sb_quantize_run *run);
/* Fitted grids: measures the importance of input channels (quant/importance.h). */
sb_status sb_quantize_importance(sb_quantize_run *run);
/* Replaces the model by one with its channels in another order. */
sb_status sb_quantize_reorder(sb_quantize_run *run);
/* Whether what errors of tables cost is measured, for their rounding. Local. */
bool sb_quantize_weighs_tables(const sb_quantize_run *run);
/* "embedding", "LM head", or for a tied table both. Pure. */
const char *sb_quantize_table_name(const sb_model *model, size_t table);
/* Sets all bits to those of --allocation, where run->reuses. */
sb_status sb_quantize_take_bits(sb_quantize_run *run);
/* Chooses the widths of the tables of the vocabulary, with --size also the budget of the layers;
 * and measures what rounding of coded tables goes by. */
sb_status sb_quantize_tables(sb_quantize_run *run);
/* Sets the bits of the layers: by a search (sb_quantize_search), from a table, or uniform ones. */
sb_status sb_quantize_allocate(sb_quantize_run *run);
/* Says what a search begins with, and begins to count its work anew. Local. */
void sb_quantize_begin_search(const sb_quantize_run *run);
sb_status sb_quantize_search(sb_quantize_run *run);
/* Adds a step of a search, an object with "seconds", which is taken over, to the report and tells
 * of it (cli/follow.h). Local. */
void sb_quantize_tell_step(const sb_quantize_run *run, json_t *step);
/* The same in trellis codes (alloc/allocate_trellis.h); leaves run->rounded. */
sb_status sb_quantize_search_trellis(sb_quantize_run *run);
/* Options of compensated rounding, and the name of its checkpoint, which they point to. Pure. */
sb_gptq_options sb_quantize_gptq_options(const sb_quantize_run *run, char checkpoint[SB_PATH_MAX]);
/* Replaces the model by its packed form. */
sb_status sb_quantize_round(sb_quantize_run *run);
/* Trains the scales of the packed model. */
sb_status sb_quantize_tune(sb_quantize_run *run);
/* Writes the output folder. `begun`: when the run began (base/clock.h). */
sb_status sb_quantize_write(sb_quantize_run *run, double begun);

/* out = the name of the checkpoint of one part of a run ("rounded", "trained"), whose files exist
 * until the output is complete. With --checkpoint only. out has SB_PATH_MAX bytes. Local. */
void sb_quantize_checkpoint_path(const sb_quantize_run *run, const char *part, char *out);

#endif

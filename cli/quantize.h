/* The inside of `shardbits quantize`: what was asked for, what a run holds, and its phases in their
 * order. Each is collective and reports into the run's JSON. */
#ifndef SB_CLI_QUANTIZE_H
#define SB_CLI_QUANTIZE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "cli/quantize_request.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"

typedef struct sb_quantize_run {
  const sb_world *world;
  sb_quantize_request *r;
  json_t *report, *steps;
  sb_backend *backend;
  sb_model *model;
  sb_model *source;     /* what `model` was rounded from, while scales are trained; else NULL */
  uint64_t fingerprint; /* of the model as it was read, where there is a checkpoint */
  sb_sequences calibration, check, rounding, tuning;
  int reuses; /* the bit map that --allocation names */
  int step;   /* of the search, under way */
} sb_quantize_run;

/* Whether OUT and the bit map can be written, asked before hours of search and not after. */
sb_status sb_quantize_check_out(const sb_quantize_run *run);
sb_status sb_quantize_load(sb_quantize_run *run);
/* Least widths that were left open. Local. */
void sb_quantize_settle_bits(sb_quantize_run *run);
/* Whether --allocation names a bit map that is there. */
sb_status sb_quantize_look(sb_quantize_run *run);
/* The sequences the search works with, read once. */
sb_status sb_quantize_calibrate(sb_quantize_run *run);
/* At most `seqs` sequences of the calibration file. */
sb_status sb_quantize_read(sb_quantize_run *run, size_t seqs, sb_sequences *out);
sb_status sb_quantize_importance(sb_quantize_run *run);
sb_status sb_quantize_reorder(sb_quantize_run *run);
/* Bits: from a file, from a search (sb_quantize_search), from a table, or uniform ones. */
sb_status sb_quantize_allocate(sb_quantize_run *run);
sb_status sb_quantize_search(sb_quantize_run *run);
sb_status sb_quantize_round(sb_quantize_run *run);
/* The name of the files where one part of a run ("rounded", "trained") is kept until the output is
 * complete; there is a --checkpoint. out has SB_PATH_MAX bytes. Local. */
void sb_quantize_saved_path(const sb_quantize_run *run, const char *part, char *out);
/* Trains scales, where that was asked for. */
sb_status sb_quantize_tune(sb_quantize_run *run);
/* `begun`: when the run did (base/clock.h). */
sb_status sb_quantize_write(sb_quantize_run *run, double begun);

#endif

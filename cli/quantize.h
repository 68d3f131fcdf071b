/* The inside of `shardbits quantize`: what was asked for, what a run holds, and its phases in their
 * order. Each is collective and reports into the run's JSON. */
#ifndef SB_CLI_QUANTIZE_H
#define SB_CLI_QUANTIZE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "cli/common.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"
#include "sensitivity/estimator.h"

enum { SB_METHOD_SCALEBITS, SB_METHOD_TABLE, SB_METHOD_LAYER, SB_METHOD_RTN };
enum { SB_QUANTIZER_RTN, SB_QUANTIZER_GPTQ };
enum { SB_GRID_UNSET, SB_GRID_PLAIN, SB_GRID_FITTED };
enum { SB_REFINE_PASSES = 6 }; /* where --refine is not given; what they win: docs/results.md */
/* NULL behind the last. */
extern const char *const sb_quantize_methods[], *const sb_quantize_quantizers[],
                                                    *const sb_quantize_grids[];

/* The options (cli/quantize_options.c). */
typedef struct sb_quantize_request {
  const char *model, *calib, *out, *allocation, *checkpoint;
  double bits, first_share, tune_rate;
  int method, quantizer, factor, grid, reorder, channel_score, estimator, min_bits, max_bits,
      start_bits, strides, trades, refine, level;
  size_t round_seqs, check_seqs, tune_seqs, tune_batch;
  bool symmetric, overwrite;
  sb_common common;
} sb_quantize_request;

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

/* Fills the request from the command line. *help: it was asked for, and printed. Collective within
 * a node. */
sb_status sb_quantize_parse(const sb_world *world, int argc, char **argv,
                            sb_quantize_request *request, bool *help);

enum { SB_QUANTIZER_UNSET = -1, SB_ESTIMATOR_UNSET = -1, SB_STRIDES_UNSET = -1 };
/* The way of rounding that was left open: the one that ends best, where there are tokens for it;
 * the uniform baseline is what its name says. Pure. */
void sb_quantize_settle_quantizer(int method, bool calibrates, int *quantizer);
/* The estimator that was left open, and strides (0): none from costs of all widths, else 2. What
 * divergence knows is of codes rounded to nearest; other errors, by GPTQ, gain little from it
 * (docs/results.md). Pure. */
void sb_quantize_settle_search(int quantizer, bool starts_uniform, int *estimator, int *strides);
/* Sequences that scales are trained on, where that was left open: as many as guide rounding, by
 * gptq. Pure. */
size_t sb_quantize_settle_tune(int quantizer, size_t tune_seqs, size_t round_seqs);
#define SB_TUNE_UNSET SIZE_MAX
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
/* Which arithmetic computes, on which kind of device, for keys of what is saved. Local. */
enum { SB_QUANTIZE_COMPUTE = 32 };
void sb_quantize_compute(const sb_quantize_run *run, char out[SB_QUANTIZE_COMPUTE]);
/* Trains scales, where that was asked for. */
sb_status sb_quantize_tune(sb_quantize_run *run);
/* `begun`: when the run did (base/clock.h). */
sb_status sb_quantize_write(sb_quantize_run *run, double begun);

#endif

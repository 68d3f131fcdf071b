/* The runs of a report, as --json of a command wrote them. What a file says is checked here once;
 * figures that are not in it are NaN, and the parts of the report that need them are left out.
 * Local. */
#ifndef SB_REPORT_RUNS_H
#define SB_REPORT_RUNS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef enum sb_run_kind {
  SB_RUN_QUANTIZE,
  SB_RUN_EVAL,
  SB_RUN_REORDER,
  SB_RUN_TRAIN,  /* its --json */
  SB_RUN_EVENTS, /* its --events: an array of objects */
  SB_RUN_PROFILE,
  SB_RUN_KINDS
} sb_run_kind;

enum { SB_RUNS_MAX = 64 };

typedef struct sb_run {
  const char *path; /* of the file */
  sb_run_kind kind;
  json_t *json;
  char label[96];  /* short, and another for each run */
  char series[96]; /* what runs that differ in their budget alone have in common */
  /* of quantize: the eval of its folder, or NULL */
  const json_t *eval;
} sb_run;

typedef struct sb_runs {
  size_t count;
  sb_run run[SB_RUNS_MAX];
  const json_t *original; /* the eval of the model that the runs quantize, or NULL */
} sb_runs;

/* Reads the files. An eval belongs to the quantize run whose OUT is its MODEL. SB_ERR_FORMAT, with
 * the way out, for a file that is none of shardbits, or of a command that has no report; for files
 * of quantizing beside those of training or profiles; and for evals on other tokens than those of
 * the first. Release with sb_runs_free, also after a failure. O(size). */
sb_status sb_runs_read(const char *const *paths, size_t count, sb_runs *out);
void sb_runs_free(sb_runs *runs);

/* Number `object`[`key`], NaN where it is not one. */
double sb_run_real(const json_t *object, const char *key);
/* Text, "" where it is not one. */
const char *sb_run_text(const json_t *object, const char *key);
/* Whether any run is of that kind. */
bool sb_runs_have(const sb_runs *runs, sb_run_kind kind);
/* The measure by which runs are compared: "mean_kl" where an eval has it, else "perplexity"; NULL
 * without evals. */
const char *sb_runs_measure(const sb_runs *runs);

#endif

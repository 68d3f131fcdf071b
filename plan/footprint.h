/* The needs of a run of quantize, phase by phase: memory, traffic and arithmetic of a rank, from
 * the configuration alone. `plan` prints these figures; bench/footprint.sh compares them with runs.
 *
 * A phase releases its own memory before the next one begins, so a rank's peak is that of its
 * largest phase. Sizes are bytes, as doubles: they are for people. Buffers are summed from the
 * `_bytes()` beside each `_create()`, which tests/plan/test_bytes.c compares with allocations.
 * Local, pure. */
#ifndef SB_PLAN_FOOTPRINT_H
#define SB_PLAN_FOOTPRINT_H

#include "plan/held.h"
#include "plan/reorder.h"
#include "plan/round.h"
#include "plan/search.h"
#include "plan/setup.h"
#include "plan/tables.h"
#include "plan/tune.h"

/* In the order of a run but for reordering and tables, which come first. */
typedef enum sb_plan_phase {
  SB_PHASE_SEARCH,
  SB_PHASE_REORDER,
  SB_PHASE_TABLES,
  SB_PHASE_ROUND,
  SB_PHASE_TUNE,
  SB_PHASES
} sb_plan_phase;

typedef struct sb_footprint {
  size_t nodes, blocks;
  double model_bytes, group_bytes; /* all weights; the largest group of the store */
  double file_bytes; /* of the weights that are written, before compression, and per weight: */
  double file_bits;
  sb_plan_held held;
  sb_plan_packed packed;
  sb_plan_search search;
  sb_plan_reorder reorder;
  sb_plan_tables tables;
  sb_plan_round round;
  sb_plan_tune tune;

  double phase_bytes[SB_PHASES]; /* a resident set; 0 for a phase that the run does not have */
  sb_plan_phase largest;
  double rank_bytes; /* of the largest phase: a rank's peak resident set */
  double node_bytes; /* the most a node needs: slots once, the rest for each of its ranks */
  double gpu_bytes;  /* of a GPU, for all its ranks together; 0 without GPUs */
} sb_footprint;

void sb_footprint_estimate(const sb_plan_setup *setup, sb_footprint *out);

#endif

/* What the parts of `plan` share: cmd_plan.c reads the command line, plan_memory.c and plan_time.c
 * print. */
#ifndef SB_CLI_PLAN_H
#define SB_CLI_PLAN_H

#include <jansson.h>
#include <stdio.h>

#include "plan/predict.h"
#include "plan/footprint.h"

typedef struct sb_plan {
  size_t gpus_per_node, strides, trades;
  sb_rates rates; /* forward 0: not known, and no times are */
  char
      rates_from[384]; /* "as given", "of bench.json, ...", or why they are not known: for people */
  const sb_footprint_setup *setup;
  const sb_footprint *footprint;
} sb_plan;

/* Ranks that share a GPU. Pure. */
size_t sb_plan_sharers(const sb_footprint_setup *setup, size_t gpus_per_node);
/* Print to `out` and add to `report`; either may be NULL. Local. */
void sb_plan_memory(const sb_plan *plan, FILE *out, json_t *report);
void sb_plan_time(const sb_plan *plan, FILE *out, json_t *report);

#endif

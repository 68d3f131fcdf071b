/* The parts of `plan`: cmd_plan.c reads the command line, plan_rates.c finds the speed of a rank,
 * plan_memory.c and plan_time.c print. This header has the data that they share. */
#ifndef SB_CLI_PLAN_H
#define SB_CLI_PLAN_H

#include <jansson.h>
#include <stdio.h>

#include "cli/common.h"
#include "plan/footprint.h"
#include "plan/predict.h"
#include "plan/train.h"

typedef struct sb_plan {
  const sb_plan_setup *setup;
  const sb_footprint *footprint;
  bool guessed;   /* widths of embedding and LM head, and with --size of the layers: chosen later */
  sb_rates rates; /* forward 0: not known, and no times are */
  char rates_from[384]; /* for people: "as given", or why they are not known */
} sb_plan;

typedef struct sb_plan_rates_request {
  const char *machine; /* file of bench --json, or NULL */
  double gflops;       /* of a rank, without that; 0: measured, or on GPUs not known */
  double network;      /* GB/s of a node, where the machine does not know it */
} sb_plan_rates_request;

/* Sets the rates of `plan`, whose setup is given, and rates_from. Without a machine or
 * gflops it measures a matrix product on this processor. SB_ERR_RANGE for a machine that was
 * measured with another --compute. Local. */
sb_status sb_plan_rates(const sb_plan_rates_request *request, const sb_common *common,
                        sb_plan *plan);
/* Where rows go: a table for people, and an object of figures; either may be NULL. */
typedef struct sb_plan_sheet {
  FILE *out;
  json_t *figures;
} sb_plan_sheet;
/* A row of bytes, with where they come from. Local. */
void sb_plan_row(const sb_plan_sheet *to, const char *key, const char *label, double bytes,
                 const char *how);

/* Print to `out` and add to `report`; either may be NULL. Local. */
void sb_plan_memory(const sb_plan *plan, FILE *out, json_t *report);
void sb_plan_time(const sb_plan *plan, FILE *out, json_t *report);
/* The same for training with batches of `batch` sequences. */
void sb_plan_print_train(const sb_plan_setup *setup, size_t batch, FILE *out, json_t *report);

#endif

/* The options of `train --adapt`, and what policy/adapt.h is asked with them. Local. */
#ifndef SB_CLI_TRAIN_ADAPT_H
#define SB_CLI_TRAIN_ADAPT_H

#include "cli/options.h"
#include "cli/precision_list.h"
#include "io/file.h"
#include "io/key.h"
#include "policy/adapt.h"

typedef struct sb_train_adapt {
  size_t every; /* 0: precisions are not chosen anew */
  double target, switch_cost, noise, spike;
  double forward_high; /* last share of the steps */
  const char *list;
  sb_precision_list precisions; /* of the list */
  sb_metric metric;
  sb_decide_by by;
  bool given;               /* any option that needs --adapt */
  char folder[SB_PATH_MAX]; /* of policies */
  /* Other options of train that these depend on. */
  bool low;     /* --policy, or a format as --precision */
  bool at_once; /* --optimizer: the first choice comes before the first step */
  size_t steps, keep_first, keep_last;
} sb_train_adapt;

#define SB_TRAIN_ADAPT_DEFAULTS                                                                    \
  { .target = 0.75, .noise = SB_ADAPT_NOISE, .spike = 6, .list = "fp8-128,nvfp4" }

/* Writes its options into the table, pointing into *adapt; returns their number. */
size_t sb_train_adapt_options(sb_train_adapt *adapt, sb_option *table);
/* The other options are set. SB_ERR_USAGE where options contradict each other. */
sb_status sb_train_adapt_settle(sb_train_adapt *adapt);

/* Whether anything changes the precisions while the run goes on. */
bool sb_train_adapts(const sb_train_adapt *adapt);
/* Adds all that it depends on to the key of the run. */
void sb_train_adapt_key(const sb_train_adapt *adapt, sb_key *key);
/* For sb_adapt_create. */
sb_adapt_options sb_train_adapt_of(const sb_train_adapt *adapt);

#endif

/* Pipeline stages: runs of layers that follow each other. Without pipeline parallelism there is
 * one. Local, plain data. */
#ifndef SB_POLICY_STAGES_H
#define SB_POLICY_STAGES_H

#include <stddef.h>

#include "base/status.h"
#include "policy/linears.h"

typedef struct sb_stages {
  size_t count;
  size_t *first; /* [count + 1] first layer of each; behind the last: the number of layers */
} sb_stages;

/* Reads "8" (so many stages; where they cannot be equal, the first ones have a layer more) or
 * "10,12,10" (the layers of each stage, which add up to `layers`). NULL is one stage. SB_ERR_RANGE
 * names what is wrong with the text. Release with sb_stages_free. */
sb_status sb_stages_parse(const char *text, size_t layers, sb_stages *out);
void sb_stages_free(sb_stages *stages);
/* The stage of a layer. O(stages). */
size_t sb_stages_of(const sb_stages *stages, size_t layer);

#endif

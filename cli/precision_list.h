/* Lists of precisions on a command line: "fp8-128,nvfp4". Local. */
#ifndef SB_CLI_PRECISION_LIST_H
#define SB_CLI_PRECISION_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "kernels/lowprec.h"

typedef struct sb_precision_list {
  size_t count;
  sb_precision of[SB_PRECISION_COUNT]; /* each once, in the order of the text */
} sb_precision_list;

/* *out = the precisions of `text`, the value of `option` ("policy: --precision"); the high one only
 * with `high`. SB_ERR_USAGE names a word that is none, and those that are possible; one that is
 * given twice; and an empty list. */
sb_status sb_precision_list_parse(const char *option, const char *text, bool high,
                                  sb_precision_list *out);

#endif

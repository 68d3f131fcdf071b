/* The value of --tokens of `train`: files with weights. Local. */
#ifndef SB_CLI_TOKEN_LIST_H
#define SB_CLI_TOKEN_LIST_H

#include <stddef.h>

#include "base/status.h"
#include "train/data.h"

typedef struct sb_token_list {
  char *text;                   /* the value, cut into pieces */
  char *made[SB_TRAIN_SOURCES]; /* names of token files that texts became (cli/text_in.h) */
  size_t count;
  sb_train_source sources[SB_TRAIN_SOURCES]; /* paths point into `text` */
} sb_token_list;

/* Parses "FILE[:WEIGHT][,FILE[:WEIGHT] ...]". A colon and a number behind a name are its weight,
 * unless a file has the whole as its name; so has a value with commas. SB_ERR_USAGE for an empty
 * name, a weight that is not above 0, or more than SB_TRAIN_SOURCES; `option` is for the message.
 * Release with sb_token_list_free, also after a failure. */
sb_status sb_token_list_parse(const char *option, const char *value, sb_token_list *out);
void sb_token_list_free(sb_token_list *list);

#endif

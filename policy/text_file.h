/* A text that is written piece by piece and becomes a file as a whole, or not at all. Local. */
#ifndef SB_POLICY_TEXT_FILE_H
#define SB_POLICY_TEXT_FILE_H

#include <stdio.h>

#include "base/status.h"

typedef struct sb_text_file {
  FILE *out; /* in memory: write to it */
  char *text;
  size_t bytes;
} sb_text_file;

/* SB_ERR_MEMORY. */
sb_status sb_text_file_begin(sb_text_file *file);
/* Puts the text into `path`, and releases it, whatever happens. SB_ERR_MEMORY, SB_ERR_IO. */
sb_status sb_text_file_end(sb_text_file *file, const char *path);

#endif

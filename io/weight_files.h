/* Which safetensors files make up a model: model.safetensors, or the shards that
 * model.safetensors.index.json names, or shards that count themselves (model-00001-of-00003) where
 * an index is missing. Used by io/safetensors.c. Local. */
#ifndef SB_IO_WEIGHT_FILES_H
#define SB_IO_WEIGHT_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "io/file.h"

/* What an index says about a tensor. */
typedef struct sb_index_entry {
  const char *tensor;
  size_t file; /* number in sb_weight_files.names */
} sb_index_entry;

typedef struct sb_weight_files {
  char folder[SB_PATH_MAX];
  char index[SB_PATH_MAX]; /* its path; "" where there is none */
  const char **names;      /* [count] in order */
  bool *missing;           /* [count] named by the index, but not in the folder */
  size_t count;
  sb_index_entry *entries; /* [entry_count] of the index, in its order */
  size_t entry_count;
  char *text;   /* of the index: holds tensors and names */
  char **owned; /* [count] names that no index holds, or NULL */
} sb_weight_files;

/* Finds the files of `path`: a folder, an index or a safetensors file. SB_ERR_IO,
 * SB_ERR_FORMAT; SB_ERR_UNSUPPORTED for a folder without safetensors. O(entries of the index).
 * Release with sb_weight_files_free, also after a failure. */
sb_status sb_weight_files_find(const char *path, sb_weight_files *out);
void sb_weight_files_free(sb_weight_files *files);
/* *names = [*count] the safetensors files of the folder that are not among them, in order; the
 * caller frees each (free) and the list (sb_free). Reads the folder. SB_ERR_IO, SB_ERR_MEMORY. */
sb_status sb_weight_files_others(const sb_weight_files *files, char ***names, size_t *count);

/* "PATH: is a link to TARGET, which is not there; ..." (SB_ERR_IO) where that is so. Caches of
 * downloads consist of such links. */
sb_status sb_weight_files_check_link(const char *path);

#endif

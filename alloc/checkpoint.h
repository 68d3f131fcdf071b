/* Checkpoint of the search (alloc/search.h): a later run, on any number of ranks, resumes after the
 * last step that was saved and ends with the same bits.
 *
 * One JSON file (folders/checkpoint_files.h): the key, the progress and the bit map. It is replaced
 * after every step. Resuming costs one gradient pass, because gains are not saved. */
#ifndef SB_ALLOC_CHECKPOINT_H
#define SB_ALLOC_CHECKPOINT_H

#include <stdbool.h>

#include "alloc/search.h"
#include "base/status.h"
#include "folders/checkpoint_files.h"
#include "model/model.h"

typedef struct sb_search_checkpoint {
  sb_checkpoint_files files;
  sb_model *model;
} sb_search_checkpoint;

/* *resumes: the file `path` exists, and *progress and model->bits (of all blocks, on all ranks) are
 * read from it; otherwise both stay unchanged. `key` and `model` are borrowed as long as `out` is
 * used. SB_ERR_FORMAT names the difference between the file and this run, or the damage.
 * Collective; all ranks fail together. O(blocks). */
sb_status sb_search_checkpoint_open(const char *path, const sb_key *key, sb_model *model,
                                    sb_search_progress *progress, bool *resumes,
                                    sb_search_checkpoint *out);
/* Replaces the file by one with `progress` and the model's present
 * bits. SB_ERR_IO. Collective. O(blocks). */
sb_status sb_search_checkpoint_write(sb_search_checkpoint *checkpoint,
                                     const sb_search_progress *progress);

#endif

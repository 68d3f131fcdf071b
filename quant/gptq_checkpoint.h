/* Checkpoint of compensated rounding: its finished groups of the store, which are the chunks of
 * coded tables (model/model.h: sb_table), then the layers. A later run, on any number of ranks,
 * resumes at the next one.
 *
 * Two files (folders/checkpoint_files.h). PATH has the key, the number of groups and a checksum of
 * each; PATH.layers has the images of the groups as the coded store has them. Every rank writes and
 * reads the units that it owns, so a group costs its coded bytes once. All functions are
 * collective, except where said, and all ranks fail together. */
#ifndef SB_QUANT_GPTQ_CHECKPOINT_H
#define SB_QUANT_GPTQ_CHECKPOINT_H

#include "base/status.h"
#include "io/key.h"
#include "model/model.h"

typedef struct sb_gptq_checkpoint sb_gptq_checkpoint;

/* Chunks of all coded tables: the groups that come before the layers. Local. */
size_t sb_gptq_table_groups(const sb_model *model);

/* Opens the checkpoint at `path`. *groups = the finished groups, whose units are read into the
 * store of `coded`; 0, with new files, where PATH does not exist. `coded` is a laid out coded
 * model. It and `key` are borrowed until sb_gptq_checkpoint_close. SB_ERR_FORMAT names the
 * difference between the files and this run, or the damage. */
sb_status sb_gptq_checkpoint_open(const char *path, const sb_key *key, sb_model *coded,
                                  size_t *groups, sb_gptq_checkpoint **out);
/* Saves the next group, whose number of the store is `group`, from the store; on the disk when the
 * call returns. SB_ERR_IO. */
sb_status sb_gptq_checkpoint_add(sb_gptq_checkpoint *checkpoint, size_t group);
void sb_gptq_checkpoint_close(sb_gptq_checkpoint **checkpoint); /* local; the files stay */

/* Removes both files, on rank 0, if they exist. Local. */
void sb_gptq_checkpoint_remove(const sb_world *world, const char *path);

#endif

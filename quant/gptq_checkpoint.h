/* Layers that compensated rounding is done with, on disk, so that a run that was cut off goes on
 * with the next one, on any number of ranks.
 *
 * Two files: PATH, JSON, says what the layers depend on and how many there are; it is written anew,
 * complete or not at all, when a layer is on the disk. PATH.layers has them: the XXH64 checksum of
 * every unit of every layer, then the images of the layers as the packed store has them. Every rank
 * writes and reads the units it owns, so a layer costs its packed bytes once. All functions are
 * collective, and all ranks fail together. */
#ifndef SB_QUANT_GPTQ_CHECKPOINT_H
#define SB_QUANT_GPTQ_CHECKPOINT_H

#include "base/status.h"
#include "io/key.h"
#include "model/model.h"

typedef struct sb_gptq_checkpoint sb_gptq_checkpoint;

/* `packed` is laid out and lives until sb_gptq_checkpoint_close. *layers = the layers that PATH
 * has, whose units are in the store now; 0, and files for layers to come, where there is no PATH.
 * SB_ERR_FORMAT names what differs between the files and this run, or what is wrong with them. */
sb_status sb_gptq_checkpoint_open(const char *path, const sb_key *key, sb_model *packed,
                                  size_t *layers, sb_gptq_checkpoint **out);
/* Saves layer `layer`, the next one, from the store; there when the call returns. SB_ERR_IO. */
sb_status sb_gptq_checkpoint_add(sb_gptq_checkpoint *rounded, size_t layer);
void sb_gptq_checkpoint_close(sb_gptq_checkpoint **rounded); /* local; the files stay */

/* Removes both files, on rank 0; that they are not there is no error. Local. */
void sb_gptq_checkpoint_remove(const sb_world *world, const char *path);

#endif

/* Writes the weights and moments of a training state into a folder: model.safetensors and
 * optimizer.safetensors (train/checkpoint.h), each rank what it owns, from a thread of its own. */
#ifndef SB_TRAIN_STATE_WRITER_H
#define SB_TRAIN_STATE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "mpi/world.h"
#include "train/optimizer.h"
#include "train/optimizer_file.h"

#define SB_STATE_MODEL_FILE "model.safetensors"

typedef struct sb_state_writer sb_state_writer;

/* Creates both files in `folder`, copies the state of this rank and starts to write it; with
 * `wait`, or where a rank has no room for the copy, all is written when the call returns. Masters
 * and moments may change then. SB_ERR_IO. Collective; all ranks fail together. */
sb_status sb_state_writer_begin(const sb_world *world, const sb_optimizer *optimizer,
                                const sb_optimizer_info *info, const char *folder, bool wait,
                                sb_state_writer **out);
/* Bytes of the copy for a rank that owns `elements`; it is there while a state is written. Pure. */
size_t sb_state_writer_bytes(size_t elements);
/* Whether this rank has written its part, or failed. Local. */
bool sb_state_writer_done(const sb_state_writer *writer);
/* Waits for the end, gives the outcome and frees the writer. *sum += the checksum of this rank's
 * part (sb_state_sum). Local; *writer may be NULL. */
sb_status sb_state_writer_end(sb_state_writer **writer, uint64_t *sum);

/* Sum of the hashes of this rank's units, each seeded with its place: added up over ranks (modulo
 * 2^64) it does not depend on who owns what. Local. O(bytes). */
uint64_t sb_state_sum(const sb_optimizer *optimizer);

#endif

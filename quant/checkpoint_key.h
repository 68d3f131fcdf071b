/* Keys of checkpoints (io/key.h) list everything that a saved phase of a run depends on. This file
 * makes the entries that all phases share; a phase adds its own options with sb_key_add.
 *
 * A run resumes only where every entry is the same, so several attempts give the same bits as one.
 * The device and its arithmetic are entries, because they decide how sums are rounded. The number
 * of ranks is none: results do not depend on it. */
#ifndef SB_QUANT_CHECKPOINT_KEY_H
#define SB_QUANT_CHECKPOINT_KEY_H

#include "base/status.h"
#include "io/key.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"

/* Empties the key and adds the program's version, device and operand type of the backend, block
 * size and kind of grids. Local. */
void sb_checkpoint_key_begin(sb_key *key, const sb_model *model, const sb_backend *backend);

/* Add a fingerprint (pass/fingerprint.h) of a model's store, or of tokens (NULL: 0). `meaning`
 * tells people the difference, with the options that decide on it. `name` and `meaning` are
 * borrowed. Collective. */
sb_status sb_checkpoint_key_add_model(sb_key *key, const char *name, const char *meaning,
                                      sb_model *model);
sb_status sb_checkpoint_key_add_tokens(sb_key *key, const char *name, const char *meaning,
                                       const sb_world *world, const sb_sequences *sequences);
/* Adds the widths of embedding and LM head. Local. */
void sb_checkpoint_key_add_tables(sb_key *key, const sb_model *model);

#endif
